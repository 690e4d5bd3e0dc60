"""Dead letters, queues, agents and history from the command line."""

from __future__ import annotations

import json
import os
import signal

import pytest
from cli.command_kit import Fleet
from store.store_kit import held_later  # noqa: TID251

from agentctl.supervisor import sandbox
from agentctl_store.domain.agent import AgentSpec, Instance
from agentctl_store.store import open_store


def kill(fleet: Fleet, count: int, queue: str = "default", message: str = "boom") -> list[str]:
    """Add tasks and make dead letters of them."""
    tasks = []
    for number in range(count):
        task = fleet.ok("task", "add", json.dumps({"n": number}), "-q", queue)
        fleet.ok("task", "claim", queue, "--agent", "worker")
        fleet.ok("task", "fail", f"{task}.1", "-c", "permanent", "-m", message)
        tasks.append(task)
    return tasks


def rows(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_dead_letter_tells_why_and_comes_back_edited(fleet: Fleet) -> None:
    (task,) = kill(fleet, 1, message="no such file")
    (letter,) = rows(fleet.ok("dlq", "list", "-o", "jsonl"))
    assert letter["task"] == task and letter["reason"] == "permanent" and letter["error"] == "no such file"
    shown = json.loads(fleet.ok("dlq", "show", task, "-o", "json"))
    assert shown["attempts"][0]["error"] == "no such file"
    fleet.ok("dlq", "requeue", task, "--payload", '{"n": 7}', "--note", "mended")
    assert json.loads(fleet.ok("task", "show", task, "--json", "state,payload")) == {
        "state": "ready",
        "payload": {"n": 7},
    }
    again = fleet.run("dlq", "requeue", task)
    assert again.code == 4, "sent back twice"
    assert fleet.run("dlq", "show", task).code == 4


def test_filters_choose_and_all_needs_to_be_said(fleet: Fleet) -> None:
    first = kill(fleet, 2, "a")
    kill(fleet, 1, "b")
    assert fleet.run("dlq", "requeue").code == 2
    assert fleet.run("dlq", "requeue", first[0], "--all").code == 2
    assert fleet.run("dlq", "requeue", "-q", "nothing").code == 3
    assert fleet.ok("dlq", "requeue", "-q", "a", "--dry-run").count("would requeue") == 2
    assert fleet.ok("dlq", "requeue", "-q", "a").count("ready") == 2
    assert fleet.ok("dlq", "list", "--groups", "--json", "reason,count") == '[{"reason":"permanent","count":1}]'
    assert fleet.ok("dlq", "requeue", "--all", "--spaced", "1h").count("ready") == 1
    assert fleet.ok("dlq", "list", "-o", "jsonl") == ""


def test_giving_up_asks_and_never_guesses_the_answer(fleet: Fleet) -> None:
    kill(fleet, 2)
    refused = fleet.run("dlq", "discard", "--all")
    assert refused.code == 2 and "--yes" in refused.err
    assert len(rows(fleet.ok("dlq", "export", "--all"))) == 2
    assert fleet.ok("dlq", "discard", "--all", "--yes").count("cancelled") == 2
    assert fleet.run("dlq", "discard", "--all", "--yes").code == 3


def test_an_export_holds_payload_error_and_attempts(fleet: Fleet) -> None:
    (task,) = kill(fleet, 1)
    (letter,) = rows(fleet.ok("dlq", "export", task))
    assert letter["payload"] == {"n": 0} and letter["error"] == "boom"
    assert [attempt["class"] for attempt in letter["attempts"]] == ["permanent"]  # type: ignore[union-attr]


def test_a_paused_queue_gives_nothing_until_it_is_resumed(fleet: Fleet) -> None:
    fleet.ok("task", "add", "1")
    assert fleet.ok("queue", "pause", "default", "--reason", "night") == "default paused"
    assert fleet.ok("queue", "pause", "default") == "default was paused already"
    assert rows(fleet.ok("queue", "list", "-o", "jsonl"))[0]["state"] == "paused"
    assert fleet.run("task", "claim", "default", "--agent", "a").code == 7
    assert fleet.ok("queue", "resume", "default") == "default open"
    assert fleet.run("queue", "resume", "nothing").code == 3
    fleet.ok("task", "claim", "default", "--agent", "a")


def test_pausing_a_queue_that_nobody_knows_is_done_and_remarked_upon(declared: Fleet) -> None:
    slip = declared.run("queue", "pause", "reveiw")
    assert slip.code == 0 and "no agent serves it" in slip.err
    assert declared.run("queue", "pause", "review").err == ""


@pytest.fixture
def declared(fleet: Fleet) -> Fleet:
    """A fleet whose store knows an agent with one instance."""
    with open_store(str(fleet.store), create=True) as store:
        store.declare_agents([AgentSpec("reviewer", "task", ("review",), 2)], actor="test")
        store.save_instances([Instance("reviewer", 1, "failed", "unhealthy", "5 starts in 60 s", latched=True)])
    return fleet


def test_acts_that_nobody_could_obey_are_exit_code_6(declared: Fleet) -> None:
    for words in (("start", "--wait", "1s"), ("restart",), ("drain",)):
        ran = declared.run("agent", words[0], "reviewer", *words[1:])
        assert ran.code == 6 and "agentctl run" in ran.err
    assert json.loads(declared.ok("agent", "show", "reviewer", "-o", "json"))["desired"] == "running"


def test_a_wish_is_kept_for_the_next_run(declared: Fleet) -> None:
    for verb, desired in (("pause", "paused"), ("stop", "stopped"), ("resume", "running"), ("start", "running")):
        ran = declared.run("agent", verb, "reviewer")
        assert ran.code == 0 and "next `agentctl run`" in ran.err
        assert rows(declared.ok("agent", "list", "-o", "jsonl"))[0]["desired"] == desired
    declared.ok("agent", "scale", "reviewer", "5")
    assert rows(declared.ok("agent", "list", "-o", "jsonl"))[0]["instances"] == 5
    declared.ok("agent", "scale", "reviewer", "--reset")
    assert rows(declared.ok("agent", "list", "-o", "jsonl"))[0]["instances"] == 2
    assert declared.run("agent", "scale", "reviewer").code == 2
    assert declared.run("agent", "start", "nobody").code == declared.run("agent", "stop", "nobody").code == 3
    assert declared.run("agent", "stop").code == 2
    assert declared.ok("agent", "stop", "--all", "--dry-run") == "would stop reviewer"


def test_ps_and_doctor_say_what_is_wrong(declared: Fleet) -> None:
    (row,) = rows(declared.ok("ps", "-o", "jsonl"))
    assert row["instance"] == "reviewer/1" and row["health"] == "unhealthy" and row["now"] == "5 starts in 60 s"
    declared.ok("task", "add", "1", "-q", "orphaned")
    found = declared.ok("doctor")
    assert "reviewer/1 is latched" in found and "no agent serves" in found


def test_a_stopped_supervisor_is_told_with_how_it_goes_on(declared: Fleet) -> None:
    lock = declared.store / "supervisor.lock"
    with held_later() as process:
        lock.write_text(json.dumps({"pid": process.pid}))
        assert declared.run("ps").err == "" and "supervises this store" in declared.ok("doctor")
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        remedy = f"kill -CONT {process.pid}"
        told = declared.run("ps")
        assert told.code == 0 and told.err.endswith(f"nothing is supervised. Let it go on: {remedy}\n")
        (found,) = [row for row in rows(declared.run("doctor", "-o", "jsonl").out) if row["verdict"] == "fail"]
        assert found["check"] == "supervisor" and found["remedy"] == remedy
        assert remedy in declared.run("agent", "pause", "reviewer").err, "nobody obeys now"


def test_doctor_looks_at_a_machine_that_has_no_fleet_yet(fleet: Fleet) -> None:
    (fleet.folder / "agentctl.toml").unlink()
    found = {row["check"]: row["verdict"] for row in rows(fleet.ok("doctor", "-o", "jsonl"))}
    assert found["config"] == "warn" and "python" in found and "fail" not in found.values()


def test_doctor_tells_a_folder_in_which_no_store_can_be_made(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: str(path) != str(fleet.folder))
    (found,) = [row for row in rows(fleet.run("doctor", "-o", "jsonl").out) if row["verdict"] == "fail"]
    assert found["check"] == "store" and str(fleet.folder) in str(found["found"]) and found["remedy"]


SANDBOXED = '[agent.a]\ncommand = "true"\nsandbox = "landlock"\ncwd = "."\n'


def test_an_agent_that_cannot_have_its_sandbox_is_told_before_it_is_started(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "why_not", lambda: "")
    (fleet.folder / "agentctl.toml").write_text(SANDBOXED)
    ran = fleet.run("config", "check")
    assert ran.code == 2 and "agentctl.toml:3: agent a: " in ran.err and "which holds agentctl.toml" in ran.err
    (found,) = [row for row in rows(fleet.run("doctor", "-o", "jsonl").out) if row["verdict"] == "fail"]
    assert found["check"] == "sandbox" and 'cwd = "work"' in str(found["remedy"])
    (fleet.folder / "work").mkdir()
    (fleet.folder / "agentctl.toml").write_text(SANDBOXED.replace('"."', '"work"'))
    assert "is good" in fleet.ok("config", "check") and "fail" not in fleet.ok("doctor")


def test_a_machine_without_landlock_is_told_where_an_agent_needs_it(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "why_not", lambda: "kernel 5.4 has no Landlock; Linux 6.12 or newer has")
    assert "no agent can have a sandbox: kernel 5.4 has no Landlock" in fleet.ok("doctor", "-o", "wide")
    (fleet.folder / "work").mkdir()
    (fleet.folder / "agentctl.toml").write_text(SANDBOXED.replace('"."', '"work"'))
    ran = fleet.run("doctor", "-o", "jsonl")
    assert ran.code == 1 and "Linux 6.12 or newer has" in ran.out
    assert fleet.run("config", "check").code == 2


def test_the_history_can_be_narrowed_and_read_from_any_place(fleet: Fleet) -> None:
    first = fleet.ok("task", "add", "1")
    fleet.ok("task", "add", "2")
    fleet.ok("task", "cancel", first)
    kinds = [row["kind"] for row in rows(fleet.ok("event", "list", "--task", first, "-o", "jsonl"))]
    assert kinds == ["task.added", "task.cancelled"]
    assert len(rows(fleet.ok("event", "list", "-k", "task.added", "-o", "jsonl"))) == 2
    newest = rows(fleet.ok("event", "list", "-n", "1", "-o", "jsonl"))[0]["seq"]
    assert fleet.ok("event", "list", "--after", str(newest), "-o", "jsonl") == ""
    assert fleet.run("event", "list", "-k", "task.nonsense").code == 2


def test_a_history_is_verified_against_the_tables_and_a_noted_head(fleet: Fleet) -> None:
    fleet.ok("task", "add", "1")
    found = json.loads(fleet.ok("event", "verify", "-o", "json"))
    assert found["intact"] and found["events"] >= 1 and found["faults"] == []
    fleet.ok("task", "add", "2")
    fleet.ok("event", "verify", "--head", found["head"])
    forged = fleet.run("event", "verify", "--head", found["head"][:-1] + ("0" if found["head"][-1] != "0" else "1"))
    assert forged.code == 1 and "not the one" in forged.out
    assert fleet.run("event", "verify", "--head", "nonsense").code == 2


def test_init_begins_a_fleet_and_never_overwrites(fleet: Fleet) -> None:
    assert "created" in fleet.ok("init", "new", "--example", "review")
    assert fleet.run("init", "new", "--example", "review").code == 0
    (fleet.folder / "new" / "agentctl.toml").write_text("# mine\n")
    assert fleet.run("init", "new", "--example", "review").code == 4
    fleet.ok("init", "new", "--example", "review", "--force")
    assert (fleet.folder / "new" / "agentctl.toml.orig").read_text() == "# mine\n"
    assert (fleet.folder / "new" / ".agentctl" / "store.db").stat().st_mode & 0o777 == 0o600


def test_config_is_checked_shown_and_described(fleet: Fleet) -> None:
    (fleet.folder / "agentctl.toml").write_text('[agent.a]\ncommand = "true"\nenv = {KEY = "hunter2"}\n')
    assert "1 agent, 1 instance" in fleet.ok("config", "check")
    shown = fleet.ok("config", "show")
    assert json.loads(shown)["agent"]["a"]["queues"] == ["a"] and "hunter2" not in shown
    assert json.loads(fleet.ok("config", "schema"))["title"] == "agentctl.toml"
    (fleet.folder / "agentctl.toml").write_text('[agent.a]\ncomand = "true"\nmode = "x"\n')
    ran = fleet.run("config", "check")
    assert ran.code == 2 and "agentctl.toml:2" in ran.err and "command" in ran.err
