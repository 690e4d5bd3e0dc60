"""P18: the harness is tested. Each seeded bug of the store must make at least one of these fast checks fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faults.store_kit import SetClock, assert_whole, finals

from agentctl_store.domain import retry
from agentctl_store.domain.question import NewQuestion
from agentctl_store.domain.retry import Failure, RetryPolicy
from agentctl_store.domain.schedule import ScheduleSpec
from agentctl_store.errors import BadInput, NotFound, StaleAttempt
from agentctl_store.sqlite import adding, ending, questions, schedules, settling, sqltext, transaction
from agentctl_store.sqlite.driver import SqliteDriver
from agentctl_store.store import Store, TaskRequest

LEASE_MS = 30_000


class World:
    """A new store on a clock of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.directory, self.clock = folder / ".agentctl", SetClock()
        self.store = self.opened()

    def opened(self) -> Store:
        """The store, without waiting for the disk."""
        driver = SqliteDriver(str(self.directory), create=True, synchronous="OFF")
        return Store(driver, str(self.directory), self.clock)

    def add(self, **more: Any) -> int:
        return self.store.add([TaskRequest("q", **more)])[0].id

    def claim(self, agent: str = "a") -> Any:
        won = self.store.claim(["q"], agent=agent, lease_ms=LEASE_MS)
        return won[0] if won else None

    def won(self, agent: str = "a") -> Any:
        """A claim that must win."""
        won = self.claim(agent)
        assert won is not None
        return won


def a_task_is_won_once(world: World) -> None:
    world.add()
    assert world.claim() is not None
    assert world.claim("b") is None


def a_stale_attempt_can_do_nothing(world: World) -> None:
    task = world.add()
    world.claim()
    world.clock.pass_ms(LEASE_MS + 1)
    assert world.won("b").n == 2
    for verb in (world.store.heartbeat, world.store.complete, world.store.release):
        with pytest.raises(StaleAttempt):
            verb(task, 1)
    with pytest.raises(StaleAttempt):
        world.store.fail(task, 1, Failure("transient"))
    assert world.store.task(task).state == "active" and world.store.task(task).attempts == 2


def what_has_ended_stays_ended(world: World) -> None:
    task = world.add()
    world.claim()
    world.store.fail(task, 1, Failure("permanent"))
    with pytest.raises(StaleAttempt):
        world.store.complete(task, 1)
    assert world.store.task(task).state == "dead"


def a_released_task_is_given_back_once(world: World) -> None:
    task = world.add()
    world.claim()
    world.store.release(task, 1)
    assert world.won("b").n == 2
    with pytest.raises(StaleAttempt):
        world.store.release(task, 1)
    assert world.store.task(task).agent == "b"


def those_that_failed_together_come_back_apart(world: World) -> None:
    policy = RetryPolicy(base_ms=60_000, factor=1, cap_ms=60_000, max_attempts=5)
    for _ in range(12):
        world.add(retry=policy)
    times = set()
    while (won := world.claim()) is not None:
        times.add(world.store.fail(won.task.id, won.n, Failure("transient")).run_at_ms)
    assert len(times) > 8
    assert min(times) < world.clock.wall_ms + 40_000


def a_later_task_waits_for_its_time(world: World) -> None:
    world.add(delay_ms=60_000)
    assert world.claim() is None
    world.clock.pass_ms(60_001)
    assert world.claim() is not None


def a_lease_lasts_as_long_as_it_says(world: World) -> None:
    world.add()
    world.claim()
    world.clock.pass_ms(LEASE_MS - 1)
    assert world.claim("b") is None
    world.clock.pass_ms(2)
    assert world.claim("b") is not None


def a_heartbeat_extends_and_never_shortens(world: World) -> None:
    task = world.add()
    world.claim()
    until = world.store.heartbeat(task, 1, lease_ms=90_000).until_ms
    assert world.store.heartbeat(task, 1, lease_ms=10).until_ms == until
    world.clock.pass_ms(LEASE_MS + 1)
    assert world.claim("b") is None


