"""What the command line says of needs, delegation, degraded results and the tree of a piece of work."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from cli.command_kit import AGENTCTL, Fleet

from agentctl_store.domain.agent import AgentSpec
from agentctl_store.domain.retry import Failure
from agentctl_store.ids import read_id
from agentctl_store.store import open_store


def rows(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def declare(fleet: Fleet, *specs: AgentSpec) -> None:
    with open_store(str(fleet.store), create=True) as store:
        store.declare_agents(specs, actor="t")


def test_a_claim_says_what_it_can(fleet: Fleet) -> None:
    task = fleet.ok("task", "add", "1", "--needs", "python, browser")
    assert fleet.run("task", "claim", "default", "--agent", "a").code == 7
    assert fleet.run("task", "claim", "default", "--agent", "a", "--can", "python").code == 7
    (claim,) = rows(fleet.ok("task", "claim", "default", "--agent", "a", "--can", "browser,gpu,python"))
    assert (claim["task"], claim["needs"], claim["degraded"]) == (task, ["browser", "python"], False)
    fleet.ok("task", "add", "2", "--needs", "gpu")
    assert fleet.run("task", "complete", f"{task}.1", "--next", "default", "--agent", "a").code == 7
    more = fleet.ok("task", "add", "3")
    (claim,) = rows(fleet.ok("task", "claim", "default", "--agent", "a"))
    assert claim["task"] == more
    (claim,) = rows(fleet.ok("task", "complete", f"{more}.1", "--next", "default", "--agent", "a", "--can", "gpu"))
    assert claim["payload"] == 2
    shown = json.loads(fleet.ok("task", "show", task, "-o", "json"))
    assert shown["needs"] == ["browser", "python"] and shown["unroutable"] == ""


def test_lines_name_needs_too(fleet: Fleet) -> None:
    fleet.ok("task", "add", "--jsonl", "-", "--needs", "a", stdin=b'{"payload":1}\n{"payload":2,"needs":["b","c"]}\n')
    found = {row["title"]: row["needs"] for row in rows(fleet.ok("task", "list", "-o", "jsonl"))}
    assert found == {"1": ["a"], "2": ["b", "c"]}
    assert "list of texts" in fleet.run("task", "add", "--jsonl", "-", stdin=b'{"payload":1,"needs":"b"}').err


@pytest.mark.parametrize("needs", ["Bad Name", "../x", ",".join(f"c{n}" for n in range(17))])
def test_needs_are_names_and_few(fleet: Fleet, needs: str) -> None:
    ran = fleet.run("task", "add", "1", "--needs", needs)
    assert ran.code == 2 and "capabilit" in ran.err


def test_a_task_nobody_can_take_is_told_by_every_verb_that_shows_it(fleet: Fleet) -> None:
    declare(fleet, AgentSpec("ann", "task", ("work",), 1, can=("python",)))
    ran = fleet.run("task", "add", "1", "-q", "work", "--needs", "gpu")
    task = ran.out.strip()
    assert ran.code == 0 and f"{task} is unroutable: no agent of queue work can gpu" in ran.err
    ran = fleet.run("task", "add", "--jsonl", "-", "-q", "nowhere", stdin=b'{"payload":1}\n{"payload":2}\n')
    assert "2 tasks are unroutable: no agent serves queue nowhere" in ran.err
    assert fleet.run("task", "add", "1", "-q", "work").err == ""
    assert "unroutable" in fleet.ok("task", "show", task)
    listed = {row["task"]: (row["mark"], row["unroutable"]) for row in rows(fleet.ok("task", "list", "-o", "jsonl"))}
    assert listed[task] == ("unroutable", "no agent of queue work can gpu")
    queues = {row["queue"]: row["unroutable"] for row in rows(fleet.ok("queue", "list", "-o", "jsonl"))}
    assert queues == {"work": 1, "nowhere": 2}
    assert "2 tasks in queue nowhere cannot be taken: no agent serves queue nowhere" in fleet.run("ps").err
    checks = [row for row in rows(fleet.ok("doctor", "-o", "jsonl")) if "unroutable" in str(row["found"])]
    assert [row["verdict"] for row in checks] == ["warn", "warn"]
    lost = rows(fleet.ok("event", "list", "--kind", "route.lost", "-o", "jsonl"))
    assert len(lost) == 2


def test_adding_never_waits_for_what_stands_in_place_of_the_configuration(fleet: Fleet) -> None:
    declare(fleet, AgentSpec("ann", "task", ("work",), 1))
    path = fleet.store.parent / "agentctl.toml"
    path.unlink()
    os.mkfifo(path)
    words = [*AGENTCTL, "task", "add", "1", "-q", "nowhere", "--store", str(fleet.store)]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True)
    assert "no agent serves queue nowhere" in ran.stderr


def test_an_agent_that_the_next_supervisor_declares_is_no_alarm(fleet: Fleet) -> None:
    declare(fleet, AgentSpec("ann", "task", ("work",), 1))
    (fleet.folder / "agentctl.toml").write_text('[agent.new]\ncommand = "true"\ncan = ["gpu"]\n')
    assert fleet.run("task", "add", "1", "-q", "new", "--needs", "gpu").err == ""
    assert "unroutable" in fleet.run("task", "add", "1", "-q", "new", "--needs", "tpu").err
    (fleet.folder / "agentctl.toml").write_text("[[[")
    assert "unroutable" in fleet.run("task", "add", "1", "-q", "new").err


def test_doctor_looks_for_the_program_of_a_verify(fleet: Fleet) -> None:
    (fleet.folder / "agentctl.toml").write_text('[agent.a]\ncommand = "true"\nverify = "no-such-check -q"\n')
    found = [row for row in rows(fleet.run("doctor", "-o", "jsonl").out) if row["verdict"] == "fail"]
    assert [(row["found"], row["remedy"]) for row in found] == [
        ("agent a: 'no-such-check' is not found or not executable", "Install it, or mend its verify"),
    ]  # fmt: skip


def test_a_circle_of_delegations_exits_with_4(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(fleet, *(AgentSpec(name, "task", (name,), 1) for name in ("ann", "bob")))
    first = fleet.ok("task", "add", "1", "-q", "ann")
    fleet.ok("task", "claim", "ann", "--agent", "ann")
    monkeypatch.setenv("AGENTCTL_TASK", first)
    second = fleet.ok("task", "add", "2", "-q", "bob")
    fleet.ok("task", "claim", "bob", "--agent", "bob")
    monkeypatch.setenv("AGENTCTL_TASK", second)
    ran = fleet.run("task", "add", "3", "-q", "ann")
    assert ran.code == 4 and "ann → bob → ann" in ran.err and ran.out == ""
    assert json.loads(fleet.ok("task", "show", second, "--json", "chain")) == {"chain": ["ann"]}


def test_what_was_got_to_before_a_fallback_took_over_is_shown(fleet: Fleet) -> None:
    declare(
        fleet, AgentSpec("ann", "task", ("ann",), 1, fallback='{"agent":"eve"}'), AgentSpec("eve", "task", ("eve",), 1)
    )
    task = fleet.ok("task", "add", "1", "-q", "ann")
    fleet.ok("task", "claim", "ann", "--agent", "ann")
    fleet.ok("task", "fail", f"{task}.1", "-c", "permanent", "--partial", '{"pages": 3}')
    for _ in range(2):
        assert json.loads(fleet.ok("task", "show", task, "--json", "partial")) == {"partial": {"pages": 3}}
        fleet.run("task", "claim", "eve", "--agent", "eve")


def test_what_a_fallback_did_is_marked(fleet: Fleet) -> None:
    declare(fleet, AgentSpec("ann", "task", ("ann",), 1, fallback='{"result":[]}'))
    task = fleet.ok("task", "add", "1", "-q", "ann")
    child = fleet.ok("task", "add", "2", "-q", "ann", "--after", task)
    with open_store(str(fleet.store)) as store:
        store.claim(["ann"], agent="ann")
        store.fail(read_id(task), 1, Failure("permanent", "no"))
    shown = fleet.ok("task", "show", task)
    assert "degraded" in shown and "fallback" in shown
    assert {row["task"]: row["mark"] for row in rows(fleet.ok("task", "list", "-o", "jsonl"))} == {
        task: "degraded", child: "",
    }  # fmt: skip
    (claim,) = rows(fleet.ok("task", "claim", "ann", "--agent", "ann"))
    assert [(one["result"], one["degraded"]) for one in claim["parents"]] == [([], True)]  # type: ignore[attr-defined]


# --- the tree ---------------------------------------------------------------------------------------------------------
def work(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A plan that added three parts and a sum that waits for them; something else waits for the plan."""
    ids = {"plan": fleet.ok("task", "add", '"plan"', "-q", "plan")}
    fleet.ok("task", "claim", "plan", "--agent", "planner")
    monkeypatch.setenv("AGENTCTL_TASK", ids["plan"])
    for name in ("one", "two", "three"):
        ids[name] = fleet.ok("task", "add", f'"{name}"', "-q", "part")
    waits = [word for name in ("one", "two", "three") for word in ("--after", ids[name])]
    ids["sum"] = fleet.ok("task", "add", '"sum"', "-q", "sum", *waits)
    monkeypatch.delenv("AGENTCTL_TASK")
    ids["next"] = fleet.ok("task", "add", '"next"', "-q", "next", "--after", ids["plan"])
    fleet.ok("task", "claim", "part", "--agent", "worker")
    monkeypatch.setenv("AGENTCTL_TASK", ids["one"])
    ids["deep"] = fleet.ok("task", "add", '"\\u001b[31mdeep"', "-q", "part")
    monkeypatch.delenv("AGENTCTL_TASK")
    return ids


