"""N3, the part of direct mode: many claimers on one store without a supervisor, each getting its share."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from bench import table

from agentctl_store.clock import Clock
from agentctl_store.sqlite.driver import SqliteDriver
from agentctl_store.store import Store, TaskRequest

SECONDS = 3.0


def test_what_a_sync_costs_here(tmp_path: Path) -> None:
    """For reading the other lines: a disk shared with others syncs in 0.2 ms or in 5."""
    times = []
    with open(tmp_path / "file", "wb", buffering=0) as file:
        for _ in range(100):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    times.sort()
    table.add("", "fdatasync of 4 KiB, p50 / p99", f"{times[50] * 1000:.2f} / {times[98] * 1000:.2f} ms", "", None)


def opened(directory: Path) -> Store:
    return Store(SqliteDriver(str(directory), create=True, synchronous="FULL"), str(directory), Clock())


def work(directory: Path, start_at: float, out: Path) -> None:
    store, waits, pairs = opened(directory), [], 0
    time.sleep(max(0.0, start_at - time.monotonic()))
    while (began := time.monotonic()) < start_at + SECONDS:
        won = store.claim(["q"], agent="a", lease_ms=600_000)[0]
        waits.append(time.monotonic() - began)
        began = time.monotonic()
        store.complete(won.task.id, won.n)
        waits.append(time.monotonic() - began)
        pairs += 1
    waits.sort()
    out.write_text(f"{pairs} {waits[int(len(waits) * 0.99)] * 1000} {waits[-1] * 1000}")


@pytest.mark.parametrize("claimers", [1, 4, 16, 50])
def test_claimers_share_fairly(tmp_path: Path, claimers: int) -> None:
    directory = tmp_path / ".agentctl"
    store = opened(directory)
    for _ in range(20):
        store.add([TaskRequest("q", "1")] * 1000)
    store.close()
    start_at = time.monotonic() + 0.5 + claimers * 0.02
    children = []
    for number in range(claimers):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                work(directory, start_at, tmp_path / f"out-{number}")
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * claimers
    said = [[float(word) for word in (tmp_path / f"out-{number}").read_text().split()] for number in range(claimers)]
    pairs = [one[0] for one in said]
    jain = sum(pairs) ** 2 / (claimers * sum(count * count for count in pairs))
    longest = max(one[2] for one in said)
    what = f"direct mode, {claimers:2} claimers at FULL: {sum(pairs) / SECONDS:,.0f} pairs/s"
    turn = claimers / (2 * sum(pairs) / SECONDS) * 1000
    table.add("N3", f"{what}, Jain", f"{jain:.3f}", "≥ 0.95", jain >= 0.95)
    goal = f"< 200 ms (one turn of all: {turn:.0f})"
    table.add("N3", f"{what}, longest wait", f"{longest:.0f} ms", goal, longest < 200)
