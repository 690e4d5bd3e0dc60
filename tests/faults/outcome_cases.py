"""A call of each verb of messages, questions, schedules and limits that would do it twice (test_unknown_outcomes)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from agentctl_store.domain.agent import AgentSpec
from agentctl_store.domain.breaker import Breaker
from agentctl_store.domain.budget import Budget
from agentctl_store.domain.limits import Bound
from agentctl_store.domain.question import NewQuestion
from agentctl_store.domain.schedule import ScheduleSpec
from agentctl_store.messageverbs import MessageRequest
from agentctl_store.store import Store, TaskRequest

Case = tuple[Callable[[Store], Any], Callable[[Store, Any], Any], Callable[[Store, Any, Any], None]]


def case(kind: str, prepare: Callable[[Store], Any], call: Callable[[Store, Any], Any]) -> Case:
    """One that writes one event of `kind`, and no second one."""

    def count(store: Store) -> int:
        return len(store.events(kinds=[kind], limit=10_000))

    def prepared(store: Store) -> Any:
        given = prepare(store)
        return given, count(store)

    def check(store: Store, before: tuple[Any, int], answer: Any) -> None:
        assert answer is not False, "it is told that nothing was to be done"
        assert count(store) == before[1] + 1

    return prepared, lambda store, before: call(store, before[0]), check


def name() -> str:
    return f"n{os.urandom(4).hex()}"


def inbox(store: Store) -> str:
    """An agent with one message in its inbox."""
    agent = name()
    store.declare_agents([AgentSpec(agent, "service", (), 1)], actor="test")
    store.messages.send(MessageRequest("operator", agent))
    return agent


def refused(store: Store) -> int:
    """A message that is a dead letter."""
    (taken,) = store.messages.read(inbox(store))
    store.messages.refuse(taken.message.id, taken.n)
    return taken.message.id


def asked(store: Store) -> int:
    task = store.add([TaskRequest(name())])[0].id
    (claim,) = store.claim([store.task(task).queue], agent="a", lease_ms=600_000)
    store.questions.ask(task, claim.n, NewQuestion("Go on?"))
    return task


def spec(called: str) -> ScheduleSpec:
    return ScheduleSpec(called, "scheduled", every_ms=3_600_000)


def scheduled(store: Store) -> str:
    called = name()
    store.schedules.add(spec(called), actor="test")
    return called


def paused(store: Store) -> str:
    called = scheduled(store)
    store.schedules.pause(called, actor="test")
    return called


def opened(store: Store) -> str:
    """A provider whose breaker a throttled attempt has opened."""
    from agentctl_store.domain.retry import Failure

    provider, agent = name(), name()
    store.limits.assign(agent, provider, actor="test")
    task = store.add([TaskRequest(name())])[0].id
    (claim,) = store.claim([store.task(task).queue], agent=agent)
    store.fail(task, claim.n, Failure("throttled", "429", None, 60_000))
    return provider


def bounded(store: Store) -> str:
    queue = name()
    store.limits.set_bound(Bound("queue", queue, concurrency=3), actor="test")
    return queue


def budgeted(store: Store) -> str:
    agent = name()
    store.limits.set_budget(Budget("agent", agent, "attempts", "day", 9), actor="test")
    return agent


def broken(store: Store) -> str:
    agent = name()
    store.limits.set_breaker(Breaker("agent", agent), actor="test")
    return agent


NOUNS: dict[str, Case] = {
    "messages.send": case("message.sent", inbox, lambda s, agent: s.messages.send(MessageRequest("operator", agent))),
    "messages.read": case("message.delivered", inbox, lambda s, agent: s.messages.read(agent)[0]),
    "messages.requeue": case("message.requeued", refused, lambda s, one: s.messages.requeue(one, actor="me")),
    "messages.discard": case("message.discarded", refused, lambda s, one: s.messages.discard(one, actor="me")),
    "questions.answer": case("task.answered", asked, lambda s, task: s.questions.answer(task, "yes", actor="me")),
    "questions.reject": case("task.buried", asked, lambda s, task: s.questions.reject(task, actor="me")),
    "schedules.add": case("schedule.added", lambda s: name(), lambda s, one: s.schedules.add(spec(one), actor="me")),
    "schedules.pause": case("schedule.paused", scheduled, lambda s, one: s.schedules.pause(one, actor="me")),
    "schedules.resume": case("schedule.resumed", paused, lambda s, one: s.schedules.resume(one, actor="me")),
    "schedules.run": case("schedule.fired", scheduled, lambda s, one: s.schedules.run(one, actor="me")),
    "schedules.remove": case("schedule.removed", scheduled, lambda s, one: s.schedules.remove(one, actor="me")),
    "limits.set_bound": case(
        "limit.set", lambda s: name(), lambda s, one: s.limits.set_bound(Bound("queue", one, concurrency=2), actor="me")
    ),
    "limits.remove_bound": case(
        "limit.removed", bounded, lambda s, one: s.limits.remove_bound("queue", one, actor="me")
    ),
    "limits.assign": case("limit.assigned", lambda s: name(), lambda s, one: s.limits.assign(one, "p", actor="me")),
    "limits.set_budget": case(
        "budget.set",
        lambda s: name(),
        lambda s, one: s.limits.set_budget(Budget("agent", one, "usd", "day", 1), actor="me"),
    ),
    "limits.remove_budget": case(
        "budget.removed", budgeted, lambda s, one: s.limits.remove_budget("agent", one, "attempts", "day", actor="me")
    ),
    "limits.set_breaker": case(
        "breaker.set", lambda s: name(), lambda s, one: s.limits.set_breaker(Breaker("agent", one), actor="me")
    ),
    "limits.remove_breaker": case(
        "breaker.removed", broken, lambda s, one: s.limits.remove_breaker("agent", one, actor="me")
    ),
    "limits.reset_breaker": case(
        "breaker.reset", opened, lambda s, one: s.limits.reset_breaker("provider", one, actor="me")
    ),
}
