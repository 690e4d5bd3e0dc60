"""Questions to a person through a whole supervisor: agents that ask and die, people who answer, deadlines that pass."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from faults.fleet_kit import Fleet, fleet, until
from faults.store_kit import assert_whole

from agentctl_store.ids import write_attempt, write_id

FAST = 'retry = {base = "10ms", cap = "20ms", max_attempts = 2}\n'
ASK = '{"agentctl": "ask", "question": "Delete it?", "options": ["yes", "no"]}'
UNLESS = '[ -s "$AGENTCTL_ANSWERS_FILE" ] && exec cat "$AGENTCTL_ANSWERS_FILE"; '


def shell(name: str, script: str, more: str = "") -> str:
    return f"[agent.{name}]\ncommand = ['/bin/sh', '-c', '''{script}''']\n{FAST}{more}\n"


def said(one: Fleet, task: int) -> list[object]:
    """What the attempt that was done had found in its file of answers."""
    result = json.loads(one.state(task, "done").result or "null")
    lines = [result] if isinstance(result, dict) else [json.loads(line) for line in str(result).splitlines()]
    return [line["answer"] for line in lines]


def test_a_line_asks_when_the_process_exits_with_0_and_the_answer_comes_in_a_file(tmp_path: Path) -> None:
    agents = "".join([
        shell("asks", f"{UNLESS}echo '{ASK}'; echo this is no result"),
        shell("twice", 'if [ $(wc -l < "$AGENTCTL_ANSWERS_FILE") -ge 2 ]; then cat "$AGENTCTL_ANSWERS_FILE"; else '
              """echo '{"agentctl": "ask", "question": "not this one"}'; echo '"""
              """{"agentctl": "ask", "question": "And now?"}'; fi"""),
        shell("fails", f"echo '{ASK}'; exit 1"),
        shell("wrong", """echo '{"agentctl": "ask", "question": "?", "deadline": "1h"}'"""),
        shell("plain", "cat; cat $AGENTCTL_ANSWERS_FILE"),
    ])  # fmt: skip
    with fleet(tmp_path, agents) as one:
        one.up()
        ids = {name: one.add(name, '"p"') for name in ("asks", "twice", "fails", "wrong", "plain")}
        asks, twice = ids["asks"], ids["twice"]
        for task in (asks, twice):
            one.state(task, "waiting")
        one.says(r"asks/1: \w+ asks a person: Delete it\? \(agentctl inbox\)")
        (attempt,) = one.attempts(asks)
        assert (attempt.outcome, attempt.exit_code) == ("asked", 0)
        assert [q.text for q in one.store.questions.of_task(twice)] == ["And now?"]  # the last line counts
        one.store.questions.answer(asks, "no", actor="cli:eve")
        assert said(one, asks) == ["no"]
        for number in (1, 2):
            until(lambda n=number: len(one.store.questions.of_task(twice)) == n, "the next question")  # type: ignore[misc]
            one.store.questions.answer(twice, f"answer {number}", n=number, actor="cli:eve")
        assert said(one, twice) == ["answer 1", "answer 2"]
        assert one.task(asks).burnt == one.task(twice).burnt == 0
        # An ask that a failure follows is a failure; one that cannot be asked is told, not taken for a result.
        assert one.state(ids["fails"], "dead").reason == "max_attempts"
        wrong = one.state(ids["wrong"], "dead")
        assert wrong.reason == "permanent" and "its question is refused: what happens at the deadline?" in wrong.error
        assert one.state(ids["plain"], "done").result == '"p"'
        assert one.store.questions.open() == []
        one.end()
    assert_whole(Path(one.folder))


