"""Limits, budgets and breakers hold across processes: eight of them, on the file and through the broker."""

from __future__ import annotations

import bisect
import itertools
import time
from pathlib import Path
from typing import Any

import pytest
from faults.broker_kit import WAYS, Owner, clients_of
from faults.store_kit import assert_whole, dice_of, filled, raw
from faults.store_workers import PATIENCE_S, THROUGH, Clients

from agentctl_store.domain.breaker import Breaker
from agentctl_store.domain.budget import Budget
from agentctl_store.domain.event import KINDS
from agentctl_store.domain.limits import Bound
from agentctl_store.read import open_reader
from agentctl_store.store import Store, open_store

PROCESSES = 8
ENDS = tuple(KINDS[f"task.{how}"] for how in ("completed", "retried", "released", "cancelled", "buried"))
CLAIMED = KINDS["task.claimed"]


def limited(folder: Path, tasks: int = 3_000) -> tuple[Path, Store]:
    """A store of ready tasks whose agents a0 and a1 are one provider's, to be limited."""
    directory = filled(folder, tasks)
    store = open_store(str(directory))
    for agent in ("a0", "a1"):
        store.limits.assign(agent, "acme", actor="t")
    return directory, store


def toil(way: str, store: Path, folder: Path, **about: Any) -> None:
    """Eight processes of two agents work on the store."""
    with clients_of(way, store, folder / "logs") as clients:
        clients.wait(*[clients.start("toil", agent=f"a{number % 2}", **about) for number in range(PROCESSES)])


def history(store: Path, *kinds: int) -> list[tuple[int, int, int]]:
    """(seq, time, kind) of these events, in order."""
    db = raw(store)
    rows = db.execute(
        f"SELECT seq, at_ms, kind FROM event WHERE kind IN ({', '.join('?' * len(kinds))}) ORDER BY seq", kinds
    ).fetchall()
    db.close()
    return list(rows)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("scope", "name"), [("provider", "acme"), ("queue", "q")])
def test_no_window_holds_more_starts_than_the_rate_and_the_burst(
    tmp_path: Path, way: str, scope: str, name: str
) -> None:
    directory, store = limited(tmp_path)
    rate, burst = 40, 5
    store.limits.set_bound(Bound(scope, name, rate, 1_000, burst), actor="t")  # type: ignore[arg-type]
    toil(way, directory, tmp_path, seconds=3)
    times = sorted(at for _, at, _ in history(directory, CLAIMED))
    for window_ms in (50, 200, 500, 1_000, 2_000):
        most = max(bisect.bisect_left(times, at + window_ms) - place for place, at in enumerate(times))
        assert most <= window_ms * rate / 1000 + burst, window_ms
    span_s = (times[-1] - times[0]) / 1000
    assert len(times) >= 0.7 * rate * span_s, "those who wait wake when the next start is due"
    assert_whole(directory)


@pytest.mark.parametrize("way", WAYS)
def test_never_more_at_once_than_may(tmp_path: Path, way: str) -> None:
    directory, store = limited(tmp_path)
    store.limits.set_bound(Bound("provider", "acme", concurrency=3), actor="t")
    toil(way, directory, tmp_path, seconds=1, work_s=0.004)
    running, seen = 0, []
    for _, _, kind in history(directory, CLAIMED, *ENDS):
        running += 1 if kind == CLAIMED else -1
        seen.append(running)
    assert max(seen) == 3 and len(seen) > 200
    assert_whole(directory)


@pytest.mark.parametrize("way", WAYS)
def test_a_budget_of_starts_is_spent_to_the_last_and_no_further(tmp_path: Path, way: str) -> None:
    directory, store = limited(tmp_path)
    store.limits.set_budget(Budget("fleet", "", "attempts", "day", 150), actor="t")
    toil(way, directory, tmp_path, seconds=30, dry=True)
    assert len(history(directory, CLAIMED)) == 150
    assert_whole(directory)


