"""What every driver promises of tasks: keys, parents, order, retries, deadlines, cancel, dead letters."""

from __future__ import annotations

import pytest
from store.store_kit import SetClock, add  # noqa: TID251

from agentctl_store.domain.retry import CLASSES, Failure, RetryPolicy
from agentctl_store.domain.task import AGEING_MS, Usage
from agentctl_store.errors import BadName, NotFound, StaleAttempt
from agentctl_store.store import Store, TaskRequest


def claim(store: Store, queue: str = "work", **more: object) -> tuple[int, int]:
    """Claim one task; return it and the attempt's number."""
    (won,) = store.claim([queue], agent="ann", **more)  # type: ignore[arg-type]
    return won.task.id, won.n


def finish(store: Store, queue: str = "work", **more: object) -> int:
    task, n = claim(store, queue)
    store.complete(task, n, **more)  # type: ignore[arg-type]
    return task


# --- keys -------------------------------------------------------------------------------------------------------------
def test_a_key_answers_its_first_task_and_then_its_result(store: Store) -> None:
    request = TaskRequest("work", '{"a":1}', key="k")
    (first,) = store.add([request])
    (again,) = store.add([TaskRequest("other", "2", key="k")])
    assert (first.created, again.created) == (True, False)
    assert (again.id, again.result, again.state) == (first.id, None, "ready")
    finish(store, result='{"b": 2}')
    (later,) = store.add([request])
    assert (later.id, later.state, later.result) == (first.id, "done", '{"b":2}')
    assert store.driver.task_by_key("k") == first.id and store.driver.task_by_key("x") is None
    assert len(store.events(task=first.id)) == 3


@pytest.mark.parametrize("text", ["a\udcffb", "a\x00b"])
def test_text_that_is_none_is_cleaned_and_a_key_of_it_refused(store: Store, text: str) -> None:
    """As it comes from a command line that is not UTF-8."""
    add(store)
    task, n = claim(store)
    store.heartbeat(task, n, progress=text)
    assert store.attempts(task)[0].progress in ("a?b", "ab")
    for refused in (TaskRequest("work", key=text), TaskRequest("work", after=(text,))):
        with pytest.raises(BadName, match="idempotency key"):
            store.add([refused])


def test_a_batch_is_added_whole_or_not_at_all(store: Store) -> None:
    with pytest.raises(NotFound, match="'nobody'"):
        store.add([TaskRequest("work", key="a"), TaskRequest("work", after=("nobody",))])
    assert store.driver.task_by_key("a") is None
    added = store.add([TaskRequest("work", key="a"), TaskRequest("work", key="a"), TaskRequest("work", after=("a",))])
    assert [one.created for one in added] == [True, False, True] and added[2].state == "blocked"


def test_the_payload_comes_back_as_it_was_given(store: Store) -> None:
    task = add(store, payload='{"b": [1, 2.5, "ü\\n"],\n "a": null}')
    assert store.claim(["work"], agent="ann")[0].task.payload == '{"b":[1,2.5,"ü\\n"],"a":null}'
    assert store.task(task).payload == '{"b":[1,2.5,"ü\\n"],"a":null}'


# --- parents ----------------------------------------------------------------------------------------------------------
def test_a_child_waits_for_all_its_parents_and_sees_their_results(store: Store) -> None:
    parents = [add(store, payload=f'"{name}"') for name in "abc"]
    child = add(store, "sum", after=tuple(parents))
    for left in (2, 1):
        finish(store, result=str(left))
        assert (store.task(child).state, store.task(child).open_parents) == ("blocked", left)
    assert store.claim(["sum"], agent="ann") == []
    finish(store, result="0")
    assert [one.result for one in store.parents(child)] == ["2", "1", "0"]
    assert finish(store, "sum") == child


@pytest.mark.parametrize(("how", "state"), [("fail", "dead"), ("cancel", "cancelled"), ("run", "ready")])
@pytest.mark.parametrize("early", [True, False])
def test_a_failed_parent_ends_or_frees_its_child(store: Store, how: str, state: str, early: bool) -> None:
    parent = add(store)
    child = add(store, "next", after=(parent,), on_parent_failure=how) if early else 0
    task, n = claim(store)
    ended = store.fail(task, n, Failure("permanent", "no"))
    if not early:
        child = add(store, "next", after=(parent,), on_parent_failure=how)
    elif state == "ready":
        assert ended.freed == (child,)
    found = store.task(child)
    assert found.state == state
    if state == "dead":
        assert found.reason == "parent_failed"


def test_failure_runs_down_a_chain_of_five_thousand_and_completion_up_it(store: Store) -> None:
    requests = [TaskRequest("chain", key="t0")]
    requests += [TaskRequest("chain", key=f"t{level}", after=(f"t{level - 1}",)) for level in range(1, 5_000)]
    chain = [one.id for one in store.add(requests)]
    task, n = claim(store, "chain")
    store.complete(task, n)
    task, n = claim(store, "chain")
    assert task == chain[1]
    store.fail(task, n, Failure("permanent", "no"))
    assert store.task(chain[-1]).reason == "parent_failed"
    assert store.task(chain[2500]).state == "dead"


