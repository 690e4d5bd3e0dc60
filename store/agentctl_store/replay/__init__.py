"""Going over the history again: checking it against the tables, and showing a past moment.

`tasks`, `messages` and `fleet` hold the pure folds; what cannot be rebuilt is named in VOLATILE, with the reason.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..sqlite.past import Past
    from ..sqlite.verify import Verified

#: columns that the history does not tell, and why
VOLATILE: dict[str, str] = {
    "task.lease_until_boot_ms": "a heartbeat is no event: one per second and attempt would be most of the history",
    "attempt.progress": "told by heartbeats",
    "attempt.input_tokens, output_tokens, cost_microusd of an open attempt": "told by heartbeats; final ones count",
    "session.pid, started_ms of a task's open session": "noted while it runs; its end tells them if it ended badly",
    "message.due_boot_ms": "of this boot's clock: nobody else's, and nothing after a reboot",
    "message.signature": "follows from the envelope and the store's key, and is checked at each delivery",
    "instance.session, restarts, next_start_ms, memo": "the supervisor's notes between two changes of health",
    "meta": "the clocks as last seen, and where the history begins",
}


def verify(directory: str, progress: Callable[[int, int], None] | None = None) -> Verified:
    """Check that no event was changed or lost, and that replaying all of them gives the tables.

    Reads in parts, with bounded memory, beside running work; `progress` hears (events read, events in all).
    """
    from ..sqlite.verify import verify

    return verify(directory, progress)


def state_at(directory: str, moment_ms: int) -> Past:
    """Open the store as it was at a wall time. NotFound when the history does not reach back that far."""
    from ..sqlite.past import Past

    return Past(directory, moment_ms)
