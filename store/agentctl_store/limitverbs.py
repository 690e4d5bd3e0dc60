"""The store's verbs on limits, budgets and breakers, as everybody above the driver calls them."""

from __future__ import annotations

from .domain.breaker import BREAKER_SCOPES, MAX_HOLD_MS, Breaker
from .domain.budget import BUDGET_SCOPES, MEASURES, PERS, Budget, zone_of
from .domain.limits import MAX_PERIOD_MS, MAX_STARTS, SCOPES, Bound, Hold
from .errors import BadInput
from .ids import check_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .store import Store

MAX_AMOUNT = 10**15  #: of a budget, in the smallest unit of its measure


class LimitVerbs:
    """Saying what may start, what may be spent, and who is left alone."""

    def __init__(self, store: Store) -> None:
        self._driver, self._clock = store.driver.limits, store.clock

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


def check_target(scope: str, name: str, scopes: Sequence[str]) -> None:
    """Raise BadInput for a target there cannot be: `fleet` and `task` bear no name, the others one."""
    if scope not in scopes:
        raise BadInput(f"there is no {scope[:20]!a} to set this for", f"Use one of: {', '.join(scopes)}")
    if scope in ("fleet", "task"):
        if name:
            raise BadInput(f"the {scope} bears no name", f"Write {scope}")
    else:
        check_name(name, scope)


def check_bound(bound: Bound) -> Bound:
    """Return a bound that makes sense. Raises BadInput."""
    check_target(bound.scope, bound.name, SCOPES)
    if (bound.starts is None) != (bound.period_ms is None):
        raise BadInput("a rate is so many starts in so long", "Write it like 30/min")
    _within("the rate's starts", bound.starts, 1, MAX_STARTS)
    _within("the rate's period in ms", bound.period_ms, 1, MAX_PERIOD_MS)
    _within("burst", bound.burst, 1, MAX_STARTS)
    _within("concurrency", bound.concurrency, 0, MAX_STARTS)
    _within("max_depth", bound.max_depth, 0, MAX_AMOUNT)
    if bound.max_depth is not None and bound.scope != "queue":
        raise BadInput("only a queue has a max_depth", "Set it for the queue")
    return bound


def check_budget(budget: Budget) -> Budget:
    """Return a budget that makes sense. Raises BadInput."""
    check_target(budget.scope, budget.name, BUDGET_SCOPES)
    if budget.measure not in MEASURES or budget.per not in PERS:
        raise BadInput("a budget is of " + ", ".join(MEASURES), f"Per {', '.join(PERS)}")
    if budget.scope == "task" and budget.per != "task":
        raise BadInput("the budget of a task is per task", "For what is spent in a day, set it for the fleet")
    _within("the budget", budget.amount, 0, MAX_AMOUNT)
    if budget.zone != "UTC":
        zone_of(budget.zone)
    return budget


def check_breaker(breaker: Breaker) -> Breaker:
    """Return a breaker that makes sense. Raises BadInput."""
    check_target(breaker.scope, breaker.name, BREAKER_SCOPES)
    _within("the window in ms", breaker.window_ms, 1_000, MAX_PERIOD_MS)
    _within("min_calls", breaker.min_calls, 1, 1_000)
    _within("the share of failures in per cent", breaker.share, 1, 100)
    _within("open in ms", breaker.open_ms, 1, MAX_HOLD_MS)
    _within("cap in ms", breaker.cap_ms, breaker.open_ms, MAX_HOLD_MS)
    _within("stagger in ms", breaker.stagger_ms, 0, MAX_HOLD_MS)
    return breaker


def _within(what: str, value: int | None, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        raise BadInput(f"{what} is {value:,}, which is out of range", f"Use {low:,} to {high:,}")
