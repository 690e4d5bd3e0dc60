"""Schedules from the command line."""

from __future__ import annotations

import json

from cli.command_kit import Fleet

from agentctl_store.domain.schedule import ScheduleSpec
from agentctl_store.store import open_store


def test_a_schedule_is_made_shown_paused_run_and_removed(fleet: Fleet) -> None:
    said = fleet.ok("schedule", "add", "tidy", "-q", "work", "--every", "10m", "--payload", '{"a": 1}', "-p", "5")
    assert said.startswith("tidy planned, next 20")
    again = fleet.run("schedule", "add", "tidy", "-q", "work", "--every", "10m", "--payload", '{"a":1}', "-p", "5")
    assert again.code == 0 and "there already" in again.err
    assert fleet.run("schedule", "add", "tidy", "-q", "work", "--every", "11m").code == 4
    (row,) = (json.loads(line) for line in fleet.ok("schedule", "list", "-o", "jsonl").splitlines())
    assert (row["schedule"], row["when"], row["state"], row["fired"]) == ("tidy", "every 10m", "planned", 0)
    task = fleet.ok("schedule", "run", "tidy")
    assert json.loads(fleet.ok("task", "show", task, "--json", "payload,priority")) == {
        "payload": {"a": 1},
        "priority": 5,
    }
    assert fleet.run("schedule", "run", "tidy").code == 4
    assert fleet.ok("schedule", "pause", "tidy", "--reason", "\x1b[31mnight") == "tidy paused"
    shown = fleet.ok("schedule", "show", "tidy")
    assert "paused by" in shown and "night" in shown and "\x1b" not in shown and "next runs" not in shown
    assert fleet.ok("schedule", "resume", "tidy") == "tidy resumed"
    assert fleet.ok("schedule", "remove", "tidy") == "tidy removed"
    for verb in ("show", "pause", "resume", "remove", "run"):
        assert fleet.run("schedule", verb, "tidy").code == 3
    assert fleet.ok("event", "verify", "--json", "intact") == '{"intact":true}'


def test_the_next_five_runs_are_told_in_the_zone_of_the_schedule(fleet: Fleet) -> None:
    fleet.ok("schedule", "add", "night", "-q", "work", "--cron", "30 2 * * *", "--tz", "Asia/Tokyo")
    shown = json.loads(fleet.ok("schedule", "show", "night", "-o", "json"))
    assert len(shown["next_runs"]) == 5 and shown["next_runs"][0]["at"] == shown["next_at"]
    assert all("02:30:00 JST" in run["local"] and run["at"].endswith("17:30:00.000Z") for run in shown["next_runs"])
    fleet.ok("schedule", "add", "once", "-q", "work", "--in", "1h")
    assert len(json.loads(fleet.ok("schedule", "show", "once", "--json", "next_runs"))["next_runs"]) == 1


def test_when_is_said_in_one_way_and_what_cannot_be_is_refused(fleet: Fleet) -> None:
    for words, said in (
        ((), "Give exactly one of --cron"),
        (("--every", "1m", "--in", "1m"), "Give exactly one of --cron"),
        (("--every", "1m", "--tz", "UTC"), "--tz goes with --cron"),
        (("--cron", "* * * * *", "--tz", "Mars"), "'Mars' is not known here"),
        (("--cron", "* * * *"), "five fields"),
        (("--at", "2001-01-01"), "has passed"),
        (("--at", "soon"), "is not a time"),
        (("--every", "soon"), "is not a duration"),
        (("--every", "1m", "--payload", "{"), "JSON"),
        (("--every", "1m", "--overlap", "twice"), "skip"),
        (("--every", "1m", "--jitter", "2m"), "jitter"),
    ):
        refused = fleet.run("schedule", "add", "x", "-q", "work", *words)
        assert refused.code == 2 and said in refused.err, (words, refused)
    assert fleet.ok("schedule", "list", "-o", "jsonl") == ""


def test_what_the_file_declares_is_changed_there(fleet: Fleet) -> None:
    with open_store(str(fleet.store), create=True) as store:
        store.schedules.declare([ScheduleSpec("night", "work", every_ms=60_000)], actor="supervisor")
    refused = fleet.run("schedule", "remove", "night")
    assert refused.code == 4 and "Remove it there, or pause it" in refused.err
    assert fleet.ok("schedule", "pause", "night") == "night paused"


def test_a_queue_that_nobody_serves_is_remarked_upon(fleet: Fleet) -> None:
    (fleet.folder / "agentctl.toml").write_text(
        '[agent.a]\ncommand = "true"\n[schedule.s]\nqueue = "b"\nevery = "1m"\n'
    )
    checked = fleet.run("config", "check")
    assert checked.code == 0 and "No agent here serves queue b, which schedule s adds tasks to." in checked.err
