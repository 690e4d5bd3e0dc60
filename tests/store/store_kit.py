"""A clock that a test sets, and short ways to say what happens in a store."""

from __future__ import annotations

import functools
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentctl_store.clock import Clock, Moment
from agentctl_store.sqlite.driver import SqliteDriver
from agentctl_store.store import Store, TaskRequest


class SetClock(Clock):
    """Time moves when the test says so; ids and jitter come from a seed."""

    def __init__(self, wall_ms: int = 1_800_000_000_000, seed: int = 7) -> None:
        super().__init__()
        self.wall_ms, self.boot_ms, self.awake_ms, self.boot = wall_ms, 5_000_000, 5_000_000, "boot-1"
        self.dice = random.Random(seed)

    def now(self) -> Moment:
        return Moment(self.wall_ms, self.boot_ms, self.awake_ms, self.boot)

    def random(self) -> float:
        return self.dice.random()

    def token(self, size: int) -> bytes:
        return self.dice.randbytes(size)

    def pass_ms(self, span_ms: int) -> None:
        """Let time pass while the machine is awake."""
        self.wall_ms += span_ms
        self.boot_ms += span_ms
        self.awake_ms += span_ms

    def sleep_ms(self, span_ms: int) -> None:
        """Suspend the machine."""
        self.wall_ms += span_ms
        self.boot_ms += span_ms

    def set_wall_by(self, span_ms: int) -> None:
        """Set the wall clock, as a person or NTP does."""
        self.wall_ms += span_ms

    def reboot(self, away_ms: int = 60_000) -> None:
        """Boot again after `away_ms`."""
        self.wall_ms += away_ms
        self.boot_ms = self.awake_ms = 20_000
        self.boot += "+"


@functools.cache
def _empty() -> tempfile.TemporaryDirectory[str]:
    """A store with nothing in it, made once: to copy it takes a tenth of the time that its migrations take."""
    folder = tempfile.TemporaryDirectory(prefix="agentctl-tests-")
    SqliteDriver(f"{folder.name}/.agentctl", create=True).close()
    return folder


def make(directory: str) -> None:
    """Make an empty store where there is none."""
    if not os.path.exists(f"{directory}/store.db"):
        shutil.copytree(f"{_empty().name}/.agentctl", directory, dirs_exist_ok=True)


def new_store(folder: Path, clock: Clock | None = None) -> Store:
    """Make a store in `folder`, one that a power cut may hurt: tests write much and need no fsync."""
    directory = str(folder / ".agentctl")
    make(directory)
    return Store(SqliteDriver(directory, synchronous="OFF"), directory, clock or SetClock())


def add(store: Store, queue: str = "work", payload: str = "null", **more: object) -> int:
    """Add one task and return its id."""
    return store.add([TaskRequest(queue, payload, **more)])[0].id  # type: ignore[arg-type]


@contextmanager
def held_later() -> Iterator[subprocess.Popen[bytes]]:
    """A process for a test to stop and let go on; killed at the end, for one that is stopped ends by nothing else."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()
