"""P1, P3: clients killed with SIGKILL at random moments lose nothing they were told and double nothing."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from faults.store_kit import assert_honest, assert_whole, dice_of, filled, finals
from faults.store_workers import Clients
from history import read

KILLS, ALIVE = 520, 6


def test_five_hundred_kills_lose_and_double_nothing(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    dice = dice_of(request)
    store = filled(tmp_path, 0)
    with Clients(store, tmp_path / "logs") as clients:
        living = [clients.start("churn", seed=dice.randrange(1 << 30)) for _ in range(ALIVE)]
        killed = 0
        while killed < KILLS:
            time.sleep(dice.random() * 0.025)
            victim = living.pop(dice.randrange(ALIVE))
            assert clients.signal(victim, signal.SIGKILL), "a client had ended by itself: see stderr"
            killed += 1
            living.append(clients.start("churn", seed=dice.randrange(1 << 30)))
        for pid in living:
            clients.signal(pid, signal.SIGKILL)
        # Whoever died holding a task loses it by its lease alone.
        clients.wait(*[clients.start("drain", synchronous="NORMAL") for _ in range(2)])
    ops = read(clients.logs)
    cut = [op for op in ops if op.outcome == "unknown"]
    assert len(ops) > 5 * KILLS, "the clients hardly worked"
    assert len(cut) > KILLS / 4, "the kills hardly ever hit an operation"
    assert any(op.outcome == "refused" and op.verb != "claim" for op in ops), "no stale attempt was ever tried"
    assert_honest(store, clients.logs)
    assert_whole(store)
    assert {end.state for end in finals(store).values()} == {"done"}
    print(f"{killed} kills, {len(ops)} operations, {len(cut)} cut, {len(finals(store))} tasks")
