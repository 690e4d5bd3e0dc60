"""What the store's fault tests look at afterwards: every task, the file's integrity, the history's chain."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from history import Final, anomalies, read

from agentctl_store.clock import Clock, Moment
from agentctl_store.replay import verify
from agentctl_store.sqlite import gate
from agentctl_store.sqlite.transaction import GENESIS, digest, link
from agentctl_store.store import Store, TaskRequest, open_store

FULL_EVENT = "SELECT seq, at_ms, kind, task, attempt, actor, session, body, data, correlation, hash FROM event"


def dice_of(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers of a seed that is printed when the test fails; AGENTCTL_SEED replays it."""
    seed = int(os.environ.get("AGENTCTL_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"seed of {request.node.name}: AGENTCTL_SEED={seed}")
    return random.Random(seed)


def filled(folder: Path, count: int, **more: Any) -> Path:
    """A new store with `count` ready tasks in queue q; its directory."""
    directory = folder / ".agentctl"
    with open_store(str(directory), create=True) as store:
        for start in range(0, count, 1000):
            store.add([TaskRequest("q", str(index), **more) for index in range(start, min(start + 1000, count))])
    return directory


def raw(directory: Path) -> Any:
    """A connection of the same SQLite library, below the store."""
    return gate.load().connect(str(directory / "store.db"), isolation_level=None)


def finals(directory: Path) -> dict[int, Final]:
    """Every task as the store holds it."""
    db = raw(directory)
    rows = db.execute("SELECT id, state, attempts, key FROM task").fetchall()
    db.close()
    return {row[0]: Final(*row[1:]) for row in rows}


def assert_whole(directory: Path) -> None:
    """The file is sound, constraints hold and the history's chain is unbroken and agrees with the tasks."""
    db = raw(directory)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    bodies = dict(db.execute("SELECT id, text FROM body").fetchall())
    previous, expected, claims, ends = GENESIS, 1, 0, 0
    for *fields, hashed in db.execute(FULL_EVENT + " ORDER BY seq").fetchall():
        assert fields[0] == expected, f"event {expected} is missing"
        body_digest = b"" if fields[7] is None else digest(bodies[fields[7]])
        previous = link(previous, *fields, body_digest)
        assert previous == hashed, f"the chain breaks at event {expected}"
        expected += 1
        claims += fields[2] == 5
        ends += fields[2] in (6, 22)  # completed, or a fallback's result stood in
    assert claims == db.execute("SELECT count(*) FROM attempt").fetchone()[0], "claims and attempts differ"
    assert ends == db.execute("SELECT count(*) FROM task WHERE state = 'done'").fetchone()[0]
    db.close()
    found = verify(str(directory))
    assert found.intact, "replaying the history does not give the tables: " + "; ".join(found.faults[:5])


def assert_honest(directory: Path, logs: Path) -> None:
    """No client was told what the store, or another client, contradicts."""
    found = anomalies(read(logs), finals(directory))
    assert not found, "\n".join(found[:20])


def until(condition: Any, what: str, within_s: float = 15.0) -> Any:
    """The first true value of the condition, looked at every 2 ms."""
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.002)
    return value


class SetClock(Clock):
    """A clock that stands until it is moved."""

    def __init__(self, wall_ms: int = 1_800_000_000_000) -> None:
        super().__init__()
        self.wall_ms, self.boot_ms, self.awake_ms, self.boot = wall_ms, 1_000_000, 1_000_000, "boot-1"

    def now(self) -> Moment:
        return Moment(self.wall_ms, self.boot_ms, self.awake_ms, self.boot)

    def pass_ms(self, ms: int) -> None:
        """Let time pass, awake."""
        self.wall_ms += ms
        self.boot_ms += ms
        self.awake_ms += ms

    def sleep_ms(self, ms: int) -> None:
        """Suspend the machine."""
        self.wall_ms += ms
        self.boot_ms += ms

    def set_wall_by(self, ms: int) -> None:
        """Set the wall clock."""
        self.wall_ms += ms


def clocked(directory: Path, clock: Clock, create: bool = False) -> Store:
    """A store on a clock of the test's."""
    return open_store(str(directory), create=create, clock=clock)