def test_a_fan_of_many_parents_and_many_children(store: Store) -> None:
    parents = [one.id for one in store.add([TaskRequest("work") for _ in range(1_500)])]
    joined = add(store, "join", after=tuple(parents))
    fan = [one.id for one in store.add([TaskRequest("fan", after=(joined,)) for _ in range(1_500)])]
    while won := store.claim(["work"], agent="ann", limit=500):
        for one in won:
            store.complete(one.task.id, one.n)
    assert len(store.parents(joined)) == 1_500
    ended = store.complete(*claim(store, "join"))
    assert len(ended.freed) == 100 and store.task(fan[-1]).state == "ready"


def test_a_requeued_parent_counts_once(store: Store) -> None:
    first, second = add(store, "first"), add(store, "second")
    child = add(store, "child", after=(first, second), on_parent_failure="run")
    store.fail(*claim(store, "first"), Failure("permanent", "no"))
    assert store.task(child).open_parents == 1
    store.requeue(first, actor="t")
    store.complete(*claim(store, "first"))
    assert (store.task(child).state, store.task(child).open_parents) == ("blocked", 1)
    store.complete(*claim(store, "second"))
    assert store.task(child).state == "ready"


# --- order ------------------------------------------------------------------------------------------------------------
def test_priority_goes_first_and_age_makes_up_for_it(store: Store, clock: SetClock) -> None:
    low = add(store, priority=0)
    clock.pass_ms(2 * AGEING_MS - 1)
    high = add(store, priority=2)
    assert claim(store)[0] == high
    clock.pass_ms(2)
    add(store, priority=2)
    assert claim(store)[0] == low


def test_tasks_of_equal_rank_keep_their_order_over_queues(store: Store, clock: SetClock) -> None:
    first, second, third = (one.id for one in store.add([TaskRequest("a"), TaskRequest("b"), TaskRequest("a")]))
    won = store.claim(["b", "a"], agent="ann", limit=3)
    assert [one.task.id for one in won] == [first, second, third]


def test_what_is_added_one_after_the_other_in_one_millisecond_keeps_its_order(store: Store) -> None:
    """Their ids are drawn at random within it."""
    added = [add(store) for _ in range(30)]
    won = [store.claim(["work"], agent="ann")[0].task for _ in added]
    assert [one.id for one in won] == added == sorted(added)
    assert all(one.correlation[:16] == f"{one.id:016x}" for one in won), "a trace is found by its first task's id"


def test_a_paused_queue_gives_nothing_until_it_is_resumed(store: Store) -> None:
    add(store)
    assert store.pause_queue("work", reason="night", actor="t") is True
    assert store.pause_queue("work", actor="t") is False
    assert store.claim(["work"], agent="ann") == []
    assert store.resume_queue("work", actor="t") is True and store.resume_queue("work", actor="t") is False
    finish(store)
    with pytest.raises(NotFound):
        store.resume_queue("nowhere", actor="t")


# --- time -------------------------------------------------------------------------------------------------------------
def test_a_scheduled_task_is_claimable_when_its_time_comes_without_any_sweep(store: Store, clock: SetClock) -> None:
    task = add(store, delay_ms=1_000)
    assert store.claim(["work"], agent="ann") == []
    clock.pass_ms(1_000)
    assert claim(store)[0] == task
    add(store, delay_ms=5_000)
    assert store.sweep().next_due_ms == clock.wall_ms + 5_000


def test_a_lost_task_comes_back_by_itself_first_at_once_then_later(store: Store, clock: SetClock) -> None:
    task = add(store)
    claim(store, lease_ms=1_000)
    clock.pass_ms(999)
    assert store.sweep().expired == 0
    clock.pass_ms(1)
    assert claim(store, lease_ms=1_000) == (task, 2)
    clock.pass_ms(1_000)
    assert store.sweep().expired == 1
    found = store.task(task)
    assert (found.burnt, found.reason) == (2, "lost")
    assert [one.outcome for one in store.attempts(task)] == ["failed", "failed"]
    assert {one.error_class for one in store.attempts(task)} == {"lost"}


def test_a_deadline_ends_a_task_in_whatever_state(store: Store, clock: SetClock) -> None:
    deadline = clock.wall_ms + 1_000
    running = add(store, deadline_ms=deadline)
    claim(store)
    waiting, later = add(store, deadline_ms=deadline), add(store, delay_ms=60_000, deadline_ms=deadline)
    child = add(store, after=(waiting,), deadline_ms=deadline + 60_000)
    clock.pass_ms(1_001)
    assert store.sweep().overdue == 3
    assert {store.task(task).reason for task in (running, waiting, later)} == {"deadline"}
    assert store.task(child).reason == "parent_failed"
    assert store.attempts(running)[0].error_class == "timeout"
    with pytest.raises(StaleAttempt):
        store.complete(running, 1)


