"""How an attempt ends, each write guarded by state and fence."""

from __future__ import annotations

from ..domain.event import KINDS
from ..domain.task import Ended
from ..jsontext import dumps
from ..later import later
from .clocks import clocks
from .holding import Held, kept_partial, more_of, used_columns, used_late

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..domain.agent import SessionEnd
    from ..domain.retry import Failure
    from ..domain.task import Outcome, Usage, Used
    from . import fallback, settling
    from .transaction import Transaction
else:
    later(globals(), __package__, "fallback", "settling")

_COMPLETED, _RETRIED, _RELEASED = KINDS["task.completed"], KINDS["task.retried"], KINDS["task.released"]
_SESSION_ENDED = KINDS["session.ended"]
# Which process it was is kept of a task's session that ended badly: of a million good ones nobody asks.
_CLOSE = """UPDATE session SET ended_ms = ?1, outcome = ?2, exit_code = ?3, signal = ?4, detail = ?5,
    pid = CASE WHEN task IS NULL OR NOT ?6 THEN pid END,
    started_ms = CASE WHEN task IS NULL OR NOT ?6 THEN started_ms END
WHERE id = ?7 AND ended_ms IS NULL AND (?8 IS NULL OR (task = ?8 AND attempt = ?9))
RETURNING task, attempt, pid, started_ms"""


def said_before(tx: Transaction, held: Held, end_session: SessionEnd | None, usage: Usage | None) -> Ended:
    """The attempt has ended this way already, by its agent's own word or its lease: its session is left to end."""
    if usage is not None:
        used_late(tx, held.task, held.n, usage)
    if end_session is not None:
        write_session_end(tx, end_session)
    return Ended(held.state)


def complete(
    tx: Transaction,
    sql: dict[str, str],
    task: int,
    n: int,
    result: str | None,
    usage: Usage | None,
    exit_code: int | None,
    end_session: SessionEnd | None,
) -> Ended:
    """Finish a task with its result. Saying it again with the same attempt changes nothing."""
    number, body = (None, b"") if result is None else tx.body(result)
    if not tx.execute(sql["complete"], (number, tx.now.wall_ms, task, n)).rowcount:
        held = Held(tx, sql, task, n)
        if held.outcome == "done" and held.attempts == n:
            if number is not None:
                tx.execute("DELETE FROM body WHERE id = ?", (number,))
            return said_before(tx, held, end_session, usage)
        raise held.stale("complete")
    used, awaited = end_attempt(tx, sql, task, n, "done", None, usage, exit_code)
    told: dict[str, Any] = {}
    session = tell_end(tx, told, task, n, used, exit_code, end_session)
    data = dumps(told) if told else None
    tx.event(_COMPLETED, task, n, None, data, session=session, body=number, body_digest=body)
    return Ended("done", freed=tuple(settling.settle_children(tx, sql, task, "done")) if awaited else ())


def fail(
    tx: Transaction,
    sql: dict[str, str],
    task: int,
    n: int,
    failure: Failure,
    usage: Usage | None,
    jitter: float,
    end_session: SessionEnd | None,
) -> Ended:
    """End an attempt that failed: retried later, a dead letter, or cancelled if that was asked meanwhile."""
    held = Held(tx, sql, task, n)
    if not held.owns:
        if held.outcome == "failed" and held.attempts == n:
            return said_before(tx, held, end_session, usage)
        raise held.stale("fail")
    if held.cancel_asked:
        return end_cancelled(tx, sql, held, usage, failure.exit_code, end_session)
    used, _ = end_attempt(tx, sql, task, n, "failed", failure, usage, failure.exit_code, jitter)
    return after_failure(tx, sql, held, failure, jitter, used, end_session)


def after_failure(
    tx: Transaction,
    sql: dict[str, str],
    held: Held,
    failure: Failure,
    jitter: float,
    used: Used,
    end_session: SessionEnd | None,
) -> Ended:
    """Write what `judge` decides, and what the attempt had got to."""
    from ..domain.retry import judge

    verdict = judge(failure, held.policy(), held.burnt, held.throttled, jitter)
    told: dict[str, Any] = {"class": failure.kind, "error": failure.message, "burns": int(verdict.burns)}
    session = tell_end(tx, told, held.task, held.n, used, failure.exit_code, end_session)
    if verdict.dead is not None:
        stands = None if held.fallback is None else fallback.fall_back(tx, sql, held, failure, verdict, told, session)
        if stands is not None:
            return stands
        told["reason"] = verdict.dead
        return settling.bury(tx, sql, held.task, held.n, told, session, partial=kept_partial(tx, held, failure))
    run_at = tx.now.wall_ms + verdict.delay_ms
    told["run_at"] = run_at
    throttled = int(failure.kind == "throttled")
    values = (
        run_at,
        int(verdict.burns),
        throttled,
        failure.kind,
        failure.kind,
        failure.message,
        held.task,
        held.n,
    )
    tx.execute(sql["retry"], values)
    data, (number, body) = dumps(told), kept_partial(tx, held, failure)
    tx.event(_RETRIED, held.task, held.n, None, data, session=session, body=number, body_digest=body)
    return Ended("scheduled", run_at, failure.kind)


