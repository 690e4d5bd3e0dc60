"""Waiting for news without a supervisor: a datagram after each commit, and a slow look in case one was lost."""

from __future__ import annotations

import time

from ..wake import Waiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .connection import Connection

LOOK_MS = 1_000  #: how often the history is looked at though nobody rang
BLIND_MS = 50  #: the same where no socket can be made: read-only or full disk

_LAST = "SELECT max(seq) FROM event"
_LAST_OF = "SELECT max(seq) FROM event WHERE task = ?"


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
