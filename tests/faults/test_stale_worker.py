"""P3, P4: a worker that slept past its lease is refused, and its task is claimable within the lease and a second."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from faults.broker_kit import WAYS, clients_of
from faults.store_kit import assert_honest, assert_whole, filled, finals, until
from faults.store_workers import Clients
from history import read

from agentctl_store.store import open_store

LEASE_MS = 250


@pytest.mark.parametrize("verb", ["heartbeat", "complete", "fail", "release"])
@pytest.mark.parametrize("extra_ms", [-60, 0, 40])
@pytest.mark.parametrize("way", WAYS)
def test_a_stopped_worker_is_refused_once_another_has_claimed(
    tmp_path: Path, verb: str, extra_ms: int, way: str
) -> None:
    """Work times around and above the lease: shorter ones alone would let a broken fence live."""
    store = filled(tmp_path, 1)
    with clients_of(way, store, tmp_path / "logs") as clients, open_store(str(store)) as mine:
        worker = clients.start("late", verb=verb, lease_ms=LEASE_MS, extra_ms=extra_ms)
        until(lambda: any(op.outcome == "acked" for op in read(clients.logs)), "the worker has claimed")
        clients.signal(worker, signal.SIGSTOP)
        claimed = time.monotonic()
        won = until(lambda: mine.claim(["q"], agent="second"), "the task is claimable again")[0]
        took_s = time.monotonic() - claimed
        assert won.n == 2
        assert took_s <= LEASE_MS / 1000 + 1.0, f"claimable only after {took_s:.2f} s"
        (clients.logs / "go").touch()
        clients.signal(worker, signal.SIGCONT)
        clients.wait(worker)
        (tried,) = (op for op in read(clients.logs) if op.verb == verb)
        assert tried.outcome == "refused"
        assert mine.heartbeat(won.task.id, 2).until_ms >= won.lease_until_ms, "the second attempt is untouched"
        mine.complete(won.task.id, 2)
        assert_honest(store, clients.logs)
    assert [(end.state, end.attempts) for end in finals(store).values()] == [("done", 2)]
    assert_whole(store)


@pytest.mark.parametrize("verb", ["heartbeat", "complete"])
def test_a_worker_late_but_never_replaced_still_owns_its_task(tmp_path: Path, verb: str) -> None:
    """The lease gives others the right to take the task; it does not throw work away that nobody else began."""
    store = filled(tmp_path, 1)
    with Clients(store, tmp_path / "logs") as clients:
        (clients.logs / "go").touch()
        clients.wait(clients.start("late", verb=verb, lease_ms=30, extra_ms=60))
        assert [op.outcome for op in read(clients.logs)] == ["acked", "acked"]


@pytest.mark.parametrize("way", WAYS)
def test_a_killed_worker_s_task_is_claimable_within_its_lease_and_a_second(tmp_path: Path, way: str) -> None:
    store = filled(tmp_path, 8)
    with clients_of(way, store, tmp_path / "logs") as clients, open_store(str(store)) as mine:
        workers = [clients.start("late", verb="complete", lease_ms=LEASE_MS, extra_ms=60_000) for _ in range(8)]
        until(lambda: sum(op.outcome == "acked" for op in read(clients.logs)) == 8, "all have claimed")
        last = max(op.ended_ns or 0 for op in read(clients.logs))
        for pid in workers:
            clients.signal(pid, signal.SIGKILL)
        waits = []
        while len(waits) < 8:
            if mine.claim(["q"], agent="second"):
                waits.append((time.monotonic_ns() - last) / 1e6)
            assert time.monotonic_ns() - last < 10e9, "tasks of killed workers never came back"
        print(f"claimable again {min(waits):.0f} to {max(waits):.0f} ms after the claim (lease {LEASE_MS} ms)")
        assert max(waits) <= LEASE_MS + 1000
