"""Folding the history into schedules."""

from __future__ import annotations

from ..domain.event import KINDS
from .tables import TableFold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

    from .tasks import Line, Row

_SPEC = (
    "queue", "payload", "cron", "zone", "every_ms", "at_ms", "overlap", "jitter_ms", "catch_up", "priority",
    "timeout_ms", "declared",
)  # fmt: skip


class ScheduleFold(TableFold):
    """What is to be added when, and how its runs went."""

    table = "schedule"
    keys = ("name",)
    columns = (
        *_SPEC, "since_ms", "paused_ms", "paused_by", "reason", "planned_ms", "due_ms", "reckoned_ms", "task",
        "last_ms", "fired", "skipped",
    )  # fmt: skip

    def _row(self, said: Row) -> Row:
        return self.rows[(said["schedule"],)]

    def _plan(self, line: Line, said: Row) -> Row:
        row = self._row(said)
        row.update(planned_ms=said["planned"], due_ms=said["due"], reckoned_ms=line[1])
        return row

    def _added(self, line: Line, said: Row) -> None:
        self.rows[(said["schedule"],)] = dict.fromkeys(self.columns) | {"since_ms": line[1], "fired": 0, "skipped": 0}
        self._changed(line, said)

    def _changed(self, line: Line, said: Row) -> None:
        self._plan(line, said).update({name: said[name] for name in _SPEC})

    def _removed(self, line: Line, said: Row) -> None:
        del self.rows[(said["schedule"],)]

    def _paused(self, line: Line, said: Row) -> None:
        row = self._row(said)
        row.update(paused_ms=line[1], paused_by=line[5], reason=said["reason"], planned_ms=None, due_ms=None)

    def _resumed(self, line: Line, said: Row) -> None:
        self._plan(line, said).update(paused_ms=None, paused_by=None, reason=None)

    def _fired(self, line: Line, said: Row) -> None:
        row = self._row(said) if said.get("by_hand") else self._plan(line, said)
        row.update(task=line[3], last_ms=line[1], fired=row["fired"] + 1)

    def _skipped(self, line: Line, said: Row) -> None:
        row = self._plan(line, said)
        row["skipped"] += 1

    def _moved(self, line: Line, said: Row) -> None:
        self._plan(line, said)

    steps: ClassVar = {
        KINDS["schedule.added"]: _added,
        KINDS["schedule.changed"]: _changed,
        KINDS["schedule.removed"]: _removed,
        KINDS["schedule.paused"]: _paused,
        KINDS["schedule.resumed"]: _resumed,
        KINDS["schedule.fired"]: _fired,
        KINDS["schedule.skipped"]: _skipped,
        KINDS["schedule.moved"]: _moved,
    }
