"""Running the command line inside the test's process, and as a process of its own."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agentctl.cli.diagnostics import report
from agentctl.main import dispatch

AGENTCTL = [sys.executable, "-m", "agentctl"]


@dataclass(frozen=True)
class Ran:
    """What a command answered."""

    code: int
    out: str
    err: str


@dataclass
class Fleet:
    """A folder with a fleet, and commands run in it."""

    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / ".agentctl"

    @property
    def crashes(self) -> list[Path]:
        return list((self.folder / "state").rglob("crash-*"))

    def run(self, *words: str, stdin: bytes = b"") -> Ran:
        """Run a command as main() does, without a new process."""
        out, err, before = io.StringIO(), io.StringIO(), sys.stdin
        sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    code = dispatch(list(words))
                except BaseException as error:
                    code = report(error)
        finally:
            sys.stdin = before
        return Ran(code, out.getvalue(), err.getvalue())

    def ok(self, *words: str, stdin: bytes = b"") -> str:
        """Run a command that must succeed and return what it printed, without the last line's end."""
        ran = self.run(*words, stdin=stdin)
        assert ran.code == 0, f"{words}: {ran}"
        return ran.out.rstrip("\n")

    def spawn(self, *words: str, **settings: object) -> subprocess.Popen[str]:
        """Start a command as a process."""
        given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **settings}
        return subprocess.Popen([*AGENTCTL, *words], cwd=self.folder, **given)  # type: ignore[call-overload,no-any-return]


def make_fleet(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """Make a fleet in `folder` and go there."""
    (folder / "agentctl.toml").write_text("")
    for name in list(os.environ):
        if name.startswith("AGENTCTL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    monkeypatch.setenv("USER", "tester")
    monkeypatch.chdir(folder)
    return Fleet(folder)


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """A fresh fleet."""
    yield make_fleet(tmp_path, monkeypatch)
