"""The store's verbs on limits, budgets and breakers, as everybody above the driver calls them."""

from __future__ import annotations

from .domain.breaker import BREAKER_SCOPES
from .domain.budget import BUDGET_SCOPES
from .domain.limits import SCOPES
from .ids import check_name
from .settings import check_bound, check_breaker, check_budget, check_target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .clock import Clock
    from .domain.breaker import Breaker
    from .domain.budget import Budget
    from .domain.limits import Bound, Hold
    from .driver import Driver


class LimitVerbs:
    """Saying what may start, what may be spent, and who is left alone."""

    def __init__(self, driver: Driver, clock: Clock) -> None:
        self._driver, self._clock = driver.limits, clock

    def set_bound(self, bound: Bound, *, actor: str) -> Bound:
        """Bound a queue, an agent, a provider or the fleet; what is None stays as it is. BadInput."""
        check_bound(bound)
        return self._driver.set_bound(bound, actor=actor, now=self._clock.now())

    def remove_bound(self, scope: str, name: str, *, actor: str) -> bool:
        """Lift all bounds of one target; False when it had none."""
        check_target(scope, name, SCOPES)
        return self._driver.remove_bound(scope, name, actor=actor, now=self._clock.now())

    def assign(self, agent: str, provider: str | None, *, actor: str) -> bool:
        """Say whose account an agent spends; False when it is so already."""
        check_name(agent, "agent")
        if provider is not None:
            check_name(provider, "provider")
        return self._driver.assign(agent, provider, actor=actor, now=self._clock.now())

    def set_budget(self, budget: Budget, *, actor: str) -> Budget:
        """Set a budget; what was spent of it stays spent. BadInput."""
        check_budget(budget)
        return self._driver.set_budget(budget, actor=actor, now=self._clock.now())

    def remove_budget(self, scope: str, name: str, measure: str, per: str, *, actor: str) -> bool:
        """Lift a budget; False when there was none."""
        check_target(scope, name, BUDGET_SCOPES)
        return self._driver.remove_budget(scope, name, measure, per, actor=actor, now=self._clock.now())

    def set_breaker(self, breaker: Breaker, *, actor: str) -> Breaker:
        """Give an agent or provider a breaker, or set another window; how it stands stays. BadInput."""
        check_breaker(breaker)
        return self._driver.set_breaker(breaker, actor=actor, now=self._clock.now())

    def remove_breaker(self, scope: str, name: str, *, actor: str) -> bool:
        """Take a breaker away; False when there was none."""
        check_target(scope, name, BREAKER_SCOPES)
        return self._driver.remove_breaker(scope, name, actor=actor, now=self._clock.now())

    def reset_breaker(self, scope: str, name: str, *, actor: str) -> bool:
        """Close a breaker because a person says so; False when it is closed. NotFound."""
        check_target(scope, name, BREAKER_SCOPES)
        return self._driver.reset_breaker(scope, name, actor=actor, now=self._clock.now())

    def configure(
        self,
        bounds: Sequence[Bound],
        members: Sequence[tuple[str, str]],
        budgets: Sequence[Budget],
        breakers: Sequence[Breaker],
        *,
        actor: str,
    ) -> None:
        """Make these what agentctl.toml sets; what a person set for the same target goes before it. BadInput."""
        for bound in bounds:
            check_bound(bound)
        for budget in budgets:
            check_budget(budget)
        for breaker in breakers:
            check_breaker(breaker)
        self._driver.configure(
            tuple(bounds), tuple(members), tuple(budgets), tuple(breakers), actor=actor, now=self._clock.now()
        )

    def overspent(self) -> list[tuple[int, int, int, str]]:
        """Return session, task, n and why of each running attempt that a spent budget is to end."""
        return self._driver.overspent(self._clock.now().wall_ms)

    def hold(self, queues: Sequence[str], agent: str, *, now_ms: int | None = None) -> Hold | None:
        """Return what keeps an agent from a task that waits in these queues; at `now_ms`, when given.

        Who just tried to claim gives the moment before: what held it back may be over by now, and nobody would know
        that there is something to claim.
        """
        return self._driver.hold(tuple(queues), agent, self._clock.now().wall_ms if now_ms is None else now_ms)
