"""Runs what the README shows: `python tests/readme.py` writes the real output into it, tests compare with it.

A block begun by ```console holds commands after `$ ` (`> ` goes on) and what they print. A block that follows a line
`<!-- file: NAME -->` is written to that file, after `<!-- add: NAME -->` it is added to its end. All of them run in
order, in one shell, in an empty folder.
"""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

README = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "README.md")
WITHIN_S = 60.0  #: for the whole README
_END = "\x1e"
_FILE = re.compile(r"<!-- (file|add): (\S+) -->")
_ID = r"\b(?=[a-z]*[0-9])[0-9a-hjkmnp-tv-z]{13}\b"
#: what differs from one run to the next, and what stands for it
_MASKS = (
    (_ID, "ID"),
    (r"\b[0-9a-f]{32}\b", "HEX"),
    (r"\b\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r"\b\d\d:\d\d:\d\d\b", "TIME"),
    (r"\b(?:\d+(?:\.\d+)? (?:ms|s|min)|\d+m\d\ds|\d+h\d\dm|\d+d\d\dh)(?: ago)?(?![\w/])|\bnow\b", "AGE"),
    (r"\b(process|Supervisor|pid) \d+", r"\1 PID"),
    (r"\b([a-z]+)/\d\b", r"\1/N"),
    (r'"pid": ?"?\d+', '"pid": PID'),
    (r"adopted [1-9] running sessions?", "adopted N running sessions"),  # one may have ended meanwhile
    (r" +", " "),
    (r"^(\w+/N \S healthy .*?) \d+ \d+ ", r"\1 RESTARTS DONE "),
)


@dataclass(slots=True)
class Command:
    """One command and what the README says it prints; `line` is where it stands, from 0."""

    text: str
    line: int
    expected: list[str] = field(default_factory=list)


@dataclass(slots=True)
class File:
    """A file the reader is told to write."""

    name: str
    text: str
    added: bool


def steps(lines: list[str]) -> Iterator[Command | File]:
    """Yield what a reader is told to do, in order."""
    at = 0
    while at < len(lines):
        name = _FILE.fullmatch(lines[at].strip())
        if name or lines[at] == "```console":
            begin = at + 2 if name else at + 1
            end = lines.index("```", begin)
            if name:
                yield File(name[2], "\n".join(lines[begin:end]) + "\n", name[1] == "add")
            else:
                yield from _commands(lines, begin, end)
            at = end
        at += 1


def _commands(lines: list[str], begin: int, end: int) -> Iterator[Command]:
    command: Command | None = None
    for at in range(begin, end):
        if lines[at].startswith("$ "):
            if command:
                yield command
            command = Command(lines[at][2:], at)
        elif command and not command.expected and lines[at].startswith("> "):
            command.text += "\n" + lines[at][2:]
        elif command:
            command.expected.append(lines[at])
    if command:
        yield command


def masked(lines: list[str]) -> list[str]:
    """Return lines without what differs from run to run."""
    found = []
    for line in lines:
        for pattern, mark in _MASKS:
            line = re.sub(pattern, mark, line)
        found.append(line.strip())
    return found


def environment(home: str) -> dict[str, str]:
    """Return the environment of a new user who has agentctl on the PATH and nothing else."""
    path = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)))
    return {"PATH": path, "HOME": home, "USER": "you", "LANG": "C.UTF-8", "TZ": "UTC", "TERM": "dumb", "PS4": ""}


class Shell:
    """A shell that remembers folder and variables from one command to the next."""

    def __init__(self, folder: str) -> None:
        home = os.path.join(folder, "home")
        os.mkdir(home)
        self._process = subprocess.Popen(
            ["sh"], cwd=home, env=environment(home), start_new_session=True, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._timer = threading.Timer(WITHIN_S, self._process.kill)
        self._timer.start()

    def run(self, text: str) -> list[str]:
        """Return the lines that a command prints. Raises AssertionError when time is up."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{text}\n__code=$?; printf '{_END}\\n'; (exit $__code)\n")
        self._process.stdin.flush()
        lines: list[str] = []
        for line in self._process.stdout:
            if line.endswith(_END + "\n"):
                return lines + ([line[:-2]] if line != _END + "\n" else [])
            lines.append(line.rstrip("\r\n"))
        raise AssertionError(f"the README has not ended within {WITHIN_S:g} s; it was at: {text}")

    def close(self) -> None:
        """End the fleet and the shell."""
        try:
            self.run("agentctl down --now >/dev/null 2>&1")
        finally:
            self._timer.cancel()
            self._process.kill()
            self._process.communicate()


def play(lines: list[str], folder: str) -> Iterator[tuple[Command, str, list[str]]]:
    """Do what the README says; yield each command, as it was really run, and what it printed.

    Ids in the README are of another run: each stands for the one that was printed in its place.
    """
    known: dict[str, str] = {}
    shell = Shell(folder)
    try:
        for step in steps(lines):
            if isinstance(step, File):
                shell.run(f"cat {'>>' if step.added else '>'} {step.name} <<'END OF FILE'\n{step.text}END OF FILE")
                continue
            text = re.sub(_ID, lambda match: known.get(match[0], match[0]), step.text)
            printed = shell.run(text)
            old, new = re.findall(_ID, "\n".join(step.expected)), re.findall(_ID, "\n".join(printed))
            known.update(zip(old, new, strict=False))
            yield step, text, printed
    finally:
        shell.close()


def rewrite() -> None:
    """Put what is really printed into the README."""
    with open(README, encoding="utf-8") as file:
        lines = file.read().split("\n")
    with tempfile.TemporaryDirectory() as folder:
        played = list(play(lines, folder))
    for command, text, printed in reversed(played):
        end = command.line + text.count("\n") + 1
        wanted = text.split("\n")
        shown = ["$ " + wanted[0], *("> " + more for more in wanted[1:]), *printed]
        lines[command.line : end + len(command.expected)] = shown
    with open(README, "w", encoding="utf-8") as file:
        file.write("\n".join(lines))


if __name__ == "__main__":
    rewrite()
