"""From when on something in the history is worth a person's attention.

Each number has its reason beside it and a key of the same name in `[findings]` of agentctl.toml. They are set so that
a fleet that is merely busy has no findings: a night's report that cries wolf is not read the second time.
"""

from __future__ import annotations

from ..errors import BadInput
from ..record import record

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


@record
class Thresholds:
    """Durations in milliseconds, shares from 0 to 1."""

    #: a chain that comes back even once did the same agent's thinking twice, at the price of everybody between
    circular_returns: int = 1

    #: two people would have agreed by then; a review with its corrections takes a dozen
    chatty_messages: int = 40
    chatty_window_ms: int = 10 * MINUTE_MS
    #: below this share of the rarer direction it is a report or a broadcast, not a ping-pong
    chatty_share: float = 0.25

    #: fewer starts say nothing about shares
    god_starts: int = 100
    #: of all starts (or of all tasks that agents added): more than everybody else together
    god_share: float = 0.6
    #: of what would fall to it if all who serve a queue took as many as they have instances
    god_times: float = 2.0
    #: that it serves alone; a specialist does nearly all of one queue, and should
    god_queues: int = 4

    #: longer than nearly every attempt of an LLM agent: who waits so long for something nobody does waits in vain
    waits_for_ms: int = 30 * MINUTE_MS

    #: within one window. Full jitter spreads a hundred tasks that failed together over minutes
    storm_retries: int = 50
    storm_window_ms: int = MINUTE_MS
    #: of the starts meanwhile: below it retries are noise beside the work that goes well
    storm_share: float = 0.3
    #: of a storm's retries that come due within one second: these come back together
    lockstep_share: float = 0.5

    #: a ready task that waits longer, while others are started, is passed over
    starved_wait_ms: int = 15 * MINUTE_MS
    #: starts from other queues meanwhile that show that the fleet runs
    starved_starts: int = 20
    #: a pause that lasts longer has been forgotten, if tasks wait behind it
    paused_for_ms: int = HOUR_MS

    #: dead letters of one error: the fifth task will not teach what the first four did not
    poison_letters: int = 5

    #: of one instance going down, within the window; the start limit sees faster ones
    flapping_times: int = 5
    flapping_window_ms: int = HOUR_MS

    def check(self) -> Thresholds:
        """Return self if it makes sense. Raises BadInput."""
        for name in _SHARES:
            if not 0.0 < getattr(self, name) <= 1.0:
                raise BadInput(f"findings: {name} must be above 0 and at most 1")
        for name in _COUNTS:
            if not 1 <= getattr(self, name) <= MOST_COUNT:
                raise BadInput(f"findings: {name} must be from 1 to {MOST_COUNT:,}")
        for name in _SPANS:
            if not 1_000 <= getattr(self, name) <= MOST_SPAN_MS:
                raise BadInput(f"findings: {name.removesuffix('_ms')} must be from 1 second to 30 days")
        if not 1.0 <= self.god_times <= 1000.0:
            raise BadInput("findings: god_times must be from 1 to 1000")
        return self


MOST_COUNT = 1_000_000
MOST_SPAN_MS = 30 * 24 * HOUR_MS
_SHARES = ("chatty_share", "god_share", "storm_share", "lockstep_share")
_COUNTS = (
    "circular_returns", "chatty_messages", "god_starts", "god_queues", "storm_retries", "starved_starts",
    "poison_letters", "flapping_times",
)  # fmt: skip
_SPANS = (
    "chatty_window_ms", "waits_for_ms", "storm_window_ms", "starved_wait_ms", "paused_for_ms", "flapping_window_ms",
)  # fmt: skip