def release(
    tx: Transaction, sql: dict[str, str], task: int, n: int, reason: str, end_session: SessionEnd | None,
    usage: Usage | None,
) -> Ended:  # fmt: skip
    """Give a task back untried."""
    held = Held(tx, sql, task, n)
    if not held.owns:
        if held.outcome == "released" and held.attempts == n:
            return said_before(tx, held, end_session, usage)
        raise held.stale("be released")
    if held.cancel_asked:
        return end_cancelled(tx, sql, held, usage, None, end_session)
    tx.execute(sql["release"], (reason, task, n))
    told: dict[str, Any] = {"reason": reason}
    used, _ = end_attempt(tx, sql, task, n, "released", None, usage, None)
    session = tell_end(tx, told, task, n, used, None, end_session)
    tx.event(_RELEASED, task, n, None, dumps(told), session=session)
    return Ended("ready", None, reason)


def cancelled(
    tx: Transaction,
    sql: dict[str, str],
    task: int,
    n: int,
    end_session: SessionEnd | None,
    usage: Usage | None,
) -> Ended:
    """The attempt ended because a person asked."""
    held = Held(tx, sql, task, n)
    if not held.owns:
        if held.state == "cancelled" and held.attempts == n:
            return said_before(tx, held, end_session, usage)
        raise held.stale("be cancelled")
    return end_cancelled(tx, sql, held, usage, None, end_session)


def end_cancelled(
    tx: Transaction,
    sql: dict[str, str],
    held: Held,
    usage: Usage | None,
    exit_code: int | None,
    end_session: SessionEnd | None,
) -> Ended:
    told: dict[str, Any] = {}
    used, _ = end_attempt(tx, sql, held.task, held.n, "cancelled", None, usage, exit_code)
    session = tell_end(tx, told, held.task, held.n, used, exit_code, end_session)
    (reason,) = tx.execute("SELECT reason FROM task WHERE id = ?", (held.task,)).fetchone()
    return settling.cancel_now(tx, sql, held.task, held.n, reason or "cancelled", None, told, session)


def write_session_end(tx: Transaction, end: SessionEnd) -> None:
    """Close a session's row once; a second time changes nothing."""
    closed = tx.execute(_CLOSE, (*_closing(tx, end), None, None)).fetchone()
    if closed is not None:
        told = _end_told(end, None, closed)
        tx.event(_SESSION_ENDED, closed[0], closed[1], None, dumps(told) if told else None, session=end.id)


def _closing(tx: Transaction, end: SessionEnd) -> tuple[Any, ...]:
    outcome = None if end.outcome == "exited" else end.outcome
    plain = end.exit_code == 0 and outcome is None and end.signal is None and end.detail is None
    return tx.now.wall_ms, outcome, end.exit_code, end.signal, end.detail, plain, end.id


def _end_told(end: SessionEnd, exit_code: int | None, closed: Any) -> dict[str, Any]:
    """Return what is to be told of a session's end, beside the exit code its event tells already."""
    task, _, pid, started_ms = closed
    told = {
        "outcome": None if end.outcome == "exited" else end.outcome, "signal": end.signal, "detail": end.detail,
        "pid": None if task is None else pid, "started": None if task is None else started_ms,
    }  # fmt: skip
    told = {name: value for name, value in told.items() if value is not None}
    return told if end.exit_code == exit_code else {"exit": end.exit_code, **told}


def end_attempt(
    tx: Transaction,
    sql: dict[str, str],
    task: int,
    n: int,
    outcome: Outcome,
    failure: Failure | None,
    usage: Usage | None,
    exit_code: int | None,
    jitter: float = 0.5,
) -> tuple[Used, bool]:
    """Close an attempt's row; return what it used in all, heartbeats included, and whether others wait for its task."""
    clocks(tx, tx.conn)  # what follows is reckoned with the clock as it is: it must not be moved along once more
    *said, awaited = tx.execute(sql["used"], (task, n)).fetchone()
    used: Used = tuple(said) if usage is None else more_of(said, used_columns(usage))
    kind, message = (None, None) if failure is None else (failure.kind, failure.message)
    tx.execute(sql["end_attempt"], (tx.now.wall_ms, outcome, kind, message, exit_code, *used, task, n))
    limits = tx.conn.limited()
    if limits:
        limits.ended(tx, task, n, outcome, failure, used, jitter)
    return used, bool(awaited)


def tell_end(
    tx: Transaction,
    told: dict[str, Any],
    task: int,
    n: int,
    used: Used,
    exit_code: int | None,
    end_session: SessionEnd | None,
) -> int | None:
    """Tell what an attempt used and how it ended; return the session that ends with it, for the same event.

    Of a session that ends with its attempt an exit code of 0 goes without saying.
    """
    if used != (None, None, None):
        told["usage"] = list(used)
    closed = None
    if end_session is not None:
        closed = tx.execute(_CLOSE, (*_closing(tx, end_session), task, n)).fetchone()
        if closed is None:
            write_session_end(tx, end_session)  # a session that this attempt was not opened with
    if closed is None or end_session is None:
        if exit_code is not None:
            told["exit"] = exit_code
        return None
    if exit_code != 0:
        told["exit"] = exit_code
    ended = _end_told(end_session, exit_code, closed)
    if ended:
        told["session"] = ended
    return end_session.id
