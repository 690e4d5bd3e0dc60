"""Windows of long lists: what a table asks for, and what it is handed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Span:
    """The window a table needs. `anchor` is the row to hold in place, at `anchor_row` of the window."""

    offset: int
    limit: int
    sort: str
    anchor: str | None = None
    anchor_row: int | None = None  #: None: only tell where the anchor is


@dataclass(frozen=True, slots=True)
class Window(Generic[Row]):
    """What a source answers: `rows` from `offset` of `total`, and where the asked anchor is now."""

    rows: tuple[Row, ...]
    offset: int
    total: int
    anchor: str | None = None
    position: int | None = None
