"""What waits at the broker's desk: claims by the queues they wait for, readers by their inbox, calls for news."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .peer import Peer

    Line = tuple[Any, ...]  #: of claims: queues, agent, what it can; who claims the same
    Fed = dict[Line, int]  #: by line, how many of those who wait were served

MOST_WAITING = 10_000  #: calls that wait at once


class Call:
    """A call as it came: checked, not served."""

    __slots__ = ("arguments", "came", "number", "peer", "until_ms", "verb")

    def __init__(self, peer: Peer, number: int, verb: str, arguments: dict[str, Any]) -> None:
        self.peer, self.number, self.verb, self.arguments = peer, number, verb, arguments
        self.until_ms = 0  #: boot time at which one that waits is answered all the same
        self.came = 0  #: which of those who ever waited it is

    @property
    def line(self) -> Line | None:
        """Where it waits, if it is one that waits to be given something."""
        if self.verb == "claim":
            return self.arguments["queues"], self.arguments["agent"], self.arguments["can"]
        return inbox(self.arguments["agent"]) if self.verb == "messages.read" else None


def inbox(agent: str) -> Line:
    """Return the line of those who wait for an agent's messages."""
    return "inbox", agent


def is_inbox(line: Line) -> bool:
    return bool(line[0] == "inbox")


class Waiting:
    """Calls that cannot be answered yet, first come first served within each line. One thread's."""

    def __init__(self) -> None:
        self.lines: dict[Line, deque[Call]] = {}
        self.watches: list[Call] = []
        self._parked = 0  #: how many have ever waited
        self._due_ms: int | None = None  #: boot time of the first that has waited long enough
        self._held_ms: int | None = None  #: boot time at which a limit may let the next claim through

    def __len__(self) -> int:
        return len(self.watches) + sum(len(line) for line in self.lines.values())

    @property
    def full(self) -> bool:
        """Whether nobody more may wait."""
        return len(self) >= MOST_WAITING

    @property
    def any(self) -> bool:
        """Whether anybody waits."""
        return bool(self.watches or self.lines)

    @property
    def due_ms(self) -> int | None:
        """Boot time of the first that has waited long enough, or may be let through; None when nobody waits."""
        due = [at_ms for at_ms in (self._due_ms, self._held_ms) if at_ms is not None]
        return min(due, default=None) if self.any else None

    def hold(self, until_ms: int) -> None:
        """Have claims looked at again at `until_ms`, boot time."""
        self._held_ms = until_ms if self._held_ms is None else min(self._held_ms, until_ms)

    def feed(self, names: Iterable[Line]) -> None:
        """Forget when claims were to be looked at again: all of them are, now."""
        if any(not is_inbox(name) for name in names):
            self._held_ms = None

    def park(self, call: Call, until_ms: int) -> None:
        """Let a call wait, in its line or for news."""
        self._parked += 1
        call.until_ms, call.came = until_ms, self._parked
        self._due_ms = until_ms if self._due_ms is None else min(self._due_ms, until_ms)
        if call.line is None:
            self.watches.append(call)
        else:
            self.lines.setdefault(call.line, deque()).append(call)

    def unpark(self, call: Call) -> None:
        """Take one out that stands in a line, if it does."""
        line = self.lines.get(call.line) if call.until_ms and call.line is not None else None
        if line is not None and call.line is not None:
            line.remove(call)
            if not line:
                del self.lines[call.line]

    def take_off(self, fed: Fed) -> None:
        """Let those go who were served in what has been committed."""
        for name, count in fed.items():
            line = self.lines[name]
            for _ in range(count):
                line.popleft()
            if not line:
                del self.lines[name]

    def overdue(self, now_ms: int) -> list[Call]:
        """Take out of their lines those who have waited long enough, and return them."""
        if self._due_ms is None or now_ms < self._due_ms:
            return []
        over: list[Call] = []
        for name, line in list(self.lines.items()):
            over += [call for call in line if call.until_ms <= now_ms]
            self.lines[name] = deque(call for call in line if call.until_ms > now_ms)
            if not self.lines[name]:
                del self.lines[name]
        left: Iterable[Call] = [*self.watches, *(call for line in self.lines.values() for call in line)]
        self._due_ms = min((call.until_ms for call in left), default=None)
        return over

    def leave(self, peer: Peer) -> None:
        """Forget what a peer that has gone was waiting for."""
        self.watches = [call for call in self.watches if call.peer is not peer]
        for name, line in list(self.lines.items()):
            kept = deque(call for call in line if call.peer is not peer)
            if kept:
                self.lines[name] = kept
            else:
                del self.lines[name]
