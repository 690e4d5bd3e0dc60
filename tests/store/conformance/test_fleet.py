"""What every driver promises of agents, instances, sessions and the history."""

from __future__ import annotations

import pytest
from store.conformance.test_tasks import claim  # noqa: TID251
from store.store_kit import SetClock, add  # noqa: TID251

from agentctl_store.domain.agent import AgentSpec, Instance, SessionEnd
from agentctl_store.domain.event import KINDS
from agentctl_store.domain.retry import Failure
from agentctl_store.errors import BadInput, NotFound
from agentctl_store.record import replace
from agentctl_store.store import Store

SPECS = [AgentSpec("ann", "task", ("review",), 2), AgentSpec("bob", "worker", ("write", "review"), 1)]


def kinds(store: Store) -> list[str]:
    return [event.kind for event in store.events(limit=1_000) if event.kind != "store.named"]


def test_declared_agents_are_these_and_others_stay_as_identities(store: Store) -> None:
    store.declare_agents(SPECS, actor="supervisor")
    store.declare_agents(SPECS, actor="supervisor")
    assert kinds(store) == ["agent.declared"] * 2
    store.declare_agents(SPECS[:1], actor="supervisor")
    assert [(one.name, one.declared, one.queues) for one in store.agents()] == [
        ("ann", True, ("review",)),
        ("bob", False, ("write", "review")),
    ]


def test_what_a_person_wants_of_an_agent_is_kept(store: Store) -> None:
    store.declare_agents(SPECS, actor="supervisor")
    assert store.set_desired("ann", "paused", actor="t").desired == "paused"
    assert store.set_desired("ann", "running", actor="t").reset_seq == 1
    assert store.restart_agent("ann", actor="t").restart_seq == 1
    assert store.scale_agent("ann", 5, actor="t").scale == 5
    assert store.scale_agent("ann", None, actor="t").scale is None
    for act in (store.set_desired, store.scale_agent):
        with pytest.raises(NotFound):
            act("nobody", "paused" if act == store.set_desired else 1, actor="t")  # type: ignore[operator]
    with pytest.raises(NotFound):
        store.restart_agent("nobody", actor="t")


def test_an_agents_own_retries_hold_unless_the_task_has_its_own(store: Store) -> None:
    policy = '{"base_ms":1,"factor":1.0,"cap_ms":1,"max_attempts":1}'
    store.declare_agents([AgentSpec("ann", "task", ("work",), 1, policy)], actor="supervisor")
    task = add(store)
    assert store.fail(*claim(store), Failure("transient", "x")).state == "dead"
    assert store.task(task).reason == "max_attempts"


def test_an_instance_is_written_whole_and_a_change_of_health_is_history(store: Store, clock: SetClock) -> None:
    store.declare_agents(SPECS, actor="supervisor")
    idle = Instance("ann", 1, "idle", "healthy", "", memo="{}")
    store.save_instances([idle])
    since = clock.wall_ms
    clock.pass_ms(500)
    store.save_instances([replace(idle, memo='{"a":1}', restarts=3)])
    assert store.instances() == [replace(idle, memo='{"a":1}', restarts=3, since_ms=since)]
    store.save_instances([replace(idle, health="degraded", reason="slow")])
    assert store.instances()[0].since_ms == clock.wall_ms
    assert kinds(store).count("instance.changed") == 2
    store.drop_instances([("ann", 1), ("ann", 1)])
    assert store.instances() == [] and kinds(store).count("instance.removed") == 1


def test_a_claim_opens_a_session_in_the_same_breath_and_only_if_it_won(store: Store) -> None:
    assert store.claim(["work"], agent="ann", slot=1, open_session="n0") == []
    assert store.open_sessions() == []
    task = add(store)
    (won,) = store.claim(["work"], agent="ann", slot=1, open_session="n1")
    (session,) = store.open_sessions()
    assert (session.id, session.task, session.attempt, session.nonce) == (won.session, task, 1, "n1")
    assert store.held_tasks(session.id) == [(task, 1)]
    store.session_started(session.id, pid=7)
    store.session_started(session.id, pid=8)
    assert store.session(session.id).pid == 7
    store.complete(task, 1, end_session=SessionEnd(session.id, "exited", 0))
    store.end_session(SessionEnd(session.id, "lost"))
    assert store.session(session.id).outcome == "exited" and store.open_sessions() == []
    assert store.held_tasks(session.id) == []
    assert kinds(store).count("session.ended") == 1


def test_a_session_without_a_task_holds_what_it_claims(store: Store, clock: SetClock) -> None:
    session = store.open_session("bob", 1, "n")
    for _ in range(3):
        add(store)
        clock.pass_ms(1)
    won = store.claim(["work"], agent="bob", slot=1, session=session.id, limit=3)
    assert store.held_tasks(session.id) == [(one.task.id, 1) for one in won]
    store.complete(won[0].task.id, 1)
    assert len(store.held_tasks(session.id)) == 2
    with pytest.raises(NotFound):
        store.session(5)


def test_the_history_is_read_in_pages_by_task_and_by_kind(store: Store) -> None:
    tasks = [add(store) for _ in range(4)]
    store.note("supervisor.noted", actor="supervisor", data={"x": 1})
    whole = store.events(limit=1_000)
    assert [event.seq for event in whole] == list(range(1, len(whole) + 1))
    pages, after = [], 0
    while page := store.events(after=after, limit=2):
        pages += page
        after = page[-1].seq
    assert pages == whole
    assert store.events(newest_first=True, limit=1_000) == whole[::-1]
    assert [event.task for event in store.events(task=tasks[2])] == [tasks[2]]
    assert [event.data for event in store.events(kinds=["supervisor.noted"])] == ['{"x":1}']
    assert len(store.events(kinds=["task.added", "supervisor.noted"])) == 5
    with pytest.raises(BadInput):
        store.events(kinds=["task.exploded"])
    assert len(set(KINDS.values())) == len(KINDS)


def test_a_task_is_found_by_the_beginning_of_its_id(store: Store) -> None:
    from agentctl_store.ids import write_id

    task = add(store)
    assert store.find_task(write_id(task)) == store.find_task(write_id(task)[:8]) == task
    with pytest.raises(NotFound):
        store.find_task("7zzz")
    add(store)
    with pytest.raises(BadInput, match="could be"):
        store.find_task("0" if write_id(task)[0] == "0" else write_id(task)[0])
