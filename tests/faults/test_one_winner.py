"""P2: a claim has exactly one winner."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from faults.store_kit import assert_honest, assert_whole, filled, finals
from faults.store_workers import Clients
from history import read

PROCESSES, TASKS = 8, 16_000


def test_eight_processes_race_for_two_thousand_tasks_each_and_none_is_won_twice(tmp_path: Path) -> None:
    store = filled(tmp_path, TASKS)
    with Clients(store, tmp_path / "logs") as clients:
        racers = [clients.start("drain", synchronous="NORMAL", complete=False) for _ in range(PROCESSES)]
        clients.wait(*racers)
    won = [op for op in read(clients.logs) if op.verb == "claim" and op.outcome == "acked"]
    assert len(won) == len({op.task for op in won}) == TASKS
    shares = Counter(op.client for op in won)
    assert len(shares) == PROCESSES, "a process that never won did not race"
    assert_honest(store, clients.logs)
    assert_whole(store)
    assert {end.attempts for end in finals(store).values()} == {1}


def test_claim_and_complete_at_full_durability_by_eight_processes(tmp_path: Path) -> None:
    store = filled(tmp_path, 600)
    with Clients(store, tmp_path / "logs") as clients:
        clients.wait(*[clients.start("drain") for _ in range(PROCESSES)])
    assert_honest(store, clients.logs)
    assert_whole(store)
    assert {(end.state, end.attempts) for end in finals(store).values()} == {("done", 1)}
