"""When a failed attempt is tried again: exponential backoff with full jitter.

Full jitter draws the delay uniformly from zero to the exponential bound, so that tasks that failed together do not
come back together (M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015).
"""

from __future__ import annotations

from ..errors import BadInput
from ..record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    ErrorClass = Literal["transient", "permanent", "throttled", "timeout", "lost", "crashed", "policy", "verify"]
    DeadReason = Literal[
        "permanent", "max_attempts", "deadline", "parent_failed", "policy", "verify", "rejected", "unanswered"
    ]  # fmt: skip

#: class → (burns a try, goes straight to the dead letters)
CLASSES: dict[ErrorClass, tuple[bool, bool]] = {
    "transient": (True, False),
    "permanent": (True, True),
    "throttled": (False, False),
    "timeout": (True, False),
    "lost": (True, False),
    "crashed": (True, False),
    "policy": (True, True),
    "verify": (True, False),
}
MAX_RETRY_AFTER_MS = 24 * 3600 * 1000  #: a provider that asks for more is asked again after a day
MAX_THROTTLED = 1000  #: throttled attempts of one task before it becomes a dead letter after all


@record
class RetryPolicy:
    """`base_ms`, doubled (`factor`) per try up to `cap_ms`; at most `max_attempts` tries."""

    base_ms: int = 1_000
    factor: float = 2.0
    cap_ms: int = 300_000
    max_attempts: int = 5

    def check(self) -> RetryPolicy:
        """Return self if it makes sense. Raises BadInput."""
        if not (0 <= self.base_ms <= self.cap_ms <= 30 * 24 * 3_600_000):
            raise BadInput("retry: 0 ≤ base ≤ cap ≤ 30 days does not hold")
        if not 1.0 <= self.factor <= 100.0:
            raise BadInput("retry: factor must be from 1 to 100")
        if not 1 <= self.max_attempts <= 1000:
            raise BadInput("retry: max_attempts must be from 1 to 1000")
        return self


@record
class Failure:
    """How an attempt ended badly."""

    kind: ErrorClass
    message: str = ""
    exit_code: int | None = None
    retry_after_ms: int | None = None  #: what the provider asked for; honoured up to MAX_RETRY_AFTER_MS
    partial: str | None = None  #: what the attempt had got to, JSON text; kept with it


#: how the attempt ends that runs when its task's deadline passes
LATE = Failure("timeout", "the task's deadline passed")


@record
class Verdict:
    """What follows from a failure: a retry after `delay_ms`, or, with `dead`, a dead letter for that reason."""

    burns: bool
    dead: DeadReason | None
    delay_ms: int


def judge(failure: Failure, policy: RetryPolicy, burnt: int, throttled: int, jitter: float) -> Verdict:
    """Decide what follows `failure`.

    `burnt` tries and `throttled` attempts came before this one; `jitter` is a fraction in [0, 1).
    """
    burns, straight = CLASSES[failure.kind]
    tries = burnt + burns
    if straight:
        return Verdict(burns, "policy" if failure.kind == "policy" else "permanent", 0)
    if tries >= policy.max_attempts or throttled >= MAX_THROTTLED:
        return Verdict(burns, "verify" if failure.kind == "verify" else "max_attempts", 0)
    if failure.kind == "lost" and burnt == 0:
        # The first loss says nothing about the task: it is claimable again at once.
        return Verdict(burns, None, 0)
    step = max(tries - 1, 0) if burns else min(throttled, 30)
    bound = min(float(policy.cap_ms), policy.base_ms * policy.factor ** min(step, 200))
    delay = int(bound * jitter)
    if failure.retry_after_ms is not None:
        # Never earlier than asked; the jitter on top staggers all who were told the same.
        delay += min(max(failure.retry_after_ms, 0), MAX_RETRY_AFTER_MS)
    return Verdict(burns, None, delay)
