"""The demo, run for real on a small tree: a planner, reviewers, one of them killed, one file that cannot be parsed."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import sysconfig
import termios
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from .review_figures import figures

AGENTCTL = os.path.join(sysconfig.get_path("scripts"), "agentctl")
STDLIB = Path(sysconfig.get_path("stdlib"))
FILES = ("ast.py", "argparse.py", "http/client.py", "json/decoder.py", "json/encoder.py", "logging/config.py")
TIME_LIMIT_S = 60
ROWS = {
    "complex": "functions with a complexity above 10",
    "bare_except": "bare excepts",
    "mutable_default": "mutable default values",
    "todo": "TODO, FIXME and XXX comments",
}


@dataclass(frozen=True)
class Demo:
    directory: Path
    code: int
    out: str
    screen: str  #: what a person saw on the terminal: stderr

    def agentctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [AGENTCTL, *words], cwd=self.directory, capture_output=True, text=True, timeout=TIME_LIMIT_S
        )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Run the demo once, its stderr on a terminal, its stdout piped."""
    base = tmp_path_factory.mktemp("demo")
    for name in FILES:
        (base / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(STDLIB / name, base / "tree" / name)
    (base / "tree" / "odd name.py").write_text(
        "def f(x=[]):\n    try:\n        return eval(x)  # TODO\n    except:\n        pass"
    )
    (base / "tree" / "json" / "half.py").write_text("x = 1\ndef half(\n")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with subprocess.Popen(
        [AGENTCTL, "demo", str(base / "tree"), "--dir", str(base / "work")],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, text=True, cwd=base,
    ) as process:  # fmt: skip
        os.close(theirs)
        screen = _read_all(ours)
        out, _ = process.communicate(timeout=TIME_LIMIT_S)
    return Demo(base / "work", process.returncode, out, screen)


def _read_all(descriptor: int) -> str:
    """Read a terminal until everybody has closed it."""
    parts, until = [], time.monotonic() + TIME_LIMIT_S
    while time.monotonic() < until:
        try:
            part = os.read(descriptor, 65536)
        except OSError:  # Linux says EIO where others say end of file
            break
        if not part:
            break
        parts.append(part)
    os.close(descriptor)
    return b"".join(parts).decode()


def test_all_tasks_end_and_the_summary_says_so(demo: Demo) -> None:
    assert demo.code == 0, demo.out + demo.screen
    table = {line.split()[0]: line.split()[1:] for line in demo.out.splitlines()[:5]}
    assert table["plan"][:3] == ["1", "1", "0"]
    assert table["review"][:3] == ["8", "7", "1"]
    assert table["count"] == ["4", "4", "0", "4"]
    assert table["report"] == ["1", "1", "0", "1"]
    assert "14 tasks in" in demo.out


def test_the_report_has_the_figures_an_independent_count_gives(demo: Demo) -> None:
    paths = sorted((demo.directory / "input").rglob("*.py"))
    expected = figures(paths)
    text = (demo.directory / "REPORT.md").read_text()
    rows = dict(re.findall(r"^\| ([^|]+) \| ([\d,]+) \|$", text, re.MULTILINE))
    for kind, row in ROWS.items():
        assert int(rows[row].replace(",", "")) == expected[kind] > 0, kind
    assert (
        f"{expected['reviewed']} of {expected['files']} Python files were reviewed: "
        f"{expected['lines']:,} lines with {expected['functions']:,} functions."
    ) in text
    folders = re.findall(r"^\| `([^`]+)` \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", text, re.MULTILINE)
    assert {name for name, *_ in folders} == {str(path.parent.relative_to(demo.directory)) for path in paths}
    assert sum(int(cells[3].replace(",", "")) for cells in folders) == expected["suspicious"] > 0
    assert sum(int(cells[1]) for cells in folders) == len(paths)
    assert "half.py" in text.partition("## Could not be done")[2]


def test_a_reviewer_is_killed_and_its_task_is_finished_by_another_attempt(demo: Demo) -> None:
    killed = re.search(r"Killed (reviewer/\d) \(pid \d+, SIGKILL\) while it reviewed (.+\.py)\.", demo.screen)
    assert killed, demo.screen
    shown = demo.agentctl("task", "list", "--queue", "review", "-o", "json")
    tasks = {json.loads(show(demo, t["task"])["payload"])["path"]: t for t in json.loads(shown.stdout)}
    assert tasks[killed[2]]["state"] == "done"
    assert tasks[killed[2]]["attempts"] == 2
    assert f"{killed[1]} was killed at work on {killed[2]}" in demo.out


def show(demo: Demo, task: str) -> dict[str, str]:
    found = json.loads(demo.agentctl("task", "show", task, "-o", "json").stdout)
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in found.items()}


def test_progress_is_live_on_a_terminal_and_not_in_what_is_piped(demo: Demo) -> None:
    assert re.search(r"\rReviewing \S+ \d+/14", demo.screen)
    assert "\x1b" not in demo.out and "\r" not in demo.out


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_of_the_demo_is_left_running(demo: Demo) -> None:
    assert demo.agentctl("down").returncode == 6
    mark = f"AGENTCTL_STORE={demo.directory}/.agentctl".encode()
    living = [path for path in Path("/proc").glob("[0-9]*/environ") if mark in _bytes(path)]
    assert living == []


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_the_last_lines_lead_to_the_dead_letter_and_back_to_work(demo: Demo) -> None:
    steps = [line.strip() for line in demo.out.partition("send it back")[2].splitlines()[1:] if line.strip()]
    looked, repaired, requeued, ran = steps[1:]
    assert steps[0] == f"cd {demo.directory}"
    seen = subprocess.run(looked, shell=True, cwd=demo.directory, capture_output=True, text=True)  # noqa: S602
    assert "half.py:2: cannot be parsed as Python" in seen.stdout
    for step in (repaired, requeued, ran):
        done = subprocess.run(step, shell=True, cwd=demo.directory, capture_output=True, text=True)  # noqa: S602
        assert done.returncode == 0, (step, done.stderr)
    assert demo.agentctl("dlq", "list", "-o", "json").stdout.strip() == "[]"
    assert show(demo, looked.split()[-1])["state"] == "done"


def test_a_folder_that_is_in_use_is_refused(demo: Demo) -> None:
    refused = demo.agentctl("demo", "--dir", str(demo.directory))
    assert refused.returncode == 2
    assert "is not empty" in refused.stderr


def test_a_path_that_is_no_folder_is_refused_before_anything_starts(demo: Demo, tmp_path: Path) -> None:
    refused = demo.agentctl("demo", str(tmp_path / "nowhere"), "--dir", str(tmp_path / "work"))
    assert refused.returncode == 3
    assert "there is no folder" in refused.stderr
