"""What stands in for an agent that failed for good."""

from __future__ import annotations

import pytest
from store.store_kit import SetClock, add  # noqa: TID251

from agentctl_store.domain.agent import AgentSpec
from agentctl_store.domain.retry import Failure
from agentctl_store.errors import StaleAttempt
from agentctl_store.read import open_reader
from agentctl_store.read.models import Filter
from agentctl_store.replay import verify
from agentctl_store.store import Store
from agentctl_store.upkeep import prune

ONE_TRY = '{"base_ms":0,"factor":2.0,"cap_ms":0,"max_attempts":1}'


def declare(store: Store, fallback: str | None, *others: AgentSpec) -> None:
    ann = AgentSpec("ann", "task", ("work",), 1, ONE_TRY, can=("gpu",), fallback=fallback)
    store.declare_agents([ann, *others], actor="t")


def eve(fallback: str | None = None, can: tuple[str, ...] = ("gpu",)) -> AgentSpec:
    return AgentSpec("eve", "task", ("eve", "more"), 1, '{"max_attempts":2}', can=can, fallback=fallback)


def fail(store: Store, agent: str, queue: str, kind: str = "transient") -> int:
    (claim,) = store.claim([queue], agent=agent)
    store.fail(claim.task.id, claim.n, Failure(kind, f"{agent} failed"))  # type: ignore[arg-type]
    return claim.task.id


def degraded(store: Store) -> list[bool]:
    with open_reader(store.directory) as reader:
        return [row.degraded for row in reader.tasks(0, 9, "id", Filter())]


@pytest.mark.parametrize("needs", [(), ("gpu",)])
def test_after_the_last_try_the_fallback_agent_takes_over_with_fresh_tries(
    store: Store, clock: SetClock, needs: tuple[str, ...]
) -> None:
    declare(store, '{"agent":"eve"}', eve())
    task = add(store, needs=needs)
    assert fail(store, "ann", "work") == task
    found = store.task(task)
    assert (found.state, found.queue, found.burnt, found.attempts, found.degraded) == ("ready", "eve", 0, 1, True)
    assert (found.reason, found.error) == ("fallback", "ann failed") and degraded(store) == [True]
    assert store.claim(["work"], agent="ann") == [] and found.needs == needs
    fail(store, "eve", "eve")
    clock.pass_ms(5_000)
    (claim,) = store.claim(["eve"], agent="eve")
    store.complete(task, claim.n, result='"good enough"')
    done = store.task(task)
    assert (done.state, done.result, done.degraded, done.reason) == ("done", '"good enough"', True, None)
    assert [one.agent for one in store.attempts(task)] == ["ann", "eve", "eve"]
    assert verify(store.directory).faults == ()


def test_what_an_attempt_had_got_to_stays_with_it_when_its_fallback_takes_over(store: Store, clock: SetClock) -> None:
    declare(store, '{"agent":"eve"}', eve())
    task = add(store)
    store.claim(["work"], agent="ann")
    ended = store.fail(task, 1, Failure("permanent", "ann cannot", partial='{"pages":3}'))
    assert (ended.state, ended.reason) == ("ready", "fallback")
    assert verify(store.directory).faults == ()
    clock.pass_ms(100_000)
    prune(store.directory, 50_000, clock, "t")
    store.claim(["eve"], agent="eve")
    store.complete(task, 2, result="1")
    assert [one.partial for one in store.attempts(task)] == ['{"pages":3}', None]
    assert verify(store.directory).faults == ()


def test_a_fallback_that_fails_too_is_a_dead_letter_which_goes_back_to_where_it_was_meant_for(
    store: Store, clock: SetClock
) -> None:
    declare(store, '{"agent":"eve"}', AgentSpec("eve", "task", ("eve",), 1, ONE_TRY, fallback='{"agent":"ann"}'))
    task = add(store)
    fail(store, "ann", "work")
    fail(store, "eve", "eve")
    dead = store.task(task)
    assert (dead.state, dead.reason, dead.queue, dead.degraded) == ("dead", "max_attempts", "eve", True)
    with open_reader(store.directory) as reader:
        assert [row.dead for row in reader.queues() if row.queue == "eve"] == [1]
        store.requeue(task, actor="t")
        found = {row.queue: (row.ready, row.dead) for row in reader.queues()}
        assert (found["work"], found["eve"]) == ((1, 0), (0, 0))
    back = store.task(task)
    assert (back.state, back.queue, back.degraded) == ("ready", "work", False)
    fail(store, "ann", "work")
    assert store.task(task).queue == "eve", "a person began it anew, and so may its fallback"
    assert verify(store.directory).faults == ()


