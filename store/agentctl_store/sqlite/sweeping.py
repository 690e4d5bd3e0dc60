"""What time does to tasks: due ones become ready, lost ones come back, overdue ones are buried."""

from __future__ import annotations

from ..clock import JUMP_MS
from ..domain.event import KINDS
from ..domain.retry import LATE, Failure
from ..domain.task import Swept
from .clocks import clocks
from .ending import after_failure, end_attempt, end_cancelled, tell_end
from .holding import Held
from .settling import bury

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..domain.task import Ended
    from .connection import Connection
    from .messaging import Messages
    from .transaction import Transaction

_PROMOTED = KINDS["task.promoted"]
_GOLDEN = 0.6180339887498949


def promote(tx: Transaction, sql: dict[str, str], queue: int, limit: int) -> int:
    """Make up to `limit` due tasks of `queue` ready; return how many there were."""
    due = tx.execute(sql["scheduled_due"], (queue, tx.now.wall_ms, limit)).fetchall()
    for (task,) in due:
        tx.execute(sql["promote"], (task,))
        tx.event(_PROMOTED, task)
    return len(due)


def attend(tx: Transaction, conn: Connection, jitter: float, limit: int) -> tuple[int, int]:
    """Expire lost attempts and bury overdue tasks, up to `limit` of each; return how many of each there were."""
    now = tx.now
    expire, overdue = tx.execute(conn.sql["due"], (now.boot_ms, now.wall_ms)).fetchone()
    expired = buried = 0
    if overdue:
        for task, state, n in tx.execute(conn.sql["overdue"], (now.wall_ms, limit)).fetchall():
            told: dict[str, Any] = {"reason": "deadline", "error": "its deadline passed"}
            if state == "active":
                # The fence closes here: the attempt's next heartbeat is refused and its process is stopped.
                told.update(end_late(tx, conn.sql, task, n))
            else:
                told["from"] = state
            bury(tx, conn.sql, task, n if state == "active" else None, told)
            buried += 1
    if expire:
        for index, (task, n) in enumerate(tx.execute(conn.sql["lost"], (now.boot_ms, limit)).fetchall()):
            # One draw spread by the golden ratio: tasks lost together do not come back together.
            lost(tx, conn.sql, task, n, (jitter + index * _GOLDEN) % 1.0)
            expired += 1
    return expired, buried


def keep_appointments(tx: Transaction, conn: Connection, jitter: float, limit: int) -> tuple[int, int | None]:
    """Fire the schedules that are due, and end questions that nobody answered in time, up to `limit` of each.

    Return how many there were of what there was more of, and when the next is due.
    """
    now_ms = tx.now.wall_ms
    due, reckoned, deadline = tx.execute(conn.sql["appointments"]).fetchone()
    moved = fired = ended = 0
    if due is not None and (due <= now_ms or reckoned > now_ms + JUMP_MS):
        from .schedules import fire, move

        moved = move(tx, conn, jitter, limit)
        fired = fire(tx, conn, jitter, limit)
    if deadline is not None and deadline <= now_ms:
        from .questions import end_due

        ended = end_due(tx, conn, limit)
    if moved or fired or ended:
        due, _, deadline = tx.execute(conn.sql["appointments"]).fetchone()
    return max(fired, ended), min((one for one in (due, deadline) if one is not None), default=None)


def sweep(tx: Transaction, conn: Connection, messages: Messages, limit: int, jitter: float) -> Swept:
    """Do all that time asks for, in one bounded step."""
    grace = clocks(tx, conn)
    expired, overdue = attend(tx, conn, jitter, limit)
    kept, appointment = keep_appointments(tx, conn, jitter, limit)
    queues = [row[0] for row in tx.execute("SELECT id FROM queue").fetchall()]
    promoted = sum(promote(tx, conn.sql, queue, limit) for queue in queues)
    due = [tx.execute(conn.sql["next_due"], (queue,)).fetchone()[0] for queue in queues]
    deadline = tx.execute(conn.sql["next_deadline"]).fetchone()[0]
    due = [moment for moment in (*due, deadline, appointment) if moment is not None]
    expiry = tx.execute(conn.sql["next_expiry"]).fetchone()[0]
    more = max(expired, overdue, promoted, kept) >= limit
    if tx.execute(conn.sql["any_message"]).fetchone() is not None:
        full, awaited, outlived = messages_swept(tx, messages, limit, jitter)
        more = more or full
        expiry = min((moment for moment in (expiry, awaited) if moment is not None), default=None)
        due += [outlived] if outlived is not None else []
    return Swept(promoted, expired, overdue, grace, more, min(due, default=None), expiry, kept)


def messages_swept(
    tx: Transaction, messages: Messages, limit: int, jitter: float
) -> tuple[bool, int | None, int | None]:
    """Do what time asks for of messages; return whether there is more, and when it next does: boot and wall clock."""
    from .delivering import attend as attend_messages

    done = attend_messages(tx, messages, jitter, limit)
    awaited, outlived = tx.execute(messages.sql["next_awaited"]).fetchone()
    return max(done) >= limit, awaited, outlived


def lost(tx: Transaction, sql: dict[str, str], task: int, n: int, jitter: float) -> Ended:
    """An attempt's lease ran out."""
    failure = Failure("lost", "the lease ran out without a heartbeat")
    held = Held(tx, sql, task, n)
    if held.cancel_asked:
        return end_cancelled(tx, sql, held, None, None, None)
    used, _ = end_attempt(tx, sql, task, n, "failed", failure, None, None, jitter)
    return after_failure(tx, sql, held, failure, jitter, used, None)


def end_late(tx: Transaction, sql: dict[str, str], task: int, n: int) -> dict[str, Any]:
    """Close the running attempt of a task whose deadline passed and return what is to be told of it.

    Burying the task is the caller's.
    """
    told: dict[str, Any] = {}
    tell_end(tx, told, task, n, end_attempt(tx, sql, task, n, "failed", LATE, None, None)[0], None, None)
    return told