def a_key_names_one_task(world: World) -> None:
    assert world.add(key="k") == world.add(key="k")


def a_child_waits_for_all_its_parents(world: World) -> None:
    parents = [world.add() for _ in range(3)]
    child = world.add(after=tuple(parents))
    for _ in parents:
        assert world.store.task(child).state == "blocked"
        won = world.won()
        assert won.task.id in parents
        world.store.complete(won.task.id, won.n)
    assert world.won().task.id == child


def a_batch_is_added_whole_or_not_at_all(world: World) -> None:
    world.add(key="before")
    with pytest.raises(NotFound):
        world.store.add([TaskRequest("q"), TaskRequest("q", after=(12345,))])
    assert len(finals(world.directory)) == 1


def the_history_agrees(world: World) -> None:
    task = world.add()
    world.store.complete(task, world.won().n, result="1")
    other = world.add()
    with pytest.raises(StaleAttempt):
        world.store.complete(other, 1, result="2")
    assert_whole(world.directory)


def priority_goes_first_and_age_makes_up_for_it(world: World) -> None:
    old, low, high = world.add(priority=-1), 0, 0
    world.clock.pass_ms(3 * 60_000)
    low, high = world.add(priority=0), world.add(priority=1)
    assert [world.won().task.id for _ in range(3)] == [old, high, low]


def a_paused_queue_gives_nothing(world: World) -> None:
    world.add()
    world.store.pause_queue("q", actor="me")
    assert world.claim() is None


def tries_are_counted_as_promised(world: World) -> None:
    task = world.add(retry=RetryPolicy(0, 1, 0, 2))
    for kind, state in (("throttled", "scheduled"), ("transient", "scheduled"), ("transient", "dead")):
        ended = world.store.fail(task, world.won().n, Failure(kind))  # type: ignore[arg-type]
        assert ended.state == state, kind
        world.clock.pass_ms(1)
    world.store.requeue(task, actor="me")
    assert world.store.fail(task, world.won().n, Failure("transient")).state == "scheduled", "tries are fresh"


def a_permanent_failure_is_not_tried_again(world: World) -> None:
    task = world.add()
    assert world.store.fail(task, world.won().n, Failure("permanent")).state == "dead"


def a_worker_is_told_that_a_cancel_was_asked(world: World) -> None:
    task = world.add()
    world.claim()
    world.store.cancel(task, actor="me")
    assert world.store.heartbeat(task, 1).cancel_asked
    assert world.store.fail(task, 1, Failure("transient")).state == "cancelled"


def a_suspend_gives_grace_and_a_reboot_gives_none(world: World) -> None:
    world.add()
    world.claim()
    world.clock.sleep_ms(3_600_000)
    assert world.claim("b") is None
    world.clock.boot = "boot-2"
    reopened = world.opened()
    assert [won.n for won in reopened.claim(["q"], agent="b")] == [2]


def what_is_past_its_deadline_is_buried(world: World) -> None:
    task = world.add(deadline_ms=world.clock.wall_ms + 1_000)
    world.clock.pass_ms(1_001)
    assert world.claim() is None
    assert world.store.task(task).state == "dead"


def a_failed_parent_buries_its_child(world: World) -> None:
    parent = world.add()
    child = world.add(after=(parent,))
    world.store.fail(parent, world.won().n, Failure("permanent"))
    assert world.store.task(child).state == "dead"


def a_run_of_a_schedule_comes_once_and_in_its_time(world: World) -> None:
    spec = ScheduleSpec("s", "q", every_ms=60_000, overlap="queue")
    world.store.schedules.add(spec, actor="me")
    world.clock.pass_ms(59_999)
    assert world.claim() is None
    world.clock.pass_ms(1)
    assert world.won() and world.claim() is None
    world.clock.sleep_ms(600_000)
    for _ in range(3):
        world.store.sweep()
    assert world.store.schedules.one("s").fired == 2
    world.clock.set_wall_by(-600_000)
    world.store.sweep()
    assert world.store.schedules.one("s").planned_ms == world.clock.wall_ms + 60_000
    assert_whole(world.directory)


