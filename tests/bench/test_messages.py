"""What a message costs beside a task: sending, reading and acking against adding, claiming and completing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from bench import table

from agentctl_store.clock import Clock
from agentctl_store.messageverbs import MessageRequest
from agentctl_store.sqlite import gate
from agentctl_store.sqlite.driver import SqliteDriver
from agentctl_store.store import Store, TaskRequest

PAYLOAD = '{"text":"' + "x" * 289 + '"}'
CHUNKS, PER_CHUNK = 30, 40
LIMIT = 1.5


def task(store: Store) -> None:
    store.add([TaskRequest("q", PAYLOAD)], actor="ann/1")
    (won,) = store.claim(["q"], agent="bob", slot=1)
    store.complete(won.task.id, won.n, result='{"ok":true}')


def message(store: Store) -> None:
    store.messages.send(MessageRequest("ann", "bob", PAYLOAD), actor="ann/1")
    (taken,) = store.messages.read("bob", reader="bob/1")
    store.messages.ack(taken.message.id, taken.n)


def opened(directory: Path, synchronous: str) -> Store:
    return Store(SqliteDriver(str(directory), create=True, synchronous=synchronous), str(directory), Clock())


@pytest.mark.parametrize("synchronous", ["NORMAL", "FULL"])
def test_a_message_beside_a_task(tmp_path: Path, synchronous: str) -> None:
    store = opened(tmp_path / ".agentctl", synchronous)
    store.messages.subscribe("news", "bob")  # makes him known
    clock = time.perf_counter if synchronous == "FULL" else time.process_time
    times = []
    for _ in range(CHUNKS):  # in turns, so that both meet the same weather
        took = []
        for act in (message, task):
            began = clock()
            for _ in range(PER_CHUNK):
                act(store)
            took.append(clock() - began)
        times.append(took)
    ours, tasks = (min(column) / PER_CHUNK for column in zip(*times, strict=True))
    ratio = ours / tasks
    what = f"send + read + ack at {synchronous}: {ours * 1e6:.0f} µs, add + claim + complete {tasks * 1e6:.0f} µs"
    table.add("N1", what, f"{ratio:.2f}", f"≤ {LIMIT}", ratio <= LIMIT)


def test_the_room_a_message_takes(tmp_path: Path) -> None:
    sizes = []
    for act in (message, task):
        directory = tmp_path / act.__name__
        store = opened(directory, "OFF")
        store.messages.subscribe("news", "bob")
        for _ in range(2_000):
            act(store)
        store.close()
        db = gate.load().connect(str(directory / "store.db"))
        db.execute("VACUUM")
        db.close()
        sizes.append((directory / "store.db").stat().st_size / 2_000)
    what = f"bytes of an acked message: {sizes[0]:.0f}, of a task that is done: {sizes[1]:.0f}"
    table.add("N1", what, f"{sizes[0] / sizes[1]:.2f}", "≤ 1.1", sizes[0] <= 1.1 * sizes[1])
