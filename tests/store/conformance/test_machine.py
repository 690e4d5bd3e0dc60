"""Every cell of the machine table: a verb leads where MOVES says, or is refused and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from store.store_kit import SetClock, add  # noqa: TID251

from agentctl_store.domain.agent import AgentSpec
from agentctl_store.domain.machine import MOVES, STATES, VERBS
from agentctl_store.domain.question import NewQuestion
from agentctl_store.domain.retry import Failure
from agentctl_store.errors import Conflict, NotFound, StaleAttempt
from agentctl_store.ids import write_id
from agentctl_store.store import Store

if TYPE_CHECKING:
    from agentctl_store.domain.machine import State, Verb

HOUR = 3_600_000
WELL = NewQuestion("Well?")


def reach(store: Store, state: State) -> int:
    """Return a task in `state`, of queue `work`, with a deadline far off. Its parent, if any, is in queue `parents`."""
    far = store.clock.now().wall_ms + HOUR
    if state == "blocked":
        return add(store, after=(add(store, "parents"),), deadline_ms=far)
    if state == "scheduled":
        return add(store, delay_ms=60_000, deadline_ms=far)
    task = add(store, deadline_ms=far)
    if state == "cancelled":
        store.cancel(task, actor="t")
    elif state != "ready":
        store.claim(["work"], agent="ann")
        if state == "done":
            store.complete(task, 1)
        elif state == "waiting":
            store.questions.ask(task, 1, WELL)
        elif state == "dead":
            store.fail(task, 1, Failure("permanent", "no"))
    assert store.task(task).state == state
    return task


def fence(store: Store, task: int) -> int:
    return max(store.task(task).attempts, 1)


def end_parent(store: Store, _: int) -> None:
    for claim in store.claim(["parents"], agent="bob"):
        store.complete(claim.task.id, claim.n)


def later_parent(store: Store, task: int) -> None:
    """A blocked task whose time has not come when its parent ends."""
    if store.task(task).state != "blocked":
        return
    parent = add(store, "parents")
    waiting = add(store, after=(parent,), delay_ms=60_000)
    for claim in store.claim(["parents"], agent="bob", limit=5):
        if claim.task.id == parent:
            store.complete(parent, claim.n)
    assert store.task(waiting).state == "scheduled"
    raise Moved("scheduled")


class Moved(Exception):
    """The verb was tried on a task of its own, and led there."""


def due(store: Store, task: int) -> None:
    if store.task(task).state == "scheduled":
        store.clock.pass_ms(60_001)  # type: ignore[attr-defined]
    store.sweep()


def claimed(store: Store, task: int) -> None:
    if task not in [claim.task.id for claim in store.claim(["work"], agent="bob")]:
        raise StaleAttempt("not won")


def asked(store: Store, task: int) -> None:
    if store.task(task).state != "active":
        raise Conflict("only a running attempt is asked")
    assert store.cancel(task, actor="t").state == "active"
    assert store.heartbeat(task, 1).cancel_asked


def cancelled(store: Store, task: int) -> None:
    if store.cancel(task, actor="t").state == "active":
        store.cancelled(task, fence(store, task))


def overdue(store: Store, _: int) -> None:
    store.clock.pass_ms(HOUR + 1)  # type: ignore[attr-defined]
    store.sweep()


def falling(fallback: str) -> Callable[[Store, int], object]:
    """A failure for good, where the agent has a fallback."""

    def act(store: Store, task: int) -> object:
        specs = [AgentSpec("ann", "task", ("work",), 1, fallback=fallback), AgentSpec("eve", "task", ("eve",), 1)]
        store.declare_agents(specs, actor="t")
        return store.fail(task, fence(store, task), Failure("permanent", "no"))

    return act


VERB_BY: dict[str, Callable[[Store, int], object]] = {
    "unblock": end_parent,
    "defer": later_parent,
    "promote": due,
    "hasten": lambda store, task: store.hasten(task, actor="t"),
    "claim": claimed,
    "heartbeat": lambda store, task: store.heartbeat(task, fence(store, task)),
    "complete": lambda store, task: store.complete(task, fence(store, task)),
    "retry": lambda store, task: store.fail(task, fence(store, task), Failure("timeout", "slow", retry_after_ms=9)),
    "release": lambda store, task: store.release(task, fence(store, task)),
    "fall_back": falling('{"agent":"eve"}'),
    "stand_in": falling('{"result":null}'),
    "ask": lambda store, task: store.questions.ask(task, fence(store, task), WELL),
    "answer": lambda store, task: store.questions.answer(task, "yes", actor="t"),
    "ask_cancel": asked,
    "cancel": cancelled,
    "bury": overdue,
    "requeue": lambda store, task: store.requeue(task, actor="t"),
    "requeue_later": lambda store, task: store.requeue(
        task, actor="t", run_at_ms=store.clock.now().wall_ms + 5_000
    ),
    "discard": lambda store, task: store.discard(task, actor="t"),
}  # fmt: skip
#: verbs that time or a parent brings about: where they do not apply, nothing happens and nobody is refused
QUIET = {"unblock", "defer", "promote", "bury"}
#: saying again how an attempt ended is no conflict: (verb, state) answers with the state as it is
REPEATS = {("complete", "done"), ("retry", "dead"), ("fall_back", "dead"), ("stand_in", "dead"), ("ask", "waiting")}


def test_every_verb_is_tried() -> None:
    assert set(VERB_BY) == set(VERBS)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("verb", VERB_BY)
def test_a_verb_moves_as_the_table_says_or_is_refused(store: Store, verb: Verb, state: State) -> None:
    task = reach(store, state)
    if verb == "unblock" and state == "blocked":
        expected: State | None = "ready"
    else:
        expected = MOVES[state, verb]
    before, written = store.task(task), len(store.events(limit=1_000, task=task))
    act = VERB_BY[verb]
    if expected is not None:
        try:
            act(store, task)
        except Moved as moved:
            assert moved.args == (expected,)
            return
        assert store.task(task).state == expected
        return
    if verb in QUIET or (verb, state) in REPEATS:
        act(store, task)
    else:
        with pytest.raises((Conflict, StaleAttempt, NotFound)) as refused:
            act(store, task)
        assert refused.value.exit_code in (3, 4)
    after = store.task(task)
    if not (verb == "promote" and state == "scheduled"):
        assert after == before
        assert len(store.events(limit=1_000, task=task)) == written


@pytest.mark.parametrize("verb", ["heartbeat", "complete", "retry", "release", "ask"])
@pytest.mark.parametrize("n", [1, 3])
def test_only_the_newest_attempt_is_heard(store: Store, clock: SetClock, verb: Verb, n: int) -> None:
    task = add(store)
    store.claim(["work"], agent="ann", lease_ms=1_000)
    clock.pass_ms(1_001)
    store.sweep()
    assert store.claim(["work"], agent="bob")[0].n == 2
    before = store.task(task)
    late: dict[str, Callable[[], object]] = {
        "heartbeat": lambda: store.heartbeat(task, n),
        "complete": lambda: store.complete(task, n, result="1"),
        "retry": lambda: store.fail(task, n, Failure("timeout", "late")),
        "release": lambda: store.release(task, n),
        "ask": lambda: store.questions.ask(task, n, WELL),
    }
    if (verb, n) == ("retry", 1):
        with pytest.raises(StaleAttempt, match=f"{write_id(task)}.2"):
            late[verb]()
    else:
        with pytest.raises(StaleAttempt):
            late[verb]()
    with pytest.raises(StaleAttempt):
        store.cancelled(task, n)
    assert store.task(task) == before
    assert store.complete(task, 2).state == "done"


@pytest.mark.parametrize("verb", [verb for verb in VERB_BY if verb not in QUIET | {"claim", "ask_cancel"}])
def test_a_task_that_is_not_there_is_not_found(store: Store, verb: Verb) -> None:
    nowhere: dict[str, Callable[[], object]] = {
        "hasten": lambda: store.hasten(5, actor="t"),
        "heartbeat": lambda: store.heartbeat(5, 1),
        "complete": lambda: store.complete(5, 1),
        "retry": lambda: store.fail(5, 1, Failure("timeout", "x")),
        "fall_back": lambda: store.fail(5, 1, Failure("permanent", "x")),
        "stand_in": lambda: store.fail(5, 1, Failure("permanent", "x")),
        "release": lambda: store.release(5, 1),
        "cancel": lambda: store.cancel(5, actor="t"),
        "requeue": lambda: store.requeue(5, actor="t"),
        "requeue_later": lambda: store.requeue(5, actor="t", run_at_ms=store.clock.now().wall_ms + 1),
        "discard": lambda: store.discard(5, actor="t"),
        "ask": lambda: store.questions.ask(5, 1, WELL),
        "answer": lambda: store.questions.answer(5, "yes", actor="t"),
    }
    with pytest.raises(NotFound, match=write_id(5)):
        nowhere[verb]()
