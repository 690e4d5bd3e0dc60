"""What a detector is fed, and what it finds. Values only; ids are numbers here, and texts are as stored.

Detectors take these rows and nothing else, so that each can be tried on a history that a test makes up.
"""

from __future__ import annotations

from ..record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from ..domain.limits import Hold
    from ..domain.machine import State

    Pattern = Literal[
        "circular_delegation", "chatty_pair", "god_agent", "blocking_waits", "retry_storm", "starved_queue",
        "poison", "flapping",
    ]  # fmt: skip
    Severity = Literal["info", "warning", "critical"]

PATTERNS: tuple[Pattern, ...] = (
    "circular_delegation", "chatty_pair", "god_agent", "blocking_waits", "retry_storm", "starved_queue",
    "poison", "flapping",
)  # fmt: skip
#: worst last: `--fail-on` counts from one of them upwards
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")


@record
class Finding:
    """One pattern that was found, with what shows it and what to do about it. Texts are cleaned."""

    kind: Pattern
    severity: Severity
    subject: str  #: whom or what it is about: an agent, a queue, a chain of agents
    summary: str  #: what happened, one sentence
    remedy: str  #: a command to run or a key of agentctl.toml to set
    count: int  #: how many of what `summary` counts first
    first_ms: int | None = None
    last_ms: int | None = None
    tasks: tuple[str, ...] = ()  #: some of the tasks concerned
    events: tuple[int, ...] = ()  #: numbers of some of the events that show it
    #: figures by name: a float is a share of 1, a name tells its unit (`_ms`, `_microusd`)
    evidence: tuple[tuple[str, str | int | float], ...] = ()


@record
class Window:
    """The part of the history that is looked at: events after `after` up to `last`."""

    since_ms: int
    until_ms: int
    after: int
    last: int
    cut: bool = False  #: it would have been more events than are looked at; `since_ms` is where it begins instead

    @property
    def events(self) -> int:
        """How many events there are in it."""
        return self.last - self.after


@record
class AgentFacts:
    """An agent as it is now."""

    name: str
    declared: bool
    running: bool  #: a person wants it to run, and not all of its instances are latched
    desired: str
    capacity: int  #: instances there should be
    busy: int  #: attempts it holds
    queues: tuple[str, ...]
    hold: Hold | None = None  #: why it starts nothing though work waits: a limit, a budget, a breaker


@record
class Stuck:
    """Ready tasks that no declared agent can take (domain/routing.py)."""

    tasks: int
    oldest_ms: int  #: since when the first of them has been ready
    oldest_task: int
    why: str


@record
class QueueFacts:
    """A queue as it is now."""

    name: str
    ready: int  #: and somebody could take them, if anybody serves the queue
    active: int
    oldest_ms: int | None  #: since when the task that is next has been ready
    oldest_task: int | None
    paused_ms: int | None = None
    paused_by: str = ""
    stuck: Stuck | None = None
    hold: Hold | None = None  #: as of an agent


@record
class Work:
    """Starts of one agent from one queue within the window."""

    agent: str
    queue: str  #: empty when its tasks have been pruned
    starts: int
    again: int  #: of them second and later attempts
    recent: int  #: of them within the last `starved_wait`


@record
class Adds:
    """Tasks that one agent added within the window."""

    agent: str
    tasks: int
    first_seq: int
    last_seq: int


@record
class Burst:
    """Retries within one bucket of time."""

    at_ms: int  #: where the bucket begins
    retries: int
    first_seq: int
    last_seq: int


@record
class Retried:
    """One attempt that failed and whose task is tried again."""

    seq: int
    at_ms: int
    task: int
    agent: str
    queue: str
    error_class: str
    error: str
    run_at_ms: int | None
    cost_microusd: int


@record
class Dead:
    """One dead letter."""

    task: int
    queue: str
    agent: str
    reason: str
    error_class: str
    error: str
    died_ms: int
    attempts: int


@record
class Delegation:
    """A task, the task that added it, and who worked on it last (None: nobody yet)."""

    task: int
    creator: int | None
    agent: str | None


@record
class Refusal:
    """One event that tells that an agent was refused."""

    seq: int
    at_ms: int
    who: str
    verb: str
    reason: str
    times: int  #: how often, this time included


@record
class Blocked:
    """A task that waits for one that is ready and that nobody has taken."""

    task: int
    queue: str
    parent: int
    parent_queue: str
    since_ms: int  #: since when both is so


@record
class Held:
    """A running attempt that waits, or may wait, for somebody: for a task it added, or for an answer."""

    task: int
    agent: str
    since_ms: int
    awaited: int | None  #: the task it added; None for an answer to a message
    state: State | None  #: of that task
    queue: str  #: of that task
    by: str | None  #: the agent that works on it, or that owes the answer


@record
class Change:
    """One change of an instance."""

    seq: int
    at_ms: int
    instance: str
    phase: str
    health: str
    reason: str
    latched: bool


@record
class Damped:
    """One event that tells that a conversation got nowhere and was damped (domain/message.py, Damping)."""

    seq: int
    at_ms: int
    source: str
    target: str


@record
class Talk:
    """Messages from one agent to another within one bucket of time; publications are not counted."""

    source: str
    target: str
    at_ms: int  #: when the bucket begins
    messages: int
    first_seq: int
    last_seq: int
    first_ms: int
    last_ms: int
