"""Asking a person, looking and answering from the command line."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from cli.command_kit import AGENTCTL, Fleet

ASK = ("task", "ask", "Delete the branch?", "--option", "yes", "--option", "no")


def claimed(fleet: Fleet, payload: str = "1") -> str:
    """The id of an attempt."""
    fleet.ok("task", "add", "-q", "work", payload)
    return str(json.loads(fleet.ok("task", "claim", "work", "--agent", "ann"))["attempt"])


def inbox(fleet: Fleet) -> list[dict[str, object]]:
    return [json.loads(line) for line in fleet.ok("inbox", "-o", "jsonl").splitlines()]


def test_a_task_asks_is_answered_and_its_next_attempt_is_told(fleet: Fleet) -> None:
    attempt = claimed(fleet)
    task = attempt.partition(".")[0]
    assert fleet.ok(*ASK, "--attempt", attempt, "--deadline", "2h", "--default", "no") == f"{task} waiting"
    (row,) = inbox(fleet)
    assert (row["attempt"], row["agent"], row["options"], row["default"]) == (attempt, "ann", ["yes", "no"], "no")
    assert row["question"] == "Delete the branch?" and str(row["deadline_at"]).endswith("Z")
    assert fleet.run("task", "answer", task, "perhaps").code == 2
    assert fleet.ok("task", "answer", attempt, "yes") == f"{task} ready"
    assert fleet.run("task", "answer", attempt, "yes").code == 4
    assert fleet.ok("inbox") == "" and "Nobody asks anything." in fleet.run("inbox").err
    again = json.loads(fleet.ok("task", "claim", "work", "--agent", "ann"))
    assert again["attempt"] == f"{task}.2"
    (said,) = again["answers"]
    assert (said["question"], said["answer"], said["how"]) == ("Delete the branch?", "yes", "answered")
    shown = json.loads(fleet.ok("task", "show", task, "-o", "json"))
    assert shown["attempts"][0]["outcome"] == "asked" and shown["answers"] == again["answers"] and shown["burnt"] == 0
    assert "Delete the branch?" in fleet.ok("inbox", "show", task)


def test_an_answer_by_number_a_text_of_its_own_and_a_refusal(fleet: Fleet) -> None:
    first, second, third = (claimed(fleet, payload) for payload in ("1", "2", "3"))
    fleet.ok(*ASK, "--attempt", first)
    for attempt in (second, third):
        fleet.ok("task", "ask", "What now?", "--attempt", attempt)
    assert fleet.run("task", "answer", first, "--option", "3").code == 2
    fleet.ok("task", "answer", first, "--option", "2")
    fleet.ok("task", "answer", second, "-", stdin=b"Go on.\nBut slowly.")
    assert fleet.run("task", "answer", third).code == 2
    assert fleet.run("task", "answer", third, "x", "--reject").code == 2
    assert fleet.run("task", "answer", third, "x", "--reason", "y").code == 2
    said = fleet.ok("task", "answer", third, "--reject", "--reason", "not that")
    assert said.endswith("dead (rejected)")
    told = [json.loads(fleet.ok("inbox", "show", one, "--json", "answer"))["answer"] for one in (first, second, third)]
    assert told == ["no", "Go on.\nBut slowly.", None]
    assert json.loads(fleet.ok("inbox", "show", first, "--json", "options"))["options"] == [
        {"n": 1, "option": "yes"},
        {"n": 2, "option": "no"},
    ]
    assert fleet.run("inbox", "show", fleet.ok("task", "add", "1")).code == 3
    assert fleet.ok("dlq", "list", "--json", "reason,error") == '[{"reason":"rejected","error":"not that"}]'
    assert fleet.run("task", "answer", first, "--option", "1").code == 4
    assert fleet.ok("event", "verify", "--json", "intact") == '{"intact":true}'


def test_what_is_asked_is_hostile_text_until_it_is_cleaned(fleet: Fleet) -> None:
    attempt = claimed(fleet)
    fleet.ok("task", "ask", "Sure\x1b[2J\x1b]52;c;aGk=\x07?\u202e", "--attempt", attempt)
    for words in (("inbox",), ("inbox", "-o", "wide"), ("inbox", "-o", "csv"), ("inbox", "-o", "json")):
        shown = fleet.ok(*words)
        assert "Sure" in shown and not {"\x1b", "\x07", "\u202e"} & set(shown), words
    assert fleet.run("task", "ask", "?", "--attempt", attempt).code == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--deadline", "2h"), "what happens at the deadline"),
        (("--deadline", "2h", "--default", "a", "--or-fail"), "what happens at the deadline"),
        (("--default", "a"), "need a deadline"),
        (("--or-fail",), "need a deadline"),
        (("--deadline", "soon", "--or-fail"), "is not a duration"),
        (("--option", "a", "--option", "a"), "the same twice"),
        (("--option", "a", "--deadline", "2h", "--default", "b"), "none of the answers"),
    ],
)
def test_a_question_that_cannot_be_meant_is_refused_with_the_way_out(
    fleet: Fleet, words: tuple[str, ...], said: str
) -> None:
    attempt = claimed(fleet)
    refused = fleet.run("task", "ask", "Well?", *words, "--attempt", attempt)
    assert refused.code == 2 and said in refused.err
    fleet.ok("task", "complete", attempt)


def test_who_waits_for_a_question_is_told_at_once(fleet: Fleet) -> None:
    assert fleet.run("inbox", "--wait", "50ms").code == 5
    attempt = claimed(fleet)
    ways = (["--wait", "20s", "--json", "attempt"], ["--watch", "-o", "jsonl", "--json", "attempt"])
    waiting = [
        subprocess.Popen([*AGENTCTL, "inbox", *way], cwd=fleet.folder, stdout=subprocess.PIPE, text=True)
        for way in ways
    ]
    try:
        fleet.ok("task", "ask", "Well?", "--attempt", attempt)
        told = [one.stdout.readline() for one in waiting if one.stdout is not None]
        assert all(attempt in line for line in told), told
        assert waiting[0].wait(10) == 0
    finally:
        for one in waiting:
            one.kill()
            one.communicate()


def test_who_waits_for_a_task_is_told_that_it_waits_for_a_person(fleet: Fleet) -> None:
    attempt = claimed(fleet)
    fleet.ok("task", "ask", "Well?", "--attempt", attempt)
    late = fleet.run("task", "wait", attempt.partition(".")[0], "--timeout", "50ms")
    assert late.code == 5 and late.err.count("waits for a person's answer. See what it asks: agentctl inbox") == 1


def test_inside_an_agent_nobody_answers_and_the_refusal_is_told(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = claimed(fleet)
    fleet.ok("task", "ask", "May I?", "--attempt", attempt)
    monkeypatch.setenv("AGENTCTL_STORE", os.fspath(fleet.store))
    monkeypatch.setenv("AGENTCTL_TOKEN", "whatever")
    monkeypatch.setenv("AGENTCTL_INSTANCE", "ann/1")
    for words in (("yes",), ("--reject",)):
        refused = fleet.run("task", "answer", attempt, *words)
        assert refused.code == 4 and "may not answer" in refused.err
    monkeypatch.delenv("AGENTCTL_TOKEN")
    assert len(inbox(fleet)) == 1
    events = [
        json.loads(line) for line in fleet.ok("event", "list", "-k", "access.refused", "-o", "jsonl").splitlines()
    ]
    assert [one["actor"] for one in events] == ["ann/1"] * 2
