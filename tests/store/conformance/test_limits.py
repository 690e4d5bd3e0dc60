"""What every driver promises of rates, caps, depths and budgets: held back before a start, told while it runs."""

from __future__ import annotations

import pytest
from store.store_kit import SetClock, add  # noqa: TID251

from agentctl_store.domain.agent import SessionEnd
from agentctl_store.domain.budget import DAY_MS, Budget
from agentctl_store.domain.limits import Bound
from agentctl_store.domain.retry import Failure, RetryPolicy
from agentctl_store.domain.task import Usage
from agentctl_store.errors import BadInput, QueueFull, StaleAttempt
from agentctl_store.read import open_reader
from agentctl_store.replay import verify
from agentctl_store.sqlite import claiming
from agentctl_store.store import Store, TaskRequest

MINUTE_MS = 60_000


@pytest.fixture(autouse=True)
def replayed(store: Store) -> object:
    """After each of these tests, replaying the history gives the tables."""
    yield
    found = verify(store.directory)
    assert found.intact, found.faults


def many(store: Store, count: int = 5, queue: str = "work") -> None:
    store.add([TaskRequest(queue) for _ in range(count)])


def won(store: Store, agent: str = "ann", queue: str = "work", limit: int = 10) -> int:
    return len(store.claim([queue], agent=agent, limit=limit))


def one(store: Store, agent: str = "ann", queue: str = "work") -> tuple[int, int]:
    (claim,) = store.claim([queue], agent=agent)
    return claim.task.id, claim.n


def bound(store: Store, scope: str, name: str = "", **what: int) -> None:
    store.limits.set_bound(Bound(scope, name, **what), actor="t")  # type: ignore[arg-type]


def budget(store: Store, scope: str, name: str, measure: str, per: str, amount: int, **more: str) -> None:
    store.limits.set_budget(Budget(scope, name, measure, per, amount, **more), actor="t")  # type: ignore[arg-type]


TARGETS = [("queue", "work"), ("agent", "ann"), ("provider", "acme"), ("fleet", "")]


# --- rates ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("scope", "name"), TARGETS)
def test_a_rate_lets_a_burst_through_and_then_one_each_interval(
    store: Store, clock: SetClock, scope: str, name: str
) -> None:
    store.limits.assign("ann", "acme", actor="t")
    bound(store, scope, name, starts=6, period_ms=MINUTE_MS, burst=3)
    many(store, 20)
    assert won(store) == 3
    clock.pass_ms(9_999)
    assert won(store) == 0
    held = store.limits.hold(["work"], "ann")
    assert held is not None and (held.by, held.until_ms) == ("rate", clock.wall_ms + 1)
    clock.pass_ms(1)
    assert won(store) == 1 and won(store) == 0
    clock.pass_ms(10 * MINUTE_MS)
    assert won(store) == 3


def test_rates_of_several_targets_all_hold(store: Store, clock: SetClock) -> None:
    store.limits.assign("ann", "acme", actor="t")
    store.limits.assign("bob", "acme", actor="t")
    bound(store, "provider", "acme", starts=60, period_ms=MINUTE_MS)
    bound(store, "agent", "bob", starts=1, period_ms=MINUTE_MS)
    many(store, 20)
    assert (won(store, "bob"), won(store, "ann")) == (1, 0)
    clock.pass_ms(1_000)
    assert (won(store, "bob"), won(store, "ann"), won(store, "eve")) == (0, 1, 10)


def test_a_clock_that_is_set_neither_frees_a_rate_nor_shuts_it_for_long(store: Store, clock: SetClock) -> None:
    bound(store, "fleet", starts=1, period_ms=MINUTE_MS)
    many(store, 9)
    assert won(store) == 1
    clock.set_wall_by(3_600_000)
    assert won(store) == 0
    clock.set_wall_by(-7_200_000)
    clock.pass_ms(MINUTE_MS)
    assert won(store) == 1
    clock.reboot(away_ms=10_000)
    assert won(store) == 0
    clock.pass_ms(MINUTE_MS)
    assert won(store) == 1
    clock.reboot(away_ms=-3_600_000)
    assert won(store) == 1 and won(store) == 0, "a bucket cannot owe more than its burst"


