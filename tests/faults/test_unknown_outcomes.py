"""P1, P5: whatever a client asked of a broker that died over it is done exactly once, and it is told what became of it.

The broker is killed before its commit, or after the commit and before the answer; the call is brought to its end by the
next broker, or on the file. No idempotency key is involved.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faults.broker_kit import Owner, through
from faults.outcome_cases import NOUNS
from faults.store_kit import assert_whole, filled, finals, until
from faults.store_workers import Clients

from agentctl_store.broker.calls import ONCE
from agentctl_store.domain.agent import AgentSpec
from agentctl_store.domain.question import NewQuestion
from agentctl_store.domain.retry import Failure, RetryPolicy
from agentctl_store.domain.schedule import ScheduleSpec
from agentctl_store.domain.task import Claim
from agentctl_store.ids import new_id
from agentctl_store.store import Store, TaskRequest, open_store

ENDS = ("by the next broker", "on the file")
WHEN = ("before", "after")

Case = tuple[Callable[[Store], Any], Callable[[Store, Any], Any], Callable[[Store, Any, Any], None]]


def ready(store: Store, **more: Any) -> int:
    """A new task in a queue of its own."""
    return store.add([TaskRequest(f"q{os.urandom(4).hex()}", **more)])[0].id


def held(store: Store, **more: Any) -> Claim:
    task = ready(store, **more)
    return store.claim([store.task(task).queue], agent="a", lease_ms=600_000)[0]


def dead(store: Store) -> int:
    claim = held(store, retry=RetryPolicy(max_attempts=1))
    store.fail(claim.task.id, claim.n, Failure("permanent", "on purpose"))
    assert store.task(claim.task.id).state == "dead"
    return claim.task.id


def once(store: Store, kind: str, task: int | None) -> None:
    """It happened, and not twice."""
    found = [event for event in store.events(kinds=[kind], limit=1_000) if event.task == task]
    assert len(found) == 1, found


def added(store: Store, queue: str, answer: Any) -> None:
    assert answer[0].created
    assert [one for one in finals(Path(store.directory)) if store.task(one).queue == queue] == [answer[0].id]


def claimed(store: Store, task: int, answer: Any) -> None:
    assert [(one.task.id, one.n) for one in answer] == [(task, 1)]
    assert (store.task(task).state, store.task(task).attempts) == ("active", 1)
    assert answer[0].lease_until_ms == store.task(task).lease_until_ms
    once(store, "task.claimed", task)


def pair(store: Store) -> tuple[Claim, int]:
    first = held(store)
    return first, store.add([TaskRequest(first.task.queue)])[0].id


def turned(store: Store, given: tuple[Claim, int], answer: Any) -> None:
    first, second = given
    assert answer.ended.state == "done" and answer.claim.task.id == second and answer.claim.n == 1
    once(store, "task.completed", first.task.id)
    once(store, "task.claimed", second)


def ended(kind: str, state: str) -> Callable[[Store, Any, Any], None]:
    def check(store: Store, task: int, answer: Any) -> None:
        assert answer.state == state
        once(store, kind, task)

    return check


def declared(store: Store) -> Any:
    store.declare_agents([AgentSpec("a", "task", ("q",), 1)], actor="test")
    return store.agents()[0]


def restarted(store: Store, before: Any, answer: Any) -> None:
    assert answer.restart_seq == before.restart_seq + 1 == store.agents()[0].restart_seq


def counted(store: Store) -> int:
    return len(store.events(limit=10_000, kinds=["supervisor.noted"]))


def session_of(store: Store) -> Any:
    return declared(store).name, new_id(store.clock, store.clock.now().wall_ms)


def opened(store: Store, given: Any, answer: Any) -> None:
    assert [one for one in store.open_sessions() if one.nonce == str(given[1])] == [answer]


def asking(store: Store) -> int:
    claim = held(store)
    store.questions.ask(claim.task.id, claim.n, NewQuestion("Well?"))
    return claim.task.id


def scheduled(store: Store) -> str:
    name = f"s{os.urandom(4).hex()}"
    store.schedules.add(ScheduleSpec(name, "q", every_ms=3_600_000), actor="me")
    return name


def paused(store: Store) -> str:
    name = scheduled(store)
    store.schedules.pause(name, actor="me")
    return name


def told_once(kind: str) -> Callable[[Store, Any, Any], None]:
    def check(store: Store, name: str, answer: Any) -> None:
        assert answer is True
        found = [event for event in store.events(kinds=[kind], limit=1_000) if f'"{name}"' in (event.data or "")]
        assert len(found) == 1, found

    return check


CASES: dict[str, Case] = {
    "add": (lambda s: f"q{os.urandom(4).hex()}", lambda s, queue: s.add([TaskRequest(queue)]), added),
    "claim": (ready, lambda s, task: s.claim([s.task(task).queue], agent="a"), claimed),
    "complete_and_claim": (
        pair,
        lambda s, given: s.complete_and_claim(given[0].task.id, 1, [given[0].task.queue], agent="a"),
        turned,
    ),
    "cancel": (ready, lambda s, task: s.cancel(task, actor="me"), ended("task.cancelled", "cancelled")),
    "hasten": (
        lambda s: ready(s, delay_ms=3_600_000),
        lambda s, task: s.hasten(task, actor="me"),
        ended("task.hastened", "ready"),
    ),
    "requeue": (dead, lambda s, task: s.requeue(task, actor="me"), ended("task.requeued", "ready")),
    "discard": (dead, lambda s, task: s.discard(task, actor="me"), ended("task.discarded", "cancelled")),
    "questions.answer": (
        asking,
        lambda s, task: s.questions.answer(task, "yes", actor="me"),
        ended("task.answered", "ready"),
    ),
    "questions.reject": (asking, lambda s, task: s.questions.reject(task, actor="me"), ended("task.buried", "dead")),
    "schedules.add": (
        lambda s: f"s{os.urandom(4).hex()}",
        lambda s, name: s.schedules.add(ScheduleSpec(name, "q", every_ms=3_600_000), actor="me"),
        told_once("schedule.added"),
    ),
    "schedules.remove": (
        scheduled,
        lambda s, name: s.schedules.remove(name, actor="me") is None,
        told_once("schedule.removed"),
    ),
    "schedules.pause": (scheduled, lambda s, name: s.schedules.pause(name, actor="me"), told_once("schedule.paused")),
    "schedules.resume": (
        paused,
        lambda s, name: s.schedules.resume(name, actor="me"),
        told_once("schedule.resumed"),
    ),
    "schedules.run": (
        scheduled,
        lambda s, name: s.schedules.run(name, actor="me") > 0,
        told_once("schedule.fired"),
    ),
    "pause_queue": (
        lambda s: s.add([TaskRequest("p")]),
        lambda s, _: s.pause_queue("p", actor="me"),
        lambda s, _, changed: _is(changed, True),
    ),
    "resume_queue": (
        lambda s: s.add([TaskRequest("p")]) and s.pause_queue("p", actor="me"),
        lambda s, _: s.resume_queue("p", actor="me"),
        lambda s, _, changed: _is(changed, True),
    ),
    "set_desired": (
        declared,
        lambda s, _: s.set_desired("a", "paused", actor="me"),
        lambda s, _, agent: _is(agent, s.agents()[0]),
    ),
    "restart_agent": (declared, lambda s, _: s.restart_agent("a", actor="me"), restarted),
    "scale_agent": (
        declared,
        lambda s, _: s.scale_agent("a", 3, actor="me"),
        lambda s, _, agent: _is(agent, s.agents()[0]),
    ),
    "open_session": (session_of, lambda s, given: s.open_session(given[0], 1, str(given[1])), opened),
    "note": (
        counted,
        lambda s, _: s.note("supervisor.noted", actor="me"),
        lambda s, before, _: _is(counted(s), before + 1),
    ),
    **NOUNS,
}


def _is(found: Any, expected: Any) -> None:
    assert found == expected


def test_every_verb_that_would_be_done_twice_is_here() -> None:
    assert set(CASES) == ONCE


@contextmanager
def about_to_die(store: Path, clients: Clients, when: str, end: str) -> Iterator[Store]:
    """A client of a broker that dies over the next write, with another one behind it or none."""
    owner = Owner(clients)
    owner.up(die=when)
    with through(store) as client:
        client.version()  # connected
        if end == ENDS[0]:
            behind = Owner(clients)
            behind.up()
        yield client
        assert until(lambda: clients.ended(owner.pid), "the broker dies over this", 3) == -9
        if end == ENDS[0]:
            behind.kill()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("when", WHEN)
def test_it_is_done_once_and_its_answer_is_the_first_one(tmp_path: Path, when: str, end: str) -> None:
    directory = filled(tmp_path, 0)
    with Clients(directory, tmp_path / "logs") as clients, open_store(str(directory), own=True) as store:
        for verb, (prepare, call, check) in CASES.items():
            given = prepare(store)
            try:
                with about_to_die(directory, clients, when, end) as client:
                    answer = call(client, given)
                check(store, given, answer)
            except AssertionError as wrong:
                raise AssertionError(f"{verb}, killed {when} the commit, ended {end}: {wrong}") from None
    assert_whole(directory)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("verb", ["complete", "fail", "release", "heartbeat", "cancelled", "ask"])
def test_what_names_its_attempt_is_said_again_and_answered_well(tmp_path: Path, verb: str, when: str, end: str) -> None:
    directory = filled(tmp_path, 0)
    says: dict[str, Callable[[Store, int], Any]] = {
        "complete": lambda s, task: s.complete(task, 1, result="1"),
        "fail": lambda s, task: s.fail(task, 1, Failure("transient", "on purpose")),
        "release": lambda s, task: s.release(task, 1),
        "heartbeat": lambda s, task: s.heartbeat(task, 1, lease_ms=500_000),
        "cancelled": lambda s, task: s.cancelled(task, 1),
        "ask": lambda s, task: s.questions.ask(task, 1, NewQuestion("Well?")),
    }
    with Clients(directory, tmp_path / "logs") as clients, open_store(str(directory), own=True) as store:
        task = held(store).task.id
        if verb == "cancelled":
            store.cancel(task, actor="me")
        owner = Owner(clients)
        owner.up(die=when) if verb != "heartbeat" else owner.up()
        with through(directory) as client:
            client.version()
            if end == ENDS[0]:
                Owner(clients).up()
            if verb == "heartbeat":  # it writes no event: nothing to die over
                owner.kill()
            says[verb](client, task)
        kinds = {"complete": "completed", "fail": "retried", "release": "released", "ask": "asked"}
        kinds["cancelled"] = "cancelled"
        if verb in kinds:
            once(store, f"task.{kinds[verb]}", task)
    assert_whole(directory)
