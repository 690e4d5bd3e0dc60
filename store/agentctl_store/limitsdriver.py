"""The part of the seam that sets limits, budgets and breakers; `claim`, `add` and `heartbeat` keep to them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from .clock import Moment
    from .domain.breaker import Breaker
    from .domain.budget import Budget
    from .domain.limits import Bound, Hold

    class LimitsDriver(Protocol):
        def set_bound(self, bound: Bound, *, actor: str, now: Moment) -> Bound:
            """Bound something; what is None in `bound` stays as it was. How full its bucket is stays as well."""

        def remove_bound(self, scope: str, target: str, *, actor: str, now: Moment) -> bool: ...

        def assign(self, agent: str, provider: str | None, *, actor: str, now: Moment) -> bool:
            """Say whose account an agent spends (None: nobody's); a provider gets a breaker with its first agent."""

        def set_budget(self, budget: Budget, *, actor: str, now: Moment) -> Budget:
            """Set how much may be spent; what has been spent of one that is set already stays spent."""

        def remove_budget(
            self, scope: str, target: str, measure: str, per: str, *, actor: str, now: Moment
        ) -> bool: ...

        def set_breaker(self, breaker: Breaker, *, actor: str, now: Moment) -> Breaker:
            """Set a breaker's window and times; how it stands stays."""

        def remove_breaker(self, scope: str, target: str, *, actor: str, now: Moment) -> bool: ...

        def reset_breaker(self, scope: str, target: str, *, actor: str, now: Moment) -> bool:
            """Close a breaker. False when it was closed. NotFound when there is none."""

        def configure(
            self,
            bounds: Sequence[Bound],
            members: Sequence[tuple[str, str]],
            budgets: Sequence[Budget],
            breakers: Sequence[Breaker],
            *,
            actor: str,
            now: Moment,
        ) -> None:
            """Make these what agentctl.toml sets, in one step. What a person set for the same goes before it."""

        def overspent(self, now_ms: int) -> list[tuple[int, int, int, str]]:
            """Return session, task, n and why of each running attempt of a session that a spent budget is to end."""

        def hold(self, queues: Sequence[str], agent: str, now_ms: int) -> Hold | None:
            """Return what keeps an agent that just got none from tasks of these queues; None: nothing, or none wait."""
