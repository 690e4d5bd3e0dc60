"""N4: the same work by other task queues that need no server either: huey (SqliteHuey) and litequeue.

Workers do tasks that do nothing. Each peer has its best honest configuration: every commit synced, as ours; of huey's
thread and process workers whichever did more; a busy timeout nobody runs into. What they promise is less: huey deletes
a task when it is taken (at most once, no history), litequeue keeps a row but no attempts, leases or events. Both ask
for work again and again; how often is given with each latency, and what it costs while there is nothing to do.

procrastinate and celery are left out: they need a PostgreSQL or a Redis beside them, which `make bench` does not start.
"""

from __future__ import annotations

import os
import shutil
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench import table
from bench.crowd import PAYLOAD, Round, broker, crowd, fused, opened, stocked, through_broker
from bench.test_wakeup import child, ran_s, works

from agentctl_store.store import TaskRequest

pytestmark = pytest.mark.bench
SECONDS = 1.0
ROUNDS = 2
READY = 40_000
TASKS = 8_000  #: of a peer, for one round
LATENCIES = 150
POLLS_S = (0.005, 0.001)
BUSY_S = 60
MISSING = "NOT MEASURED HERE: {} is not installed; make bench installs it (pip install '.[bench]')"


def hueys(file: Path) -> Any:
    huey = pytest.importorskip("huey", reason=MISSING.format("huey"))
    return huey.SqliteHuey("bench", filename=str(file), fsync=True, journal_mode="wal", timeout=BUSY_S)


def litequeues(file: Path) -> Any:
    litequeue = pytest.importorskip("litequeue", reason=MISSING.format("litequeue"))
    queue = litequeue.LiteQueue(str(file), timeout=BUSY_S)
    queue.conn.execute("PRAGMA synchronous=FULL")  # it sets NORMAL itself: that would not survive a power cut
    return queue


# --- throughput -----------------------------------------------------------------------------------------------------
def nothing(payload: str) -> None:
    pass


def huey_worker(file: Path) -> Callable[[], None]:
    """What huey's own worker does in its loop, without what its consumer does around it."""
    one = hueys(file)
    one.task(name="nothing")(nothing)

    def turn() -> None:
        task = one.dequeue()
        assert task is not None, "the round used up all tasks: stock more"
        one.execute(task)

    return turn


def huey_processes(file: Path, workers: int) -> Round:
    return crowd(workers, SECONDS, lambda _: huey_worker(file))


