"""N7: what a verb costs as a whole process, beside `import sqlite3` in the same interpreter.

The hot ones twice: on the store's file, and through the socket of a supervisor that runs on a store of its own.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
from bench import table
from faults.fleet_kit import fleet

from agentctl_store.store import open_store

pytestmark = pytest.mark.bench
ROUNDS = 40
FLOOR = "import sqlite3"
ALONE = "task add, nobody else has the store open"
GOALS = {"": 1.1, "supervised": 0.8, "other": 4.5}
HOT = (
    "task add", "task claim", "task heartbeat", "task complete", "task fail", "task show", "msg send", "msg read",
)  # fmt: skip


def _launcher() -> list[str]:
    """Return the installed command: its start is part of what a user waits for."""
    found = os.path.join(sysconfig.get_path("scripts"), "agentctl")
    return [found] if os.path.exists(found) else [shutil.which("agentctl") or sys.executable, "-m", "agentctl"]


def _once(words: list[str], env: dict[str, str]) -> float:
    begun = time.perf_counter()
    subprocess.run(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - begun) * 1000


def test_verbs_start_as_fast_as_promised(tmp_path: Path) -> None:
    command = _launcher()
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AGENTCTL_", "PYTHON"))}
    env |= {"AGENTCTL_STORE": str(tmp_path / "store"), "AGENTCTL_AGENT": "bench"}
    (tmp_path / "fleet").mkdir()
    with open_store(str(tmp_path / "store"), create=True), fleet(tmp_path / "fleet", "") as f:
        # The first is kept open: a fleet's store has other users.
        f.up()
        alone = env | {"AGENTCTL_STORE": str(tmp_path / "alone")}
        open_store(alone["AGENTCTL_STORE"], create=True).close()
        supervised = env | {"AGENTCTL_STORE": f.folder}
        cases = [(name, words, env) for name, words in _cases(command, env).items()]
        cases += [
            (f"{name}, supervised", words, supervised) for name, words in _cases(command, supervised, HOT).items()
        ]
        # A script on a store that nothing else has open: each call finds the log as the last one left it.
        add = _cases(command, alone, ("task add",))["task add"]
        for words in add * 10:
            _once(words, alone)
        cases.append((ALONE, add, alone))
        cases.append((FLOOR, [[sys.executable, "-c", FLOOR]] * ROUNDS, env))
        times: dict[str, list[float]] = {name: [] for name, _, _ in cases}
        for at in range(ROUNDS):
            for name, words, where in cases:
                times[name].append(_once(words[at], where))
        assert f.end() == 0
    floor = times.pop(FLOOR)
    base, least = statistics.median(floor), min(floor)
    what = f"{FLOOR}: whole processes, median of {ROUNDS} interleaved rounds (minimum)"
    table.add("N7", what, f"{base:.1f} ({least:.1f}) ms", "", None)
    for name, values in times.items():
        took = statistics.median(values)
        ratio = took / base
        measured = f"{took:.1f} ({min(values):.1f}) ms, {ratio:.2f}x ({min(values) / least:.2f}x)"
        if name == ALONE:
            table.add("N7", name, measured, "", None)
        else:
            table.add("N7", name, measured, f"≤ {_goal(name)}x", ratio <= _goal(name))


def _goal(name: str) -> float:
    verb, _, where = name.partition(", ")
    return GOALS[where if verb in HOT else "other"]


def _cases(command: list[str], env: dict[str, str], only: tuple[str, ...] = ()) -> dict[str, list[list[str]]]:
    """Return what each verb is called with, round by round, after adding and claiming what it needs."""

    def say(*words: str) -> str:
        return subprocess.run([*command, *words], env=env, capture_output=True, text=True, check=True).stdout.strip()

    lines = "".join('{"payload": {"path": "a.py"}}\n' for _ in range(6 * ROUNDS))
    add = [*command, "task", "add", "--jsonl", "-", "-q", "claimed"]
    subprocess.run(
        add, env=env, input=lines, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
    )
    claims = say("task", "claim", "claimed", "-n", str(3 * ROUNDS), "--lease", "1h", "--json", "attempt").splitlines()
    won = [line.split('"')[3] for line in claims]
    cases = {
        "task add": [[*command, "task", "add", '{"path": "a.py"}']] * ROUNDS,
        "task claim": [[*command, "task", "claim", "claimed"]] * ROUNDS,
        "task heartbeat": [[*command, "task", "heartbeat", one] for one in won[:ROUNDS]],
        "task complete": [[*command, "task", "complete", one] for one in won[:ROUNDS]],
        "task fail": [[*command, "task", "fail", one, "-m", "x"] for one in won[ROUNDS : 2 * ROUNDS]],
        "task show": [[*command, "task", "show", one.split(".")[0]] for one in won[:ROUNDS]],
        "msg send": [[*command, "msg", "send", "bench", '{"path": "a.py"}']] * ROUNDS,
        "msg read": [[*command, "msg", "read"]] * ROUNDS,
        "task list": [[*command, "task", "list"]] * ROUNDS,
        "ps": [[*command, "ps"]] * ROUNDS,
        "--help": [[*command, "--help"]] * ROUNDS,
    }
    return {name: words for name, words in cases.items() if not only or name in only}
