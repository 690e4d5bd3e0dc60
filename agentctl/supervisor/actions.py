"""What to do, as frozen values: the only output of a decision. `perform` carries them out and may answer with facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentctl.policy.outcome import SessionFacts
    from agentctl.supervisor.slot import Slot


@dataclass(frozen=True, slots=True)
class Become:
    """The slot is now this."""

    slot: Slot


@dataclass(frozen=True, slots=True)
class Claim:
    """Take a task for the slot if there is one and memory allows; answers Opened, Held or nothing."""


@dataclass(frozen=True, slots=True)
class Open:
    """Start a session without a task (worker, service); answers Opened or Held."""


@dataclass(frozen=True, slots=True)
class NoteStart:
    """Write to the store that the session's process runs."""

    session: int
    pid: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask the session's whole tree to end: TERM, after `grace_ms` KILL; 0 is at once."""

    session: int
    reason: str
    grace_ms: int


@dataclass(frozen=True, slots=True)
class Record:
    """Write the session's end, and its task's, to the store until it is there; answers Recorded."""

    session: int
    end: SessionFacts


@dataclass(frozen=True, slots=True)
class Verify:
    """Check what the ended attempt left before it is believed; answers Verified, in its time."""


@dataclass(frozen=True, slots=True)
class Extend:
    """Extend the lease of the running attempt, with what it said; answers CancelAsked or Outlived if so."""

    task: int
    n: int
    lease_ms: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Run a probe outside the loop; its answer comes as Probed."""

    kind: str


@dataclass(frozen=True, slots=True)
class Look:
    """Look at the session's files and memory: answers Said."""

    session: int


@dataclass(frozen=True, slots=True)
class Gone:
    """The slot is not wanted any more and holds nothing: forget it."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell a person. `kind` is start, exit, failure, ask, health, latch or note."""

    kind: str
    text: str


Action = Become | Claim | Open | NoteStart | Stop | Record | Verify | Extend | Probe | Look | Gone | Tell
