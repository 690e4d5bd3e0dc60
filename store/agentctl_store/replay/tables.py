"""Folding the history into tables of few rows: those of limits, schedules and the like, held in memory as a whole.

A noun declares a fold for each of its tables and names it in replay/nouns.py; checking, time travel and pruning take
them all.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, ClassVar

    from .tasks import Line, Row

    Step = Callable[[Any, Line, Row], None]


class TableFold:
    """One table: `rows` by the values of `keys`, each with its other `columns`.

    `steps` has a method for each kind of event, called with the event and what it says.
    """

    table: ClassVar[str]
    keys: ClassVar[tuple[str, ...]]
    columns: ClassVar[tuple[str, ...]]
    steps: ClassVar[dict[int, Step]]

    def __init__(self) -> None:
        self.rows: dict[tuple[Any, ...], Row] = {}

    def snapshot(self) -> list[Row]:
        """Return the rows as plain data."""
        return [dict(zip(self.keys, key, strict=True)) | row for key, row in self.rows.items()]

    def load(self, rows: Iterable[Row]) -> None:
        """Begin again with a snapshot, which may be older than a column, or with what the table holds."""
        self.rows = {
            tuple([row[name] for name in self.keys]): {name: row.get(name) for name in self.columns} for row in rows
        }
