"""N2, N11: what a claim costs with a million tasks in the store, and how soon the first one comes after a start."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest
from bench import table
from bench.replay import bare

from agentctl_store.clock import Clock
from agentctl_store.sqlite.driver import SqliteDriver
from agentctl_store.store import Store

HUGE = bool(os.environ.get("AGENTCTL_BENCH_HUGE"))
SIZES = [1_000, 100_000, 1_000_000] + [10_000_000] * HUGE
SCHEDULED = 100_000
CLAIMS = 400
WALL = 1_700_000_000_000

# Rows as the store would have written them, without their events: a claim looks at none.
BODY = "INSERT INTO body (id, text) VALUES (1, '{\"text\":\"' || printf('%.*c', 289, 'x') || '\"}')"
FILL = """WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {count})
INSERT INTO task (id, queue, state, payload, correlation, priority, available_ms)
SELECT ({wall} + i + {first}) << 20, 1, '{state}', 1, randomblob(16), i % 5, {wall} + i + {later} FROM n"""


def opened(directory: Path) -> Store:
    return Store(SqliteDriver(str(directory), create=True, synchronous="NORMAL"), str(directory), Clock())


def with_tasks(directory: Path, ready: int, scheduled: int = 0) -> Path:
    """A store with so many tasks that are ready, and so many that wait for next year."""
    opened(directory).close()
    db = bare(str(directory / "store.db"), "OFF")
    db.execute("BEGIN")
    db.execute("INSERT INTO queue (id, name) VALUES (1, 'q')")
    db.execute(BODY)
    db.execute(FILL.format(count=ready, state="ready", first=0, later=0, wall=WALL))
    if scheduled:
        later = 40_000_000_000_000
        db.execute(FILL.format(count=scheduled, state="scheduled", first=ready, later=later, wall=WALL))
    db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    return directory


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("scale")
    made = {f"{size:,} ready": with_tasks(folder / str(size), size) for size in SIZES}
    made["100,000 ready, 100,000 scheduled"] = with_tasks(folder / "scheduled", 100_000, SCHEDULED)
    return made


def test_a_claim_costs_the_same_whatever_waits(stores: dict[str, Path]) -> None:
    open_ones = {name: opened(directory) for name, directory in stores.items()}
    took: dict[str, list[float]] = {name: [] for name in stores}
    for turn in range(CLAIMS + 20):  # in turns, so that all meet the same weather
        for name, store in open_ones.items():
            began = time.perf_counter()
            won = store.claim(["q"], agent="a", lease_ms=24 * 3_600_000)
            if turn >= 20:
                took[name].append(time.perf_counter() - began)
            assert won
    for store in open_ones.values():
        store.close()
    p50 = {name: median(times) * 1e6 for name, times in took.items()}
    first = p50["1,000 ready"]
    for name, value in p50.items():
        goal, against = (1.1, p50["100,000 ready"]) if "scheduled" in name else (1.3, first)
        ratio = value / against
        table.add("N2", f"claim p50 with {name}: {value:.0f} µs", f"{ratio:.2f}×", f"≤ {goal}×", ratio <= goal)
    assert max(p50.values()) < 3 * first, "a claim scans"


REOPEN = """
import sys, time
began = time.perf_counter()
from agentctl_store.store import open_store
store = open_store(sys.argv[1])
assert store.claim(["q"], agent="a")
print(time.perf_counter() - began)
"""


def test_the_first_claim_comes_soon_after_a_crash(stores: dict[str, Path], tmp_path: Path) -> None:
    """With the -wal of a killed process to be read back first."""
    directory = tmp_path / "crashed"
    shutil.copytree(stores["1,000,000 ready"], directory)
    child = os.fork()
    if child == 0:
        store = opened(directory)
        for _ in range(300):
            store.claim(["q"], agent="a")
        os._exit(0)
    os.waitpid(child, 0)
    assert (directory / "store.db-wal").stat().st_size > 100_000
    said = subprocess.run(
        [sys.executable, "-c", REOPEN, str(directory)], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    seconds = float(said)
    table.add("N11", "1M tasks: start to first claim", f"{seconds * 1000:.0f} ms", "≤ 1 s", seconds <= 1)
