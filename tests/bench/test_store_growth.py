"""N12: bytes a finished task leaves, how large the -wal grows beside a long reader, how long pruning holds writers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench import table
from bench.replay import bare

from agentctl_store.clock import Clock
from agentctl_store.domain.agent import SessionEnd
from agentctl_store.replay import verify
from agentctl_store.sqlite.driver import SqliteDriver
from agentctl_store.store import Store, TaskRequest

TASKS = 5_000
FLEET_TASKS = 500
PAYLOAD, RESULT = '{"text":"' + "x" * 289 + '"}', '{"ok":true}'
WAL_GOAL = 64 << 20


def opened(directory: Path) -> Store:
    return Store(SqliteDriver(str(directory), create=True, synchronous="NORMAL"), str(directory), Clock())


FLEET = """[fleet]
min_free_memory = 0
min_free_disk = 0
[agent.w]
command = ["true"]
instances = 2
queues = ["q"]
"""


def test_what_a_task_of_a_real_fleet_leaves(tmp_path: Path) -> None:
    """The second 500 tasks: by then all tables have their first pages, and an empty store's are not counted."""
    (tmp_path / "agentctl.toml").write_text(FLEET)
    directory = tmp_path / ".agentctl"
    sizes = []
    for _ in range(2):
        with opened(directory) as store:
            store.add([TaskRequest("q", PAYLOAD)] * FLEET_TASKS, actor="cli:anna")
        words = [sys.executable, "-m", "agentctl", "run", "--until-idle"]
        subprocess.run(words, cwd=tmp_path, check=True, timeout=120, capture_output=True)
        sizes.append((directory / "store.db").stat().st_size)
    with opened(directory) as store:
        assert all(not store.unfinished([queue]) for queue in ("q",))
        changes = len(store.events(kinds=("instance.changed",), limit=1_000))
    seen = verify(str(directory))
    assert seen.intact and seen.sessions == 2 * FLEET_TASKS
    each = (sizes[1] - sizes[0]) / FLEET_TASKS - len(PAYLOAD)
    first = sizes[0] / FLEET_TASKS - len(PAYLOAD)
    what = f"bytes per finished task of a real fleet beside payload ({changes} instance.changed of 2 runs)"
    table.add("N12", what, f"{each:.0f}", "≤ 500", each <= 500)
    table.add("N12", f"the same, first {FLEET_TASKS} with an empty store's own pages", f"{first:.0f}", "", None)


@pytest.mark.parametrize("how", ["worker", "session per task", "session per task, seen to run"])
def test_what_a_finished_task_leaves(tmp_path: Path, how: str) -> None:
    directory = tmp_path / ".agentctl"
    opened(directory).close()
    empty = (directory / "store.db").stat().st_size  # a page of each table and index
    store = opened(directory)
    for _ in range(TASKS // 500):
        store.add([TaskRequest("q", PAYLOAD)] * 500, actor="cli:anna")
    for index in range(TASKS):
        if how == "worker":
            won = store.claim(["q"], agent="writer", slot=1)[0]
            store.complete(won.task.id, won.n, result=RESULT)
        else:
            won = store.claim(["q"], agent="writer", slot=1, open_session=True)[0]
            assert won.session is not None
            if how.endswith("seen to run"):  # one that lasts for more than a fraction of a second
                store.session_started(won.session, pid=10_000 + index)
            end = SessionEnd(won.session, "exited", 0)
            store.complete(won.task.id, won.n, result=RESULT, exit_code=0, end_session=end)
    store.close()
    each = ((directory / "store.db").stat().st_size - empty) / TASKS - len(PAYLOAD) - len(RESULT)
    assert verify(str(directory)).intact, "what is small must still be enough to replay"
    what = f"bytes per finished task beside payload and result ({how}; an empty store has {empty:,})"
    table.add("N12", what, f"{each:.0f}", "≤ 500", each <= 500)


READER = """
import sys, time
from agentctl_store.sqlite import gate
db = gate.load().connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN")
db.execute("SELECT count(*) FROM task").fetchall()
print("reading", flush=True)
time.sleep(60)
"""


def test_the_wal_beside_readers_that_come_and_go(tmp_path: Path) -> None:
    """Four seconds of writes at full speed, with a reader that looks at everything all the time."""
    directory = tmp_path / ".agentctl"
    store = opened(directory)
    store.add([TaskRequest("q", PAYLOAD)] * 1000)
    reader = os.fork()
    if reader == 0:
        while True:
            db = bare(str(directory / "store.db"), "NORMAL")
            for _ in range(50):
                db.execute("SELECT count(*), max(seq) FROM event").fetchall()
            db.close()
    try:
        largest, until = 0, time.monotonic() + 4
        while time.monotonic() < until:
            store.add([TaskRequest("q", PAYLOAD)] * 50)
            for won in store.claim(["q"], agent="a", limit=50):
                store.complete(won.task.id, won.n, result=RESULT)
            largest = max(largest, (directory / "store.db-wal").stat().st_size)
    finally:
        os.kill(reader, signal.SIGKILL)
        os.waitpid(reader, 0)
    table.add("N12", "-wal beside a busy reader", f"{largest / 1e6:.1f} MB", "≤ 64 MB", largest <= WAL_GOAL)


def test_the_wal_beside_a_reader_that_never_lets_go(tmp_path: Path) -> None:
    """No reader of ours does this; a stopped sqlite3 shell might. What it costs is told, not promised."""
    directory = tmp_path / ".agentctl"
    store = opened(directory)
    store.add([TaskRequest("q", PAYLOAD)] * 100)
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(directory / "store.db")], stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None and reader.stdout.readline() == "reading\n"
        for _ in range(200):
            store.add([TaskRequest("q", PAYLOAD)] * 20)
        grown = (directory / "store.db-wal").stat().st_size
        reader.kill()
    for _ in range(3):
        store.add([TaskRequest("q", PAYLOAD)] * 1000)
    store.close()
    table.add("N12", "-wal per task added beside a transaction held open", f"{grown / 4000:.0f} B", "", None)


def test_pruning_never_holds_a_writer_for_long(tmp_path: Path) -> None:
    from agentctl_store.upkeep import prune

    directory = tmp_path / ".agentctl"
    store = opened(directory)
    store.add([TaskRequest("q", PAYLOAD)] * 5_000)
    while won := store.claim(["q"], agent="a", limit=500):
        for one in won:
            store.complete(one.task.id, one.n, result=RESULT)
    alone = []
    for _ in range(200):
        began = time.perf_counter()
        store.add([TaskRequest("q", "1")])
        alone.append((time.perf_counter() - began) * 1000)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            prune(str(directory), -1_000, Clock(), "bench")
            code = 0
        finally:
            os._exit(code)
    waits = []
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        began = time.perf_counter()
        store.add([TaskRequest("q", "1")])
        waits.append((time.perf_counter() - began) * 1000)
    waits.sort()
    assert len(waits) > 20
    share = waits[int(len(waits) * 0.99)]
    what = f"add beside a prune of 5,000 tasks, p99 (without: {sorted(alone)[197]:.1f} ms)"
    table.add("N12", what, f"{share:.1f} ms", "≤ 10 ms", share <= 10)
