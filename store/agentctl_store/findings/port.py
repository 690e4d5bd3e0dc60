"""What the detectors ask of a store. Every answer is bounded, and reading it writes nothing."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from .model import (
        Adds,
        AgentFacts,
        Blocked,
        Burst,
        Change,
        Damped,
        Dead,
        Delegation,
        Held,
        QueueFacts,
        Refusal,
        Retried,
        Talk,
        Window,
        Work,
    )

    class Evidence(Protocol):
        """Rows of a store within a window of its history; raises StoreError and its kinds."""

        @property
        def window(self) -> Window: ...

        def agents(self) -> tuple[AgentFacts, ...]: ...
        def queues(self) -> tuple[QueueFacts, ...]: ...

        def work(self, recent_ms: int) -> tuple[Work, ...]:
            """Return the starts of each agent per queue, with those since `recent_ms` counted apart."""

        def adds(self) -> tuple[Adds, ...]:
            """Return who of the agents added how many tasks."""

        def bursts(self, bucket_ms: int) -> tuple[Burst, ...]:
            """Return how many retries there were per bucket of time, oldest first, empty buckets left out."""

        def retried(self, first_seq: int, last_seq: int, limit: int) -> tuple[Retried, ...]: ...
        def starts(self, first_seq: int, last_seq: int) -> int: ...
        def cost_microusd(self) -> int:
            """Return what all attempts that ended within the window cost."""

        def dead(self, limit: int) -> tuple[Dead, ...]:
            """Return the newest dead letters of the window, but not those whose parents failed."""

        def delegations(self, limit: int) -> tuple[Delegation, ...]:
            """Return the newest tasks of the window that other tasks added, and all above them."""

        def refusals(self, limit: int) -> tuple[Refusal, ...]: ...
        def blocked(self, before_ms: int, limit: int) -> tuple[Blocked, ...]: ...
        def held(self, before_ms: int, limit: int) -> tuple[Held, ...]:
            """Return attempts that have run, and whatever they may wait for that has been open, since `before_ms`."""

        def changes(self, limit: int) -> tuple[Change, ...]:
            """Return the newest changes of instances, oldest first."""

        def talks(self, bucket_ms: int) -> tuple[Talk, ...]: ...
        def damped(self, limit: int) -> tuple[Damped, ...]: ...
        def close(self) -> None: ...