def test_a_rate_that_is_raised_counts_from_then_on(store: Store, clock: SetClock) -> None:
    bound(store, "fleet", starts=1, period_ms=MINUTE_MS)
    many(store)
    assert won(store) == 1
    bound(store, "fleet", starts=10, period_ms=1_000)
    assert won(store) == 0
    clock.pass_ms(100)
    assert won(store) == 1


def test_a_bound_is_changed_in_parts_and_lifted_whole(store: Store) -> None:
    bound(store, "queue", "work", starts=1, period_ms=MINUTE_MS)
    bound(store, "queue", "work", concurrency=2)
    many(store)
    assert won(store) == 1 and won(store) == 0
    assert store.limits.remove_bound("queue", "work", actor="t") is True
    assert store.limits.remove_bound("queue", "work", actor="t") is False
    assert won(store) == 4


def test_a_limit_that_makes_no_sense_is_refused(store: Store) -> None:
    for bad in (
        Bound("queue", ""), Bound("fleet", "x", concurrency=1), Bound("agent", "ann", max_depth=1),
        Bound("queue", "a", starts=1), Bound("queue", "a", starts=0, period_ms=1), Bound("nobody", "a"),  # type: ignore[arg-type]
        Bound("fleet", "", burst=5),
    ):  # fmt: skip
        with pytest.raises(BadInput):
            store.limits.set_bound(bad, actor="t")
    for worse in (Budget("task", "", "usd", "day", 1), Budget("fleet", "", "usd", "day", 1, zone="Nowhere/At_All")):
        with pytest.raises(BadInput):
            store.limits.set_budget(worse, actor="t")


# --- how many at once -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("scope", "name"), TARGETS)
def test_no_more_run_at_once_than_may(store: Store, scope: str, name: str) -> None:
    store.limits.assign("ann", "acme", actor="t")
    bound(store, scope, name, concurrency=2)
    many(store)
    first, *_ = store.claim(["work"], agent="ann", limit=5)
    assert won(store) == 0
    held = store.limits.hold(["work"], "ann")
    assert held is not None and held.why.endswith("2 of 2 attempts run")
    store.complete(first.task.id, first.n)
    assert won(store) == 1


def test_another_agent_and_another_queue_go_on(store: Store) -> None:
    bound(store, "agent", "ann", concurrency=1)
    bound(store, "queue", "slow", concurrency=1)
    many(store, 5), many(store, 5, "slow")
    assert [won(store, "ann"), won(store, "ann"), won(store, "bob", "slow"), won(store, "bob")] == [1, 0, 1, 4]


def test_a_lost_attempt_gives_its_place_back(store: Store, clock: SetClock) -> None:
    bound(store, "fleet", concurrency=1)
    many(store)
    store.claim(["work"], agent="ann", lease_ms=1_000)
    clock.pass_ms(1_000)
    assert won(store) == 1


# --- depth ------------------------------------------------------------------------------------------------------------
def test_a_full_queue_refuses_new_tasks_and_says_what_to_do(store: Store) -> None:
    bound(store, "queue", "work", max_depth=3)
    store.add([TaskRequest("work"), TaskRequest("work", delay_ms=60_000), TaskRequest("other")])
    with pytest.raises(QueueFull, match=r"2 of 3 tasks wait.*agentctl queue limit work"):
        store.add([TaskRequest("work"), TaskRequest("work")])
    known = add(store, key="k")
    assert store.add([TaskRequest("work", key="k")])[0].id == known
    with pytest.raises(QueueFull):
        add(store)
    one(store)
    add(store)


