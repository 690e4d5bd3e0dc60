"""P2: a claim has exactly one winner."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from faults.broker_kit import WAYS, Owner, clients_of
from faults.store_kit import assert_honest, assert_whole, filled, finals, until
from faults.store_workers import Clients
from history import read

PROCESSES, TASKS = 8, 16_000


@pytest.mark.parametrize("way", WAYS)
def test_eight_processes_race_for_two_thousand_tasks_each_and_none_is_won_twice(tmp_path: Path, way: str) -> None:
    store = filled(tmp_path, TASKS)
    with clients_of(way, store, tmp_path / "logs") as clients:
        racers = [clients.start("drain", synchronous="NORMAL", complete=False) for _ in range(PROCESSES)]
        clients.wait(*racers)
    won = [op for op in read(clients.logs) if op.verb == "claim" and op.outcome == "acked"]
    assert len(won) == len({op.task for op in won}) == TASKS
    shares = Counter(op.client for op in won)
    assert len(shares) == PROCESSES, "a process that never won did not race"
    assert_honest(store, clients.logs)
    assert_whole(store)
    assert {end.attempts for end in finals(store).values()} == {1}


@pytest.mark.parametrize("way", WAYS)
def test_claim_and_complete_at_full_durability_by_eight_processes(tmp_path: Path, way: str) -> None:
    store = filled(tmp_path, 600)
    with clients_of(way, store, tmp_path / "logs", synchronous="FULL") as clients:
        clients.wait(*[clients.start("drain") for _ in range(PROCESSES)])
    assert_honest(store, clients.logs)
    assert_whole(store)
    assert {(end.state, end.attempts) for end in finals(store).values()} == {("done", 1)}


def test_two_brokers_and_direct_writers_at_once_have_one_winner_each(tmp_path: Path) -> None:
    """Never meant to be: the supervisor's lock forbids it. The file's own lock holds all the same."""
    store = filled(tmp_path, 1_500)
    with clients_of("broker", store, tmp_path / "logs") as first, Clients(store, tmp_path / "logs") as direct:
        racers = [(first, first.start("drain", synchronous="NORMAL")) for _ in range(2)]
        until(lambda: len(read(first.logs)) > 100, "the first broker serves")
        Owner(first).up()
        racers += [(first, first.start("drain", synchronous="NORMAL")) for _ in range(2)]
        racers += [(direct, direct.start("drain", synchronous="NORMAL", name=f"direct-{n}")) for n in range(2)]
        for parent, pid in racers:
            parent.wait(pid)
    assert len({op.client for op in read(tmp_path / "logs") if op.outcome == "acked"}) == len(racers)
    assert_honest(store, tmp_path / "logs")
    assert_whole(store)
    assert {(end.state, end.attempts) for end in finals(store).values()} == {("done", 1)}
