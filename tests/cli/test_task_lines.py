"""`task add --jsonl`: many tasks of different queues in one transaction, with parents named by their keys."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

AGENTCTL = os.path.join(sysconfig.get_path("scripts"), "agentctl")


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    run(tmp_path, "init", ".")
    return tmp_path


def run(fleet: Path, *words: str, lines: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([AGENTCTL, *words], cwd=fleet, input=lines, capture_output=True, text=True, timeout=30)


def add(fleet: Path, *tasks: Any, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    lines = "".join(json.dumps(task, ensure_ascii=False) + "\n" for task in tasks)
    return run(fleet, "task", "add", "--jsonl", "-", *options, lines=lines)


def listed(fleet: Path) -> Any:
    return json.loads(run(fleet, "task", "list", "-o", "json").stdout)


def test_each_line_says_its_own_queue_key_and_parents(fleet: Path) -> None:
    tasks = [
        {"queue": "one", "payload": {"path": "größe"}, "key": "a:1"},
        {"queue": "two", "payload": [1], "key": "a:2", "priority": 5},
        {"queue": "last", "after": ["key:a:1", "key:a:2"], "on_parent_failure": "run"},
    ]
    done = add(fleet, *tasks)
    assert done.returncode == 0, done.stderr
    ids = done.stdout.split()
    shown = [json.loads(run(fleet, "task", "show", task, "-o", "json").stdout) for task in ids]
    assert [(task["queue"], task["state"]) for task in shown] == [
        ("one", "ready"),
        ("two", "ready"),
        ("last", "blocked"),
    ]
    assert shown[0]["payload"] == {"path": "größe"}
    assert shown[1]["priority"] == 5
    assert shown[2]["payload"] is None


def test_the_same_lines_again_add_nothing(fleet: Path) -> None:
    tasks = [{"queue": "q", "payload": n, "key": f"k{n}"} for n in range(3)]
    assert add(fleet, *tasks).stdout == add(fleet, *tasks).stdout
    assert len(listed(fleet)) == 3


def test_the_options_hold_for_what_a_line_leaves_out(fleet: Path) -> None:
    add(fleet, {"payload": 1}, {"payload": 2, "queue": "own"}, options=("--queue", "given", "--priority", "7"))
    assert sorted((task["queue"], task["priority"]) for task in listed(fleet)) == [("given", 7), ("own", 7)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ([1], "task 2 of '-' is not an object"),
        ({"quue": "x"}, "task 2 of '-': no field is called 'quue'"),
        ({"priority": "high"}, "task 2 of '-': \"priority\" is not a whole number"),
        ({"priority": True}, "task 2 of '-': \"priority\" is not a whole number"),
        ({"after": "key:x"}, "task 2 of '-': \"after\" is not a list of texts"),
        ({"timeout": "soon"}, "task 2 of '-': --timeout"),
        ({"queue": "../x"}, "queue"),
    ],
)
def test_a_bad_line_is_named_and_nothing_at_all_is_added(fleet: Path, line: Any, said: str) -> None:
    done = add(fleet, {"payload": 1}, line)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert listed(fleet) == []


def test_an_unknown_parent_is_not_found_and_nothing_is_added(fleet: Path) -> None:
    done = add(fleet, {"payload": 1}, {"after": ["key:nobody"]})
    assert done.returncode == 3
    assert "'nobody'" in done.stderr
    assert listed(fleet) == []
