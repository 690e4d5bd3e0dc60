"""Each agent of the review example, run by the contract: a process, a payload, files, an exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from agentctl.examples.scaffold import write_example

from .review_figures import complexities, figures, lint

SAMPLE = '''\
import os
def short(a=[], *, b=dict()):
    try:
        return eval(a)
    except:
        pass  # TODO: say why
    try:
        exec(a); os.system("x")
    except:
        raise
    # see TODO list
class Public:
    """Documented."""
    def method(self): return {"TODO": 1}
    def _private(self): password = "secret"
'''


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    write_example("review", str(tmp_path / "fleet"))
    return tmp_path / "fleet"


def run(fleet: Path, command: list[str], payload: Any, **env: str) -> subprocess.CompletedProcess[str]:
    result = fleet / "result.json"
    result.unlink(missing_ok=True)
    return subprocess.run(
        command,
        input=json.dumps(payload, ensure_ascii=False, separators=(",", ":")),
        capture_output=True,
        text=True,
        cwd=fleet,
        env={**os.environ, "AGENTCTL_RESULT_FILE": str(result), **env},
        timeout=30,
    )


def review(fleet: Path, path: str) -> Any:
    done = run(fleet, ["python3", "reviewer.py"], {"path": path})
    assert done.returncode == 0, done.stderr
    return json.loads((fleet / "result.json").read_text())


def test_the_reviewer_finds_what_is_in_a_file(fleet: Path) -> None:
    (fleet / "sample.py").write_text(SAMPLE)
    result = review(fleet, "sample.py")
    assert result["lines"] == 15
    assert result["functions"] == 3
    assert result["counts"] == {
        "complex": 0,
        "long": 0,
        "bare_except": 1,
        "mutable_default": 2,
        "no_docstring": 3,
        "todo": 1,
    }
    assert [(f["kind"], f["line"]) for f in result["findings"]] == [
        ("no_docstring", 1),
        ("mutable_default", 2),
        ("mutable_default", 2),
        ("no_docstring", 2),
        ("bare_except", 5),
        ("todo", 6),
        ("no_docstring", 14),
    ]


def test_a_function_is_long_from_its_61st_line_on(fleet: Path) -> None:
    for lines, long in ((60, 0), (61, 1)):
        (fleet / "long.py").write_text("def f():\n" + "    x = 1\n" * (lines - 1))
        assert review(fleet, "long.py")["counts"]["long"] == long


def test_the_reviewer_agrees_with_ruff_on_the_standard_library(fleet: Path) -> None:
    folder = Path(sysconfig.get_path("stdlib"))
    paths = [folder / "asyncio" / "base_events.py", folder / "email" / "_header_value_parser.py"]
    paths += [folder / "http" / "cookiejar.py", folder / "http" / "client.py"]
    for path in paths:
        result = review(fleet, str(path))
        expected = figures([path])
        for kind in ("complex", "bare_except", "mutable_default", "todo"):
            assert result["counts"][kind] == expected[kind], (path, kind)
        assert (result["lines"], result["functions"]) == (expected["lines"], expected["functions"])
        ranked = complexities([path])
        assert [f["complexity"] for f in result["most_complex"]] == sorted(ranked.values(), reverse=True)[:10]
    assert {kind for kind, *_ in lint(paths)} == {"complex", "bare_except", "mutable_default", "todo"}


@pytest.mark.parametrize("source", [b"def f(:\n", b"x = '\xf6'\n", b"x = 1\0\n", b"# coding: uft-8\n"])
def test_a_file_that_cannot_be_parsed_is_a_permanent_failure_that_says_where(fleet: Path, source: bytes) -> None:
    (fleet / "bad.py").write_bytes(source)
    done = run(fleet, ["python3", "reviewer.py"], {"path": "bad.py"})
    assert done.returncode == 65
    assert done.stderr.startswith("bad.py:1: cannot be parsed as Python: ")
    assert done.stderr.count("\n") == 1
    assert not (fleet / "result.json").exists()


def test_a_file_that_is_gone_may_come_back_and_is_not_permanent(fleet: Path) -> None:
    assert run(fleet, ["python3", "reviewer.py"], {"path": "gone.py"}).returncode == 1


@pytest.mark.parametrize("name", ["src", "a=b", "-x", "with space", "größe", "we$(ird"])
def test_the_shell_agent_counts_the_files_directly_in_a_folder(fleet: Path, name: str) -> None:
    folder = fleet / name
    (folder / "below.py").mkdir(parents=True)
    (folder / "below.py" / "c.py").write_text("eval(x)\n")
    (folder / "a b.py").write_text(SAMPLE)
    (folder / "no newline.py").write_text("x = 1\n\neval(x) + eval(y)")
    (folder / ".hidden.py").write_text("eval(x)\n")
    (folder / "other.txt").write_text("eval(x)\n")
    done = run(fleet, ["sh", "count.sh"], {"path": name})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "path": name,
        "files": 2,
        "lines": 18,
        "suspicious": {
            "eval": 2,
            "exec": 1,
            "os.system": 1,
            "shell=True": 0,
            "pickle": 0,
            "password": 1,
        },
    }


def test_the_shell_agent_agrees_with_an_independent_count(fleet: Path) -> None:
    folder = Path(sysconfig.get_path("stdlib")) / "multiprocessing"
    done = run(fleet, ["sh", "count.sh"], {"path": str(folder)})
    result = json.loads(done.stdout)
    expected = figures(sorted(folder.glob("*.py")))
    assert sum(result["suspicious"].values()) == expected["suspicious"] > 0
    assert (result["files"], result["lines"]) == (expected["files"], expected["lines"])


@pytest.mark.parametrize("payload", [{"path": "nowhere"}, {"path": 'a"b'}, {}, [], {"path": "src", "x": 1}])
def test_the_shell_agent_refuses_for_good_what_it_cannot_read(fleet: Path, payload: Any) -> None:
    done = run(fleet, ["sh", "count.sh"], payload)
    assert done.returncode == 65
    assert "the payload must be" in done.stderr


@pytest.fixture
def planned(fleet: Path) -> Path:
    """A fleet with a task for the planner and five files to plan for."""
    for name in ("a.py", "below/b.py", "below/größe 'x'.py", "below/deeper/c.py", ".hidden/no.py", "a.txt"):
        (fleet / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (fleet / "src" / name).write_text("x = 1\n")
    (fleet / "src" / ("long" * 50 + ".py")).write_text("x = 1\n")
    agentctl(fleet, "init", "--example", "review", ".")
    return fleet


def agentctl(fleet: Path, *words: str) -> str:
    command = os.path.join(sysconfig.get_path("scripts"), "agentctl")
    return subprocess.run([command, *words], cwd=fleet, capture_output=True, text=True, check=True, timeout=30).stdout


def plan(fleet: Path, task: str, payload: Any) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"]))
    return run(fleet, ["python3", "planner.py"], payload, AGENTCTL_TASK=task, PATH=path)


def test_the_planner_adds_a_task_per_file_and_folder_and_a_report_that_waits(planned: Path) -> None:
    task = agentctl(planned, "task", "add", "-q", "plan", '{"path": "src"}').strip()
    done = plan(planned, task, {"path": "src"})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"files": 5, "tasks": 9}
    added = json.loads(agentctl(planned, "task", "list", "-o", "json"))
    found = sorted((t["queue"], t["state"], t["title"]) for t in added if t["queue"] != "plan")
    assert found == [
        ("count", "ready", "src"),
        ("count", "ready", "src/below"),
        ("count", "ready", "src/below/deeper"),
        ("report", "blocked", "src"),
        ("review", "ready", "src/a.py"),
        ("review", "ready", "src/below/b.py"),
        ("review", "ready", "src/below/deeper/c.py"),
        ("review", "ready", "src/below/größe 'x'.py"),
        ("review", "ready", ("src/" + "long" * 50 + ".py")[:200]),
    ]


def test_a_planner_that_runs_again_adds_nothing_twice(planned: Path) -> None:
    task = agentctl(planned, "task", "add", "-q", "plan", '{"path": "src"}').strip()
    for _ in range(2):
        assert plan(planned, task, {"path": "src"}).returncode == 0
    assert len(json.loads(agentctl(planned, "task", "list", "-o", "json"))) == 10


@pytest.mark.parametrize("payload", [{"path": "nowhere"}, {"path": "empty"}, {}, [], None])
def test_the_planner_refuses_for_good_what_it_cannot_plan(planned: Path, payload: Any) -> None:
    (planned / "empty").mkdir()
    done = plan(planned, "0000000000001", payload)
    assert done.returncode == 65
    assert done.stderr.count("\n") == 1


def test_the_report_adds_up_and_names_what_could_not_be_done(fleet: Path) -> None:
    (fleet / "sample.py").write_text(SAMPLE)
    one = review(fleet, "sample.py")
    count = json.loads(run(fleet, ["sh", "count.sh"], {"path": "."}).stdout)
    bad = {"path": "b|a`d.py"}
    error = "b|a`d.py:1:\ncannot be parsed"
    gone = {"path": "gone.py"}
    parents = [
        {"task": "1", "queue": "review", "state": "done", "payload": {}, "result": one, "reason": None, "error": None},
        {
            "task": "2",
            "queue": "review",
            "state": "dead",
            "payload": bad,
            "result": None,
            "reason": "permanent",
            "error": error,
        },
        {
            "task": "5",
            "queue": "review",
            "state": "cancelled",
            "payload": gone,
            "result": None,
            "reason": "cancelled",
            "error": None,
        },
        {"task": "3", "queue": "count", "state": "done", "payload": {}, "result": count, "reason": None, "error": None},
        {"task": "4", "queue": "review", "state": "done", "payload": {}, "result": one, "reason": None, "error": None},
    ]
    (fleet / "parents").write_text("".join(json.dumps(parent) + "\n" for parent in parents))
    done = run(
        fleet,
        ["python3", "aggregate.py"],
        {"path": "src", "report": "REPORT.md"},
        AGENTCTL_PARENTS_FILE=str(fleet / "parents"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["findings"]["mutable_default"] == 4
    text = (fleet / "REPORT.md").read_text()
    assert "2 of 4 Python files were reviewed: 30 lines with 6 functions." in text
    assert "| mutable default values | 4 |" in text
    assert "- `b\\|a'd.py` (task 2): `b\\|a'd.py:1: cannot be parsed`" in text
    assert "- `gone.py` (task 5): `cancelled`" in text
    assert not (fleet / "REPORT.md.tmp").exists()
