"""When an ended process starts again: backoff, start limit and the latch.

Delays grow exponentially and keep half of each as jitter, so that instances that fell together do not rise
together and none comes back at once. Two limits latch an instance until a person acts: `limit` starts within
`window_ms` catch a fast crash loop; `SLOW_FACTOR * limit` starts in a row without one stable run catch a slow
one, however its backoff is spread. Only a run of `reset_after_ms` clears the count. The history is kept as
text and in wall time, because it outlives the supervisor and the machine's boot.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Literal, Protocol

SLOW_FACTOR = 2
MAX_STARTS_KEPT = 1000

Policy = Literal["always", "on-failure", "never"]


class RestartRules(Protocol):
    """What a policy needs to know; `agent.*.restart` in agentctl.toml."""

    @property
    def policy(self) -> Policy: ...
    @property
    def base_ms(self) -> int: ...
    @property
    def cap_ms(self) -> int: ...
    @property
    def limit(self) -> int: ...
    @property
    def window_ms(self) -> int: ...
    @property
    def reset_after_ms(self) -> int: ...


@dataclass(frozen=True, slots=True)
class History:
    """What is remembered of an instance's starts. `latched` says why it is, or is empty."""

    starts_ms: tuple[int, ...] = ()  #: wall times of the starts since the last stable run, newest last
    streak: int = 0  #: ends in a row without a stable run
    restarts: int = 0  #: in all, for people
    latched: str = ""
    reset_seq: int = 0  #: the newest `agent start` that was obeyed
    restart_seq: int = 0  #: the newest `agent restart` that was obeyed
    due_ms: int = 0  #: wall time of the next start, 0 when none is due
    rested: str = ""  #: why it does not start again by itself (ended well under on-failure), or empty

    def write(self) -> str:
        """Return it as text for Instance.memo."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}, separators=(",", ":"))

    @staticmethod
    def read(memo: str) -> History:
        """Read what `write` wrote; anything else is an empty history."""
        try:
            values = json.loads(memo) if memo else {}
            values["starts_ms"] = tuple(values.get("starts_ms", ()))
            return History(**values)
        except (ValueError, TypeError, AttributeError):
            return History()


@dataclass(frozen=True, slots=True)
class Restart:
    """What follows an end: `again` after `delay_ms`, or not, and then `latched` tells a limit from a rest."""

    again: bool
    delay_ms: int
    latched: bool
    reason: str
    history: History


def started(history: History, wall_ms: int) -> History:
    """Note a start."""
    kept = (*history.starts_ms, wall_ms)[-MAX_STARTS_KEPT:]
    return replace(history, starts_ms=kept, due_ms=0, rested="")


def ended(
    history: History, rules: RestartRules, *, failed: bool, ran_ms: int, wall_ms: int, jitter: float, why: str
) -> Restart:
    """Decide what follows the end of a process that ran for `ran_ms`; `jitter` is a fraction in [0, 1).

    `why` says how it ended, for the latch's reason.
    """
    if ran_ms >= rules.reset_after_ms:
        history = replace(history, starts_ms=history.starts_ms[-1:], streak=0)
    if rules.policy == "never" or (rules.policy == "on-failure" and not failed):
        rested = f"ended ({why}); restart policy is {rules.policy}"
        return Restart(False, 0, False, rested, replace(history, rested=rested, streak=0, due_ms=0))
    streak = history.streak + 1
    # A clock that was set back leaves starts in the future: they count as just now.
    recent = [start for start in history.starts_ms if start > wall_ms - rules.window_ms]
    latched = ""
    if len(recent) >= rules.limit:
        latched = f"{len(recent)} starts in {_seconds(rules.window_ms)}, last: {why}"
    elif streak >= SLOW_FACTOR * rules.limit:
        latched = f"{streak} starts in a row without a stable run, last: {why}"
    if latched:
        return Restart(False, 0, True, latched, replace(history, streak=streak, latched=latched, due_ms=0))
    bound = min(rules.cap_ms, rules.base_ms * 2 ** min(streak - 1, 40))
    delay_ms = int(bound / 2 + bound / 2 * jitter)
    kept = tuple(recent) if len(recent) < len(history.starts_ms) else history.starts_ms
    history = replace(history, starts_ms=kept, streak=streak, restarts=history.restarts + 1, due_ms=wall_ms + delay_ms)
    return Restart(True, delay_ms, False, why, history)


def latch(history: History, why: str) -> Restart:
    """Stop for good, whatever the policy and the limits: the next start could only end as this one did."""
    return Restart(False, 0, True, why, replace(history, latched=why, due_ms=0))


def reset(history: History, reset_seq: int) -> History:
    """Forget all failures, because a person said so or changed the configuration."""
    return History(restarts=history.restarts, reset_seq=reset_seq, restart_seq=history.restart_seq)


def _seconds(duration_ms: int) -> str:
    return f"{duration_ms / 1000:g} s"
