"""Refusals on their way into the history: told at once, and seldom when somebody goes on and on.

Who is refused chooses how often that is. Each kind of refusal of each caller is told when it first comes, then after
twice as long each time; what came between is a number. All together have a budget, so that many fill no disk either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..domain.event import KINDS
from ..jsontext import dumps

if TYPE_CHECKING:
    from typing import Any

    from ..clock import Moment
    from ..errors import Refused
    from ..sqlite.driver import SqliteDriver
    from .peer import Peer

_REFUSED = KINDS["access.refused"]
FIRST_MS, LAST_MS = 1_000, 60_000  #: pause after the first event of a kind, and the longest
MOST_AT_ONCE = 100  #: events there may be before they come at EVERY_MS
EVERY_MS = 1_000
MOST_KINDS = 1_000  #: callers and verbs that are told apart
MOST_REASON = 300  #: characters
_NO_DIGITS = dict.fromkeys(map(ord, "0123456789"))


class _Kind:
    __slots__ = ("pause_ms", "told_ms", "untold")

    def __init__(self) -> None:
        self.told_ms = self.untold = 0
        self.pause_ms = 0


class Refusals:
    """Gathers refusals until they are written. One thread's."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], _Kind] = {}
        self._due: list[tuple[str, dict[str, Any]]] = []
        self._left, self._filled_ms = float(MOST_AT_ONCE), 0

    def add(self, peer: Peer, verb: str, error: Refused, now_ms: int) -> None:
        """Take note that a caller was refused `verb`."""
        who = "unknown" if peer.identity is None else peer.identity.instance
        if len(self._kinds) >= MOST_KINDS:
            self._kinds.clear()
        # Of those who are not let in, the reasons are told apart: they hold no words of theirs.
        what = verb if verb != "hello" else error.message.translate(_NO_DIGITS)
        kind = self._kinds.setdefault((who, what), _Kind())
        if now_ms - kind.told_ms > 2 * LAST_MS:
            kind.pause_ms = 0  # it has been quiet
        if (kind.told_ms and now_ms - kind.told_ms < kind.pause_ms) or not self._afford(now_ms):
            kind.untold += 1
            return
        said = {"verb": verb, "reason": error.message[:MOST_REASON], "pid": peer.pid, "more": kind.untold}
        self._due.append((who, {name: value for name, value in said.items() if value}))
        kind.untold, kind.told_ms = 0, now_ms
        kind.pause_ms = min(max(FIRST_MS, 2 * kind.pause_ms), LAST_MS)

    def _afford(self, now_ms: int) -> bool:
        self._left = min(MOST_AT_ONCE, self._left + (now_ms - self._filled_ms) / EVERY_MS)
        self._filled_ms = now_ms
        if self._left < 1:
            return False
        self._left -= 1
        return True

    @property
    def waiting(self) -> bool:
        """Whether there are any to write."""
        return bool(self._due)

    def write(self, driver: SqliteDriver, now: Moment) -> None:
        """Write them as events. Raises StoreError; they are dropped then."""
        due, self._due = self._due, []
        with driver.conn.write(now) as tx:
            for who, said in due:
                tx.event(_REFUSED, actor=who, data=dumps(said))