# --- budgets ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("scope", "name"), [t for t in TARGETS if t[0] != "queue"])
@pytest.mark.parametrize(("measure", "amount"), [("tokens", 100), ("usd", 2_000_000), ("wall_time", 5_000)])
def test_what_has_ended_and_what_runs_count_before_a_start(
    store: Store, clock: SetClock, scope: str, name: str, measure: str, amount: int
) -> None:
    store.limits.assign("ann", "acme", actor="t")
    budget(store, scope, name, measure, "total", amount)
    many(store)
    first, second, third = one(store), one(store), one(store)
    clock.pass_ms(2_500)
    store.fail(*first, Failure("transient", "x"), usage=Usage(20, 30, 1_000_000))
    lease = store.heartbeat(*second, usage=Usage(1, 48, 999_999))
    assert (lease.stop is not None) == (measure == "wall_time")
    if measure != "wall_time":
        lease = store.heartbeat(*second, usage=Usage(2, 48, 1_000_000))
    assert lease.stop is not None and lease.stop.startswith("budget") and "spent" in lease.stop
    assert store.heartbeat(*third).stop == lease.stop, "whoever runs on the same budget is told"
    assert won(store) == 0
    held = store.limits.hold(["work"], "ann")
    assert held is not None and (held.by, held.until_ms) == ("budget", None)


def test_what_a_session_tells_last_counts_however_its_attempt_had_ended(store: Store, clock: SetClock) -> None:
    budget(store, "agent", "ann", "tokens", "total", 100)
    task = add(store, retry=RetryPolicy(base_ms=0, cap_ms=0))
    (first,) = store.claim(["work"], agent="ann", slot=1, open_session=True)
    store.heartbeat(task, 1, usage=Usage(60, 0, 5))
    assert store.fail(task, 1, Failure("transient", "by its own word"), usage=Usage(10, 0)).state == "scheduled"
    clock.pass_ms(1)
    assert one(store, "bob") == (task, 2)
    assert first.session is not None
    end = SessionEnd(first.session, "exited", 0)
    for _ in range(2):  # who does not know whether it was written tells it again
        with pytest.raises(StaleAttempt):
            store.complete(task, 1, usage=Usage(90, 10), exit_code=0, end_session=end)
        store.end_session(end, usage=Usage(90, 10))
        assert [a.usage for a in store.attempts(task)] == [Usage(90, 10, 5), Usage()]
    store.complete(task, 2)
    add(store)
    assert won(store) == 0 and won(store, "bob") == 1, "ann has spent its hundred"


def test_a_budget_of_the_day_comes_back_with_the_next_day_of_its_zone(store: Store, clock: SetClock) -> None:
    budget(store, "fleet", "", "usd", "day", 5_000_000)
    budget(store, "agent", "bob", "usd", "day", 1, zone="Asia/Kolkata")
    many(store)
    task = one(store)
    store.complete(*task, usage=Usage(0, 0, 5_000_000))
    held = store.limits.hold(["work"], "ann")
    assert held is not None and held.why == "budget of the day spent: 5.00 of 5.00 USD"
    assert held.until_ms is not None and held.until_ms % DAY_MS == 0
    clock.pass_ms(held.until_ms - clock.wall_ms - 1)
    assert won(store) == 0
    clock.pass_ms(1)
    late = one(store, "bob")
    store.complete(*late, usage=Usage(0, 0, 1))
    held = store.limits.hold(["work"], "bob")
    assert held is not None and held.until_ms is not None
    assert held.until_ms % DAY_MS == DAY_MS - 19_800_000, "midnight in India is 18:30 in UTC"
    clock.set_wall_by(-DAY_MS)
    assert won(store, "bob") == 0, "a clock that was set back gives nothing back"


def test_attempts_are_counted_as_they_start_also_those_of_retries(store: Store, clock: SetClock) -> None:
    budget(store, "agent", "ann", "attempts", "day", 3)
    many(store, 1)
    for _ in range(3):
        store.fail(*one(store), Failure("throttled", "429"))
        clock.pass_ms(600_000)
    assert won(store) == 0 and won(store, "bob") == 1


