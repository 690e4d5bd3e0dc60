"""Who waits for work without a supervisor looks each second: cheaply while nothing happens, and misses nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from store.store_kit import SetClock, add, new_store  # noqa: TID251

from agentctl_store.domain.limits import Bound
from agentctl_store.domain.question import NewQuestion
from agentctl_store.domain.schedule import ScheduleSpec
from agentctl_store.domain.task import Claim
from agentctl_store.errors import StoreError
from agentctl_store.sqlite.driver import SqliteDriver
from agentctl_store.store import Store

MINUTE = 60_000


class Waiting:
    """One who waits on the file, and how often he took the turn to write."""

    def __init__(self, directory: str, clock: SetClock) -> None:
        self.driver, self._clock, self.turns = SqliteDriver(directory, synchronous="OFF"), clock, 0
        lock = self.driver.conn.lock

        def counted() -> None:
            self.turns += 1
            lock()

        self.driver.conn.lock = counted  # type: ignore[method-assign]

    def look(self) -> list[Claim]:
        about = {"agent": "late", "slot": 1, "session": None, "open_session": None, "lease_ms": 600_000, "limit": 1}
        return self.driver.claim(("work",), **about, wait_ms=1, now=self._clock.now())  # type: ignore[arg-type]


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def store(tmp_path: Path, clock: SetClock) -> Iterator[Store]:
    with new_store(tmp_path, clock) as made:
        yield made


@pytest.fixture
def waiting(store: Store, clock: SetClock) -> Iterator[Waiting]:
    made = Waiting(store.directory, clock)
    yield made
    made.driver.close()


@pytest.mark.parametrize("known", [False, True], ids=["a queue nobody named yet", "an empty queue"])
def test_looks_while_nothing_happens_take_no_turn_to_write(
    store: Store, clock: SetClock, waiting: Waiting, known: bool
) -> None:
    if known:
        task = add(store)
        won = store.claim(["work"], agent="ann")[0]
        store.complete(task, won.n)
    for _ in range(10):
        assert waiting.look() == []
        clock.pass_ms(1_000)
    assert waiting.turns == 1


def _scheduled(store: Store) -> None:
    add(store, delay_ms=MINUTE)


def _leased(store: Store) -> None:
    add(store)
    store.claim(["work"], agent="ann", lease_ms=MINUTE)


def _overdue(store: Store) -> None:
    add(store, "other", deadline_ms=store.clock.now().wall_ms + MINUTE)


def _planned(store: Store) -> None:
    store.schedules.add(ScheduleSpec("tidy", "work", "1", every_ms=MINUTE), actor="t")


def _asked(store: Store) -> None:
    add(store, "other")
    won = store.claim(["other"], agent="ann")[0]
    store.questions.ask(won.task.id, won.n, NewQuestion("Go on?", deadline_ms=MINUTE))


@pytest.mark.parametrize("begin", [_scheduled, _leased, _overdue, _planned, _asked])
def test_what_time_asks_for_is_done_when_it_is_due(
    store: Store, clock: SetClock, waiting: Waiting, begin: Callable[[Store], None]
) -> None:
    begin(store)
    waiting.look()
    clock.pass_ms(MINUTE - 1)
    waiting.look()
    before = store.changed()
    assert waiting.turns == 1
    clock.pass_ms(1)
    waiting.look()
    assert waiting.turns == 2 and store.changed() > before


@pytest.mark.parametrize("jump", [lambda clock: clock.sleep_ms(MINUTE), lambda clock: clock.set_wall_by(-MINUTE)])
def test_a_suspend_or_a_clock_that_is_set_ends_it(
    store: Store, clock: SetClock, waiting: Waiting, jump: Callable[[SetClock], None]
) -> None:
    waiting.look()
    jump(clock)
    waiting.look()
    assert waiting.turns == 2 and [event.kind for event in store.events()][-1] == "clock.gap"


def test_a_claim_that_was_not_committed_says_nothing_of_the_next(
    store: Store, clock: SetClock, waiting: Waiting
) -> None:
    _overdue(store)
    clock.pass_ms(MINUTE)
    before, conn = store.changed(), waiting.driver.conn
    execute = conn.execute

    def full(sql: str, values: object = ()) -> object:
        if sql == "COMMIT":
            raise conn.library.OperationalError("database or disk is full")
        return execute(sql, values)

    conn.execute = full
    with pytest.raises(StoreError):
        waiting.look()
    conn.execute = execute
    assert store.changed() == before
    waiting.look()
    assert waiting.turns == 2 and store.changed() > before


def test_a_task_that_a_limit_held_back_is_looked_at_each_time(store: Store, clock: SetClock, waiting: Waiting) -> None:
    store.limits.set_bound(Bound("queue", "work", starts=1, period_ms=MINUTE), actor="t")
    add(store)
    add(store)
    assert waiting.look() != [] and waiting.look() == []
    clock.pass_ms(MINUTE)
    assert waiting.look() != []


def _step(dice: random.Random, store: Store, clock: SetClock, held: list[Claim]) -> None:
    """Let something happen, or only time pass."""
    what = dice.randrange(14)
    if what == 0:
        add(store, dice.choice(("work", "other")))
    elif what == 1:
        add(store, delay_ms=dice.randrange(1, 5_000))
    elif what == 2:
        add(store, dice.choice(("work", "other")), deadline_ms=clock.wall_ms + dice.randrange(1, 5_000))
    elif what == 3:
        held += store.claim(["work", "other"], agent="ann", lease_ms=dice.randrange(1, 5_000))
    elif what == 4 and held:
        won = held.pop()
        if store.task(won.task.id).attempts == won.n and store.task(won.task.id).state == "active":
            store.complete(won.task.id, won.n)
    elif what == 5:
        store.pause_queue("work", actor="t")
    elif what == 6:
        store.resume_queue("work", actor="t")
    elif what == 7:
        store.limits.set_bound(Bound("queue", "work", starts=1, period_ms=dice.randrange(1_000, 9_000)), actor="t")
    elif what == 8:
        store.limits.remove_bound("queue", "work", actor="t")
    elif what == 9:
        dice.choice((clock.sleep_ms, clock.set_wall_by))(dice.randrange(1, MINUTE))
    else:
        clock.pass_ms(dice.randrange(1, 3_000))


@pytest.mark.parametrize("seed", range(8))
def test_whenever_a_look_spares_its_turn_a_claim_would_have_found_and_done_nothing(
    store: Store, clock: SetClock, waiting: Waiting, seed: int
) -> None:
    print(f"seed {seed}")
    dice, spared = random.Random(seed), 0
    held: list[Claim] = []
    store.pause_queue("work", actor="t")
    for _ in range(400):
        if dice.random() < 0.5:
            _step(dice, store, clock, held)
        turns = waiting.turns
        held += waiting.look()
        if waiting.turns == turns:
            before, spared = store.changed(), spared + 1
            assert store.claim(["work"], agent="late") == [] and store.changed() == before
    assert spared > 20
