"""Who waits is woken by the commit itself, by whatever way it was made, and across owners that come and go."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faults.broker_kit import WAYS, Asked, Owner, serving, through
from faults.raw_kit import greeted
from faults.store_kit import assert_whole, dice_of, filled, until
from faults.store_workers import Clients

from agentctl_store.broker.server import Broker
from agentctl_store.sqlite.driver import SqliteDriver
from agentctl_store.store import Store, TaskRequest, open_store

Wait = Callable[[Store], Callable[[Store], Any]]  #: given a store, what waits on another

ROUNDS = 9
WOKEN_MS = 100  #: what looking alone would take three to ten times as long for
LONG_MS = 20_000


@contextmanager
def owned(way: str, directory: Path) -> Iterator[None]:
    if way == "broker":
        with serving(directory):
            yield
    else:
        yield


def opened(way: str, directory: Path) -> Store:
    return through(directory) if way == "broker" else open_store(str(directory), own=True)


def waiting_claim(store: Store) -> Callable[[Store], Any]:
    return lambda mine: mine.claim(["q"], agent="waiting", wait_ms=LONG_MS)


def waiting_news(store: Store) -> Callable[[Store], Any]:
    seen = store.changed()  # before the thread begins: what comes from here on must wake it, however late it begins
    return lambda mine: mine.changed(seen, wait_ms=LONG_MS)


@pytest.mark.parametrize("what", [waiting_claim, waiting_news])
@pytest.mark.parametrize("writer", WAYS)
@pytest.mark.parametrize("waiter", WAYS)
def test_a_commit_wakes_who_waits(tmp_path: Path, waiter: str, writer: str, what: Wait) -> None:
    directory = filled(tmp_path, 0)
    took_ms = []
    owner = "broker" if "broker" in (waiter, writer) else "direct"
    with owned(owner, directory), opened(writer, directory) as adder, opened(waiter, directory) as mine:
        for _ in range(ROUNDS):
            asked = Asked(directory, what(mine), store=mine)
            settle()
            adder.add([TaskRequest("q")])
            begun = time.monotonic()
            assert asked.get()
            took_ms.append((time.monotonic() - begun) * 1000)
            drain(adder)
    print(f"{what.__name__}, {waiter} woken by {writer}: {min(took_ms):.1f} to {max(took_ms):.1f} ms")
    assert statistics.median(took_ms) < WOKEN_MS


def settle() -> None:
    """Give a call the time to be under way; whether it is does not matter for what must come out."""
    time.sleep(0.03)


def drain(store: Store) -> None:
    while won := store.claim(["q"], agent="drain"):
        store.complete(won[0].task.id, won[0].n)


@pytest.mark.parametrize("way", WAYS)
def test_what_time_brings_reaches_a_claim_that_waits(tmp_path: Path, way: str) -> None:
    directory = filled(tmp_path, 1)
    with owned(way, directory), opened(way, directory) as store:
        lost = store.claim(["q"], agent="dies", lease_ms=200)[0]
        begun = time.monotonic()
        again = Asked(directory, waiting_claim(store), store=opened(way, directory)).get()
        assert [(one.task.id, one.n) for one in again] == [(lost.task.id, 2)]
        assert time.monotonic() - begun < 0.2 + 1.3
        due = store.add([TaskRequest("q", delay_ms=200)])[0].id
        begun = time.monotonic()
        won = Asked(directory, waiting_claim(store), store=opened(way, directory)).get()
        assert [one.task.id for one in won] == [due]
        assert 0.1 < time.monotonic() - begun < 0.2 + 1.3


@pytest.mark.parametrize("what", [waiting_claim, waiting_news])
def test_owners_come_and_go_while_somebody_waits(tmp_path: Path, request: pytest.FixtureRequest, what: Wait) -> None:
    """Kills and starts at random around the commit that must wake: none is slept through."""
    dice = dice_of(request)
    directory = filled(tmp_path, 0)
    slowest_s = 0.0
    with Clients(directory, tmp_path / "logs") as clients, through(directory) as mine:
        owner = Owner(clients)
        for number in range(30):
            asked = Asked(directory, what(mine), store=mine)
            with opened(dice.choice(WAYS), directory) as adder:
                acts: list[Callable[[], Any]] = [owner.kill if owner.pid else owner.start]
                acts.insert(dice.randrange(2), lambda adder=adder: adder.add([TaskRequest("q")]))
                for act in acts:
                    time.sleep(dice.random() * 0.03)
                    act()
                begun = time.monotonic()
                assert asked.get(5), f"round {number}"
                slowest_s = max(slowest_s, time.monotonic() - begun)
                owner.pid = 0 if owner.kill in acts else owner.pid
                drain(adder)
    print(f"woken at the latest {slowest_s * 1000:.0f} ms after the commit or the change of owners")
    assert slowest_s < 1.5
    assert_whole(directory)


def test_a_wait_is_as_long_as_it_was_asked_for_whoever_owns_the_store(tmp_path: Path) -> None:
    directory = filled(tmp_path, 0)
    with Clients(directory, tmp_path / "logs") as clients, through(directory) as mine:
        owner = Owner(clients)
        owner.up()
        begun = time.monotonic()
        asked = Asked(directory, lambda store: store.claim(["q"], agent="a", wait_ms=900), store=mine)
        for number in (1, 2):
            until(lambda number=number: time.monotonic() - begun > 0.3 * number, "it has waited a while")
            before, owner = owner, Owner(clients)
            owner.up()
            before.kill()
        assert asked.get(5) == []
        assert 0.85 < time.monotonic() - begun < 1.35


def test_a_claim_that_waited_has_its_whole_lease_on_the_file_too(tmp_path: Path) -> None:
    directory = filled(tmp_path, 0)
    with Clients(directory, tmp_path / "logs") as clients, through(directory) as mine:
        owner = Owner(clients)
        owner.up()
        asked = Asked(directory, lambda s: s.claim(["q"], agent="a", lease_ms=250, wait_ms=LONG_MS), store=mine)
        begun = time.monotonic()
        until(lambda: time.monotonic() - begun > 0.27, "it has waited for longer than its lease")
        with opened("direct", directory) as adder:
            owner.kill()
            adder.add([TaskRequest("q")])
            (won,) = asked.get(5)
            assert won.lease_until_ms - adder.clock.now().boot_ms > 100


def test_who_is_killed_while_he_waits_leaves_nothing(tmp_path: Path) -> None:
    directory = filled(tmp_path, 0)
    room = directory / "waiters"
    with Clients(directory, tmp_path / "logs", AGENTCTL_TEST_THROUGH="direct") as clients:
        waiters = [clients.start("wait_for_work") for _ in range(20)]
        until(lambda: room.exists() and len(os.listdir(room)) == 20, "all wait")
        for pid in waiters:
            clients.kill(pid)
        with opened("direct", directory) as store:
            store.add([TaskRequest("other")])
        assert not room.exists() or os.listdir(room) == []
    with serving(directory) as broker, Clients(directory, tmp_path / "logs", AGENTCTL_TEST_THROUGH="broker") as clients:
        waiters = [clients.start("wait_for_work") for _ in range(20)]
        until(lambda: len(broker._desk._waiting) == 20, "all wait")
        for pid in waiters:
            clients.kill(pid)
        until(lambda: not broker._desk.waits, "none is waited for")
        assert len(os.listdir(room)) == 1, "the broker's own"
    assert not room.exists()


# --- claims that nobody heard of ----------------------------------------------------------------------------------
def held_by(store: Store, task: int) -> int:
    """The number of the attempt that holds it, 0 for none."""
    found = store.task(task)
    return found.attempts if found.state == "active" else 0


def test_a_claim_nobody_heard_of_goes_back_at_once(tmp_path: Path) -> None:
    directory = filled(tmp_path, 0)
    with serving(directory) as broker, through(directory) as store:
        dying = greeted(directory)
        dying.ask("claim", ["q"], "dying", None, None, None, 600_000, 1, None, LONG_MS)
        until(lambda: broker._desk.waits, "it waits for work")
        second = Asked(directory, waiting_claim(store))
        until(lambda: len(broker._desk._waiting) == 2, "so does another")
        task = store.add([TaskRequest("q")])[0].id
        assert held_by(store, task) == 1 and not second.over
        begun = time.monotonic()
        dying.close()
        assert [(one.task.id, one.n) for one in second.get()] == [(task, 2)]
        took_ms = (time.monotonic() - begun) * 1000
        print(f"given to the next one after {took_ms:.1f} ms")
        assert took_ms < 250
    assert_whole(directory)


def test_a_claim_that_is_still_owed_when_the_broker_stops_goes_back(tmp_path: Path) -> None:
    directory = filled(tmp_path, 0)
    with opened("direct", directory) as store:
        task = store.add([TaskRequest("q", f'"{"x" * 1_000_000}"')])[0].id  # no socket's buffer holds it
        with serving(directory) as broker:
            deaf = greeted(directory)
            deaf.ask("claim", ["q"], "deaf", None, None, None, 600_000, 1, None, 0)
            until(lambda: any(peer.owed for peer in list(broker._peers.values())), "it takes nothing")
            assert held_by(store, task) == 1
        deaf.close()
        assert [one.task.id for one in store.claim(["q"], agent="b")] == [task]
    assert_whole(directory)


def test_a_claim_lost_to_an_error_of_ours_goes_back_though_nobody_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, told, deliver = filled(tmp_path, 1), [], Broker._deliver

    def fails_once(broker: Broker, answers: list[Any], now_ms: int) -> None:
        if any(answer.claims for answer in answers) and not told:
            told.append(True)
            raise RuntimeError("seeded")
        deliver(broker, answers, now_ms)

    monkeypatch.setattr(Broker, "_deliver", fails_once)
    with serving(directory), opened("direct", directory) as store:
        unlucky = greeted(directory)
        unlucky.ask("claim", ["q"], "unlucky", None, None, None, 600_000, 1, None, 0)
        assert unlucky.closed() and told
        gone = lambda: [one for one in store.events(kinds=("task.released",)) if one.attempt == 1]  # noqa: E731
        until(gone, "the task is ready again", 5.0)


def test_a_claim_that_was_heard_of_stays_when_its_claimer_goes(tmp_path: Path) -> None:
    """What he does with it is his: his lease tells, or his session's end."""
    directory = filled(tmp_path, 1)
    with serving(directory), through(directory) as store:
        with through(directory) as gone:
            won = gone.claim(["q"], agent="gone")[0]
        assert store.claim(["q"], agent="b", wait_ms=150) == []
        assert held_by(store, won.task.id) == 1


def test_who_asked_the_file_for_his_receipt_first_keeps_his_claim(tmp_path: Path) -> None:
    directory = filled(tmp_path, 1)
    with serving(directory) as broker, opened("direct", directory) as store:
        impatient = greeted(directory, client=77)
        impatient.ask("claim", ["q"], "impatient", None, None, None, 600_000, 1, None, 0)
        file = store.driver
        assert isinstance(file, SqliteDriver)
        until(lambda: file.receipt(77, 1), "it is committed")
        with file.conn.together(store.clock.now()) as group:
            impatient.close()
            assert file.drop_receipt(group, 77, 1)
        until(lambda: not broker._peers and not broker._lost, "the broker has noticed")
        with through(directory) as after:  # a call behind whatever it does about it
            after.add([TaskRequest("other")])
            assert after.claim(["q"], agent="b") == []