@pytest.mark.parametrize("way", WAYS)
def test_a_budget_is_overshot_by_one_report_of_each_instance_at_most(tmp_path: Path, way: str) -> None:
    """Each process reports ten tokens at a time, until it is told to stop."""
    directory, store = limited(tmp_path)
    store.limits.set_budget(Budget("provider", "acme", "tokens", "total", 5_005), actor="t")
    toil(way, directory, tmp_path, seconds=30, tokens=300, dry=True)
    db = raw(directory)
    (spent,) = db.execute("SELECT sum(input_tokens) FROM attempt").fetchone()
    (running,) = db.execute("SELECT count(*) FROM task WHERE state = 'active'").fetchone()
    db.close()
    assert running == 0
    assert 5_005 <= spent < 5_005 + 10 * PROCESSES
    with open_reader(str(directory)) as reader:
        (row,) = reader.budgets(store.clock.now().wall_ms)
    assert row.spent == spent
    assert_whole(directory)


@pytest.mark.parametrize("way", WAYS)
def test_one_probe_at_a_time_of_the_whole_fleet(tmp_path: Path, way: str) -> None:
    directory, store = limited(tmp_path)
    breaker = Breaker("provider", "acme", min_calls=3, open_ms=40, cap_ms=80)
    store.limits.set_breaker(breaker, actor="t")
    toil(way, directory, tmp_path, seconds=1.5, kind="crashed")
    opened, probed = KINDS["breaker.opened"], KINDS["breaker.probed"]
    found = history(directory, CLAIMED, opened, probed)
    first = next(place for place, (_, _, kind) in enumerate(found) if kind == opened)
    after = [kind for _, _, kind in found[first:]]
    assert after.count(probed) > 5 and after.count(CLAIMED) == after.count(probed), "only probes start while it is open"
    for before, kind in itertools.pairwise(after):
        assert (before, kind) in {(opened, CLAIMED), (CLAIMED, probed), (probed, opened)}
    assert_whole(directory)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_counted_is_exact_though_clients_and_broker_are_killed(
    tmp_path: Path, way: str, request: pytest.FixtureRequest
) -> None:
    """SIGKILL at random, of who claims and of who owns the store, while all kinds of limits hold."""
    dice = dice_of(request)
    directory, store = limited(tmp_path)
    rate, burst, running = 200, 10, {}
    store.limits.set_bound(Bound("fleet", "", rate, 1_000, burst, 4), actor="t")
    store.limits.set_breaker(Breaker("provider", "acme", min_calls=1_000), actor="t")  # counts, and stays closed
    for per in ("day", "total"):
        for measure in ("tokens", "wall_time", "attempts"):
            store.limits.set_budget(Budget("provider", "acme", measure, per, 10**9), actor="t")  # type: ignore[arg-type]
    about = {"seconds": 60, "tokens": 30, "lease_ms": 300}
    with Clients(directory, tmp_path / "logs", **{THROUGH: way, PATIENCE_S: "15"}) as clients:
        owner = Owner(clients) if way == "broker" else None
        if owner is not None:
            owner.up()
        for number in range(40):
            agent = f"a{number % 2}"
            running[clients.start("toil", agent=agent, kind=dice.choice(["", "", "crashed"]), **about)] = agent
            time.sleep(dice.random() * 0.08)
            if len(running) > PROCESSES:
                pid = dice.choice(list(running))
                del running[pid]
                clients.kill(pid)
            if owner is not None and number % 13 == 12:
                owner.kill()
                owner.up()
        for pid in running:
            clients.kill(pid)
    times = sorted(at for _, at, _ in history(directory, CLAIMED))
    most = max(bisect.bisect_left(times, at + 500) - place for place, at in enumerate(times))
    assert len(times) > 30 and most <= rate // 2 + burst
    now, most_running = 0, 0
    for _, _, kind in history(directory, CLAIMED, *ENDS):
        now += 1 if kind == CLAIMED else -1
        most_running = max(most_running, now)
    assert most_running <= 4
    assert_whole(directory)
