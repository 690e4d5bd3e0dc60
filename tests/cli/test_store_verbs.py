"""The store looked after from the command line."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from cli.command_kit import Fleet

TIMED = ("operator", ("--ttl", "1ms"))


def test_a_backup_brings_back_what_was_and_lays_the_present_aside(fleet: Fleet) -> None:
    kept = fleet.ok("task", "add", '"kept"')
    made = json.loads(fleet.ok("store", "backup", "b.db", "-o", "json"))
    assert Path(made["path"]).stat().st_mode & 0o077 == 0
    later = fleet.ok("task", "add", '"later"')
    assert fleet.run("store", "backup", "b.db").code == 4, "a backup overwrites nothing"
    refused = fleet.run("store", "restore", "b.db")
    assert refused.code == 2 and "--yes" in refused.err
    assert fleet.ok("store", "restore", "b.db", "--dry-run").startswith("would")
    done = fleet.run("store", "restore", "b.db", "--yes")
    assert done.code == 0 and "aside" in done.err
    assert fleet.run("task", "show", kept).code == 0
    assert fleet.run("task", "show", later).code == 3
    assert list(fleet.store.glob("store.db.aside-*"))


def test_of_dead_letters_prune_forgets_only_messages_that_expired_and_its_help_says_so(fleet: Fleet) -> None:
    nobody, expired = (fleet.run("msg", "send", to, "1", *ttl).out.strip() for to, ttl in (("nobody", ()), TIMED))
    assert "expired" in " ".join(fleet.ok("store", "prune", "--help").split())
    codes = (fleet.run("msg", "read").code for _ in range(1_000))
    assert 7 in codes, "who reads its inbox finds out that one has expired"
    letters = {row["reason"] for row in json.loads(fleet.ok("dlq", "list", "-o", "json"))}
    assert letters == {"no_such_agent", "expired"}
    assert json.loads(fleet.ok("store", "prune", "--older-than", "0s", "--yes", "-o", "json"))["messages"] == 1
    assert [row["task"] for row in json.loads(fleet.ok("dlq", "list", "-o", "json"))] == [nobody] != [expired]


@pytest.mark.parametrize("what", ["missing", "empty", "text", "another database", "cut"])
def test_a_bad_backup_is_refused_and_the_store_stays(fleet: Fleet, what: str) -> None:
    task = fleet.ok("task", "add", "1")
    bad = fleet.folder / "bad.db"
    if what == "empty":
        bad.write_bytes(b"")
    elif what == "text":
        bad.write_text("this is no database at all " * 100)
    elif what == "another database":
        sqlite3.connect(bad).execute("CREATE TABLE t (x)").connection.close()
    elif what == "cut":
        fleet.ok("store", "backup", "bad.db")
        with open(bad, "r+b") as file:
            file.truncate(bad.stat().st_size // 2)
    ran = fleet.run("store", "restore", "bad.db", "--yes")
    assert ran.code in (1, 3) and ran.err.count("\n") == 1 and "should not have happened" not in ran.err, ran
    assert fleet.run("task", "show", task).code == 0


def test_old_tasks_are_forgotten_only_when_somebody_says_so(fleet: Fleet) -> None:
    done = fleet.ok("task", "add", "1")
    fleet.ok("task", "cancel", done)
    open_task = fleet.ok("task", "add", "2")
    assert fleet.run("store", "prune").code == 2
    assert fleet.run("store", "prune", "--older-than", "0s").code == 2
    assert json.loads(fleet.ok("store", "prune", "--older-than", "30d", "--yes", "-o", "json"))["tasks"] == 0
    assert json.loads(fleet.ok("store", "prune", "--older-than", "0s", "--yes", "-o", "json"))["tasks"] == 1
    assert fleet.run("task", "show", done).code == 3
    assert fleet.run("task", "show", open_task).code == 0
    assert json.loads(fleet.ok("event", "verify", "-o", "json"))["intact"]


@pytest.mark.parametrize("act", ["down", "store prune --older-than 0s --yes", "store restore x"])
def test_an_agent_ends_no_fleet_and_forgets_no_history(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, act: str) -> None:
    words = act.split()
    task = fleet.ok("task", "add", "1")
    fleet.ok("task", "cancel", task)
    monkeypatch.setenv("AGENTCTL_TOKEN", "1:a")
    monkeypatch.setenv("AGENTCTL_INSTANCE", "a/1")
    monkeypatch.setenv("AGENTCTL_STORE", str(fleet.store))
    ran = fleet.run(*words)
    assert ran.code == 4 and "a/1 may not" in ran.err and "operator" in ran.err, ran
    monkeypatch.setenv("AGENTCTL_STORE", str(fleet.folder / "another"))  # its own fleet inside of one is its own
    assert fleet.run(*words, "--store", str(fleet.store)).code != 4
    monkeypatch.delenv("AGENTCTL_TOKEN")
    monkeypatch.delenv("AGENTCTL_STORE")
    assert fleet.run("task", "show", task).code == (3 if "prune" in words else 0)


def test_info_and_check_tell_the_state_of_a_store(fleet: Fleet) -> None:
    fleet.ok("task", "add", "1")
    found = json.loads(fleet.ok("store", "info", "-o", "json"))
    assert found["tasks"] == [{"state": "ready", "count": 1}] and found["store_bytes"] > 0
    checks = json.loads(fleet.ok("store", "check", "-o", "json"))
    assert checks and all(check["ok"] for check in checks)
    assert "already" in fleet.ok("store", "migrate")
    with open(fleet.store / "store.db", "r+b") as file:
        file.seek(20_000)
        file.write(b"\xff" * 20_000)
    ran = fleet.run("store", "check")
    assert ran.code == 1 and "should not have happened" not in ran.err
