"""What may be set of limits, budgets and breakers: by a person, or by agentctl.toml."""

from __future__ import annotations

from .domain.breaker import BREAKER_SCOPES, MAX_HOLD_MS
from .domain.budget import BUDGET_SCOPES, MEASURES, PERS, zone_of
from .domain.limits import MAX_PERIOD_MS, MAX_STARTS, SCOPES
from .errors import BadInput
from .ids import check_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .domain.breaker import Breaker
    from .domain.budget import Budget
    from .domain.limits import Bound

MAX_AMOUNT = 10**15  #: of a budget, in the smallest unit of its measure


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
