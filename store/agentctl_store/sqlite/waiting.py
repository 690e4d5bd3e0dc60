"""Waiting for news without a supervisor: a datagram after each commit, and a slow look in case one was lost."""

from __future__ import annotations

import time

from ..jsontext import dumps
from ..record import record
from ..wake import Waiter
from .clocks import steady

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..clock import Moment
    from .connection import Connection
    from .transaction import Transaction

    Who = tuple[Sequence[str], str, Sequence[str] | None]  # the queues, the agent, what it can

LOOK_MS = 1_000  #: how often the history is looked at though nobody rang
BLIND_MS = 50  #: the same where no socket can be made: read-only or full disk

_LAST = "SELECT max(seq) FROM event"
_LAST_OF = "SELECT max(seq) FROM event WHERE task = ?"
_NEVER_MS = 1 << 62


@record
class Quiet:
    """What a claim that found nothing knows: until when another need not be tried unless somebody commits.

    Each who waits looks every second: most of what that cost was its write transaction, which held writers up as well.
    """

    who: Who
    last: int  #: the last event
    boot_ms: int  #: when time next asks for something, by this clock
    wall_ms: int  #: and by this one
    clocks: tuple[int, int]  #: slept and wall offset of then: after a suspend or a jump the moments are others

    def lasts(self, conn: Connection, who: Who, now: Moment) -> bool:
        """Whether a claim would find nothing at `now` either. StoreCorrupt as for a write."""
        if self.who != who or now.boot_ms >= self.boot_ms or now.wall_ms >= self.wall_ms:
            return False
        if not steady(now.boot_ms - now.awake_ms, now.wall_ms - now.boot_ms, self.clocks):
            return False
        if (conn.rows(_LAST)[0][0] or 0) != self.last:
            return False
        conn.check_files(now.boot_ms)
        return True


def quiet(tx: Transaction, conn: Connection, who: Who) -> Quiet | None:
    """Return what there is to know after a claim that found nothing, in its transaction.

    None when that says nothing of the next: a task is ready, but held back or not for this one. What the claim wrote
    all the same comes after the last event that is returned here, and so the next one is tried.
    """
    last, ready, lease, *moments = tx.execute(conn.sql["quiet"], (dumps(list(who[0])),)).fetchone()
    if ready:
        return None
    now = tx.now
    wall_ms = min((moment for moment in moments if moment is not None), default=_NEVER_MS)
    boot_ms = _NEVER_MS if lease is None else lease
    return Quiet(who, last or 0, boot_ms, wall_ms, (now.boot_ms - now.awake_ms, now.wall_ms - now.boot_ms))


def changed(conn: Connection, after: int, task: int | None, wait_ms: int) -> int:
    """See Driver.changed."""
    until = time.monotonic() + wait_ms / 1000
    if wait_ms > 0 and conn.waiter is None:
        try:
            conn.waiter = Waiter(conn.directory)
        except OSError:
            pass  # then looking must do
    while True:
        # After the socket is bound and emptied: a commit from here on rings.
        last: int = (conn.rows(_LAST) if task is None else conn.rows(_LAST_OF, (task,)))[0][0] or 0
        left_ms = (until - time.monotonic()) * 1000
        if last > after or left_ms <= 0:
            return last
        if conn.waiter is not None:
            conn.waiter.wait(int(min(left_ms, LOOK_MS)) + 1)
        else:
            time.sleep(min(left_ms, BLIND_MS) / 1000)