def a_moment_that_was_run_is_known_by_its_key(world: World) -> None:
    world.clock.wall_ms -= world.clock.wall_ms % 3_600_000
    world.store.schedules.add(ScheduleSpec("s", "q", cron="* * * * *", zone="UTC", overlap="queue"), actor="me")
    world.clock.pass_ms(60_000)
    world.store.sweep()
    world.clock.set_wall_by(-60_000)
    world.store.sweep()
    world.clock.set_wall_by(60_000)
    world.store.sweep()
    assert world.won() and world.claim() is None


def runs_do_not_overlap(world: World) -> None:
    world.store.schedules.add(ScheduleSpec("s", "q", every_ms=10_000), actor="me")
    world.store.schedules.add(ScheduleSpec("r", "r", every_ms=10_000, overlap="replace"), actor="me")
    for _ in range(2):
        world.clock.pass_ms(10_000)
        world.store.sweep()
        world.claim()
        world.store.claim(["r"], agent="a", lease_ms=LEASE_MS)
    assert world.store.schedules.one("s").skipped == 1
    assert [task.state for task in map(world.store.task, map(int, finals(world.directory)))].count("active") == 2


def a_question_is_answered_once_by_who_read_it(world: World) -> None:
    task = world.add()
    world.store.questions.ask(task, world.won().n, NewQuestion("A?", ("x", "y")))
    assert world.claim() is None and world.store.task(task).burnt == 0
    with pytest.raises(BadInput):
        world.store.questions.answer(task, "z", actor="me")
    world.store.questions.answer(task, "x", n=1, actor="me")
    world.store.questions.ask(task, world.won().n, NewQuestion("B?"))
    with pytest.raises(StaleAttempt):
        world.store.questions.answer(task, "x", n=1, actor="me")
    assert [one.answer for one in world.store.questions.of_task(task)] == ["x", None]
    world.store.cancel(task, actor="me")
    assert world.store.questions.open() == []
    assert_whole(world.directory)


def a_default_is_nobodys_and_comes_at_the_deadline(world: World) -> None:
    task, dies = world.add(), world.add()
    asked = {world.won().task.id: None, world.won().task.id: None}
    assert set(asked) == {task, dies}
    world.store.questions.ask(task, 1, NewQuestion("A?", (), 5_000, "no"))
    world.store.questions.ask(dies, 1, NewQuestion("A?", (), 5_000))
    world.clock.pass_ms(4_999)
    world.store.sweep()
    assert len(world.store.questions.open()) == 2
    world.clock.pass_ms(1)
    world.store.sweep()
    (one,) = world.store.questions.of_task(task)
    assert (one.how, one.answer, one.by) == ("default", "no", None)
    assert world.store.task(dies).reason == "unanswered"


CHECKS: list[Callable[[World], None]] = [
    a_task_is_won_once, a_stale_attempt_can_do_nothing, what_has_ended_stays_ended, a_released_task_is_given_back_once,
    those_that_failed_together_come_back_apart, a_later_task_waits_for_its_time, a_lease_lasts_as_long_as_it_says,
    a_heartbeat_extends_and_never_shortens, a_key_names_one_task, a_child_waits_for_all_its_parents,
    a_batch_is_added_whole_or_not_at_all, the_history_agrees, priority_goes_first_and_age_makes_up_for_it,
    a_paused_queue_gives_nothing, tries_are_counted_as_promised, a_permanent_failure_is_not_tried_again,
    a_worker_is_told_that_a_cancel_was_asked, a_suspend_gives_grace_and_a_reboot_gives_none,
    what_is_past_its_deadline_is_buried, a_failed_parent_buries_its_child,
    a_run_of_a_schedule_comes_once_and_in_its_time, a_moment_that_was_run_is_known_by_its_key, runs_do_not_overlap,
    a_question_is_answered_once_by_who_read_it, a_default_is_nobodys_and_comes_at_the_deadline,
]  # fmt: skip

