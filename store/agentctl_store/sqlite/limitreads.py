"""Limits, budgets and breakers as screens and reading verbs see them."""

from __future__ import annotations

from ..domain.budget import Budget, day_of
from ..jsontext import loads
from ..read.models import Spending
from .limiting import SQL, Limits, holds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..domain.limits import Hold
    from .readfile import ReadFile

_THERE = "SELECT count(*) FROM sqlite_schema WHERE name IN ('bound', 'member', 'budget', 'breaker') AND type = 'table'"
_TAKERS = "SELECT name, queues FROM agent WHERE declared = 1"


def limits_of(file: ReadFile) -> Limits | None:
    """Return what limits a store; None for one that is older than limits are."""
    return Limits(file.rows) if file.rows(_THERE)[0][0] == 4 else None


def holds_of(file: ReadFile, now_ms: int) -> tuple[Hold, ...]:
    """See Reader.holds."""
    with file.snapshot():
        limits = limits_of(file)
        if limits is None or not (limits.bounds or limits.budgets or limits.breakers):
            return ()
        takers: dict[str, Sequence[str]] = {
            agent: tuple(loads(queues, "queues")) for agent, queues in file.rows(_TAKERS)
        }
        return tuple(holds(limits, file.rows, takers, now_ms))


def spendings(file: ReadFile, now_ms: int) -> tuple[Spending, ...]:
    """See Reader.budgets."""
    with file.snapshot():
        limits = limits_of(file)
        if limits is None:
            return ()
        running = limits.running(file.rows, now_ms)
        return tuple(_spending(limits, one, running, now_ms) for one in limits.budgets)


def _spending(limits: Limits, budget: Budget, running: list[object], now_ms: int) -> Spending:
    if budget.per == "task":
        return Spending(budget, 0, 0, None)
    total = limits.total(budget, now_ms, running)
    _, ends, ended = limits.account(budget, now_ms)
    return Spending(budget, total, total - ended, ends or None)


def today(file: ReadFile, now_ms: int) -> tuple[int, int] | None:
    """Return what the fleet may spend today, in millionths of a dollar, and when its day began; None: no budget."""
    if file.rows(_THERE)[0][0] != 4:
        return None
    for row in file.rows(SQL["budgets"]):
        budget = Budget(*row)
        if (budget.scope, budget.measure, budget.per) == ("fleet", "usd", "day"):
            return budget.amount, day_of(now_ms, budget.zone)[0]
    return None
