"""One supervisor per store: a flock that names its holder and is freed by the kernel when that dies."""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass

from agentctl.supervisor.proctree import boot_id, start_of
from agentctl_store.errors import AlreadyRunning

LOCK = "supervisor.lock"
DYING_S = 1.0  #: how long the lock of a dead holder is waited for
LOOK_S = 0.01


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that supervises a store. `start` in clock ticks since boot `boot`, `since_ms` wall time."""

    pid: int
    start: int
    boot: str
    since_ms: int
    root: str


class SupervisorLock:
    """Held from `__init__` to `release`, or to the end of the process."""

    def __init__(self, store: str, *, root: str, since_ms: int, fleet: str = "") -> None:
        """Take the lock. Raises AlreadyRunning naming the holder."""
        self._path = path = os.path.join(store, LOCK)
        # CLOEXEC: an agent that inherited the descriptor would keep the store locked after our death.
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _take(self._fd, store):
            os.close(self._fd)
            holder = read_holder(store)
            who = f"process {holder.pid}, for {holder.root}" if holder else "another process"
            raise AlreadyRunning(
                f"the store at {store} is supervised already ({who})",
                "Use that one (agentctl ps, agentctl tui), or end it with: agentctl down",
            )
        pid = os.getpid()
        told: dict[str, object] = {
            "pid": pid,
            "start": start_of(pid) or 0,
            "boot": boot_id(),
            "since": since_ms,
            "root": root,
        }
        if fleet:
            told["fleet"] = fleet  # how screens name it, also when no supervisor runs
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, json.dumps(told).encode(), 0)

    @property
    def lost(self) -> bool:
        """Whether the file that is locked is not the store's any more: the store was deleted, moved or replaced."""
        try:
            now = os.stat(self._path)
        except FileNotFoundError:
            return True
        except OSError:
            return False  # cannot be told now
        return not os.path.samestat(now, os.fstat(self._fd))

    def release(self) -> None:
        """Let another supervisor in."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


def _take(descriptor: int, store: str) -> bool:
    """Take the flock. Refused at once only by a supervisor that lives.

    One that was killed while it started a child keeps it until that child's exec, and whoever asks `running` holds it
    for a moment.
    """
    deadline = time.monotonic() + DYING_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            holder = read_holder(store)
            alive = holder is not None and start_of(holder.pid) == holder.start
            if alive or time.monotonic() > deadline:
                return False
            time.sleep(LOOK_S)


def read_holder(store: str) -> Holder | None:
    """Return who the lock file names; only `running` says whether that is still so."""
    try:
        with open(os.path.join(store, LOCK), encoding="utf-8") as file:
            told = json.loads(file.read(4096))
        return Holder(told["pid"], told["start"], told["boot"], told["since"], told["root"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def running(store: str) -> Holder | None:
    """Return the supervisor of the store if one runs now."""
    try:
        descriptor = os.open(os.path.join(store, LOCK), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except OSError:
        return read_holder(store)
    finally:
        os.close(descriptor)