def test_a_task_that_spent_its_own_budget_is_a_dead_letter_also_when_it_is_requeued(
    store: Store, clock: SetClock
) -> None:
    budget(store, "task", "", "tokens", "task", 100)
    retry = RetryPolicy(base_ms=0, cap_ms=0, max_attempts=100)
    task, other = add(store, retry=retry), add(store, "other")
    for _ in range(2):
        assert one(store)[0] == task
        assert store.heartbeat(task, store.task(task).attempts, usage=Usage(50, 0)).stop in (
            None, "budget of the task spent: 100 of 100 tokens",
        )  # fmt: skip
        store.fail(task, store.task(task).attempts, Failure("transient", "x"))
    for _ in range(2):
        assert won(store) == 0
        dead = store.task(task)
        assert (dead.state, dead.reason, dead.error) == (
            "dead",
            "policy",
            "budget of the task spent: 100 of 100 tokens",
        )
        store.requeue(task, actor="t")
    assert one(store, queue="other")[0] == other


def test_a_budget_of_starts_per_task_ends_its_retries(store: Store) -> None:
    budget(store, "task", "", "attempts", "task", 2)
    task = add(store, retry=RetryPolicy(base_ms=0, cap_ms=0, max_attempts=100))
    for _ in range(2):
        assert store.heartbeat(*one(store)).stop is None
        store.fail(task, store.task(task).attempts, Failure("transient", "x"))
    assert won(store) == 0 and store.task(task).reason == "policy"


def test_raising_a_budget_lets_work_go_on_and_what_was_spent_stays(store: Store) -> None:
    budget(store, "fleet", "", "tokens", "total", 10)
    many(store)
    store.complete(*one(store), usage=Usage(10, 0))
    assert won(store) == 0
    budget(store, "fleet", "", "tokens", "total", 11)
    store.complete(*one(store), usage=Usage(1, 0))
    assert won(store) == 0
    assert store.limits.remove_budget("fleet", "", "tokens", "total", actor="t") is True
    assert won(store) == 3


# --- from a configuration ---------------------------------------------------------------------------------------------
def test_a_configuration_replaces_what_it_set_and_leaves_what_a_person_set(store: Store) -> None:
    from_file = {"origin": "config"}
    store.limits.configure(
        [Bound("queue", "work", concurrency=1, **from_file), Bound("agent", "ann", concurrency=1, **from_file)],  # type: ignore[arg-type]
        [("ann", "acme")], [Budget("fleet", "", "usd", "day", 1, "config")], [], actor="t",
    )  # fmt: skip
    bound(store, "queue", "work", concurrency=3)
    store.limits.configure([Bound("queue", "work", concurrency=1, **from_file)], [], [], [], actor="t")  # type: ignore[arg-type]
    many(store)
    assert won(store) == 3
    kinds = [event.kind for event in store.events(limit=1_000) if event.kind.split(".")[0] in ("limit", "budget")]
    assert kinds.count("limit.removed") == 1 and kinds.count("budget.removed") == 1
    before = store.changed()
    store.limits.configure([Bound("queue", "work", concurrency=1, **from_file)], [], [], [], actor="t")  # type: ignore[arg-type]
    assert store.changed() == before, "the same once more changes nothing"


def test_what_an_attempt_said_it_used_is_not_taken_back(store: Store) -> None:
    budget(store, "fleet", "", "tokens", "total", 100)
    many(store)
    held = one(store)
    store.heartbeat(*held, usage=Usage(50, 30))
    store.heartbeat(*held, usage=Usage(1, 35))
    store.complete(*held, usage=Usage(cost_microusd=5))
    assert store.attempts(held[0])[0].usage == Usage(50, 35, 5)
    held = one(store)
    assert store.heartbeat(*held, usage=Usage(15)).stop is not None
    assert store.release(*held, usage=Usage(20)).state == "ready"
    assert store.attempts(held[0])[0].usage == Usage(20) and won(store) == 0


