"""Columns of a live table and how they share its width."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

from agentctl_tui.cells import Line
from agentctl_tui.glyphs import Glyphs
from agentctl_tui.window import Row


@dataclass(frozen=True, slots=True)
class Context:
    """What a cell may depend on besides its row."""

    now_ms: int
    glyphs: Glyphs
    top: int = 0  #: the scale all sparklines of the table share


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """One column. `cell` is pure and may return more than fits; the table cuts it."""

    key: str
    title: str
    cell: Callable[[Row, Context], Line]
    least: int = 4  #: narrowest useful width
    most: int = 24  #: wider than this only as the growing column
    grow: int = 0  #: share of what is left over
    whole: bool = False  #: never cut below `most` as long as the column is shown
    rank: int = 0  #: the highest rank is dropped first when the table is too narrow
    right: bool = False
    path: bool = False  #: often holds a path: its end is kept
    sort: str = ""  #: what the source sorts by for this column; empty: cannot be sorted


def widths(
    columns: Sequence[Column[Row]], seen: Mapping[str, int], room: int, gap: int = 2
) -> list[tuple[Column[Row], int]]:
    """Return the columns that fit `room` cells and how wide each is.

    `seen` holds the widest content met so far per column: columns take what they need up to `most`, growing
    ones share the rest, and the highest ranks are left out while the least widths do not fit.
    """
    kept = list(columns)
    least = {c.key: _least(c, seen) for c in kept}
    while len(kept) > 1 and sum(least[c.key] for c in kept) + gap * (len(kept) - 1) > room:
        kept.remove(max(reversed(kept), key=lambda c: c.rank))
    free = room - gap * (len(kept) - 1)
    sizes = {c.key: least[c.key] for c in kept}
    free -= sum(sizes.values())
    # Columns in order of importance get what their content asks for; then the rest goes to the growing ones.
    for column in sorted(kept, key=lambda c: c.rank):
        want = min(seen.get(column.key, 0), column.most)
        extra = min(max(want - sizes[column.key], 0), max(free, 0))
        sizes[column.key] += extra
        free -= extra
    growing = [c for c in kept if c.grow]
    total = sum(c.grow for c in growing)
    for index, column in enumerate(growing):
        share = free if index == len(growing) - 1 else free * column.grow // total
        share = max(share, 0)
        sizes[column.key] += share
        free -= share
        total -= column.grow
    return [(c, max(sizes[c.key], 1)) for c in kept]


def _least(column: Column[Row], seen: Mapping[str, int]) -> int:
    least = max(column.least, len(column.title))
    # What a row is called must be readable; anything else may be cut.
    return max(least, min(seen.get(column.key, 0), column.most)) if column.whole else least
