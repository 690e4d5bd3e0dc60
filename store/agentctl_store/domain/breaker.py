"""Circuit breakers: who fails too often, or is throttled, is left alone for a while, then tried with one probe.

The three states are M. Nygard's (Release It!, 2nd edition, "Circuit Breaker"); the sliding window with a least number
of calls before a share of failures means anything is that of resilience4j. Here a call is an attempt. While half open,
exactly one attempt of the whole fleet is let through; the state is a row, so all processes see the same.
"""

from __future__ import annotations

from ..record import record, replace
from .limits import SLACK_MS, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from .limits import Hold, Origin, Scope
    from .retry import ErrorClass

    BreakerState = Literal["closed", "open", "half_open"]
    #: what an attempt's end says of whoever ran it; neutral: nothing
    Sign = Literal["good", "bad", "throttled", "neutral"]
    Change = Literal["counted", "opened", "closed", "again"]

BREAKER_SCOPES: tuple[Scope, ...] = ("agent", "provider")
BREAKER_STATES: tuple[BreakerState, ...] = ("closed", "open", "half_open")
BAD: tuple[ErrorClass, ...] = ("transient", "timeout", "lost", "crashed")
BUCKETS = 10  #: parts of a window; it slides by one of them
SPACED = 16  #: starts that are spaced after it closed, so that all who waited do not come at once
MAX_HOLD_MS = 24 * 3_600_000


@record
class Breaker:
    """One agent's or provider's breaker: how it is set, and how it stands. Times are wall ms, durations ms."""

    scope: Scope
    name: str
    window_ms: int = 300_000
    min_calls: int = 5  #: with fewer ends in the window it stays closed
    share: int = 50  #: per cent of them that failed, at which it opens
    open_ms: int = 30_000  #: for how long at first; it doubles with each probe that fails
    cap_ms: int = 600_000
    stagger_ms: int = 1_000  #: from one start to the next after it closed
    origin: Origin = "operator"
    state: BreakerState = "closed"
    reason: str = ""
    opened: int = 0  #: times in a row, without closing
    since_ms: int = 0  #: in this state since
    until_ms: int = 0  #: open: when a probe may go
    probe: int | None = None  #: half open: the task that probes
    probe_n: int | None = None  #: and its attempt
    calls: tuple[tuple[int, int, int], ...] = ()  #: the window: (bucket, ends, failures), oldest first
    next_ms: int = 0  #: no start before it, for as many starts as are still spaced
    spaced: int = 0


#: how a breaker is set; the other fields are how it stands
SETTINGS = ("window_ms", "min_calls", "share", "open_ms", "cap_ms", "stagger_ms", "origin")


@record
class Seen:
    """An attempt's end, as far as breakers look at it."""

    sign: Sign
    task: int
    n: int
    why: str = ""
    retry_after_ms: int | None = None


def sign_of(outcome: str, kind: ErrorClass | None) -> Sign:
    """Return what an attempt's end says. A task that is at fault itself (permanent, policy, verify) says nothing."""
    if outcome == "done":
        return "good"
    if kind == "throttled":
        return "throttled"
    return "bad" if outcome == "failed" and kind in BAD else "neutral"


def hold(breaker: Breaker, now_ms: int) -> Hold | None:
    """Return why nothing may start now; None when something may: any attempt, or the one probe."""
    from .limits import Hold

    who = words(breaker.scope, breaker.name)
    if breaker.state == "half_open":
        return Hold("breaker", f"breaker of {who} half open: one attempt probes it")
    if now_ms < breaker.since_ms - SLACK_MS:
        return None  # the clock was set back while nobody looked: how long it was to be says nothing now
    if breaker.state == "open" and now_ms < breaker.until_ms:
        if breaker.reason.startswith("throttled"):
            return Hold("throttled", f"{who} {breaker.reason}", breaker.until_ms)
        return Hold("breaker", f"breaker of {who} open: {breaker.reason}", breaker.until_ms)
    if breaker.state == "closed" and breaker.spaced and now_ms < breaker.next_ms:
        return Hold("rate", f"{who} comes back step by step", breaker.next_ms)
    return None


def begin(breaker: Breaker, task: int, n: int, now_ms: int) -> Breaker | None:
    """Return the breaker after a start that `hold` let through; None when it stays as it is."""
    if breaker.state == "open":
        return replace(breaker, state="half_open", since_ms=now_ms, probe=task, probe_n=n)
    if breaker.spaced:
        return replace(breaker, next_ms=now_ms + breaker.stagger_ms, spaced=breaker.spaced - 1)
    return None


def end(breaker: Breaker, seen: Seen, now_ms: int, jitter: float) -> tuple[Change, Breaker] | None:
    """Return what an attempt's end changes, and to what; None for nothing. `jitter` is a fraction in [0, 1)."""
    place = breaker.state
    if place == "half_open" and (breaker.probe, breaker.probe_n) == (seen.task, seen.n):
        place = "probe"  # type: ignore[assignment]
    rule = _RULES[place, seen.sign]
    return None if rule is None else rule(breaker, seen, now_ms, jitter)