@pytest.mark.parametrize("usage", [Usage(-1), Usage(0, 10**12 + 1), Usage(0, 0, 1 << 64)])
def test_what_nobody_can_have_used_is_refused(store: Store, usage: Usage) -> None:
    budget(store, "fleet", "", "tokens", "total", 100)
    many(store)
    held = one(store)
    for verb in (store.heartbeat, store.complete, store.release, store.cancelled):
        with pytest.raises(BadInput):
            verb(*held, usage=usage)
    assert store.task(held[0]).state == "active"


def test_what_is_reported_beyond_all_measure_spends_a_budget_and_breaks_nothing(store: Store) -> None:
    budget(store, "fleet", "", "tokens", "total", 10**12)
    many(store, 3)
    for number in range(2):
        task, n = one(store)
        assert (store.heartbeat(task, n, usage=Usage(10**12 - 1, number, 10**12)).stop is None) == (number == 0)
        store.complete(task, n, usage=Usage(10**12 - 1, number * 10**12, 10**12))
    assert won(store) == 0


def test_a_key_twice_in_one_call_takes_up_one_place(store: Store) -> None:
    bound(store, "queue", "work", max_depth=1)
    first, again = store.add([TaskRequest("work", key="k"), TaskRequest("work", key="k")])
    assert (first.id, first.created, again.created) == (again.id, True, False)
    with pytest.raises(QueueFull):
        store.add([TaskRequest("work")])


def test_one_claim_buries_no_more_spent_tasks_than_a_second_has_room_for(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "BURIED_AT_ONCE", 3)
    budget(store, "task", "", "attempts", "task", 0)
    many(store, 5)
    assert won(store) == 0
    with open_reader(store.directory) as reader:
        assert [(row.ready, row.dead) for row in reader.queues()] == [(2, 3)]
        assert won(store) == 0
        assert [(row.ready, row.dead) for row in reader.queues()] == [(0, 5)]


@pytest.mark.parametrize("scope", ["fleet", "task"])
def test_wall_time_is_no_time_that_the_machine_slept_or_its_clock_was_set_by(
    store: Store, clock: SetClock, scope: str
) -> None:
    budget(store, scope, "", "wall_time", "task" if scope == "task" else "total", 60_000)
    many(store)
    held = one(store)
    clock.pass_ms(10_000)
    assert store.heartbeat(*held).stop is None
    clock.sleep_ms(8 * 3_600_000)
    assert store.heartbeat(*held).stop is None
    clock.set_wall_by(3_600_000)
    assert store.heartbeat(*held).stop is None
    clock.pass_ms(20_000)
    store.fail(*held, Failure("transient", "no"))
    with open_reader(store.directory) as reader:
        assert [row.spent for row in reader.budgets(clock.wall_ms)] == [0 if scope == "task" else 30_000]
    clock.pass_ms(1_000)
    (again,) = [one for one in store.claim(["work"], agent="ann", limit=10) if one.task.id == held[0]]
    clock.sleep_ms(600_000)
    store.heartbeat(again.task.id, again.n)
    clock.pass_ms(29_999)
    assert (store.heartbeat(again.task.id, again.n).stop is None) == (scope == "task")
    clock.pass_ms(1)
    assert store.heartbeat(again.task.id, again.n).stop is not None


def test_what_is_told_of_usage_after_the_end_counts_once(store: Store) -> None:
    budget(store, "fleet", "", "tokens", "total", 100)
    many(store)
    for verb in (store.complete, store.release):
        held = one(store)
        verb(*held)
        for used in (30, 50, 50, 10):
            verb(*held, usage=Usage(used))
        assert store.attempts(held[0])[0].usage == Usage(50)
    assert won(store) == 0
