"""Twenty agents write to each other while their processes are killed at random: each message ends once, none twice."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
from faults.broker_kit import clients_of
from faults.store_kit import dice_of, filled, raw

from agentctl_store.domain.agent import AgentSpec
from agentctl_store.domain.message import Damping
from agentctl_store.replay import verify
from agentctl_store.store import open_store

AGENTS = 20
ACK_MS = 2_000
WITHIN_S = 120.0
OPEN = "SELECT count(*) FROM message WHERE state IN ('stored', 'delivered')"


@pytest.mark.parametrize(("way", "each", "kills"), [("broker", 500, 60), ("direct", 60, 20)])
def test_every_message_ends_exactly_once_and_has_one_effect(
    tmp_path: Path, request: pytest.FixtureRequest, way: str, each: int, kills: int
) -> None:
    dice = dice_of(request)
    directory = filled(tmp_path, 0)
    names = [f"agent-{number}" for number in range(AGENTS)]
    with open_store(str(directory)) as store:
        store.declare_agents([AgentSpec(name, "worker", (name,), 1) for name in names], actor="t")
        store.messages.configure(Damping(0, 1_000), actor="t")
    with clients_of(way, directory, tmp_path / "logs") as clients:

        def start(number: int) -> int:
            return clients.start(
                "converse", agent=names[number], number=number, agents=AGENTS, count=each,
                seed=dice.randrange(1 << 30), ack_ms=ACK_MS,
            )  # fmt: skip

        pids = [start(number) for number in range(AGENTS)]
        db = raw(directory)
        deadline = time.monotonic() + WITHIN_S
        killed = 0
        while db.execute("SELECT count(*) FROM message").fetchone()[0] < AGENTS * each or killed < kills:
            assert time.monotonic() < deadline, "not all was sent"
            time.sleep(dice.random() * 0.1)
            if killed < kills:
                victim = dice.randrange(AGENTS)
                clients.kill(pids[victim])
                pids[victim] = start(victim)
                killed += 1
        while db.execute(OPEN).fetchone()[0]:
            assert time.monotonic() < deadline, db.execute("SELECT state, count(*) FROM message GROUP BY 1").fetchall()
            time.sleep(0.05)
        (clients.logs / "stop").touch()
        clients.wait(*pids)
    rows = db.execute("SELECT source, key, state, reason, deliveries FROM message").fetchall()
    effects = {key for (key,) in db.execute("SELECT key FROM task")}
    db.close()
    print(f"{killed} killed; {Counter(row[2] for row in rows)}; most deliveries {max(row[4] for row in rows)}")
    assert Counter((row[0], row[1]) for row in rows) == {(name, str(at)): 1 for name in names for at in range(each)}
    assert {row[2] for row in rows} == {"acked", "expired", "dead"}
    for source, key, state, reason, deliveries in rows:
        if deliveries == 0:
            assert (state, reason) in (("dead", "no_such_agent"), ("expired", "expired"))
        elif state == "acked" or reason == "refused":
            assert f"{source}:{key}" in effects
    assert any(row[4] > 1 for row in rows) or way == "direct", "nobody was killed with a message in hand"
    found = verify(str(directory))
    assert found.intact and found.messages == AGENTS * each, found.faults
