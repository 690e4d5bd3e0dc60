"""P1, P3 through the broker: clients and the broker itself are killed at random; nothing is lost, nothing doubled."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from faults.broker_kit import Owner
from faults.store_kit import assert_honest, assert_whole, dice_of, filled, finals, raw
from faults.store_workers import PATIENCE_S, THROUGH, Clients
from history import read

KILLS, OWNER_KILLS, STOPS, ALIVE = 200, 80, 8, 5
STOPPED_S, PATIENT_S = 0.25, 0.1


class Storm:
    """Who is alive, and what has been done to them."""

    def __init__(self, clients: Clients, dice: random.Random) -> None:
        self.clients, self.dice = clients, dice
        self.owner = Owner(clients)
        self.did: Counter[str] = Counter()
        self.living = [self._client() for _ in range(ALIVE)]
        # Those live too short to outlive a lease: this one is let live, and is late with all it does.
        self.late = clients.start("dawdle")

    def _client(self) -> int:
        return self.clients.start("mingle", seed=self.dice.randrange(1 << 30))

    def client(self) -> None:
        """Kill one, and begin another."""
        victim = self.living.pop(self.dice.randrange(ALIVE))
        assert self.clients.signal(victim, signal.SIGKILL), "a client had ended by itself: see stderr"
        self.did["clients killed"] += 1
        self.living.append(self._client())

    def broker(self) -> None:
        """Kill it; now and then the clients are left to the file for a while."""
        self.owner.kill()
        self.did["brokers killed"] += 1
        if self.dice.random() < 0.3:
            self.did["gaps"] += 1
            time.sleep(self.dice.random() * 0.1)
        self.owner.start()

    def stop(self) -> None:
        """Stop it for longer than its clients' patience, kill some of them meanwhile, and let it go on."""
        self.owner.signal(signal.SIGSTOP)
        until = time.monotonic() + STOPPED_S
        while time.monotonic() < until:
            time.sleep(self.dice.random() * 0.1)
            self.client()
        self.owner.signal(signal.SIGCONT)
        self.did["stops"] += 1

    def blow(self) -> None:
        """Kill and stop until there was enough of each."""
        todo = [self.client] * KILLS + [self.broker] * OWNER_KILLS + [self.stop] * STOPS
        self.dice.shuffle(todo)
        self.owner.up()
        for strike in todo:
            time.sleep(self.dice.random() * 0.03)
            strike()
        for pid in [*self.living, self.late, self.owner.pid]:
            self.clients.signal(pid, signal.SIGKILL)


def test_clients_and_brokers_are_killed_by_the_hundred(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    dice = dice_of(request)
    store, begun = filled(tmp_path, 0), time.monotonic()
    with Clients(store, tmp_path / "logs", **{THROUGH: "broker", PATIENCE_S: str(PATIENT_S)}) as clients:
        storm = Storm(clients, dice)
        storm.blow()
        # Whoever died holding a task loses it by its lease alone.
        storm.owner.up()
        clients.wait(*[clients.start("drain") for _ in range(2)])
    ops = read(clients.logs)
    cut = [op for op in ops if op.outcome == "unknown"]
    stale = [op for op in ops if op.outcome == "refused" and op.verb != "claim"]
    print(f"{dict(storm.did)}, {len(ops)} operations, {len(cut)} cut, {len(stale)} stale, {len(finals(store))} tasks")
    print(f"{time.monotonic() - begun:.1f} s; {_said_otherwise(store)}")
    assert len(ops) > 5 * KILLS, "the clients hardly worked"
    assert len(cut) > KILLS / 4, "the kills hardly ever hit an operation"
    assert len(stale) > 10, "hardly a stale attempt was tried"
    assert_honest(store, clients.logs)
    assert_whole(store)
    assert {end.state for end in finals(store).values()} == {"done"}
    assert _doubled(store) == [], "a task was added twice"


def _doubled(store: Path) -> list[str]:
    """Payloads, each said by one call of one client, that the store holds more than once."""
    db = raw(store)
    rows = db.execute(
        "SELECT b.text, count(*) FROM task t JOIN body b ON b.id = t.payload GROUP BY 1 HAVING count(*) > 1"
    ).fetchall()
    db.close()
    return [f"{text}: {count}" for text, count in rows]


def _said_otherwise(store: Path) -> str:
    """How often claims went back because nobody was told of them."""
    db = raw(store)
    (count,) = db.execute("SELECT count(*) FROM event WHERE kind = 8 AND data LIKE '%never told%'").fetchone()
    db.close()
    return f"{count} claims went back untold"
