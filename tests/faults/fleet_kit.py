"""A whole fleet for the fault tests: agentctl.toml, a real store, supervisors as real processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from faults.store_kit import until

from agentctl.supervisor import lock, proctree
from agentctl.supervisor.recover import sweep
from agentctl_store.domain.agent import Instance, Session
from agentctl_store.domain.task import Attempt, Task
from agentctl_store.ids import read_id, write_id
from agentctl_store.store import Store, TaskRequest, open_store

RUN = """
import os, signal, sys
from agentctl.supervisor.run import run_fleet
kill_at, _, count = sys.argv[3].partition(":")
seen = [0]
def step(name):
    seen[0] += name == kill_at or kill_at == "any"
    if kill_at and seen[0] == int(count or 1):
        sys.stderr.write("killed at " + name + "\\n"); sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)
code = run_fleet(sys.argv[1], store=sys.argv[2], until_idle=sys.argv[4] == "1", step=step)
sys.stderr.write("steps " + str(seen[0]) + "\\n")
sys.exit(code)
"""
FLEET = '[fleet]\ngrace = "2s"\nmin_free_memory = 0\nmin_free_disk = 0\n'


class Fleet:
    """A folder with a configuration and a store; starts and ends supervisors."""

    def __init__(self, root: Path, agents: str) -> None:
        self.root = root
        self.config = root / "agentctl.toml"
        self.folder = str(root / ".agentctl")
        self.configure(agents)
        self.store: Store = open_store(self.folder, create=True)
        self.log = root / "narration.txt"
        self.process: subprocess.Popen[bytes] | None = None

    def configure(self, agents: str) -> None:
        """Write the configuration as an editor does: a new file over the old one."""
        fresh = self.root / "fresh.toml"
        fresh.write_text(agents if "[fleet]" in agents else FLEET + agents)
        fresh.rename(self.config)

    def start(self, *, until_idle: bool = False, kill_at: str = "") -> subprocess.Popen[bytes]:
        """Start a supervisor; with `kill_at` "name" or "name:n" it is SIGKILLed at that step ("any": at the n-th)."""
        words = [sys.executable, "-c", RUN, str(self.config), self.folder, kill_at, str(int(until_idle))]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        return self.process

    def up(self) -> subprocess.Popen[bytes]:
        """Start a supervisor and wait until it supervises."""
        before = self.said().count("supervising")
        process = self.start()
        until(lambda: self.said().count("supervising") > before or process.poll() is not None, "supervising")
        assert process.poll() is None, self.said()
        return process

    def finish(self, within_s: float = 30.0) -> int:
        """Run a supervisor until there is nothing left to do; its exit code."""
        return self.start(until_idle=True).wait(within_s)

    def kill(self) -> None:
        """kill -9 the supervisor."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self, signum: int = signal.SIGTERM, within_s: float = 15.0) -> int:
        """Ask the supervisor to end and wait for it."""
        assert self.process is not None
        self.process.send_signal(signum)
        return self.process.wait(within_s)

    def add(self, queue: str, payload: str = "null", **more: Any) -> int:
        return self.store.add([TaskRequest(queue, payload, **more)])[0].id

    def task(self, task: int) -> Task:
        return self.store.task(task)

    def attempts(self, task: int) -> list[Attempt]:
        return self.store.attempts(task)

    def state(self, task: int, *states: str, within_s: float = 15.0) -> Task:
        """Wait until the task is in one of the states."""
        try:
            until(lambda: self.store.task(task).state in states, f"task {states}", within_s)
        except AssertionError:
            raise AssertionError(f"{write_id(task)} is {self.store.task(task)}\n{self.said()}") from None
        return self.store.task(task)

    def instance(self, name: str) -> Instance | None:
        agent, _, slot = name.partition("/")
        found = [row for row in self.store.instances() if (row.agent, row.slot) == (agent, int(slot))]
        return found[0] if found else None

    def shows(self, name: str, check: Callable[[Instance], bool], what: str, within_s: float = 15.0) -> Instance:
        """Wait until an instance's row looks so."""
        try:
            until(lambda: (row := self.instance(name)) is not None and check(row), what, within_s)
        except AssertionError:
            raise AssertionError(f"{what}: {self.instance(name)}\n{self.said()}") from None
        row = self.instance(name)
        assert row is not None
        return row

    def said(self) -> str:
        """Everything the supervisors said so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def says(self, pattern: str, within_s: float = 15.0) -> str:
        """Wait until a supervisor has said something like this."""
        try:
            found = until(lambda: re.search(pattern, self.said()), pattern, within_s)
        except AssertionError:
            raise AssertionError(f"never said {pattern!r}:\n{self.said()}") from None
        return str(found[0])

    def leftovers(self) -> list[proctree.Process]:
        """Processes of any session of this store that are alive."""
        nonces = {session.nonce for session in self.sessions()}
        return [one for nonce in nonces for one in proctree.carriers(nonce)]

    def sessions(self) -> list[Session]:
        """Every session there ever was: those with a folder, and those that are open without one."""
        folder = Path(self.folder) / "sessions"
        numbers = {read_id(path.name) for path in folder.iterdir()} if folder.exists() else set()
        numbers |= {session.id for session in self.store.open_sessions()}
        return [self.store.session(number) for number in sorted(numbers)]


@contextmanager
def fleet(root: Path, agents: str) -> Iterator[Fleet]:
    """A fleet that leaves no process behind, whatever the test does."""
    one = Fleet(root, agents)
    try:
        yield one
    finally:
        if one.process is not None and one.process.poll() is None:
            one.process.kill()
            one.process.wait()
        for session in one.store.open_sessions():  # what has ended left nothing: its own tests prove that
            sweep(session.nonce)
        until(lambda: lock.running(one.folder) is None, "the lock is free")
        one.store.close()


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def environ_of(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/environ", "rb") as file:
        return dict(os.fsdecode(pair).split("=", 1) for pair in file.read().split(b"\0") if b"=" in pair)
