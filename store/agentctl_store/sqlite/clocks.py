"""What a reboot, a suspend or a clock that was set means for leases and backoffs.

A room of its own, because every claim comes through it and few need the rest of a sweep.
"""

from __future__ import annotations

from ..clock import GRACE_MS, JUMP_MS, SLEPT_MS
from ..domain.event import KINDS
from ..jsontext import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .connection import Connection
    from .transaction import Transaction

_GAP = KINDS["clock.gap"]


def steady(slept: int, offset: int, seen: tuple[int, int]) -> bool:
    """Whether the machine did not sleep and its wall clock was not set since it was `seen` so (slept, wall offset)."""
    return slept - seen[0] <= SLEPT_MS and abs(offset - seen[1]) <= JUMP_MS


def clocks(tx: Transaction, conn: Connection) -> int:
    """Notice reboot, suspend and wall clock jumps since the last write; return the grace given to leases, in ms.

    After a reboot no process of before lives, so every lease is void. After a suspend every holder slept as well, so
    every lease is extended by the gap. After a wall clock jump, backoffs, rates and breakers move with the clock.
    """
    now = tx.now
    slept, offset = now.boot_ms - now.awake_ms, now.wall_ms - now.boot_ms
    seen = conn.clock_noticed()
    if seen is not None and steady(slept, offset, seen):
        return 0
    rows = tx.execute("SELECT key, value FROM meta WHERE key IN ('boot_id', 'slept_ms', 'wall_offset_ms')")
    known = dict(rows.fetchall())
    conn.clock_seen = (slept, offset)
    grace = shift = 0
    rebooted = known.get("boot_id") not in (None, now.boot_id)
    if rebooted:
        tx.execute(conn.sql["void_all"])
        tx.execute(conn.sql["void_messages"])
    elif known and slept - known["slept_ms"] > SLEPT_MS:
        grace = slept - known["slept_ms"] + GRACE_MS
        tx.execute(conn.sql["extend_all"], (grace,))
        tx.execute(conn.sql["extend_messages"], (grace,))
    if known and not rebooted and abs(offset - known["wall_offset_ms"]) > JUMP_MS:
        shift = offset - known["wall_offset_ms"]
        tx.execute(conn.sql["shift_backoffs"], (shift,))
        tx.execute(conn.sql["shift_bounds"], (shift * 1000,))
        tx.execute(conn.sql["shift_breakers"], (shift,))
    if grace or shift:
        conn.gaps.append((now.wall_ms, (grace - GRACE_MS if grace else 0) + shift))
        conn.limits = None
    if not known or rebooted or grace or shift:
        values = [("boot_id", now.boot_id), ("slept_ms", slept), ("wall_offset_ms", offset)]
        for pair in values:
            tx.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", pair)
    if rebooted or grace or shift:
        told = {"rebooted": int(rebooted), "grace": grace, "shift": shift}
        tx.event(_GAP, data=dumps({name: value for name, value in told.items() if value}))
    return grace
