"""What every driver promises of agents, instances, sessions and the history."""

from __future__ import annotations

import pytest
from store.conformance.test_tasks import claim  # noqa: TID251
from store.store_kit import SetClock, add  # noqa: TID251

from agentctl_store.domain.agent import AgentSpec, Instance, Session, SessionEnd
from agentctl_store.domain.event import KINDS
from agentctl_store.domain.retry import Failure
from agentctl_store.errors import BadInput, BadName, NotFound
from agentctl_store.ids import session_nonce
from agentctl_store.record import replace
from agentctl_store.replay import verify
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


def test_no_agent_bears_the_name_under_which_people_write_and_read(store: Store) -> None:
    with pytest.raises(BadName, match="Rename it"):
        store.declare_agents([AgentSpec("operator", "task", ("review",), 1)], actor="supervisor")
    assert store.agents() == []


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


def test_a_slot_that_takes_tasks_and_gives_them_back_makes_no_history(store: Store, clock: SetClock) -> None:
    store.declare_agents(SPECS, actor="supervisor")
    idle = Instance("ann", 1, "idle", "healthy", "", since_ms=clock.wall_ms)
    store.save_instances([idle])
    for session in range(5, 9):
        clock.pass_ms(500)
        busy = replace(idle, phase="busy", session=session)
        store.save_instances([busy])
        assert store.instances() == [busy], "seen at once, and in this health since its beginning"
    store.save_instances([idle])
    assert store.instances() == [idle]
    assert kinds(store).count("instance.changed") == 1
    silent = replace(idle, phase="busy", session=9, health="degraded", reason="no output for 5 s")
    calm = replace(silent, health="healthy", reason="")
    for changed in (silent, calm, idle, replace(idle, phase="failed", latched=True)):
        store.save_instances([changed])
        assert store.instances() == [replace(changed, since_ms=store.instances()[0].since_ms)]
        assert verify(store.directory).faults == ()
    assert kinds(store).count("instance.changed") == 5, "what a person must know of is an event each time"


def test_a_claim_opens_a_session_in_the_same_breath_and_only_if_it_won(store: Store) -> None:
    assert store.claim(["work"], agent="ann", slot=1, open_session=True) == []
    assert store.open_sessions() == []
    task = add(store)
    (won,) = store.claim(["work"], agent="ann", slot=1, open_session=True)
    (session,) = store.open_sessions()
    assert (session.id, session.task, session.attempt) == (won.session, task, 1)
    assert session.nonce == session_nonce(session.id, won.task.correlation) and len(session.nonce) == 32
    assert store.held_tasks(session.id) == [(task, 1)]
    store.session_started(session.id, pid=7)
    store.session_started(session.id, pid=8)
    assert store.session(session.id).pid == 7
    store.complete(task, 1, end_session=SessionEnd(session.id, "exited", 0))
    store.end_session(SessionEnd(session.id, "lost"))
    assert store.session(session.id).outcome == "exited" and store.open_sessions() == []
    assert store.held_tasks(session.id) == []
    assert kinds(store) == ["task.added", "task.claimed", "task.completed"], "one event each: the session's is in it"
    assert [event.session for event in store.events(task=task)] == [None, session.id, session.id]


ENDS = [SessionEnd(0, "exited", 0), SessionEnd(0, "killed", None, 9), SessionEnd(0, "stopped", 3, None, "drain")]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.outcome)
@pytest.mark.parametrize("how", ["complete", "fail", "bury", "release", "cancel", "later"])
def test_a_session_ends_with_its_attempt_in_one_event_or_later_in_its_own(
    store: Store, clock: SetClock, how: str, end: SessionEnd
) -> None:
    task = add(store)
    (won,) = store.claim(["work"], agent="ann", slot=1, open_session=True)
    assert won.session is not None
    store.session_started(won.session, pid=7)
    started = clock.wall_ms
    clock.pass_ms(5)
    end = replace(end, id=won.session)
    if how == "cancel":
        store.cancel(task, reason="enough", actor="t")
    before = len(kinds(store))
    match how:
        case "complete":
            store.complete(task, 1, exit_code=end.exit_code, end_session=end)
        case "fail" | "bury":
            store.fail(task, 1, Failure("transient" if how == "fail" else "permanent", "x", 137), end_session=end)
        case "release":
            store.release(task, 1, reason="r", end_session=end)
        case "cancel":
            store.cancelled(task, 1, end_session=end)
        case "later":
            store.complete(task, 1)
            assert [one.id for one in store.open_sessions()] == [won.session]
            store.complete(task, 1, exit_code=end.exit_code, end_session=end)
    assert len(kinds(store)) == before + 1 + (how == "later")
    seen = store.session(won.session)
    plain = end.outcome == "exited"  # and 0: nobody will ask for its pid
    assert seen == Session(
        won.session, "ann", 1, seen.nonce, won.session >> 20, task, 1, None if plain else 7,
        None if plain else started, clock.wall_ms, end.outcome, end.exit_code, end.signal, end.detail,
    )  # fmt: skip
    assert verify(store.directory).faults == ()


def test_a_session_of_another_attempt_ends_in_an_event_of_its_own(store: Store) -> None:
    worker = store.open_session("bob", 1, "n")
    task = add(store)
    (won,) = store.claim(["work"], agent="bob", slot=1, session=worker.id)
    assert won.session == worker.id and len(store.open_sessions()) == 1, "in the millisecond of its birth, and not anew"
    store.session_started(worker.id, pid=7)
    store.complete(task, 1, exit_code=0, end_session=SessionEnd(worker.id, "exited", 0))
    assert kinds(store)[-2:] == ["session.ended", "task.completed"] and store.session(worker.id).pid == 7
    assert verify(store.directory).faults == ()


def test_a_new_task_says_its_queue_and_its_trace(store: Store) -> None:
    root = add(store)
    child = add(store, creator=root, priority=3)
    first, second = store.events(kinds=["task.added"])
    assert (first.data, first.attempt) == ('{"queue":1}', None)
    assert (second.data, second.attempt) == (f'{{"queue":1,"priority":3,"creator":{root}}}', None)
    assert first.correlation == second.correlation == store.task(child).correlation
    assert first.correlation is not None and int(first.correlation[:16], 16) == root


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
