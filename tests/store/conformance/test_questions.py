"""What every driver promises of questions to a person: asking, answering, refusing, deadlines, one after another."""

from __future__ import annotations

import pytest
from store.store_kit import SetClock, add  # noqa: TID251

from agentctl_store.domain.agent import SessionEnd
from agentctl_store.domain.question import MAX_ANSWER, MAX_OPTIONS, MAX_QUESTION, MOST_DEFAULTS, NewQuestion
from agentctl_store.domain.retry import RetryPolicy
from agentctl_store.domain.task import Usage
from agentctl_store.errors import BadInput, Conflict, NotFound, StaleAttempt
from agentctl_store.replay import verify
from agentctl_store.store import Store

DELETE = NewQuestion("Delete the branch?", ("yes", "no"))
HOUR = 3_600_000


def claim(store: Store) -> tuple[int, int]:
    (won,) = store.claim(["work"], agent="ann", slot=2)
    return won.task.id, won.n


def asked(store: Store, question: NewQuestion = DELETE, **more: object) -> int:
    """A task whose first attempt asks."""
    task = add(store, **more)  # type: ignore[arg-type]
    store.questions.ask(*claim(store), question)
    return task


# --- asking -----------------------------------------------------------------------------------------------------------
def test_an_attempt_ends_by_asking_and_burns_no_try(store: Store, clock: SetClock) -> None:
    task = add(store, retry=RetryPolicy(max_attempts=1))
    number, n = claim(store)
    clock.pass_ms(5)
    ended = store.questions.ask(number, n, DELETE, usage=Usage(1, 2, 3))
    assert ended.state == "waiting"
    found, (attempt,) = store.task(task), store.attempts(task)
    assert (found.state, found.burnt, found.throttled, found.lease_until_ms) == ("waiting", 0, 0, None)
    assert (attempt.outcome, attempt.error, attempt.usage) == ("asked", None, Usage(1, 2, 3))
    (question,) = store.questions.open()
    assert (question.task, question.n, question.queue, question.agent) == (task, 1, "work", "ann/2")
    assert (question.text, question.options, question.asked_ms) == (DELETE.text, DELETE.options, clock.wall_ms)
    assert store.claim(["work"], agent="bob") == [] and not store.unfinished(["work"])
    assert store.questions.ask(number, n, DELETE).state == "waiting"  # said again: nothing new
    with pytest.raises(StaleAttempt, match="the task is waiting"):  # another would be lost
        store.questions.ask(number, n, NewQuestion("Delete the tag?"))
    assert len(store.events(kinds=["task.asked"])) == 1


def test_who_does_not_own_the_task_cannot_ask(store: Store, clock: SetClock) -> None:
    task = asked(store)
    for late in (store.complete, store.release, store.heartbeat):
        with pytest.raises(StaleAttempt, match="the task is waiting"):
            late(task, 1)
    store.questions.answer(task, "yes", actor="cli:eve")
    claim(store)
    with pytest.raises(StaleAttempt, match="claimed again"):
        store.questions.ask(task, 1, DELETE)
    with pytest.raises(StaleAttempt):
        store.questions.ask(add(store), 1, DELETE)
    with pytest.raises(NotFound):
        store.questions.ask(1, 1, DELETE)


def test_a_cancelled_attempt_that_asks_is_cancelled(store: Store) -> None:
    task = add(store)
    number, n = claim(store)
    store.cancel(task, reason="enough", actor="t")
    assert store.questions.ask(number, n, DELETE).state == "cancelled"
    assert store.questions.of_task(task) == []


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (NewQuestion(" "), "1 to 4,000 characters"),
        (NewQuestion("x" * (MAX_QUESTION + 1)), "1 to 4,000 characters"),
        (NewQuestion("?", tuple(map(str, range(MAX_OPTIONS + 1)))), "more than 20"),
        (NewQuestion("?", ("a", "a")), "the same twice"),
        (NewQuestion("?", ("a", "")), "cannot be chosen"),
        (NewQuestion("?", (" a",)), "cannot be chosen"),
        (NewQuestion("?", ("a\x1b[31m",)), "cannot be chosen"),
        (NewQuestion("?", ("a\nb",)), "cannot be chosen"),
        (NewQuestion("?", deadline_ms=999), "out of range"),
        (NewQuestion("?", fallback="a"), "needs a deadline"),
        (NewQuestion("?", ("a",), HOUR, "b"), "none of the answers"),
        (NewQuestion("?", (), HOUR, ""), "an answer has"),
    ],
)
def test_a_question_that_cannot_be_meant_is_refused_and_the_attempt_goes_on(
    store: Store, question: NewQuestion, said: str
) -> None:
    add(store)
    number, n = claim(store)
    with pytest.raises(BadInput, match=said):
        store.questions.ask(number, n, question)
    store.complete(number, n)