@pytest.mark.parametrize("needs", [(), ("gpu",)])
def test_what_fell_back_within_a_queue_is_not_given_to_whom_it_fell_from(store: Store, needs: tuple[str, ...]) -> None:
    shares = AgentSpec("eve", "task", ("work",), 1, ONE_TRY, ("gpu",))
    declare(store, '{"agent":"eve"}', shares)
    task = add(store, needs=needs)
    fail(store, "ann", "work")
    assert store.claim(["work"], agent="ann") == [] and store.task(task).unroutable == ""
    fail(store, "eve", "work")
    store.requeue(task, actor="t")
    assert store.task(task).needs == needs
    fail(store, "ann", "work")
    assert [one.agent for one in store.attempts(task)] == ["ann", "eve", "ann"]
    assert verify(store.directory).faults == ()


def test_a_result_stands_in_and_the_children_see_that_it_is_degraded(store: Store) -> None:
    declare(store, '{"result":{"summary":null}}')
    task, other = add(store), add(store, "plain")
    child = add(store, "sum", after=(task, other))
    fail(store, "ann", "work", "permanent")
    (claim,) = store.claim(["plain"], agent="bob")
    store.complete(other, claim.n, result="1")
    done = store.task(task)
    assert (done.state, done.result, done.degraded) == ("done", '{"summary":null}', True)
    assert (done.reason, done.error_class, done.error) == ("fallback", "permanent", "ann failed")
    assert store.task(child).state == "ready"
    assert [(one.result, one.degraded) for one in store.parents(child)] == [('{"summary":null}', True), ("1", False)]
    with pytest.raises(StaleAttempt):
        store.complete(task, 1, result="2")
    assert verify(store.directory).faults == ()


def test_a_fallback_agent_may_have_a_result_that_stands_in_for_it(store: Store) -> None:
    declare(store, '{"agent":"eve"}', AgentSpec("eve", "task", ("eve",), 1, ONE_TRY, fallback='{"result":0}'))
    task = add(store)
    fail(store, "ann", "work")
    fail(store, "eve", "eve")
    assert (store.task(task).state, store.task(task).result) == ("done", "0")
    assert verify(store.directory).faults == ()


@pytest.mark.parametrize(
    ("others", "why"),
    [((), "no agent eve is declared"), ((eve(can=()),), "eve cannot do what it needs")],
)
def test_a_fallback_that_cannot_take_it_is_none_and_the_history_says_why(
    store: Store, others: tuple[AgentSpec, ...], why: str
) -> None:
    declare(store, '{"agent":"eve"}', *others)
    task = add(store, needs=("gpu",))
    fail(store, "ann", "work")
    assert store.task(task).state == "dead" and not store.task(task).degraded
    assert why in (store.events(kinds=["task.buried"])[0].data or "")
    assert verify(store.directory).faults == ()


def test_a_fallback_never_closes_a_circle_of_delegations(store: Store) -> None:
    declare(store, '{"agent":"eve"}', eve(), AgentSpec("bob", "task", ("bob",), 1))
    add(store, "eve")
    (first,) = store.claim(["eve"], agent="eve")
    second = add(store, "bob", creator=first.task.id)
    store.claim(["bob"], agent="bob")
    task = add(store, creator=second)
    fail(store, "ann", "work")
    assert store.task(task).state == "dead"
    assert "eve delegated it" in (store.events(kinds=["task.buried"])[0].data or "")


@pytest.mark.parametrize("kind", ["policy", "throttled"])
def test_a_hard_stop_and_a_wait_are_no_reason_for_a_fallback(store: Store, kind: str) -> None:
    declare(store, '{"agent":"eve"}', eve())
    task = add(store)
    fail(store, "ann", "work", kind)
    assert store.task(task).state == ("dead" if kind == "policy" else "scheduled")


def test_a_lost_attempt_falls_back_too(store: Store, clock: SetClock) -> None:
    declare(store, '{"agent":"eve"}', eve())
    task = add(store)
    store.claim(["work"], agent="ann", lease_ms=1_000)
    clock.pass_ms(1_001)
    store.sweep()
    assert (store.task(task).state, store.task(task).queue) == ("ready", "eve")


def test_what_fell_back_outlives_a_cut_of_the_history(store: Store, clock: SetClock) -> None:
    declare(store, '{"agent":"eve"}', AgentSpec("eve", "task", ("eve",), 1, ONE_TRY, fallback='{"result":0}'))
    first, second = add(store, needs=("gpu",)), add(store)
    assert fail(store, "ann", "work") == first
    fail(store, "ann", "work")
    fail(store, "eve", "eve")
    clock.pass_ms(100_000)
    add(store, "late")
    prune(store.directory, 50_000, clock, "t")
    assert verify(store.directory).faults == ()
    assert (store.task(first).queue, store.task(first).degraded) == ("work", False) or store.task(first).state == "dead"
    assert not store.driver.find_tasks(second, second, 1), "it is done, and was forgotten"
