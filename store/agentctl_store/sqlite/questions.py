"""Questions to a person: an attempt ends by asking, a person or the deadline answers, the next attempt goes on."""

from __future__ import annotations

from ..domain.event import KINDS
from ..domain.question import MOST_DEFAULTS, Question, check_answer
from ..domain.task import Ended
from ..errors import BadInput, Conflict, NotFound, StaleAttempt
from ..ids import write_attempt, write_id
from ..jsontext import dumps, loads
from . import sqltext
from .ending import end_attempt, end_cancelled, said_before, tell_end
from .holding import Held
from .settling import bury

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..clock import Moment
    from ..domain.agent import SessionEnd
    from ..domain.question import How, NewQuestion
    from ..domain.task import Usage
    from .connection import Connection
    from .transaction import Transaction

_ASKED, _ANSWERED = KINDS["task.asked"], KINDS["task.answered"]
_SQL = sqltext.load("question")
REMEDY = "See what is asked with: agentctl inbox"
MOST_QUOTED = 200  #: characters of a question in the error of the task that died of it


class SqliteQuestions:
    """See agentctl_store.questiondriver.QuestionDriver, whose words these are."""

    def __init__(self, conn: Connection) -> None:
        self._conn, self._sql = conn, conn.sql

    def ask(
        self,
        task: int,
        n: int,
        question: NewQuestion,
        *,
        usage: Usage | None,
        exit_code: int | None,
        end_session: SessionEnd | None,
        now: Moment,
    ) -> Ended:
        with self._conn.write(now) as tx:
            held = Held(tx, self._sql, task, n)
            if not held.owns:
                if held.outcome == "asked" and held.attempts == n and _same(tx, task, n, question):
                    return said_before(tx, held, end_session, usage)
                raise held.stale("ask")
            if held.cancel_asked:
                return end_cancelled(tx, self._sql, held, usage, exit_code, end_session)
            _ask(tx, held, question)
            told: dict[str, Any] = {"question": question.text}
            if question.options:
                told["options"] = list(question.options)
            if question.deadline_ms is not None:
                told["deadline"] = now.wall_ms + question.deadline_ms
            if question.fallback is not None:
                told["default"] = question.fallback
            used, _ = end_attempt(tx, self._sql, task, n, "asked", None, usage, exit_code)
            session = tell_end(tx, told, task, n, used, exit_code, end_session)
            tx.event(_ASKED, task, n, None, dumps(told), session=session)
            return Ended("waiting")

    def answer(self, task: int, n: int | None, answer: str, *, actor: str, now: Moment) -> Ended:
        with self._conn.write(now) as tx:
            asked, options = _asked(tx, self._sql, task, n)
            check_answer(answer, tuple(loads(options) if options else ()))
            return _answer(tx, task, asked, "answered", answer, actor)

    def reject(self, task: int, n: int | None, reason: str, *, actor: str, now: Moment) -> Ended:
        with self._conn.write(now) as tx:
            asked, _ = _asked(tx, self._sql, task, n)
            _end(tx, task, asked, "rejected", None, actor)
            told = {"reason": "rejected", "error": reason, "from": "waiting"}
            return bury(tx, self._sql, task, None, told, actor=actor)

    def open(self, limit: int) -> list[Question]:
        return [_from(row) for row in self._conn.rows(_SQL["list"].replace("@which", _SQL["open"]), (limit,))]

    def of_task(self, task: int) -> list[Question]:
        return [_from(row) for row in self._conn.rows(_SQL["list"].replace("@which", _SQL["of_task"]), (task,))]


def _from(row: Any) -> Question:
    task, n, queue, agent, slot, asked_ms, text, options, *rest = row
    who = agent if slot is None else f"{agent}/{slot}"
    return Question(task, n, queue, who, asked_ms, text, tuple(loads(options) if options else ()), *rest)


def _same(tx: Transaction, task: int, n: int, question: NewQuestion) -> bool:
    """Whether an attempt has asked just this: another question must not be taken for told."""
    text, options = tx.execute(_SQL["said"], (task, n)).fetchone()
    return (text, tuple(loads(options) if options else ())) == (question.text, question.options)


def _ask(tx: Transaction, held: Held, question: NewQuestion) -> None:
    now_ms = tx.now.wall_ms
    if question.fallback is not None and tx.execute(_SQL["defaults"], (held.task,)).fetchone()[0] >= MOST_DEFAULTS:
        raise BadInput(
            f"task {write_id(held.task)} was given a default answer {MOST_DEFAULTS} times already",
            "Ask without a default, or decide without asking",
        )
    deadline = None if question.deadline_ms is None else now_ms + question.deadline_ms
    options = dumps(list(question.options)) if question.options else None
    tx.execute(_SQL["ask"], (held.task, held.n))
    tx.execute(_SQL["insert"], (held.task, held.n, now_ms, question.text, options, deadline, question.fallback))


def _asked(tx: Transaction, sql: dict[str, str], task: int, n: int | None) -> tuple[int, str | None]:
    """Return (attempt, options) of what a task asks now. NotFound, Conflict; StaleAttempt when that is not `n`."""
    found = tx.execute(_SQL["asked"], (task,)).fetchone()
    if found is None:
        state = tx.execute(sql["parent"], (task,)).fetchone()
        if state is None:
            raise NotFound(f"there is no task {write_id(task)}", "See what is asked with: agentctl inbox")
        raise Conflict(
            f"task {write_id(task)} asks nothing: it is {state[1]}", "See what is asked with: agentctl inbox"
        )
    if n not in (None, found[0]):
        raise StaleAttempt(
            f"the question of {write_attempt(task, n or 0)} is over; {write_attempt(task, found[0])} asks another",
            "Read that one first: agentctl inbox",
        )
    return found[0], found[1]


def _end(tx: Transaction, task: int, n: int, how: How, answer: str | None, person: str | None) -> None:
    tx.execute(_SQL["end"], (tx.now.wall_ms, how, answer, person, task, n))


def _answer(tx: Transaction, task: int, n: int, how: How, answer: str, person: str | None) -> Ended:
    _end(tx, task, n, how, answer, person)
    tx.execute(_SQL["answer"], (task,))
    tx.event(_ANSWERED, task, n, person, dumps({"answer": answer, "how": how}))
    return Ended("ready")


def end_due(tx: Transaction, conn: Connection, limit: int) -> int:
    """Give default answers to, or bury the tasks of, up to `limit` questions that nobody answered in time."""
    due = tx.execute(_SQL["due"], (tx.now.wall_ms, limit)).fetchall()
    for task, n, fallback, text in due:
        if fallback is not None:
            _answer(tx, task, n, "default", fallback, None)
            continue
        _end(tx, task, n, "unanswered", None, None)
        why = f"nobody answered in time: {text[:MOST_QUOTED]}"
        bury(tx, conn.sql, task, None, {"reason": "unanswered", "error": why, "from": "waiting"})
    return len(due)
