"""Frozen rows that screens and reading verbs show. Values only.

Ids are in the form people see (`01k9x4m2v8qrs`, `reviewer/2`), times are wall milliseconds, None means
"not known" or "does not apply". Texts that agents wrote are as stored: whoever prints them passes them
through `agentctl_store.text.printable`.
"""

from __future__ import annotations

from agentctl_store.record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agentctl_store.domain.agent import Desired, Health, Mode, Phase, SessionOutcome
    from agentctl_store.domain.budget import Budget
    from agentctl_store.domain.machine import State
    from agentctl_store.domain.retry import ErrorClass
    from agentctl_store.domain.task import Outcome

# What each windowed method can sort by. A leading "-" turns the order round: "-died". Ties are broken by id,
# so that the order of a list never depends on the plan of a query.
INSTANCE_SORTS: tuple[str, ...] = (
    "instance",
    "health",
    "task",
    "since",
    "memory",
    "restarts",
    "context",
    "cost",
)
DEAD_LETTER_SORTS: tuple[str, ...] = ("died", "queue", "reason", "agent", "attempts", "id")
TASK_SORTS: tuple[str, ...] = ("id", "queue", "state", "priority", "available", "finished", "attempts")

#: Worst first: how "health" sorts, and which instance a fleet's finding names.
HEALTH_ORDER: tuple[Health, ...] = (
    "unhealthy", "degraded", "starting", "draining", "paused", "healthy", "stopped",
)  # fmt: skip


@record
class Filter:
    """What a list is narrowed to: each field that is set must match.

    `text` is found, case-blind, anywhere in the texts and ids of a row.
    """

    text: str = ""
    queue: str | None = None
    agent: str | None = None
    health: Health | None = None
    state: State | None = None
    reason: str | None = None  #: dead letters: a group's `key`


@record
class InstanceRow:
    """One parallel slot of an agent, with what it is doing now."""

    instance: str
    agent: str
    mode: Mode | None
    desired: Desired
    phase: Phase
    health: Health
    reason: str  #: why, in words a person can act on; empty when healthy
    since_ms: int  #: in this health since
    session: str | None = None
    pid: int | None = None
    started_ms: int | None = None  #: start of the running session; up time counts from here
    task: str | None = None
    attempt: int | None = None
    queue: str | None = None  #: of the task
    title: str = ""  #: the task's payload in short (its "title", "name" or "path" entry, else its first 80 characters)
    claimed_ms: int | None = None
    progress: str = ""  #: the last progress the attempt reported
    heartbeat_ms: int | None = None
    output_ms: int | None = None
    probe: str = ""  #: "ready", "not ready: …"; empty without a probe
    memory_bytes: int | None = None
    restarts: int = 0
    next_start_ms: int | None = None  #: in backoff: when it starts again
    latched: bool = False  #: the start limit was hit; only a person clears it
    done: int = 0  #: tasks of the last 24 h that this slot finished
    flow: tuple[int, ...] = ()  #: tasks finished per FleetSummary.bucket_ms, oldest first
    context: float | None = None  #: share of the context window in use, 0 to 1
    cost_microusd: int | None = None
    held: str = ""  #: which limit, budget or breaker keeps it from work, where a reader was asked for that (`holds`)


@record
class SessionRow:
    """One life of an instance, running or past."""

    session: str
    instance: str
    opened_ms: int
    pid: int | None
    started_ms: int | None
    ended_ms: int | None
    outcome: SessionOutcome | None
    exit_code: int | None
    signal: int | None
    detail: str | None
    task: str | None = None


@record
class QueueRow:
    """One queue and how many tasks it holds in each state."""

    queue: str
    paused: bool
    ready: int
    active: int
    scheduled: int
    blocked: int
    waiting: int
    dead: int
    done: int
    cancelled: int
    oldest_ready_ms: int | None = None  #: when the task that waits longest became claimable
    agents: tuple[str, ...] = ()  #: declared agents that take from it
    unroutable: int = 0  #: waiting tasks that no declared agent can take
    why: str = ""  #: they cannot


