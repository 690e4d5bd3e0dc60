"""What a decision is made from."""

from __future__ import annotations

from dataclasses import dataclass

from agentctl.supervisor.facts import Fact
from agentctl.supervisor.slot import Slot


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a decision sees: the slot, what happened, and a fraction in [0, 1) for jitter."""

    slot: Slot
    fact: Fact
    jitter: float = 0.5
