"""The lines in which claims wait for work: who came first is served first, whatever queues were named.

All who name the same queues share a line, so that a task that comes costs one look each line. Under limits each agent
has lines of its own: what holds one agent back lets another one pass.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..clock import Moment
    from ..sqlite.driver import SqliteDriver
    from .desk import Answer, Call
    from .peer import Peer

    Line = tuple[str, ...]
    Fed = dict[Line, int]  #: by line, how many of those who wait were served


class Lines:
    """The claims that wait. `held_ms`: when, on the boot clock, a limit may let the next of them through."""

    def __init__(self, driver: SqliteDriver) -> None:
        self._driver = driver
        self._lines: dict[Line, deque[Call]] = {}
        self._by_agent = False
        self.held_ms: int | None = None

    def __len__(self) -> int:
        return sum(len(line) for line in self._lines.values())

    def __iter__(self) -> Iterator[Call]:
        for line in self._lines.values():
            yield from line

    def enter(self, call: Call, now: Moment) -> None:
        """Take a claim in that found nothing."""
        self._lines.setdefault(self._line_of(call), deque()).append(call)
        self._note_hold(call, now)

    def take_out(self, call: Call) -> None:
        """Let one go, if it is here."""
        self._keep(self._line_of(call), lambda other: other is not call)

    def leave(self, peer: Peer) -> None:
        """Forget what a peer that has gone was waiting for."""
        for line in list(self._lines):
            self._keep(line, lambda call: call.peer is not peer)

    def overdue(self, now_ms: int) -> list[Call]:
        """Let those go who have waited long enough, and return them."""
        over = [call for call in self if call.until_ms <= now_ms]
        for line in list(self._lines) if over else ():
            self._keep(line, lambda call: call.until_ms > now_ms)
        return over

    def feed(self, now: Moment, serve: Callable[[Call], Answer | None], answers: list[Answer]) -> Fed:
        """Serve those who wait, first come first, until nothing is left for them.

        Returns how many are to be taken off each line, once that is committed.
        """
        self._regroup()
        self.held_ms = None
        served = dict.fromkeys(self._lines, 0)
        heads = [(line[0].came, name) for name, line in self._lines.items()]
        heapify(heads)
        while heads:
            name = heappop(heads)[1]
            line = self._lines[name]
            call = line[served[name]]
            if not call.peer.gone:
                answer = serve(call)
                if answer is None:
                    self._note_hold(call, now)
                    continue  # nothing is left in these queues
                answers.append(answer)
            served[name] += 1
            if served[name] < len(line):
                heappush(heads, (line[served[name]].came, name))
        return served

    def take_off(self, fed: Fed) -> None:
        """Let those go who were served in what has been committed."""
        for name, count in fed.items():
            line = self._lines[name]
            for _ in range(count):
                line.popleft()
            if not line:
                del self._lines[name]

    def _keep(self, name: Line, wanted: Callable[[Call], bool]) -> None:
        kept = deque(call for call in self._lines.get(name, ()) if wanted(call))
        if kept:
            self._lines[name] = kept
        else:
            self._lines.pop(name, None)

    def _line_of(self, call: Call) -> Line:
        queues: Line = call.arguments["queues"]
        return (call.arguments["agent"], "", *queues) if self._by_agent else queues

    def _regroup(self) -> None:
        """Have lines for each agent once anything limits the store, and for all again when nothing does."""
        limited = bool(self._driver.conn.limited())
        if limited == self._by_agent:
            return
        calls = sorted(self, key=lambda call: call.came)
        self._by_agent, self._lines = limited, {}
        for call in calls:
            self._lines.setdefault(self._line_of(call), deque()).append(call)

    def _note_hold(self, call: Call, now: Moment) -> None:
        """Note when a limit that holds a claim back may let it through: no commit will announce that."""
        if not self._driver.conn.limited():
            return
        held = self._driver.limits.hold(call.arguments["queues"], call.arguments["agent"], now.wall_ms)
        if held is not None and held.until_ms is not None:
            at_ms = now.boot_ms + max(held.until_ms - now.wall_ms, 1)
            self.held_ms = at_ms if self.held_ms is None else min(self.held_ms, at_ms)
