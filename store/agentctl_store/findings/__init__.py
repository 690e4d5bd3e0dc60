"""What goes wrong between agents, found in the history: patterns with their evidence and what to do about them.

Each detector is a pure function of the rows it asks for (`port`) and of `thresholds`. `agentctl_store.read` opens the
evidence of a store.
"""

from __future__ import annotations

from .chatty import chatty_pairs
from .circular import circular_delegations
from .flapping import flapping_instances
from .god import god_agents
from .model import SEVERITIES
from .poison import poisons
from .starving import starved_queues
from .storms import retry_storms
from .waits import blocking_waits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .model import Finding, Pattern
    from .port import Evidence
    from .thresholds import Thresholds

DETECTORS: dict[Pattern, Callable[[Evidence, Thresholds], list[Finding]]] = {
    "circular_delegation": circular_delegations,
    "chatty_pair": chatty_pairs,
    "god_agent": god_agents,
    "blocking_waits": blocking_waits,
    "retry_storm": retry_storms,
    "starved_queue": starved_queues,
    "poison": poisons,
    "flapping": flapping_instances,
}


def find(evidence: Evidence, thresholds: Thresholds, kinds: tuple[Pattern, ...] = ()) -> list[Finding]:
    """Return what these detectors find (all of them without `kinds`), the worst first, then the newest."""
    found = [one for kind in kinds or tuple(DETECTORS) for one in DETECTORS[kind](evidence, thresholds)]
    found.sort(key=lambda one: (-SEVERITIES.index(one.severity), -(one.last_ms or 0)))
    return found