def huey_threads(file: Path, workers: int) -> Round:
    """Threads share a connection, and so never wait for SQLite's lock."""
    turn, counts, waits = huey_worker(file), [0] * workers, [0.0]
    end_s = time.monotonic() + SECONDS

    def work(number: int) -> None:
        while time.monotonic() < end_s:
            turn()
            counts[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Round(SECONDS, counts, waits)


def litequeue_processes(file: Path, workers: int) -> Round:
    def prepare(_: int) -> Callable[[], None]:
        queue = litequeues(file)

        def turn() -> None:
            message = queue.pop()
            assert message is not None, "the round used up all tasks: stock more"
            queue.done(message.message_id)

        return turn

    return crowd(workers, SECONDS, prepare)


def ours_brokered(directory: Path, workers: int) -> Round:
    with broker(directory, "FULL"):
        return crowd(workers, SECONDS, lambda _: fused(through_broker(directory)))


def ours_direct(directory: Path, workers: int) -> Round:
    return crowd(workers, SECONDS, lambda _: fused(opened(directory, "FULL")))


def stock_huey(file: Path) -> None:
    one = hueys(file)
    task = one.task(name="nothing")(nothing)
    with one.storage.db(commit=True) as cursor:
        rows = [("bench", one.serialize_task(task.s(PAYLOAD)), 0) for _ in range(TASKS)]
        cursor.executemany("insert into task (queue, data, priority) values (?, ?, ?)", rows)
    one.storage.close()


def stock_litequeue(file: Path) -> None:
    queue = litequeues(file)
    with queue.transaction():
        for _ in range(TASKS):
            queue.put(PAYLOAD)
    queue.conn.execute("ANALYZE")  # or its planner sorts the whole backlog for each task it takes
    queue.conn.close()


def test_workers_beside_the_peers(tmp_path: Path) -> None:
    stocks: dict[str, Callable[[Path], object]] = {
        "ours": lambda where: stocked(where, READY),
        "huey": stock_huey,
        "litequeue": stock_litequeue,
    }
    for name, stock in stocks.items():
        (tmp_path / name).mkdir()
        stock(tmp_path / name / "store")
    ways: dict[str, tuple[str, Callable[[Path, int], Round]]] = {
        "ours, broker": ("ours", ours_brokered),
        "ours, direct mode": ("ours", ours_direct),
        "huey, processes": ("huey", huey_processes),
        "huey, threads": ("huey", huey_threads),
        "litequeue": ("litequeue", litequeue_processes),
    }
    for workers in (1, 4, 16):
        best: dict[str, float] = dict.fromkeys(ways, 0.0)
        for _ in range(ROUNDS):  # in turns, so that all meet the same weather
            for way, (name, measure) in ways.items():
                shutil.copytree(tmp_path / name, tmp_path / "now")
                best[way] = max(best[way], measure(tmp_path / "now" / "store", workers).per_s)
                shutil.rmtree(tmp_path / "now")
        for way, per_s in best.items():
            table.add("N4", f"{workers:2} workers, {way}, FULL: tasks/s", f"{per_s:,.0f}", "", None)
        for peer in ("huey", "litequeue"):
            times = best["ours, broker"] / max(per_s for way, per_s in best.items() if way.startswith(peer))
            goal, met = ("≥ 3x", times >= 3) if workers == 16 and peer == "huey" else ("", None)
            table.add("N4", f"{workers:2} workers, ours through the broker over {peer}", f"{times:.2f}x", goal, met)


# --- latency --------------------------------------------------------------------------------------------------------
def now_ns() -> bytes:
    return struct.pack("q", time.monotonic_ns())


def huey_waits(file: Path, poll_s: float) -> Callable[[int], None]:
    def run(back: int) -> None:
        one = hueys(file)

        @one.task(name="tell")  # type: ignore[untyped-decorator]
        def tell() -> None:
            os.write(back, now_ns())

        os.write(back, now_ns())
        while True:
            task = one.dequeue()
            if task is None:
                time.sleep(poll_s)
            else:
                one.execute(task)

    return run


def litequeue_waits(file: Path, poll_s: float) -> Callable[[int], None]:
    def run(back: int) -> None:
        queue = litequeues(file)
        os.write(back, now_ns())
        while True:
            message = queue.pop()
            if message is None:
                time.sleep(poll_s)
                continue
            os.write(back, now_ns())
            queue.done(message.message_id)

    return run


def latencies(run: Callable[[int], None], enqueue: Callable[[], object]) -> tuple[list[float], float]:
    """Milliseconds from the enqueue to the task's first instruction, sorted; the idle worker's CPU of a core."""
    times_ms = []
    with child(run) as (pid, back):
        os.read(back, 8)
        for _ in range(10):  # the first ones fill every cache
            enqueue()
            os.read(back, 8)
        for number in range(LATENCIES):
            time.sleep(0.006 + number % 7 / 1000)  # a measurement: idle again, and at any point of its sleep
            began_ns = time.monotonic_ns()
            enqueue()
            times_ms.append((struct.unpack("q", os.read(back, 8))[0] - began_ns) / 1e6)
        time.sleep(0.05)
        before_s, began_s = ran_s(pid), time.monotonic()
        time.sleep(1.0)  # a measurement of what waiting costs
        idle = (ran_s(pid) - before_s) / (time.monotonic() - began_s)
    return sorted(times_ms), idle


def test_one_task_into_an_idle_system(tmp_path: Path) -> None:
    directory = tmp_path / ".agentctl"
    opened(directory, "OFF", create=True).close()
    found: dict[str, tuple[list[float], float]] = {}
    with broker(directory, "FULL"):
        store = through_broker(directory)
        run = works(lambda: through_broker(directory))
        found["ours, broker"] = latencies(run, lambda: store.add([TaskRequest("q", PAYLOAD)]))
        store.close()
    for poll_s in POLLS_S:
        file = tmp_path / f"huey-{poll_s}"
        one = hueys(file)
        task = one.task(name="tell")(nothing)
        found[f"huey, asking every {poll_s * 1000:g} ms"] = latencies(
            huey_waits(file, poll_s),
            lambda one=one, task=task: one.enqueue(task.s()),  # type: ignore[misc]
        )
        file = tmp_path / f"litequeue-{poll_s}"
        queue = litequeues(file)
        found[f"litequeue, asking every {poll_s * 1000:g} ms"] = latencies(
            litequeue_waits(file, poll_s),
            lambda queue=queue: queue.put(PAYLOAD),  # type: ignore[misc]
        )
    for way, (times_ms, idle) in found.items():
        p50_99 = f"{times_ms[LATENCIES // 2]:.2f} / {times_ms[int(LATENCIES * 0.99)]:.2f} ms"
        table.add("N4", f"one task, {way}, p50 / p99 (idle: {idle:.1%} of a core)", p50_99, "", None)
    ours = found["ours, broker"][0][LATENCIES // 2]
    for poll_s in POLLS_S:
        asking = f"asking every {poll_s * 1000:g} ms"
        best = min(times_ms[LATENCIES // 2] for way, (times_ms, _) in found.items() if way.endswith(asking))
        ratio = ours / best
        table.add("N4", f"one task, p50, ours over the best peer {asking}", f"{ratio:.2f}x", "≤ 0.33x", ratio <= 1 / 3)
