"""`agentctl findings` as a person and as a script see it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli.command_kit import Fleet

from agentctl.cli import findings
from agentctl.config import parse_config
from agentctl_store import read
from agentctl_store.domain.retry import Failure
from agentctl_store.findings.model import PATTERNS
from agentctl_store.findings.thresholds import Thresholds
from agentctl_store.sqlite.evidence import SqliteEvidence
from agentctl_store.store import TaskRequest, open_store


def poison(fleet: Fleet, count: int, error: str = "exit 65: no such table") -> None:
    """Make dead letters of one error."""
    with open_store(str(fleet.store), create=True) as store:
        for _ in range(count):
            store.add([TaskRequest("work")])
            (claim,) = store.claim(["work"], agent="ann", slot=1)
            store.fail(claim.task.id, claim.n, Failure("permanent", error))


def test_a_fleet_that_never_ran_has_no_findings(fleet: Fleet) -> None:
    ran = fleet.run("findings")
    assert (ran.code, ran.out, ran.err) == (0, "", "No findings.\n")
    assert fleet.ok("findings", "-o", "json") == "[]"
    assert fleet.run("findings", "--fail-on", "info").code == 0


def test_people_read_each_finding_as_a_record(fleet: Fleet) -> None:
    poison(fleet, 5)
    ran = fleet.run("findings")
    assert ran.code == 0 and ran.err == ""
    lines = dict(line.split("  ", 1) for line in ran.out.splitlines())
    assert lines["finding"].strip() == "poison" and lines["severity"].strip() == "warning"
    assert "5 dead letters of one error: exit 65: no such table" in lines["what"]
    assert "share of dead letters 100%" in lines["evidence"]
    assert "agentctl dlq requeue -q work -t 'no such table'" in lines["remedy"]
    assert fleet.ok("dlq", "requeue", "-q", "work", "-t", "no such table", "--dry-run").count("would requeue") == 5


def test_machines_get_ids_numbers_and_times(fleet: Fleet) -> None:
    poison(fleet, 6)
    (found,) = json.loads(fleet.ok("findings", "-o", "json"))
    assert found["kind"] == "poison" and found["count"] == 6 and found["evidence"]["attempts"] == 6
    assert found["first_at"] <= found["last_at"] and found["last_at"].endswith("Z")
    for task in found["tasks"]:
        assert json.loads(fleet.ok("task", "show", task, "--json", "state")) == {"state": "dead"}
    assert fleet.ok("findings", "--json", "kind,count", "-o", "csv").splitlines() == ["kind,count", "poison,6"]


def test_scripts_ask_for_an_exit_code(fleet: Fleet) -> None:
    poison(fleet, 5)
    assert fleet.run("findings").code == 0
    assert [fleet.run("findings", "--fail-on", level).code for level in ("info", "warning", "critical")] == [1, 1, 0]
    assert fleet.run("findings", "--fail-on", "warning", "-k", "retry_storm").code == 0


def test_the_past_and_the_kinds_are_chosen(fleet: Fleet) -> None:
    poison(fleet, 5)
    assert fleet.ok("findings", "--since", "1h", "--json", "kind") == '[{"kind":"poison"}]'
    assert fleet.ok("findings", "--since", "2020-01-01T00:00:00Z", "--json", "kind") == '[{"kind":"poison"}]'
    assert fleet.ok("findings", "--since", "0s", "--json", "kind") == "[]"
    assert fleet.ok("findings", "-k", "flapping", "-k", "god_agent", "--json", "kind") == "[]"
    for words in (("--since", "soon"), ("--since", "9999d"), ("-k", "nonsense"), ("--fail-on", "doom")):
        ran = fleet.run("findings", *words)
        assert ran.code == 2 and ran.out == "", words


def test_thresholds_come_from_the_fleets_file(fleet: Fleet) -> None:
    poison(fleet, 3)
    assert fleet.ok("findings", "--json", "kind") == "[]"
    (fleet.folder / "agentctl.toml").write_text("[findings]\npoison_letters = 3\n")
    assert fleet.ok("findings", "--json", "kind") == '[{"kind":"poison"}]'
    (fleet.folder / "agentctl.toml").write_text("[findings]\npoison_leters = 3\n")
    ran = fleet.run("findings", "--json", "kind")
    assert (ran.code, ran.out) == (0, "[]\n")
    assert "The usual thresholds are used: " in ran.err and "poison_leters" in ran.err


def test_doctor_tells_how_many_there_are(fleet: Fleet) -> None:
    def told() -> dict[str, str]:
        rows = json.loads(fleet.run("doctor", "-o", "json").out)
        (row,) = [row for row in rows if row["check"] == "findings"]
        return row  # type: ignore[no-any-return]

    poison(fleet, 4)
    assert told()["verdict"] == "ok"
    poison(fleet, 1)
    row = told()
    assert (row["verdict"], row["found"]) == ("warn", "1 finding within 24h: poison")
    assert row["remedy"] == "agentctl findings"


def test_errors_that_agents_wrote_stay_one_harmless_line(fleet: Fleet) -> None:
    poison(fleet, 5, "exit 1: \x1b]52;c;ZXZpbA==\x07 boom\u202e \x1b[2J")
    for form in ("table", "wide", "json", "jsonl", "csv"):
        out = fleet.ok("findings", "-o", form)
        assert "boom" in out and not any(character in out for character in "\x1b\x07\u202e")


def test_a_window_that_is_cut_is_said_to_be(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(fleet, 5)
    monkeypatch.setattr(read, "open_evidence", lambda *window: SqliteEvidence(*window, most_events=3))
    ran = fleet.run("findings", "-o", "json")
    assert ran.code == 0 and json.loads(ran.out) == [], "it is the last of them that is looked at"
    assert ran.err.startswith("Only the newest events were looked at, those since 20") and ran.err.count("\n") == 1


def test_the_words_of_the_command_are_those_of_the_store() -> None:
    assert findings.KINDS == PATTERNS
    assert parse_config("").findings.thresholds() == Thresholds()


@pytest.mark.parametrize("line", ["god_share = 1.5", "storm_window = '40d'", "poison_letters = 0", "waits_for = '1ms'"])
def test_senseless_thresholds_are_told_with_their_line(tmp_path: Path, line: str) -> None:
    from agentctl_store.errors import BadConfig

    with pytest.raises(BadConfig) as told:
        parse_config(f"[findings]\n{line}\n")
    assert told.value.line == 2 and told.value.key == f"findings.{line.split()[0]}"