FENCE, NO_FENCE = "AND attempts = ?", "AND ? IS NOT NULL"
SURVEY_DUE = "AND s.state = 'scheduled') <= ?1"
SURVEY_LOST = "WHERE state = 'active') <= ?2"
#: name → edits of SQL blocks: (block, what stands there, what the bug makes of it)
SQL_MUTANTS: dict[str, list[tuple[str, str, str]]] = {
    "complete without fence": [("complete", FENCE, NO_FENCE)],
    "heartbeat without fence": [("heartbeat", FENCE, NO_FENCE)],
    "complete in any state": [("complete", "state IN ('active')", "state <> ''"), ("complete", FENCE, NO_FENCE)],
    "claim of what is active": [
        ("survey", "r.state = 'ready'", "r.state IN ('ready', 'active')"),
        ("claim", "state IN ('ready')", "state IN ('ready', 'active')"),
    ],
    "promote ignores time": [
        ("survey", SURVEY_DUE, SURVEY_DUE.replace("<= ?1", "IS NOT NULL")),
        ("scheduled_due", "available_ms <= ?", "? IS NOT NULL"),
    ],
    "promote never": [("survey", SURVEY_DUE, SURVEY_DUE.replace("<= ?1", "< 0"))],
    "expire ignores the lease": [
        ("survey", SURVEY_LOST, SURVEY_LOST.replace("<= ?2", "IS NOT NULL")),
        ("due", "WHERE state = 'active') <= ?", "WHERE state = 'active') + 0 * ? IS NOT NULL"),
        ("lost", "lease_until_boot_ms <= ?", "? IS NOT NULL"),
    ],
    "expire never": [("lost", "lease_until_boot_ms <= ?", "lease_until_boot_ms + ? < 0")],
    "parents counted down by two": [("fewer_parents", "open_parents - 1", "open_parents - 2")],
    "ageing with the wrong sign": [
        ("survey", "ORDER BY r.available_ms - r.priority", "ORDER BY r.available_ms + r.priority"),
    ],
    "no ageing": [("survey", "ORDER BY r.available_ms - r.priority * 60000", "ORDER BY 0 - r.priority")],
    "pause ignored": [("survey", "q.paused_ms IS NULL AND", "")],
    "a heartbeat shortens": [("heartbeat", "max(lease_until_boot_ms, ?)", "?")],
    "a heartbeat hides the cancel": [("heartbeat", "lease_until_boot_ms, cancel_asked", "lease_until_boot_ms, NULL")],
    "no grace after a suspend": [("extend_all", "+ ?", "+ 0 * ?")],
    "leases outlive a reboot": [("void_all", "state = 'active'", "state = 'never'")],
    "deadlines ignored": [("overdue", "WHERE", "WHERE 0 AND")],
    "requeue keeps the tries": [("requeue", "burnt = 0", "burnt = burnt")],
    "a retry burns nothing": [("retry", "burnt = burnt + ?", "burnt = burnt + 0 * ?")],
    "a question outlives its task": [("drop_question", "task = ?", "task = -?")],
    "schedules are never looked at": [
        ("appointments", "SELECT (SELECT min(due_ms)", "SELECT 9223372036854775807 + 0 * (SELECT min(due_ms)"),
    ],
    "questions have no deadline": [("appointments", "(SELECT min(deadline_ms)", "NULL AND (SELECT min(deadline_ms)")],
}  # fmt: skip


def always_owns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending.Held, "owns", True)


def owns_by_state_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending.Held, "owns", property(lambda held: held.state == "active"))


def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = retry.judge
    monkeypatch.setattr(retry, "judge", lambda failure, policy, b, t, _: judge(failure, policy, b, t, 0.999))


def one_try_more(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = retry.judge
    monkeypatch.setattr(retry, "judge", lambda f, policy, burnt, t, j: judge(f, policy, burnt - 1, t, j))


def keys_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adding, "_known", lambda tx, sql, task: None)


def throttling_burns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(retry.CLASSES, "throttled", (True, False))


