"""Tasks from the command line: what is added, claimed, kept and ended."""

from __future__ import annotations

import json
import os

import pytest
from cli.command_kit import Fleet

from agentctl.cli.task_view import CLAIM


def rows(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_an_added_task_can_be_claimed_completed_and_shown(fleet: Fleet) -> None:
    task = fleet.ok("task", "add", '{"path": "a.py"}', "-q", "review", "-p", "5")
    (claim,) = rows(fleet.ok("task", "claim", "review", "--agent", "reviewer"))
    assert claim["task"] == task and claim["payload"] == {"path": "a.py"} and claim["attempt"] == f"{task}.1"
    fleet.ok("task", "heartbeat", f"{task}.1", "--progress", "half", "--lease", "2m")
    fleet.ok("task", "complete", f"{task}.1", "-r", '{"issues": 2}')
    shown = json.loads(fleet.ok("task", "show", task, "-o", "json"))
    assert shown["state"] == "done" and shown["result"] == {"issues": 2} and shown["priority"] == 5
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["done"]
    assert fleet.ok("task", "wait", task, "--json", "task,state") == f'[{{"task":"{task}","state":"done"}}]'


def test_a_stale_attempt_is_refused_with_exit_code_4(fleet: Fleet) -> None:
    task = fleet.ok("task", "add", "1")
    fleet.ok("task", "claim", "default", "--agent", "a")
    fleet.ok("task", "release", f"{task}.1")
    fleet.ok("task", "claim", "default", "--agent", "b")
    for verb in ("heartbeat", "complete", "fail", "release"):
        ran = fleet.run("task", verb, f"{task}.1")
        assert ran.code == 4 and ran.err.count("\n") == 1, ran


def test_nothing_to_claim_is_exit_code_7_at_once_and_after_a_wait(fleet: Fleet) -> None:
    fleet.ok("task", "add", "1", "-q", "other")
    assert fleet.run("task", "claim", "default", "--agent", "a").code == 7
    assert fleet.run("task", "claim", "default", "--agent", "a", "--wait", "30ms").code == 7


def test_a_claim_by_nobody_is_told_which_option_says_who(fleet: Fleet) -> None:
    ran = fleet.run("task", "claim", "default")
    assert ran.code == 2 and "--agent" in ran.err and "argument" not in ran.err


def test_the_same_key_answers_the_first_task(fleet: Fleet) -> None:
    first = fleet.ok("task", "add", "1", "--key", "k")
    again = fleet.run("task", "add", "2", "--key", "k")
    assert again.out.strip() == first and "before" in again.err
    assert len(rows(fleet.ok("task", "list", "-o", "jsonl"))) == 1


@pytest.mark.parametrize("source", ["argument", "file", "stdin"])
def test_a_payload_comes_as_argument_file_or_stdin(fleet: Fleet, source: str) -> None:
    (fleet.folder / "p.json").write_text(' {"a": "ä"} ')
    given = {"argument": '{"a": "ä"}', "file": "@p.json", "stdin": "-"}[source]
    task = fleet.ok("task", "add", given, stdin='{"a": "ä"}'.encode())
    assert json.loads(fleet.ok("task", "show", task, "--json", "payload")) == {"payload": {"a": "ä"}}


def test_lines_are_added_all_or_none(fleet: Fleet) -> None:
    ids = fleet.ok(
        "task", "add", "--jsonl", "-", "-q", "q", stdin=b'{"payload":1}\n\n{"payload":2}\n{"payload":3}\n'
    ).splitlines()
    assert len(ids) == len(set(ids)) == 3 and ids == sorted(ids)
    refused = fleet.run("task", "add", "--jsonl", "-", stdin=b'{"payload":1}\n{"payload":\n')
    assert refused.code == 2 and "task 2" in refused.err
    assert len(rows(fleet.ok("task", "list", "-o", "jsonl"))) == 3


def test_a_task_can_wait_for_others_and_for_a_time(fleet: Fleet) -> None:
    parent = fleet.ok("task", "add", "1", "--key", "p")
    child = fleet.ok("task", "add", "2", "--after", parent, "--on-parent-failure", "run")
    by_key = fleet.ok("task", "add", "3", "--after", "key:p")
    later = fleet.ok("task", "add", "4", "--in", "2h")
    states = {row["task"]: row["state"] for row in rows(fleet.ok("task", "list", "-o", "jsonl"))}
    assert states == {parent: "ready", child: "blocked", by_key: "blocked", later: "scheduled"}
    assert fleet.ok("task", "retry", later) == f"{later} ready"
    fleet.ok("task", "claim", "default", "--agent", "a")
    fleet.ok("task", "complete", f"{parent}.1", "-r", '"found"')
    won = rows(fleet.ok("task", "claim", "default", "--agent", "a", "-n", "10"))
    (child_claim,) = [one for one in won if one["task"] == child]
    assert child_claim["parents"] == [
        {"task": parent, "queue": "default", "state": "done", "result": "found", "reason": None, "degraded": False}
    ]


def test_an_agents_environment_stands_in_for_options(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    correlation = "0af7651916cd43dd8448eb211c80319c"
    task = fleet.ok("task", "add", "1", "--correlation", correlation)
    monkeypatch.setenv("AGENTCTL_AGENT", "planner")
    monkeypatch.setenv("AGENTCTL_INSTANCE", "planner/2")
    (claim,) = rows(fleet.ok("task", "claim", "default"))
    monkeypatch.setenv("AGENTCTL_TASK", task)
    monkeypatch.setenv("AGENTCTL_ATTEMPT", str(claim["attempt"]))
    child = fleet.ok("task", "add", "2")
    shown = json.loads(fleet.ok("task", "show", child, "-o", "json"))
    assert shown["correlation"] == correlation and shown["creator"] == task
    fleet.ok("task", "heartbeat")
    fleet.ok("task", "complete")
    assert json.loads(fleet.ok("task", "show", "-o", "json"))["state"] == "done"
    events = rows(fleet.ok("event", "list", "-k", "task.added", "-o", "jsonl"))
    assert [event["actor"] for event in events] == ["tester", "planner/2"]
    monkeypatch.setenv("AGENTCTL_STORE", os.path.join(os.getcwd(), "nowhere"))
    assert fleet.run("task", "list").code == 3


def test_a_beginning_of_an_id_names_its_task_and_an_ambiguous_one_does_not(fleet: Fleet) -> None:
    task = fleet.ok("task", "add", "1")
    assert json.loads(fleet.ok("task", "show", task[:12], "-o", "json"))["task"] == task
    fleet.ok("task", "add", "--jsonl", "-", stdin=b'{"payload":1}\n{"payload":2}\n')
    assert fleet.run("task", "show", task[:2]).code == 2
    assert fleet.run("task", "show", "0000000000000").code == 3


def test_the_short_way_to_print_a_claim_prints_what_its_columns_do(fleet: Fleet) -> None:
    parent = fleet.ok("task", "add", "1", "-q", "parents", "-p", "9")
    fleet.ok("task", "claim", "parents", "--agent", "a")
    fleet.ok("task", "add", '{"a": [1]}', "--after", parent, "--deadline", "2h", "--timeout", "1m")
    fleet.ok("task", "complete", f"{parent}.1", "-r", '{"r": null}')
    (short,) = rows(fleet.ok("task", "claim", "default", "--agent", "a"))
    fleet.ok("task", "release", str(short["attempt"]))
    (long,) = rows(fleet.ok("task", "claim", "default", "--agent", "a", "-o", "jsonl", "--json", ",".join(short)))
    assert list(short) == [column.name for column in CLAIM]
    assert long == {**short, "attempt": f"{short['task']}.2", "attempts": 2}


def test_waiting_ends_with_the_worst_that_happened(fleet: Fleet) -> None:
    task = fleet.ok("task", "add", "1")
    assert fleet.run("task", "wait", task, "--timeout", "20ms").code == 5
    fleet.ok("task", "cancel", task, "--reason", "no need")
    ran = fleet.run("task", "wait", task)
    assert ran.code == 1 and "cancelled" in ran.out


def test_one_bad_name_among_several_does_not_stop_the_others(fleet: Fleet) -> None:
    first, second = fleet.ok("task", "add", "1"), fleet.ok("task", "add", "2")
    ran = fleet.run("task", "cancel", first, "0000000000000", second)
    assert ran.code == 3 and ran.err.count("\n") == 1
    assert ran.out.splitlines() == [f"{first} cancelled (cancelled)", f"{second} cancelled (cancelled)"]


def test_a_dry_run_changes_nothing(fleet: Fleet) -> None:
    task = fleet.ok("task", "add", "1")
    assert fleet.ok("task", "cancel", task[:12], "--dry-run") == f"would cancel {task}"
    assert fleet.run("task", "cancel", "0000000000000", "--dry-run").code == 3
    assert json.loads(fleet.ok("task", "show", task, "--json", "state")) == {"state": "ready"}


def test_a_running_task_is_asked_to_cancel(fleet: Fleet) -> None:
    task = fleet.ok("task", "add", "1")
    fleet.ok("task", "claim", "default", "--agent", "a")
    assert fleet.ok("task", "cancel", task) == f"{task} active (asked to end)"
    assert fleet.ok("task", "heartbeat", f"{task}.1") == "cancel"
