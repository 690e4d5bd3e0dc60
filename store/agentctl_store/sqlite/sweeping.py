"""What time does to tasks: due ones become ready, lost ones come back, overdue ones are buried. And clocks jump."""

from __future__ import annotations

from ..domain.event import KINDS
from ..domain.task import Swept
from ..jsontext import dumps
from .ending import bury, end_late, lost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .connection import Connection, Transaction

_GAP, _PROMOTED = KINDS["clock.gap"], KINDS["task.promoted"]
SLEPT_MS = 1_000  #: a difference of boot and awake clocks that grew by more means the machine slept
JUMP_MS = 2_000  #: a wall clock that moved by more against the boot clock was set, not slewed
GRACE_MS = 10_000  #: what each lease gets on top of the time slept
_GOLDEN = 0.6180339887498949


def clocks(tx: Transaction, conn: Connection) -> int:
    """Notice reboot, suspend and wall clock jumps since the last write; return the grace given to leases, in ms.

    After a reboot no process of before lives, so every lease is void. After a suspend every holder slept as well, so
    every lease is extended by the gap. After a wall clock jump, backoffs move with the clock.
    """
    now = tx.now
    slept, offset = now.boot_ms - now.awake_ms, now.wall_ms - now.boot_ms
    seen = conn.clock_seen
    if seen is not None and slept - seen[0] <= SLEPT_MS and abs(offset - seen[1]) <= JUMP_MS:
        return 0
    rows = tx.execute("SELECT key, value FROM meta WHERE key IN ('boot_id', 'slept_ms', 'wall_offset_ms')")
    known = dict(rows.fetchall())
    conn.clock_seen = (slept, offset)
    grace = shift = 0
    rebooted = known.get("boot_id") not in (None, now.boot_id)
    if rebooted:
        tx.execute(conn.sql["void_all"])
    elif known and slept - known["slept_ms"] > SLEPT_MS:
        grace = slept - known["slept_ms"] + GRACE_MS
        tx.execute(conn.sql["extend_all"], (grace,))
    if known and not rebooted and abs(offset - known["wall_offset_ms"]) > JUMP_MS:
        shift = offset - known["wall_offset_ms"]
        tx.execute(conn.sql["shift_backoffs"], (shift,))
    if not known or rebooted or grace or shift:
        values = [("boot_id", now.boot_id), ("slept_ms", slept), ("wall_offset_ms", offset)]
        for pair in values:
            tx.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", pair)
    if rebooted or grace or shift:
        told = {"rebooted": int(rebooted), "grace": grace, "shift": shift}
        tx.event(_GAP, data=dumps({name: value for name, value in told.items() if value}))
    return grace


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


def ask_cancel(tx: Transaction, conn: Connection, task: int, reason: str, actor: str) -> None:
    """Ask a running attempt to end."""
    tx.execute(conn.sql["ask_cancel"], (reason, task))
    tx.event(KINDS["task.cancel_asked"], task, None, actor, dumps({"reason": reason}))


def sweep(tx: Transaction, conn: Connection, limit: int, jitter: float) -> Swept:
    """Do all that time asks for, in one bounded step."""
    grace = clocks(tx, conn)
    expired, overdue = attend(tx, conn, jitter, limit)
    queues = [row[0] for row in tx.execute("SELECT id FROM queue").fetchall()]
    promoted = sum(promote(tx, conn.sql, queue, limit) for queue in queues)
    due = [tx.execute(conn.sql["next_due"], (queue,)).fetchone()[0] for queue in queues]
    due = [moment for moment in due if moment is not None]
    expiry = tx.execute(conn.sql["next_expiry"]).fetchone()[0]
    more = expired >= limit or overdue >= limit or promoted >= limit
    return Swept(promoted, expired, overdue, grace, more, min(due, default=None), expiry)
