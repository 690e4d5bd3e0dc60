"""Folding the history into what is set of limits, budgets and breakers, and how it stands."""

from __future__ import annotations

from ..domain.event import KINDS
from .tables import TableFold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

    from .tables import Step
    from .tasks import Line, Row

_GAP = KINDS["clock.gap"]


def _set(fold: TableFold, line: Line, said: Row) -> None:
    """Take what the event says of a row, all of it or what is new."""
    key = tuple([said[name] for name in fold.keys])
    row = fold.rows.setdefault(key, dict.fromkeys(fold.columns))
    row.update((name, value) for name, value in said.items() if name in row)


def _remove(fold: TableFold, line: Line, said: Row) -> None:
    fold.rows.pop(tuple([said[name] for name in fold.keys]), None)


def _moved(value: Any, shift_ms: int) -> Any:
    return value + shift_ms if value else value


class BoundFold(TableFold):
    table = "bound"
    keys = ("scope", "name")
    columns = ("starts", "period_ms", "burst", "concurrency", "max_depth", "origin", "full_us")

    def _counted(self, line: Line, said: Row) -> None:
        for scope, name, full in said["full"]:
            self.rows[scope, name]["full_us"] = full

    def _jumped(self, line: Line, said: Row) -> None:
        for row in self.rows.values():
            row["full_us"] = _moved(row["full_us"], said.get("shift", 0) * 1000)

    steps: ClassVar[dict[int, Step]] = {
        KINDS["limit.set"]: _set, KINDS["limit.removed"]: _remove, KINDS["limit.counted"]: _counted, _GAP: _jumped,
    }  # fmt: skip


class MemberFold(TableFold):
    table = "member"
    keys = ("agent",)
    columns = ("provider", "origin")

    def _assigned(self, line: Line, said: Row) -> None:
        (_remove if said["provider"] is None else _set)(self, line, said)

    steps: ClassVar[dict[int, Step]] = {KINDS["limit.assigned"]: _assigned}


class BudgetFold(TableFold):
    table = "budget"
    keys = ("scope", "name", "measure", "per")
    columns = ("amount", "origin", "zone", "from_ms", "until_ms", "spent")

    def _spent(self, line: Line, said: Row) -> None:
        for *key, begun, ends, spent in said["spent"]:
            self.rows[tuple(key)].update(from_ms=begun, until_ms=ends, spent=spent)

    steps: ClassVar[dict[int, Step]] = {
        KINDS["budget.set"]: _set,
        KINDS["budget.removed"]: _remove,
        KINDS["budget.spent"]: _spent,
    }


class BreakerFold(TableFold):
    table = "breaker"
    keys = ("scope", "name")
    columns = (
        "window_ms", "min_calls", "share", "open_ms", "cap_ms", "stagger_ms", "origin", "state", "reason", "opened",
        "since_ms", "until_ms", "probe", "probe_n", "calls", "next_ms", "spaced",
    )  # fmt: skip

    def _jumped(self, line: Line, said: Row) -> None:
        for row in self.rows.values():
            for name in ("since_ms", "until_ms", "next_ms"):
                row[name] = _moved(row[name], said.get("shift", 0))

    steps: ClassVar[dict[int, Step]] = {
        **{
            KINDS[f"breaker.{how}"]: _set
            for how in ("set", "counted", "opened", "probed", "released", "closed", "spaced", "reset")
        },
        KINDS["breaker.removed"]: _remove,
        _GAP: _jumped,
    }


FOLDS: tuple[type[TableFold], ...] = (BoundFold, MemberFold, BudgetFold, BreakerFold)