def permanent_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(retry.CLASSES, "permanent", (True, False))


def event_outside_the_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    event = transaction.Transaction.event

    def early(tx: Any, *args: Any, **more: Any) -> int:
        tx.execute("COMMIT")
        tx.execute("BEGIN IMMEDIATE")
        return event(tx, *args, **more)

    monkeypatch.setattr(transaction.Transaction, "event", early)


def errors_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    def commit(tx: Any) -> None:
        if tx.conn.db.in_transaction:
            tx.execute("COMMIT")

    monkeypatch.setattr(transaction.Transaction, "_roll_back", commit)


def children_of_a_failed_parent_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    settle = settling.settle_children
    monkeypatch.setattr(settling, "settle_children", lambda tx, sql, parent, state: settle(tx, sql, parent, "done"))


def events_without_a_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    link = transaction.link
    monkeypatch.setattr(transaction, "link", lambda previous, *rest: link(transaction.GENESIS, *rest))


def overlap_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "_overlaps", lambda found: False)


def a_replaced_run_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "_waits", lambda tx, found: ())


def runs_have_keys_of_no_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = iter(range(1_000))
    monkeypatch.setattr(schedules, "run_key", lambda name, planned_ms: f"schedule/{name}/{next(keys)}")


def every_missed_run_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = schedules.plan
    monkeypatch.setattr(schedules, "plan", lambda spec, now, j, at=None: plan(spec, at or now, j, at))


def a_clock_set_back_is_not_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "move", lambda *_: 0)


def any_answer_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "check_answer", lambda answer, options: answer)


def any_question_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = questions._asked
    monkeypatch.setattr(questions, "_asked", lambda tx, sql, task, n: asked(tx, sql, task, None))


def a_default_is_a_persons(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = questions._answer

    def signed(tx: Any, task: int, n: int, how: Any, text: str, person: str | None) -> Any:
        return answer(tx, task, n, "answered", text, person or "me")

    monkeypatch.setattr(questions, "_answer", signed)


CODE_MUTANTS = [
    overlap_is_not_seen, a_replaced_run_is_not_waited_for, runs_have_keys_of_no_moment,
    every_missed_run_is_made_up_for, a_clock_set_back_is_not_noticed, any_answer_will_do, any_question_is_answered,
    a_default_is_a_persons,
    always_owns, owns_by_state_alone, no_jitter, one_try_more, keys_ignored, throttling_burns, permanent_is_retried,
    event_outside_the_transaction, errors_commit, children_of_a_failed_parent_go_on, events_without_a_chain,
]  # fmt: skip


def caught_by(checks: list[Callable[[World], None]], folder: Path) -> list[str]:
    """The first check that fails, if any does."""
    for check in checks:
        world = World(folder / check.__name__)
        try:
            check(world)
        except (Exception, pytest.fail.Exception):  # a crash is noticed, too
            return [check.__name__]
        finally:
            world.store.close()
    return []


def test_the_store_as_it_is_passes_every_check(tmp_path: Path) -> None:
    for check in CHECKS:
        check(World(tmp_path / check.__name__))


@pytest.mark.parametrize("name", SQL_MUTANTS)
def test_a_seeded_bug_in_sql_is_caught(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = sqltext.load

    def broken(file: str, *states: Any) -> dict[str, str]:
        blocks = dict(load(file, *states))
        for block, good, bad in SQL_MUTANTS[name]:
            assert good in blocks[block], f"the block {block} no longer has {good!r}: renew the mutant"
            blocks[block] = blocks[block].replace(good, bad)
        return blocks

    monkeypatch.setattr(sqltext, "load", broken)
    assert caught_by(CHECKS, tmp_path), f"the bug {name!r} survives: a check is missing"


@pytest.mark.parametrize("mutate", CODE_MUTANTS, ids=lambda mutate: mutate.__name__)
def test_a_seeded_bug_in_code_is_caught(
    mutate: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    assert caught_by(CHECKS, tmp_path), f"the bug {mutate.__name__} survives: a check is missing"
