"""What the dashboard needs from the outside. `agentctl` hands in objects that fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from agentctl_store.read.port import Reader as Reader


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of an agent's output, as it came: hostile text."""

    at_ms: int | None
    stream: str  #: "out" or "err"
    text: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an act did."""

    done: int  #: how many of what was asked
    note: str = ""  #: one sentence when not all of it could be done, or when there is more to know


class Logs(Protocol):
    """The output files of sessions."""

    def tail(self, session: str, lines: int, until_ms: int | None = None) -> Sequence[LogLine]:
        """Return at most the last `lines` lines of a session's output, oldest first; none when it is gone.

        With `until_ms`, of what was written until then.
        """


class Operator(Protocol):
    """Acts on the store. Each call is one audited act; errors are those of `agentctl_store.errors`."""

    def requeue(self, tasks: Sequence[str], payload: str | None = None) -> Receipt:
        """Send dead letters back to their queue, all with a new `payload` (JSON text) when one is given."""

    def discard(self, tasks: Sequence[str]) -> Receipt:
        """Give dead letters up."""

    def start(self, targets: Sequence[str]) -> Receipt:
        """Start agents or instances by name; clears a start-limit latch."""

    def stop(self, targets: Sequence[str]) -> Receipt: ...
    def restart(self, targets: Sequence[str]) -> Receipt: ...
    def drain(self, targets: Sequence[str]) -> Receipt: ...
    def pause(self, targets: Sequence[str]) -> Receipt: ...
    def resume(self, targets: Sequence[str]) -> Receipt: ...