# --- failures ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", CLASSES)
def test_each_class_of_error_burns_and_ends_as_it_should(store: Store, kind: str) -> None:
    burns, straight = CLASSES[kind]  # type: ignore[index]
    task = add(store)
    ended = store.fail(*claim(store), Failure(kind, "why", 3))  # type: ignore[arg-type]
    found = store.task(task)
    assert (found.burnt, found.throttled) == (int(burns), int(kind == "throttled"))
    assert (ended.state, found.state) == (("dead",) * 2 if straight else ("scheduled",) * 2)
    assert (found.error_class, found.error) == (kind, "why")
    (attempt,) = store.attempts(task)
    assert (attempt.outcome, attempt.error_class, attempt.error, attempt.exit_code) == ("failed", kind, "why", 3)


def test_tries_end_at_the_tasks_own_limit_and_throttling_burns_none(store: Store, clock: SetClock) -> None:
    task = add(store, retry=RetryPolicy(base_ms=10, cap_ms=10, max_attempts=2))
    for kind, state in (("throttled", "scheduled"), ("transient", "scheduled"), ("throttled", "scheduled")):
        assert store.fail(*claim(store), Failure(kind, "x")).state == state  # type: ignore[arg-type]
        clock.pass_ms(300_001)
    store.release(*claim(store))
    ended = store.fail(*claim(store), Failure("crashed", "y"))
    assert (ended.state, ended.reason, store.task(task).attempts) == ("dead", "max_attempts", 5)


def test_a_provider_that_names_a_time_is_not_asked_before_it(store: Store, clock: SetClock) -> None:
    add(store)
    ended = store.fail(*claim(store), Failure("throttled", "429", retry_after_ms=90_000))
    assert ended.run_at_ms is not None and ended.run_at_ms >= clock.wall_ms + 90_000
    clock.pass_ms(89_999)
    assert store.claim(["work"], agent="ann") == []


def test_usage_is_kept_from_heartbeats_and_from_the_end(store: Store) -> None:
    task = add(store)
    claim(store)
    store.heartbeat(task, 1, usage=Usage(5, 6, 7), progress="half")
    store.fail(task, 1, Failure("transient", "x"))
    store.hasten(task, actor="t")
    store.complete(*claim(store), usage=Usage(1, 2, 3), exit_code=0)
    first, second = store.attempts(task)
    assert (first.usage, first.progress, second.usage) == (Usage(5, 6, 7), "half", Usage(1, 2, 3))


# --- what a person decides --------------------------------------------------------------------------------------------
def test_cancelling_a_running_task_asks_it_and_then_however_it_ends_it_is_cancelled(store: Store) -> None:
    ends = {
        "cancelled": lambda task: store.cancelled(task, 1),
        "failed": lambda task: store.fail(task, 1, Failure("transient", "killed")),
        "released": lambda task: store.release(task, 1),
    }
    for end in ends.values():
        task = add(store)
        claim(store)
        store.cancel(task, reason="enough", actor="t")
        store.cancel(task, reason="again", actor="t")
        assert store.heartbeat(task, 1).cancel_asked and store.task(task).cancel_asked
        assert end(task).state == "cancelled"
        assert (store.task(task).reason, store.attempts(task)[0].outcome) == ("enough", "cancelled")
    task = add(store)
    claim(store)
    store.cancel(task, actor="t")
    assert store.complete(task, 1).state == "done"


def test_a_dead_letter_is_sent_back_with_an_edited_payload_and_fresh_tries(store: Store, clock: SetClock) -> None:
    task = add(store, payload="1", deadline_ms=clock.wall_ms + 10)
    store.fail(*claim(store), Failure("permanent", "bad"))
    clock.pass_ms(20)
    store.requeue(task, payload='{"fixed": true}', note="fixed the path", actor="cli:ann")
    found = store.task(task)
    assert (found.state, found.payload, found.burnt, found.deadline_ms) == ("ready", '{"fixed":true}', 0, None)
    assert claim(store) == (task, 2)
    (event,) = store.events(task=task, kinds=["task.requeued"])
    assert event.actor == "cli:ann" and "fixed the path" in str(event.data)


def test_a_spaced_redrive_waits_its_turn(store: Store, clock: SetClock) -> None:
    task = add(store)
    store.fail(*claim(store), Failure("permanent", "bad"))
    assert store.requeue(task, run_at_ms=clock.wall_ms + 5_000, actor="t").state == "scheduled"
    assert store.claim(["work"], agent="ann") == []
    clock.pass_ms(5_000)
    assert claim(store) == (task, 2)


def test_a_discarded_dead_letter_stays_ended(store: Store) -> None:
    task = add(store)
    store.fail(*claim(store), Failure("permanent", "bad"))
    assert store.discard(task, reason="no use", actor="t").state == "cancelled"
    assert (store.task(task).reason, store.task(task).error) == ("no use", "bad")


def test_saying_an_end_twice_changes_nothing(store: Store) -> None:
    done, failed, released = add(store), add(store, "b"), add(store, "c")
    claim(store), claim(store, "b"), claim(store, "c")
    for _ in range(2):
        assert store.complete(done, 1, result="1").state == "done"
        assert store.fail(failed, 1, Failure("transient", "x")).state == "scheduled"
        assert store.release(released, 1).state == "ready"
    assert [len(store.events(task=task)) for task in (done, failed, released)] == [3, 3, 3]