def test_a_tree_shows_who_added_whom_and_who_waits_for_whom(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = work(fleet, monkeypatch)
    ran = fleet.run("task", "show", ids["plan"], "--tree")
    lines = [line.split("  ")[0] for line in ran.out.splitlines()[1:]]
    assert lines[0] == ids["plan"] and lines[-1] == "└─ " + ids["next"]
    assert lines[1] == "├─ " + ids["one"] and ran.out.count("│  └─ " + ids["deep"]) == 1
    assert "worker" in ran.out and "… 3 in all" in ran.out and "\x1b" not in ran.out and ran.err == ""
    assert f"{ids['plan']} added it" in fleet.run("task", "show", ids["two"], "--tree").err


def test_a_tree_is_nested_for_machines_and_flat_by_lines(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = work(fleet, monkeypatch)
    top = json.loads(fleet.ok("task", "show", ids["plan"], "--tree", "-o", "json"))
    below = {one["title"]: one for one in top["children"]}
    assert list(below) == ["one", "two", "three", "sum", "next"] and top["agent"] == "planner"
    assert below["sum"]["after"] == [ids["one"], ids["two"], ids["three"]] and below["sum"]["state"] == "blocked"
    assert [one["task"] for one in below["one"]["children"]] == [ids["deep"]]
    flat = rows(fleet.ok("task", "show", ids["plan"], "--tree", "-o", "jsonl"))
    assert {one["task"]: one["under"] for one in flat}[ids["deep"]] == ids["one"] and len(flat) == 7
    assert fleet.ok("task", "show", ids["plan"], "--tree", "--json", "task,state", "-o", "csv").count("\n") == 7
    assert fleet.run("task", "show", "0" * 13, "--tree").code == 3


def test_a_large_tree_is_cut_and_says_how_much_is_left(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    top = fleet.ok("task", "add", '"top"')
    monkeypatch.setenv("AGENTCTL_TASK", top)
    lines = b"".join(b'{"payload":%d}\n' % n for n in range(2_500))
    fleet.ok("task", "add", "--jsonl", "-", stdin=lines)
    monkeypatch.delenv("AGENTCTL_TASK")
    chained = b'{"payload":0,"key":"k0"}\n'
    chained += b"".join(b'{"payload":%d,"key":"k%d","after":["key:k%d"]}\n' % (n, n, n - 1) for n in range(1, 3_000))
    fleet.ok("task", "add", "--jsonl", "-", "-q", "chain", stdin=chained)
    shown = fleet.ok("task", "show", top, "--tree").splitlines()
    assert len(shown) == 1_002 and shown[-1].startswith("└─ … 1,501 more tasks")
    whole = json.loads(fleet.ok("task", "show", top, "--tree", "-o", "json"))
    assert len(whole["children"]) == 2_500 and whole["more"] == 0
    first = fleet.ok("task", "list", "-q", "chain", "--sort", "id", "-n", "1", "--json", "task", "-o", "csv").split()[1]
    chain = json.loads(fleet.ok("task", "show", first, "--tree", "-o", "json"))
    assert len(chain["children"]) == 2_999, "a chain is not nested: it waits, nobody added it"