# --- answering --------------------------------------------------------------------------------------------------------
def test_the_answer_lets_the_next_attempt_go_on_with_all_that_was_said(store: Store, clock: SetClock) -> None:
    first, second = asked(store), add(store)
    clock.pass_ms(1_000)
    assert store.questions.answer(first, "no", actor="cli:eve").state == "ready"
    (one,) = store.questions.of_task(first)
    assert (one.how, one.answer, one.by, one.ended_ms) == ("answered", "no", "cli:eve", clock.wall_ms)
    (event,) = store.events(kinds=["task.answered"])
    assert (event.task, event.actor, event.data) == (first, "cli:eve", '{"answer":"no","how":"answered"}')
    assert store.questions.open() == []
    assert claim(store) == (first, 2)  # it has kept its place before what came later
    store.questions.ask(first, 2, NewQuestion("Why not?"))
    assert claim(store)[0] == second
    store.questions.answer(first, "There is work on it.", actor="cli:eve")
    assert [(q.n, q.text, q.answer) for q in store.questions.of_task(first)] == [
        (1, "Delete the branch?", "no"),
        (2, "Why not?", "There is work on it."),
    ]
    store.complete(*claim(store), result='"kept"')
    assert store.task(first).state == "done" and store.task(first).burnt == 0


def test_only_what_was_offered_can_be_answered_and_only_what_is_asked(store: Store) -> None:
    task = asked(store)
    for answer in ("maybe", "YES", "yes ", ""):
        with pytest.raises(BadInput, match="'yes', 'no'"):
            store.questions.answer(task, answer, actor="t")
    store.questions.answer(task, "yes", actor="t")
    with pytest.raises(Conflict, match="asks nothing: it is ready"):
        store.questions.answer(task, "yes", actor="t")
    with pytest.raises(NotFound):
        store.questions.answer(1, "yes", actor="t")
    number, n = claim(store)
    store.questions.ask(number, n, NewQuestion("Anything?"))
    for bad in ("", "  ", "x" * (MAX_ANSWER + 1)):
        with pytest.raises(BadInput):
            store.questions.answer(task, bad, actor="t")
    store.questions.answer(task, "\x1b[2J \udcff ok", actor="t")
    assert store.questions.of_task(task)[1].answer == "\x1b[2J ? ok"


def test_an_answer_to_a_question_that_is_over_does_not_answer_the_next_one(store: Store) -> None:
    task = asked(store, NewQuestion("Delete the backups?"))
    store.questions.answer(task, "no", n=1, actor="cli:eve")
    store.questions.ask(*claim(store), NewQuestion("Keep the backups?"))
    with pytest.raises(StaleAttempt, match="asks another"):
        store.questions.answer(task, "no", n=1, actor="cli:bob")
    with pytest.raises(StaleAttempt, match="asks another"):
        store.questions.reject(task, n=1, actor="cli:bob")
    assert store.questions.answer(task, "yes", n=2, actor="cli:bob").state == "ready"


def test_refusing_makes_a_dead_letter_that_can_come_back(store: Store) -> None:
    task = asked(store)
    child = add(store, after=(task,))
    ended = store.questions.reject(task, reason="never ask that", actor="cli:eve")
    found = store.task(task)
    assert (ended.state, found.state, found.reason, found.error) == ("dead", "dead", "rejected", "never ask that")
    assert store.task(child).reason == "parent_failed"
    (one,) = store.questions.of_task(task)
    assert (one.how, one.answer, one.by) == ("rejected", None, "cli:eve")
    (buried, _) = store.events(kinds=["task.buried"])
    assert buried.actor == "cli:eve"
    store.requeue(task, actor="cli:eve")
    assert claim(store) == (task, 2) and store.questions.of_task(task) == [one]


