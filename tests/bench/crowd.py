"""Many client processes at once, each doing the same thing over and over: how much, how fairly, how long one waits."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agentctl_store.clock import Clock
from agentctl_store.errors import StoreBusy
from agentctl_store.sqlite.driver import SqliteDriver
from agentctl_store.store import Store, TaskRequest, open_store

PAYLOAD = '{"text":"' + "x" * 289 + '"}'
LEASE_MS = 24 * 3_600_000  #: longer than any round: a lease that runs out would be somebody else's work
BROKER = """
import sys
from agentctl_store.broker.server import Broker
from agentctl_store.clock import Clock
broker = Broker(sys.argv[1], Clock(), synchronous=sys.argv[2])
broker.start()
print("up", flush=True)
sys.stdin.read()
broker.stop()
"""

Prepare = Callable[[int], Callable[[], object]]
"""From a client's number to what it does again and again. Called in the client's process."""


class Round:
    """What the clients of one round did."""

    def __init__(self, seconds: float, counts: list[int], waits: list[float]) -> None:
        self.counts = counts
        self.per_s = sum(counts) / seconds
        self._waits = sorted(waits)

    @property
    def jain(self) -> float:
        """Jain's index: 1 when all did as much, 1/n when one did everything."""
        squares = sum(count * count for count in self.counts)
        return sum(self.counts) ** 2 / (len(self.counts) * squares) if squares else 0.0

    def wait_ms(self, share: float) -> float:
        """The wait that `share` of all calls stayed below. Of those that starve it says little: they hardly call."""
        return self._waits[min(len(self._waits) - 1, int(len(self._waits) * share))] * 1000

    @property
    def longest_ms(self) -> float:
        return self._waits[-1] * 1000


def crowd(clients: int, seconds: float, prepare: Prepare) -> Round:
    """Let `clients` processes do what `prepare` gives them for so long, from one moment on."""
    ready_in, ready_out = os.pipe()
    go_in, go_out = os.pipe()
    children = []
    for number in range(clients):
        back_in, back_out = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(go_out)  # its parent's death must end it
                turn = prepare(number)
                os.write(ready_out, b"r")
                _work(turn, seconds, go_in, back_out)
                code = 0
            finally:
                os._exit(code)
        os.close(back_out)
        children.append((pid, back_in))
    os.close(ready_out)
    os.close(go_in)
    try:
        waiting = clients
        while waiting:
            come = len(os.read(ready_in, waiting))
            assert come, "a client failed before it began"
            waiting -= come
        # One word for each: what a pipe holds is read once.
        os.write(go_out, struct.pack("d", time.monotonic() + 0.05) * clients)
    finally:
        os.close(go_out)
        os.close(ready_in)
    counts, waits = [], []
    for pid, back in children:
        with os.fdopen(back, "rb") as file:
            data = file.read()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        counts.append(struct.unpack_from("q", data)[0])
        waits += array("d", data[8:])
    return Round(seconds, counts, waits)


def _work(turn: Callable[[], object], seconds: float, go: int, back: int) -> None:
    (start_s,) = struct.unpack("d", os.read(go, 8))
    time.sleep(max(0.0, start_s - time.monotonic()))
    end_s, waits, done = start_s + seconds, array("d"), 0
    while (began_s := time.monotonic()) < end_s:
        try:
            turn()
            did = True
        except StoreBusy:
            did = False  # starved: it waited for nothing
        ended_s = time.monotonic()
        waits.append(ended_s - began_s)
        done += did and ended_s <= end_s  # what is begun in time and ends after it counts as a wait alone
    with os.fdopen(back, "wb") as file:
        file.write(struct.pack("q", done) + waits.tobytes())


def stocked(directory: Path, ready: int, *, queue: str = "q") -> Path:
    """Make a store with so many tasks ready, to be copied."""
    store = opened(directory, "OFF", create=True)
    for _ in range(ready // 1000):
        store.add([TaskRequest(queue, PAYLOAD)] * 1000, actor="cli:anna")
    store.close()
    return directory


def opened(directory: Path, synchronous: str, *, create: bool = False) -> Store:
    """Open the store's file itself, whether it has an owner or not."""
    return Store(SqliteDriver(str(directory), create=create, synchronous=synchronous), str(directory), Clock())


@contextmanager
def broker(directory: Path, synchronous: str) -> Iterator[subprocess.Popen[bytes]]:
    """Let a process of its own own the store meanwhile."""
    words = [sys.executable, "-c", BROKER, str(directory), synchronous]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == b"up\n"
        try:
            yield process
        finally:
            process.stdin.close()
            process.wait(30)


def through_broker(directory: Path) -> Store:
    """Open the store as every client does; its owner must be there."""
    store = open_store(str(directory))
    assert type(store.driver).__name__ == "BrokerDriver", "the broker was not found"
    return store


def fused(store: Store) -> Callable[[], None]:
    """Claim a task; what is returned completes it and claims the next, in one commit."""
    held = [store.claim(["q"], agent="worker", slot=1, lease_ms=LEASE_MS)[0]]

    def turn() -> None:
        last = held[0]
        won = store.complete_and_claim(
            last.task.id, last.n, ["q"], agent="worker", slot=1, lease_ms=LEASE_MS, result='{"ok":true}'
        ).claim
        assert won is not None, "the round used up all tasks: stock more"
        held[0] = won

    return turn