def test_an_agent_asks_for_its_own_attempt_alone_and_can_never_answer(tmp_path: Path) -> None:
    script = (
        'if [ "$AGENTCTL_QUEUE" = other ]; then sleep 60; fi; '
        'agentctl task ask "Whose?" --attempt $(cat other) 2>> refused; echo $? >> codes; '
        'agentctl task ask "Mine?"; echo $? >> codes; '
        "agentctl task answer $AGENTCTL_TASK yes 2>> refused; echo $? >> codes; "
        "agentctl inbox 2>> refused; echo $? >> codes; "
        "agentctl schedule add mine --every 1s 2>> refused; echo $? >> codes"
    )
    agents = shell("one", f"{UNLESS}{script}") + shell("two", "sleep 60", 'queues = ["other"]')
    with fleet(tmp_path, agents) as one:
        one.up()
        other = one.add("other")
        one.state(other, "active")
        (tmp_path / "other").write_text(write_attempt(other, 1))
        task = one.add("one")
        one.state(task, "waiting")
        until(lambda: (tmp_path / "codes").read_text().split() == ["4", "0", "4", "4", "4"], "five verbs")
        refused = (tmp_path / "refused").read_text()
        assert "may not speak for attempt" in refused and "may not answer a question (agentctl task answer)" in refused
        assert "may not add a schedule (agentctl schedule add)" in refused and one.store.schedules.all() == []
        assert [q.text for q in one.store.questions.open()] == ["Mine?"] and one.task(other).state == "active"
        kinds = until(
            lambda: len(found := one.store.events(kinds=["access.refused"])) >= 3 and found, "refusals are events"
        )
        assert {event.actor for event in kinds} == {"one/1"}
        # Its process ended well: no failure is told.
        one.says(rf"one/1: {write_id(task)} asks a person: Mine\? \(agentctl inbox\)")
        assert "ended without effect" not in one.said()
        one.store.questions.answer(task, "all of ours", actor="cli:eve")
        assert said(one, task) == ["all of ours"]
        one.end(signal.SIGINT)


def test_a_question_outlives_supervisors_and_its_deadline_wakes_the_next_one(tmp_path: Path) -> None:
    ask = '{"agentctl": "ask", "question": "Go?", "options": ["yes", "no"], "deadline": "3s", "default": "no"}'
    dies = '{"agentctl": "ask", "question": "Go?", "deadline": "3s", "or_fail": true}'
    agents = shell("falls", f"{UNLESS}echo '{ask}'; sleep 0.5") + shell("dies", f"echo '{dies}'; sleep 0.5")
    with fleet(tmp_path, agents) as one:
        one.up()
        falls, dies_task = one.add("falls"), one.add("dies")
        one.state(falls, "active")
        one.kill()  # while its agents have said their questions and not ended
        one.up()
        for task in (falls, dies_task):
            one.state(task, "waiting")
        one.kill()
        one.up()
        assert said(one, falls) == ["no"]
        (question,) = one.store.questions.of_task(falls)
        assert (question.how, question.by) == ("default", None)
        assert 0 <= (question.ended_ms or 0) - (question.deadline_ms or 0) < 1_000
        dead = one.state(dies_task, "dead")
        assert (dead.reason, dead.error, dead.burnt) == ("unanswered", "nobody answered in time: Go?", 0)
        one.end()
    assert_whole(Path(one.folder))


def test_a_fleet_whose_only_work_waits_for_a_person_says_so_and_ends(tmp_path: Path) -> None:
    with fleet(tmp_path, shell("asks", f"{UNLESS}echo '{ASK}'")) as one:
        tasks = [one.add("asks"), one.add("asks")]
        assert one.finish() == 0
        assert "idle, but 2 tasks wait for a person's answer. See what is asked: agentctl inbox" in one.said()
        one.store.questions.answer(tasks[0], "yes", actor="cli:eve")
        assert one.finish() == 0
        assert one.task(tasks[0]).state == "done"
        assert "idle, but 1 task waits for a person's answer" in one.said()


def test_a_worker_asks_and_goes_on_with_other_work(tmp_path: Path) -> None:
    script = (
        "while claim=$(agentctl task claim mail --wait 20s); do "
        'attempt=$(echo "$claim" | sed "s/.*\\"attempt\\":\\"\\([^\\"]*\\)\\".*/\\1/"); '
        'case "$claim" in '
        '*"\\"answer\\":\\"go\\""*) agentctl task complete "$attempt" --result 2 ;; '
        '*"\\"payload\\":1"*) agentctl task ask "Go?" --attempt "$attempt" ;; '
        '*) agentctl task complete "$attempt" --result 1 ;; esac; done'
    )
    with fleet(tmp_path, f"[agent.mail]\nmode = 'worker'\ncommand = ['/bin/sh', '-c', '''{script}''']\n") as one:
        one.up()
        asks, other = one.add("mail", "1"), one.add("mail", "7")
        one.state(asks, "waiting")
        assert one.state(other, "done").result == "1"
        one.store.questions.answer(asks, "go", actor="cli:eve")
        assert one.state(asks, "done").result == "2"
        one.end()
