"""Tasks, attempts and what is asked of them."""

from __future__ import annotations

from ..record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from .machine import State
    from .retry import ErrorClass, RetryPolicy

    OnParentFailure = Literal["fail", "run", "cancel"]
    Outcome = Literal["done", "failed", "released", "cancelled", "asked"]
    Used = tuple[int | None, int | None, int | None]  #: a Usage as rows and events have it; None: nothing was said

PRIORITY_MIN, PRIORITY_MAX = -100, 100
WAITING: tuple[State, ...] = ("blocked", "scheduled", "ready")  #: states of a task that an agent is still to take
AGEING_MS = 60_000  #: waiting this long is worth one step of priority, so nothing starves
MAX_PARENTS = 10_000
MAX_NEEDS = 16  #: capabilities a task may ask for
MAX_CAN = 64  #: capabilities of an agent
MAX_BATCH = 10_000  #: tasks added in one transaction
MAX_USED = 10**12  #: of each measure by one attempt; sums of a million of them fit 64 bits
MAX_TEXT = 4_096  #: characters kept of an error or reason


def rank(available_ms: int, priority: int) -> int:
    """Return the fixed key by which ready tasks are claimed, lowest first.

    All tasks age at one rate, so the order of two tasks never changes while they wait: priority minus age, sorted,
    is `available_ms - priority * AGEING_MS`, and an index on it keeps a claim's cost constant.
    """
    return available_ms - priority * AGEING_MS


@record
class NewTask:
    """A task to add. Times are wall milliseconds, durations milliseconds."""

    id: int
    queue: str
    payload: str  #: JSON text, checked and compact
    correlation: str
    priority: int = 0
    key: str | None = None
    after: tuple[int | str, ...] = ()  #: parents, by id or by idempotency key
    on_parent_failure: OnParentFailure = "fail"
    run_at_ms: int | None = None
    deadline_ms: int | None = None
    timeout_ms: int | None = None
    retry: RetryPolicy | None = None
    creator: int | None = None  #: the task whose attempt adds this one
    needs: tuple[str, ...] = ()  #: what its claimer must be able to, sorted


@record
class Added:
    """What `add` answers: the first task under the key when `created` is false, with its result once done."""

    id: int
    created: bool
    state: State
    result: str | None = None
    unroutable: str = ""  #: why no declared agent can take it; empty when one can


@record
class Usage:
    """What an attempt has used so far, in all: what was said once is not taken back by saying less."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_microusd: int = 0


@record
class Attempt:
    """One claim of a task by one session; (`task`, `n`) is the fence."""

    task: int
    n: int
    agent: str
    slot: int | None
    session: int | None
    claimed_ms: int
    ended_ms: int | None = None
    outcome: Outcome | None = None
    error_class: ErrorClass | None = None
    error: str | None = None
    exit_code: int | None = None
    usage: Usage = Usage()
    progress: str | None = None
    partial: str | None = None  #: what a failed one had got to, JSON text


@record
class Task:
    """A task as it stands."""

    id: int
    queue: str
    state: State
    payload: str
    correlation: str
    priority: int
    created_ms: int
    available_ms: int  #: when it became or becomes claimable
    attempts: int  #: claims so far: the fence of the newest
    burnt: int  #: attempts that count against max_attempts
    throttled: int
    key: str | None
    on_parent_failure: OnParentFailure
    open_parents: int  #: parents that have not ended
    deadline_ms: int | None
    timeout_ms: int | None
    retry: RetryPolicy | None
    creator: int | None
    reason: str | None  #: why it is dead, cancelled or scheduled again
    error_class: ErrorClass | None
    error: str | None
    result: str | None
    finished_ms: int | None
    cancel_asked: bool
    lease_until_ms: int | None  #: boot clock; active tasks only
    agent: str | None  #: holder; active tasks only
    session: int | None
    needs: tuple[str, ...] = ()  #: what its claimer must be able to
    chain: tuple[str, ...] = ()  #: the agents that delegated it, first to last (domain/routing.py)
    degraded: bool = False  #: a fallback stands in for the agent it was meant for
    unroutable: str = ""  #: why no declared agent can take it while it waits; empty when one can, and in a claim


@record
class ParentResult:
    """What a child sees of a parent."""

    task: int
    queue: str
    state: State
    payload: str
    result: str | None
    reason: str | None  #: why it is dead or cancelled: a word
    error: str | None  #: what its last attempt said
    degraded: bool = False  #: its result is a fallback's


@record
class Claim:
    """A won claim. Every later write names (`task.id`, `n`)."""

    task: Task
    n: int
    lease_until_ms: int  #: boot clock
    session: int | None


@record
class Lease:
    """What a heartbeat answers."""

    until_ms: int  #: boot clock
    cancel_asked: bool
    stop: str | None = None  #: why the attempt is to end now: a budget is spent


@record
class Ended:
    """What ending an attempt led to. `run_at_ms` is set when the task will run again."""

    state: State
    run_at_ms: int | None = None
    reason: str | None = None
    freed: tuple[int, ...] = ()  #: children that became claimable, at most 100 named


@record
class Turn:
    """What finishing one task and claiming the next led to."""

    ended: Ended
    claim: Claim | None  #: None: nothing is ready


@record
class Swept:
    """What a sweep found."""

    promoted: int = 0
    expired: int = 0
    overdue: int = 0
    grace_ms: int = 0  #: how much every lease was extended because the machine had slept
    more: bool = False  #: the batch limit was reached: sweep again
    next_due_ms: int | None = None  #: wall time of the next scheduled task, run of a schedule, or deadline
    next_expiry_ms: int | None = None  #: boot time of the next lease to run out
    kept: int = 0  #: schedules that were due, or questions whose deadline had come
