"""Verbs on budgets: how much may be spent of tokens, money, time and starts."""

from __future__ import annotations

from agentctl_store.errors import BadInput, NotFound

from . import output
from .call import Call, actor
from .limits import read_target, read_value
from .table import Column
from .verb import arg, opt, verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentctl_store.domain.budget import Budget

MEASURES = ("tokens", "usd", "wall_time", "attempts")
PERS = ("task", "day", "total")
_LIST = (
    Column("target"),
    Column("measure"),
    Column("per"),
    Column("spent"),
    Column("of", title="of"),
    Column("left"),
    Column("share", "number", title="%"),
    Column("day_ends_at", "time", title="day ends"),
    Column("set_by"),
    Column("time_zone", wide=True),
    Column("running", wide=True),
)
_TARGET = "What it is for: task (each one), agent:NAME, provider:NAME or fleet."


@verb(
    "budget list",
    summary="List budgets with what is spent of them, what runs now included.",
    details="Dollars, tokens and attempts as numbers, wall time as hours:minutes:seconds. A budget per task is "
    "counted for each task by its own attempts.",
    reads=True,
)
def list_budgets(call: Call) -> int:
    """List budgets."""
    import time

    from agentctl_store.domain.budget import shown
    from agentctl_store.domain.limits import named

    def fetch() -> list[dict[str, Any]]:
        rows = []
        for one in call.reader.budgets(time.time_ns() // 1_000_000):
            budget = one.budget
            counted = budget.per != "task"
            text = (lambda amount, measure=budget.measure: shown(measure, amount)) if counted else (lambda amount: None)
            rows.append({
                "target": named(budget.scope, budget.name),
                "measure": budget.measure,
                "per": budget.per,
                "spent": text(one.spent),
                "of": shown(budget.measure, budget.amount),
                "left": text(max(budget.amount - one.spent, 0)),
                "share": 100 * one.spent // max(budget.amount, 1) if counted else None,
                "day_ends_at": one.until_ms,
                "set_by": budget.origin,
                "time_zone": budget.zone,
                "running": text(one.running),
            })  # fmt: skip
        return rows

    return call.show(_LIST, fetch, empty="No budgets. Set one with: agentctl budget set")


@verb(
    "budget set",
    summary="Set how much may be spent; what has been spent already stays spent.",
    details="It counts from the moment it is set. A spent budget lets nothing start, and ends what runs on it: the "
    "attempt gets its grace, what it has got to is kept, its task becomes a dead letter (policy).",
    target=arg(_TARGET, "TARGET", complete="targets"),
    per=opt(help="Of each task, of a calendar day, or in all.", choices=PERS),
    tokens=opt(help="Tokens, input and output together: 200k, 2M.", metavar="N"),
    usd=opt(help="US dollars.", metavar="USD"),
    wall_time=opt(help="Time of all attempts together: 90m, 8h.", metavar="DURATION"),
    attempts=opt(help="Starts, also those of retries and requeues.", metavar="N"),
    timezone=opt(help="Whose midnight ends a day.", metavar="ZONE"),
)
def set_budget(
    call: Call,
    *,
    target: str,
    per: str | None = None,
    tokens: str | None = None,
    usd: float | None = None,
    wall_time: str | None = None,
    attempts: int | None = None,
    timezone: str = "UTC",
) -> int:
    """Set a budget."""
    from agentctl.quantities import read_count, read_duration_ms
    from agentctl_store.domain.budget import BUDGET_SCOPES, Budget, shown, unit

    scope, name = read_target(target, BUDGET_SCOPES)
    if usd is not None and not 0 <= usd <= 1_000_000_000:
        raise BadInput("--usd is out of range", "Use 0 to 1,000,000,000")
    amounts = {
        "tokens": read_value(read_count, tokens, "--tokens"),
        "usd": None if usd is None else round(usd * 1_000_000),
        "wall_time": read_value(read_duration_ms, wall_time, "--wall-time"),
        "attempts": attempts,
    }
    if all(amount is None for amount in amounts.values()):
        raise BadInput("a budget of what?", "Give --tokens, --usd, --wall-time or --attempts")
    span: Any = per or ("task" if scope == "task" else "day")
    for measure, amount in amounts.items():
        if amount is not None:
            asked = Budget(scope, name, measure, span, amount, "operator", timezone)  # type: ignore[arg-type]
            now: Budget = call.store.limits.set_budget(asked, actor=actor())
            said = f"{shown(now.measure, now.amount)} {unit(now.measure)}"
            spent = f"; {shown(now.measure, now.spent)} spent" if now.spent else ""
            output.say(f"{target} per {now.per}: {said}{spent}" if now.per != "total" else f"{target}: {said}{spent}")
    return 0


@verb(
    "budget remove",
    summary="Lift budgets of a target.",
    details="Those of agentctl.toml come back with the next run or reload.",
    target=arg(_TARGET, "TARGET", complete="targets"),
    measure=opt(help="Only of this measure.", choices=MEASURES),
    per=opt(help="Only those per this.", choices=PERS),
)
def remove(call: Call, *, target: str, measure: str | None = None, per: str | None = None) -> int:
    """Remove budgets."""
    from agentctl_store.domain.budget import BUDGET_SCOPES

    scope, name = read_target(target, BUDGET_SCOPES)
    gone = 0
    for one in MEASURES if measure is None else (measure,):
        for span in PERS if per is None else (per,):
            gone += call.store.limits.remove_budget(scope, name, one, span, actor=actor())
    if not gone:
        raise NotFound(f"{target} has no such budget", "List them with: agentctl budget list")
    output.say(f"{target}: {gone} {'budget' if gone == 1 else 'budgets'} lifted")
    return 0