# --- deadlines --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("sweeps", [True, False])
def test_at_the_deadline_the_default_is_given_and_nobodys(store: Store, clock: SetClock, sweeps: bool) -> None:
    task = asked(store, NewQuestion("Delete?", ("yes", "no"), 2 * HOUR, "no"))
    assert store.sweep().next_due_ms == clock.wall_ms + 2 * HOUR
    clock.pass_ms(2 * HOUR - 1)
    assert store.claim(["work"], agent="ann") == [] and store.sweep().kept == 0
    clock.pass_ms(1)
    if sweeps:
        assert store.sweep().kept == 1
    assert claim(store) == (task, 2)
    (one,) = store.questions.of_task(task)
    assert (one.how, one.answer, one.by) == ("default", "no", None)
    (event,) = store.events(kinds=["task.answered"])
    assert event.actor is None and event.data == '{"answer":"no","how":"default"}'
    assert store.sweep().next_due_ms is None


def test_a_task_cannot_live_on_default_answers_for_ever(store: Store, clock: SetClock) -> None:
    add(store)
    again = NewQuestion("Again?", deadline_ms=1_000, fallback="yes")
    for _ in range(MOST_DEFAULTS):
        number, n = claim(store)
        store.questions.ask(number, n, again)
        clock.pass_ms(1_000)
        store.sweep()
    number, n = claim(store)
    with pytest.raises(BadInput, match="a default answer 100 times already"):
        store.questions.ask(number, n, again)
    assert store.questions.ask(number, n, NewQuestion("Again?")).state == "waiting", "of a person it may ask on"


def test_at_the_deadline_without_a_default_the_task_dies_and_says_why(store: Store, clock: SetClock) -> None:
    task = asked(store, NewQuestion("Delete?", (), HOUR))
    clock.sleep_ms(HOUR)
    store.sweep()
    found = store.task(task)
    assert (found.state, found.reason, found.burnt) == ("dead", "unanswered", 0)
    assert found.error == "nobody answered in time: Delete?"
    assert store.questions.of_task(task)[0].how == "unanswered"
    with pytest.raises(Conflict, match="it is dead"):
        store.questions.answer(task, "yes", actor="t")


def test_without_a_deadline_a_task_waits_for_ever(store: Store, clock: SetClock) -> None:
    task = asked(store)
    clock.pass_ms(300 * 24 * HOUR)
    store.sweep()
    clock.reboot()
    store.sweep()
    assert store.task(task).state == "waiting" and len(store.questions.open()) == 1


@pytest.mark.parametrize("how", ["cancel", "deadline"])
def test_a_question_ends_with_its_task(store: Store, clock: SetClock, how: str) -> None:
    more = {"deadline_ms": clock.wall_ms + HOUR} if how == "deadline" else {}
    task = asked(store, NewQuestion("Delete?", (), 2 * HOUR, "yes"), **more)
    if how == "cancel":
        assert store.cancel(task, actor="t").state == "cancelled"
    clock.pass_ms(2 * HOUR)
    store.sweep()
    assert store.task(task).state == ("cancelled" if how == "cancel" else "dead")
    assert store.questions.open() == []
    (one,) = store.questions.of_task(task)
    assert (one.how, one.answer, one.by) == ("dropped", None, None)


def test_the_oldest_question_comes_first_and_no_more_than_are_asked_for(store: Store, clock: SetClock) -> None:
    tasks = []
    for _ in range(5):
        tasks.append(asked(store))
        clock.pass_ms(1_000)
    assert [one.task for one in store.questions.open()] == tasks
    assert [one.task for one in store.questions.open(limit=2)] == tasks[:2]


def test_a_session_ends_with_the_attempt_that_asked(store: Store) -> None:
    add(store)
    (won,) = store.claim(["work"], agent="ann", slot=1, open_session=True)
    session = won.session or 0
    end = SessionEnd(session, "exited", 0)
    store.questions.ask(won.task.id, won.n, DELETE, exit_code=0, end_session=end)
    found = store.session(session)
    assert (found.outcome, found.exit_code) == ("exited", 0)
    assert store.attempts(won.task.id)[0].exit_code == 0
    assert store.driver.open_sessions() == []


def test_an_agent_that_asked_by_itself_leaves_its_session_to_be_ended(store: Store) -> None:
    task = add(store)
    (won,) = store.claim(["work"], agent="ann", slot=1, open_session=True)
    store.questions.ask(task, 1, DELETE)
    assert (
        store.questions.ask(task, 1, DELETE, end_session=SessionEnd(won.session or 0, "exited", 0)).state == "waiting"
    )
    assert store.session(won.session or 0).outcome == "exited"
    assert store.task(task).state == "waiting"
    assert verify(store.directory).intact