@record
class TaskRow:
    """A task in a list."""

    task: str
    queue: str
    state: State
    title: str
    priority: int
    attempts: int
    created_ms: int
    available_ms: int
    finished_ms: int | None
    agent: str | None
    correlation: str
    reason: str | None = None
    error_class: ErrorClass | None = None
    error: str | None = None
    degraded: bool = False  #: a fallback stands in for the agent it was meant for
    needs: tuple[str, ...] = ()
    unroutable: str = ""  #: why no declared agent can take it while it waits; empty when one can


@record
class TreeRow:
    """A task in the tree of a piece of work."""

    row: TaskRow
    home: (
        str | None
    )  #: the task it stands under: the one that added it, else that of a task it waits for; None: the top
    after: tuple[str, ...]  #: tasks it waits or waited for
    claimed_ms: int | None = None  #: its newest attempt
    ended_ms: int | None = None
    more: int = 0  #: tasks it added, or that wait for it, beyond those of the tree


@record
class AttemptRow:
    """One claim of a task by one session."""

    task: str
    n: int
    instance: str  #: or the agent's name when no slot is known
    session: str | None
    claimed_ms: int
    ended_ms: int | None
    outcome: Outcome | None
    error_class: ErrorClass | None
    error: str | None
    exit_code: int | None
    progress: str | None = None
    cost_microusd: int = 0


@record
class DeadLetterRow:
    """A task that will not be tried again until a person decides."""

    task: str
    queue: str
    reason: str  #: a group's `key`
    error_class: ErrorClass | None
    error: str  #: the first line, at most 200 characters
    agent: str | None  #: who tried last
    attempts: int
    died_ms: int
    title: str


@record
class DeadLetterGroup:
    """Dead letters that died of the same reason."""

    key: str  #: what Filter.reason takes
    count: int
    oldest_ms: int
    newest_ms: int


@record
class DeadLetter:
    """All that is known of one dead letter."""

    row: DeadLetterRow
    payload: str  #: JSON text as stored
    error: str  #: whole
    correlation: str
    created_ms: int
    attempts: tuple[AttemptRow, ...]  #: oldest first
    session: str | None = None  #: of the last attempt: whose output to show
    claimed_ms: int | None = None  #: the last attempt's times: the range of that output
    ended_ms: int | None = None


@record
class Spending:
    """A budget, and what is spent of it now."""

    budget: Budget
    spent: int  #: in its own measure; of what runs too
    running: int  #: of that, by what runs
    until_ms: int | None  #: of a day's budget: when the day ends


@record
class EventRow:
    """One line of history."""

    seq: int
    at_ms: int
    kind: str
    task: str | None
    attempt: int | None
    actor: str | None
    data: str | None  #: JSON text
    session: str | None = None


@record
class SupervisorRow:
    """The supervisor of this store, as its lock and its last report tell."""

    running: bool
    pid: int | None = None
    since_ms: int | None = None  #: running: since when; else: when it was last seen
    fleet: str = ""  #: the name agentctl.toml gave the fleet; empty when it gave none
    stopped: bool = False  #: running, but held by a signal (SIGSTOP, Ctrl-Z): nothing is supervised until it goes on


@record
class FleetSummary:
    """The fleet at one glance."""

    now_ms: int
    fleet: str
    supervisor: SupervisorRow
    health: tuple[tuple[Health, int], ...]  #: instances per health, in HEALTH_ORDER, zeros left out
    tasks: tuple[tuple[State, int], ...]  #: tasks per state, zeros left out
    bucket_ms: int = 5_000  #: width of one entry of `flow`
    flow: tuple[int, ...] = ()  #: tasks finished per bucket, oldest first
    cost_today_microusd: int | None = None
    budget_today_microusd: int | None = None
    context_max: float | None = None
    paused_queues: tuple[str, ...] = ()
    unroutable: int = 0  #: waiting tasks that no declared agent can take
    why: str = ""  #: they cannot; of several reasons the first

    def instances(self, *health: str) -> int:
        """Return how many instances are in any of these healths; in all, without arguments."""
        return sum(n for name, n in self.health if not health or name in health)

    def count(self, state: str) -> int:
        """Return how many tasks are in `state`."""
        return next((n for name, n in self.tasks if name == state), 0)
