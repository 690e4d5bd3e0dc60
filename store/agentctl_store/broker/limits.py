"""Limits, budgets and breakers over the broker; see agentctl_store.limitsdriver."""

from __future__ import annotations

from ..record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ..clock import Moment
    from ..domain.breaker import Breaker
    from ..domain.budget import Budget
    from ..domain.limits import Bound, Hold


class BrokerLimits:
    """See LimitsDriver, whose words these are."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def set_bound(self, bound: Bound, *, actor: str, now: Moment) -> Bound:
        return self._call("limits.set_bound", bound, actor, now=now)  # type: ignore[no-any-return]

    def remove_bound(self, scope: str, target: str, *, actor: str, now: Moment) -> bool:
        return self._call("limits.remove_bound", scope, target, actor, now=now)  # type: ignore[no-any-return]

    def assign(self, agent: str, provider: str | None, *, actor: str, now: Moment) -> bool:
        return self._call("limits.assign", agent, provider, actor, now=now)  # type: ignore[no-any-return]

    def set_budget(self, budget: Budget, *, actor: str, now: Moment) -> Budget:
        return self._call("limits.set_budget", budget, actor, now=now)  # type: ignore[no-any-return]

    def remove_budget(self, scope: str, target: str, measure: str, per: str, *, actor: str, now: Moment) -> bool:
        given = (scope, target, measure, per, actor)
        return self._call("limits.remove_budget", *given, now=now)  # type: ignore[no-any-return]

    def set_breaker(self, breaker: Breaker, *, actor: str, now: Moment) -> Breaker:
        made: Breaker = self._call("limits.set_breaker", breaker, actor, now=now)
        return replace(made, calls=tuple(tuple(one) for one in made.calls))

    def remove_breaker(self, scope: str, target: str, *, actor: str, now: Moment) -> bool:
        return self._call("limits.remove_breaker", scope, target, actor, now=now)  # type: ignore[no-any-return]

    def reset_breaker(self, scope: str, target: str, *, actor: str, now: Moment) -> bool:
        return self._call("limits.reset_breaker", scope, target, actor, now=now)  # type: ignore[no-any-return]

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
        self._call("limits.configure", bounds, members, budgets, breakers, actor, now=now)

    def overspent(self, now_ms: int) -> list[tuple[int, int, int, str]]:
        found = self._call("limits.overspent", now_ms)
        return [(session, task, n, why) for session, task, n, why in found]

    def hold(self, queues: Sequence[str], agent: str, now_ms: int) -> Hold | None:
        return self._call("limits.hold", queues, agent, now_ms)  # type: ignore[no-any-return]
