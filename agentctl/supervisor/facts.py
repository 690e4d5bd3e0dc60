"""What happened, as frozen values: the only input of a decision besides the slot itself and the time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentctl.policy.outcome import SessionFacts
    from agentctl.supervisor.slot import Want


@dataclass(frozen=True, slots=True)
class WorkSeen:
    """The agent's queues may hold work."""


@dataclass(frozen=True, slots=True)
class Held:
    """A start was held back: `why` for people, `until_ms` (boot clock) when to try again."""

    why: str
    until_ms: int


@dataclass(frozen=True, slots=True)
class Limited:
    """A limit keeps the slot from work that waits: `why` for people, empty where that is how it should be.

    It is tried again at `until_ms` (boot clock), and whenever work is seen; 0: nothing keeps it any more. `for_good`:
    no time that passes ends it, only a person does.
    """

    why: str
    until_ms: int
    for_good: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """A session was opened in the store, for a task or for none, and its process is being launched."""

    session: int
    nonce: str
    task: int | None = None
    n: int | None = None
    timeout_ms: int | None = None
    what: str = ""  #: queue of the task, for narration


@dataclass(frozen=True, slots=True)
class Started:
    """The agent's process runs."""

    pid: int
    started_ms: int  #: boot clock; before now when the session was adopted


@dataclass(frozen=True, slots=True)
class Said:
    """What a session said or showed since the last look; None and empty where it said nothing."""

    heard_ms: int | None = None  #: boot clock of the last line or notification
    output_ms: int | None = None  #: boot clock of the last output
    progress: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_microusd: int | None = None
    retry_after_ms: int | None = None
    ask: str | None = None  #: the line that asks a person, as it came
    ready: bool = False
    stopping: bool = False
    status: str | None = None
    watchdog: bool = False  #: WATCHDOG=1
    watchdog_trigger: bool = False  #: WATCHDOG=trigger: treat as if it had missed its time
    watchdog_ms: int | None = None  #: WATCHDOG_USEC: a new interval
    extend_ms: int | None = None  #: EXTEND_TIMEOUT_USEC
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Exited:
    """The session's process has ended, or could not be started."""

    end: SessionFacts


@dataclass(frozen=True, slots=True)
class Verified:
    """The check of an attempt's success has ended; `end` says how, None: there was nothing to check."""

    end: SessionFacts | None


@dataclass(frozen=True, slots=True)
class Recorded:
    """The end is in the store; `text` says for people what followed."""

    text: str = ""
    good: bool = False  #: the task is done
    asked: bool = False  #: a person; nothing is finished


@dataclass(frozen=True, slots=True)
class Probed:
    """A probe answered; `kind` is startup, liveness or readiness."""

    kind: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person or the configuration wants of this slot now."""

    want: Want


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """Somebody asked the running task to be cancelled."""

    task: int


@dataclass(frozen=True, slots=True)
class Outlived:
    """The attempt no longer owns its task (its lease ran out, or its deadline passed)."""

    task: int
    n: int


@dataclass(frozen=True, slots=True)
class Overspent:
    """A budget that the running attempt counts for is spent."""

    task: int
    n: int
    why: str


@dataclass(frozen=True, slots=True)
class Slept:
    """The machine slept for so long: the agents did too, so no deadline of theirs ran meanwhile."""

    gap_ms: int


@dataclass(frozen=True, slots=True)
class Delayed:
    """The supervisor comes late (it was stopped, or the store kept it waiting): leases go before all else."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """A deadline of the slot has come."""


Fact = (
    WorkSeen
    | Held
    | Limited
    | Opened
    | Started
    | Said
    | Exited
    | Verified
    | Recorded
    | Probed
    | Wanted
    | CancelAsked
    | Outlived
    | Overspent
    | Slept
    | Delayed
    | Ticked
)
FACTS: tuple[type[Fact], ...] = (
    WorkSeen, Held, Limited, Opened, Started, Said, Exited, Verified, Recorded, Probed, Wanted, CancelAsked, Outlived,
    Overspent, Slept, Delayed, Ticked,
)  # fmt: skip