def reset(breaker: Breaker, now_ms: int) -> Breaker:
    """Close it because a person says so."""
    return _closed(breaker, now_ms, spaced=0)


def _closed(breaker: Breaker, now_ms: int, spaced: int) -> Breaker:
    return replace(
        breaker, state="closed", reason="", opened=0, since_ms=now_ms, until_ms=0, probe=None, probe_n=None, calls=(),
        next_ms=now_ms, spaced=spaced,
    )  # fmt: skip


def _count(breaker: Breaker, seen: Seen, now_ms: int, jitter: float) -> tuple[Change, Breaker]:
    bad = int(seen.sign == "bad")
    width = max(1, breaker.window_ms // BUCKETS)
    bucket = now_ms // width
    # One in the future was counted before the clock was set back.
    kept = [one for one in breaker.calls if bucket - BUCKETS < one[0] <= bucket]
    last = kept.pop() if kept and kept[-1][0] == bucket else (bucket, 0, 0)
    kept.append((bucket, last[1] + 1, last[2] + bad))
    breaker = replace(breaker, calls=tuple(kept))
    ends, failures = sum(one[1] for one in kept), sum(one[2] for one in kept)
    if not bad or ends < breaker.min_calls or failures * 100 < breaker.share * ends:
        return "counted", breaker
    return _open(breaker, f"{failures} of the last {ends} attempts failed, last: {_short(seen.why)}", now_ms, jitter)


def _fell(breaker: Breaker, seen: Seen, now_ms: int, jitter: float) -> tuple[Change, Breaker]:
    return _open(breaker, f"its probe failed: {_short(seen.why)}", now_ms, jitter)


def _throttle(breaker: Breaker, seen: Seen, now_ms: int, jitter: float) -> tuple[Change, Breaker]:
    asked = seen.retry_after_ms
    why = "throttled" + (f": {_short(seen.why)}" if seen.why else "")
    if asked is None:
        return _open(breaker, why, now_ms, jitter)
    # Not before the provider said; of several that it told, the latest holds.
    until = now_ms + min(max(asked, 0), MAX_HOLD_MS)
    if breaker.state == "open" and breaker.reason.startswith("throttled"):
        until = max(until, min(breaker.until_ms, now_ms + MAX_HOLD_MS))
    return "opened", _opened(breaker, why, now_ms, until)


def _more(breaker: Breaker, seen: Seen, now_ms: int, jitter: float) -> tuple[Change, Breaker] | None:
    """Throttled while it is open already: attempts that ran all along are told so one after the other."""
    if seen.retry_after_ms is None:
        return None
    until = now_ms + min(max(seen.retry_after_ms, 0), MAX_HOLD_MS)
    if until <= breaker.until_ms:
        return None
    return "opened", replace(breaker, until_ms=until)


def _recover(breaker: Breaker, seen: Seen, now_ms: int, jitter: float) -> tuple[Change, Breaker]:
    return "closed", _closed(breaker, now_ms, SPACED)


def _probe_again(breaker: Breaker, seen: Seen, now_ms: int, jitter: float) -> tuple[Change, Breaker]:
    """The probe was given back or failed by its task's own fault: the next one may go at once."""
    return "again", replace(
        breaker, state="open", since_ms=now_ms, until_ms=now_ms, probe=None, probe_n=None
    )  # fmt: skip


def _open(breaker: Breaker, why: str, now_ms: int, jitter: float) -> tuple[Change, Breaker]:
    bound = min(breaker.cap_ms, breaker.open_ms * 2 ** min(breaker.opened, 40))
    # Half of it is kept: it is to be open for a while, and yet not all breakers probe together.
    return "opened", _opened(breaker, why, now_ms, now_ms + int(bound / 2 + bound / 2 * jitter))


def _opened(breaker: Breaker, why: str, now_ms: int, until_ms: int) -> Breaker:
    return replace(
        breaker, state="open", reason=why, opened=breaker.opened + 1, since_ms=now_ms, until_ms=until_ms, probe=None,
        probe_n=None, calls=(), spaced=0,
    )  # fmt: skip


def _short(why: str) -> str:
    return why.partition("\n")[0][:120] or "no reason given"


# A row per state (probe: half open, and it is the probe that ended), a column per sign.
_RULES = {
    (state, sign): rule
    for state, *rules in (
        #            good      bad     throttled  neutral
        ("closed", _count, _count, _throttle, None),
        ("open", None, None, _more, None),
        ("half_open", None, None, _throttle, None),
        ("probe", _recover, _fell, _throttle, _probe_again),
    )
    for sign, rule in zip(("good", "bad", "throttled", "neutral"), rules, strict=True)
}
