"""Agents, their instances and sessions."""

from __future__ import annotations

from ..errors import NotFound
from ..record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal

    Mode = Literal["task", "worker", "service"]
    Desired = Literal["running", "paused", "draining", "stopped"]
    #: what the supervisor last saw of the process
    Phase = Literal["stopped", "starting", "idle", "busy", "draining", "stopping", "backoff", "failed"]
    Health = Literal["healthy", "degraded", "unhealthy", "starting", "stopped", "paused", "draining"]
    SessionOutcome = Literal["exited", "killed", "stopped", "lost", "never_started"]

MODES: tuple[Mode, ...] = ("task", "worker", "service")
DESIRED: tuple[Desired, ...] = ("running", "paused", "draining", "stopped")
PHASES: tuple[Phase, ...] = (
    "stopped",
    "starting",
    "idle",
    "busy",
    "draining",
    "stopping",
    "backoff",
    "failed",
)
HEALTHS: tuple[Health, ...] = (
    "healthy",
    "degraded",
    "unhealthy",
    "starting",
    "stopped",
    "paused",
    "draining",
)


@record
class AgentSpec:
    """What agentctl.toml says of an agent, as far as the store must know it."""

    name: str
    mode: Mode
    queues: tuple[str, ...]
    instances: int
    retry: str | None = None  #: the agent's RetryPolicy as JSON text; a task's own goes before it
    can: tuple[str, ...] = ()  #: its capabilities
    fallback: str | None = None  #: JSON text: {"agent": NAME} or {"result": VALUE}
    max_depth: int | None = None  #: how long a chain it delegates on may get; domain.routing.MAX_DEPTH by default
    checked: bool = False  #: only its supervisor says that an attempt succeeded: what it left is checked first


@record
class Agent:
    """A persistent identity and what a person wants of it."""

    name: str
    mode: Mode | None
    queues: tuple[str, ...]
    instances: int  #: as configured
    scale: int | None  #: as asked by `agent scale`; goes before `instances`
    desired: Desired
    restart_seq: int  #: raised by each `agent restart`; the supervisor restarts what started before
    reset_seq: int  #: raised by each `agent start`; clears a start-limit latch set before
    declared: bool  #: named by the current agentctl.toml
    since_ms: int
    can: tuple[str, ...] = ()
    fallback: str | None = None
    max_depth: int | None = None
    checked: bool = False


@record
class Instance:
    """One parallel slot of an agent as the supervisor last reported it."""

    agent: str
    slot: int
    phase: Phase
    health: Health
    reason: str  #: why, in words a person can act on; empty when healthy
    session: int | None = None
    restarts: int = 0
    latched: bool = False  #: the start limit was hit; only a person clears it
    next_start_ms: int | None = None  #: wall time of the next start while in backoff
    memo: str = ""  #: the supervisor's own restart bookkeeping, JSON text
    since_ms: int = 0


@record
class NewSession:
    """The intent to start a session, written before any process exists."""

    id: int
    agent: str
    slot: int
    nonce: str | None = None  #: None for a task's: it follows from the ids (agentctl_store/ids.py)


@record
class Session:
    """One life of an instance."""

    id: int
    agent: str
    slot: int
    nonce: str
    opened_ms: int
    task: int | None = None
    attempt: int | None = None
    pid: int | None = None
    started_ms: int | None = None
    ended_ms: int | None = None
    outcome: SessionOutcome | None = None
    exit_code: int | None = None
    signal: int | None = None
    detail: str | None = None


@record
class SessionEnd:
    """How a session ended."""

    id: int
    outcome: SessionOutcome
    exit_code: int | None = None
    signal: int | None = None
    detail: str | None = None


def no_such_agent(name: str, known: Iterable[str]) -> NotFound:
    """Return what to raise for an agent nobody knows, with the known names that are most like it."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, 3, 0.6)
    remedy = f"Did you mean {' or '.join(close)}? " if close else ""
    return NotFound(f"there is no agent {name}", f"{remedy}List the agents with: agentctl agent list")
