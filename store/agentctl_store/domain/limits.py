"""What bounds the starts of a fleet: rates, how many at once, how deep a queue may be; and why a start is held back.

Rates are kept by the generic cell rate algorithm in its form of virtual scheduling (ATM Forum, Traffic Management
Specification 4.0, section 4.4.3; ITU-T I.371): one number, the theoretical arrival time, says when the bucket will be
full again. A start is let through when that is not more than `burst - 1` intervals ahead. So in any window there are
never more than the rate's starts for that window and `burst` on top.
"""

from __future__ import annotations

from ..record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Scope = Literal["queue", "agent", "provider", "fleet", "task"]
    Origin = Literal["config", "operator"]
    HeldBy = Literal["rate", "concurrency", "budget", "breaker", "throttled", "depth"]

SCOPES: tuple[Scope, ...] = ("queue", "agent", "provider", "fleet")
MAX_STARTS = 1_000_000  #: of a rate, and of a burst
MAX_PERIOD_MS = 31 * 86_400_000
SLACK_MS = 60_000  #: how far apart two moments of one history may be in the wrong order: a writer waits for its turn


@record
class Bound:
    """What is set for one queue, agent, provider (`name`), or for the fleet (no name); None: no bound of that kind."""

    scope: Scope
    name: str
    starts: int | None = None  #: so many starts
    period_ms: int | None = None  #: in so long
    burst: int | None = None  #: how many may start together after a pause; None: 1, evenly spaced
    concurrency: int | None = None  #: attempts at once
    max_depth: int | None = None  #: of a queue: tasks that wait in it
    origin: Origin = "operator"

    @property
    def empty(self) -> bool:
        """Whether it bounds nothing."""
        return self.starts is None and self.concurrency is None and self.max_depth is None


@record
class Hold:
    """Why nothing starts: what holds it back, and when that may change (wall ms; None: when something ends)."""

    by: HeldBy
    why: str  #: in words a person can act on, without the time
    until_ms: int | None = None
    agent: str | None = None
    queue: str | None = None


def named(scope: str, name: str) -> str:
    """Write what something is set for as people name it: `fleet`, `task`, `queue:mail`, `provider:anthropic`."""
    return f"{scope}:{name}" if name else scope


def words(scope: str, name: str) -> str:
    """Write the same within a sentence: `the fleet`, `queue mail`."""
    return f"{scope} {name}" if name else f"the {scope}"


def interval_us(starts: int, period_ms: int) -> int:
    """Return the microseconds from one start to the next, rounded up: a rate is never exceeded by rounding."""
    return -(-period_ms * 1000 // starts)


def next_start_us(interval: int, burst: int, full_us: int, now_us: int) -> int:
    """Return when the next start is let through: now, or later. All times in microseconds.

    `full_us` is the theoretical arrival time after the last start.
    """
    return max(now_us, _possible(interval, burst, full_us, now_us) - (burst - 1) * interval)


def started_us(interval: int, burst: int, full_us: int, now_us: int) -> int:
    """Return the theoretical arrival time after a start that was let through now."""
    return max(_possible(interval, burst, full_us, now_us), now_us) + interval


def _possible(interval: int, burst: int, full_us: int, now_us: int) -> int:
    """Return a theoretical arrival time that there can be.

    One further ahead says that the clock was set back meanwhile: the bucket is full, it cannot owe hours.
    """
    return full_us if full_us <= now_us + burst * interval + SLACK_MS * 1000 else now_us
