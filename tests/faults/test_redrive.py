"""P6: dead letters are sent back once each, however often the redrive is killed and repeated."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from faults.store_kit import assert_whole, dice_of, raw

from agentctl_store.clock import Clock
from agentctl_store.domain.event import KINDS
from agentctl_store.domain.retry import Failure
from agentctl_store.sqlite.driver import SqliteDriver
from agentctl_store.store import Store, TaskRequest

LETTERS = 10_000
KILLS = 5


def dead_letters(directory: Path) -> None:
    driver = SqliteDriver(str(directory), create=True, synchronous="NORMAL")
    with Store(driver, str(directory), Clock()) as store:
        store.add([TaskRequest("q", str(index)) for index in range(LETTERS)])
        while won := store.claim(["q"], agent="ann", limit=1_000):
            for one in won:
                store.fail(one.task.id, one.n, Failure("permanent", "broken input"))


def redrive(directory: Path) -> subprocess.Popen[bytes]:
    words = ["dlq", "requeue", "--all", "--spaced", "10ms", "--note", "fixed", "--store", str(directory)]
    return subprocess.Popen([sys.executable, "-m", "agentctl", *words], stdout=subprocess.DEVNULL)


def sent_back(directory: Path) -> Counter[int]:
    db = raw(directory)
    rows = db.execute("SELECT task FROM event WHERE kind = ? AND kind >= 7", (KINDS["task.requeued"],)).fetchall()
    db.close()
    return Counter(row[0] for row in rows)


def test_a_redrive_of_ten_thousand_that_is_killed_and_repeated_sends_each_back_once(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    dice = dice_of(request)
    directory = tmp_path / ".agentctl"
    dead_letters(directory)
    for _ in range(KILLS):
        before = sum(sent_back(directory).values())
        until = min(before + dice.randrange(50, 1_500), LETTERS - 1)
        running = redrive(directory)
        deadline = time.monotonic() + 60
        while sum(sent_back(directory).values()) < until:
            assert running.poll() is None and time.monotonic() < deadline, (
                "the redrive ended too early, or stands still"
            )
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    assert redrive(directory).wait(120) == 0
    counted = sent_back(directory)
    assert len(counted) == LETTERS and set(counted.values()) == {1}
    db = raw(directory)
    states = dict(db.execute("SELECT state, count(*) FROM task GROUP BY state").fetchall())
    spaced = db.execute("SELECT count(DISTINCT available_ms) FROM task").fetchone()[0]
    actors = {row[0] for row in db.execute(
        "SELECT DISTINCT a.name FROM event e JOIN actor a ON a.id = e.actor WHERE e.kind = ?", (KINDS["task.requeued"],)
    )}  # fmt: skip
    db.close()
    assert set(states) <= {"ready", "scheduled"} and states["scheduled"] > LETTERS // 3, states
    assert spaced > LETTERS // 3, "they would all come at once"
    assert len(actors) == 1, "who sent them back is on record"
    assert_whole(directory)
