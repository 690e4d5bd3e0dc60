"""Budgets: how much may be spent of tokens, money, time and attempts, by whom, on what, until when."""

from __future__ import annotations

from ..record import record
from .limits import SLACK_MS, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from .limits import Origin, Scope

    Measure = Literal["tokens", "usd", "wall_time", "attempts"]
    Per = Literal["task", "day", "total"]

BUDGET_SCOPES: tuple[Scope, ...] = ("task", "agent", "provider", "fleet")
MEASURES: tuple[Measure, ...] = ("tokens", "usd", "wall_time", "attempts")
PERS: tuple[Per, ...] = ("task", "day", "total")
DAY_MS = 86_400_000


@record
class Budget:
    """How much of one measure one scope may spend per task, day or in all.

    Amounts are tokens (input and output together), millionths of a dollar, milliseconds of wall time, attempts.
    Spending counts from the moment a budget was set. An attempt's counts on the day on which it ends, its start where
    starts are counted. Per task nothing is kept: the task's own attempts say it.
    """

    scope: Scope
    name: str
    measure: Measure
    per: Per
    amount: int
    origin: Origin = "operator"
    zone: str = "UTC"  #: whose midnight ends a day
    from_ms: int = 0  #: wall ms; of a day's budget the day that `spent` is of
    until_ms: int = 0
    spent: int = 0  #: by attempts that have ended


def day_of(wall_ms: int, zone: str) -> tuple[int, int]:
    """Return when the calendar day of a moment begins and ends in a time zone, in wall ms.

    The day on which the clocks change is as long as it is. Raises BadInput for an unknown zone.
    """
    if zone == "UTC":
        begun = wall_ms - wall_ms % DAY_MS
        return begun, begun + DAY_MS
    from datetime import datetime, time, timedelta

    place = zone_of(zone)
    day = datetime.fromtimestamp(wall_ms / 1000, place).date()
    ends = [datetime.combine(one, time(), place).timestamp() for one in (day, day + timedelta(days=1))]
    return round(ends[0] * 1000), round(ends[1] * 1000)


def zone_of(zone: str) -> ZoneInfo:
    """Return a time zone by its name. Raises BadInput."""
    from zoneinfo import ZoneInfo

    from ..errors import BadInput

    try:
        return ZoneInfo(zone)
    except (OSError, ValueError, KeyError):
        raise BadInput(f"there is no time zone {zone[:64]!a}", 'Use a name like "Europe/Berlin" or "UTC"') from None


def day_now(from_ms: int, until_ms: int, spent: int, now_ms: int, zone: str) -> tuple[int, int, int]:
    """Return the day (begin, end) that is now, and what was spent on it, given the day last counted on.

    A new day begins with nothing spent; a clock that was set back to an earlier one gives nothing back, and a moment of
    just before midnight, whose writer had to wait for its turn, belongs to the day that has begun.
    """
    if from_ms - SLACK_MS <= now_ms < until_ms:
        return from_ms, until_ms, spent
    begun, ends = day_of(now_ms, zone)
    return begun, ends, spent if begun < from_ms else 0


def shown(measure: Measure, amount: int) -> str:
    """Write an amount for a person, without its unit."""
    if measure == "usd":
        whole, cents = f"{amount / 1_000_000:.6f}".split(".")
        return f"{whole}.{cents[:2]}{cents[2:].rstrip('0')}"
    if measure == "wall_time":
        return f"{amount // 3_600_000}:{amount // 60_000 % 60:02}:{amount // 1000 % 60:02}"
    return f"{amount:,}"


def unit(measure: Measure) -> str:
    """Return the word behind an amount."""
    return {"tokens": "tokens", "usd": "USD", "wall_time": "hours", "attempts": "attempts"}[measure]


def spent_words(scope: str, name: str, measure: Measure, per: Per, spent: int, amount: int) -> str:
    """Say that a budget is spent: `budget of the day of provider x spent: 5.00 of 5.00 USD`."""
    span = {"task": "of the task ", "day": "of the day ", "total": ""}[per]
    whose = f"of {words(scope, name)} " if scope in ("agent", "provider") or not span else ""
    return f"budget {span}{whose}spent: {shown(measure, spent)} of {shown(measure, amount)} {unit(measure)}"


if TYPE_CHECKING:
    from zoneinfo import ZoneInfo
