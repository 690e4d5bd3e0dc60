"""Where a person is in a list that changes under them: cursor and scroll follow ids. Pure, no widgets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic

from agentctl_tui.window import Row, Span, Window

MARGIN = 20  #: rows read beyond each edge of the screen, at least; else a whole screen, so that a page is there at once


class Place(Generic[Row]):
    """The rows at hand, the selected one among them, and what to read next.

    `first` is the index of the first row on screen, `visible` how many rows fit; both belong to the widget.
    """

    def __init__(self, row_id: Callable[[Row], str]) -> None:
        self._row_id = row_id
        self.total = 0
        self.rows: dict[int, Row] = {}
        self.cursor = 0
        self.selected_id: str | None = None
        self.selected: Row | None = None
        self.goto: str | None = None  #: go to this row as soon as it is known where it is

    def span(self, sort: str, first: int, visible: int) -> Span:
        """Return the window needed now."""
        margin = max(MARGIN, visible)
        if self.goto is not None:
            return Span(0, visible + 2 * margin, sort, self.goto, visible // 2 + margin)
        offset = max(first - margin, 0)
        limit = first - offset + visible + margin
        anchor_at = self.cursor if first <= self.cursor < first + visible else first
        row = self.rows.get(anchor_at)
        anchor = self._row_id(row) if row is not None else None
        # At the very top new rows may push the others down, as long as the selection stays on screen.
        return Span(offset, limit, sort, anchor, None if first == 0 else anchor_at - offset)

    def lacks(self, first: int, visible: int) -> bool:
        """Say whether a row that belongs on the screen is not at hand."""
        return any(index not in self.rows for index in range(first, min(first + visible, self.total)))

    def take(self, window: Window[Row], first: int, visible: int) -> int | None:
        """Take the rows of a window; return the new first row when the view must move to hold its place."""
        self.total = window.total
        moved = self._follow(window, first, visible)
        self.rows = dict(enumerate(window.rows, window.offset))
        return None if moved is None else max(moved, 0)

    def settle(self) -> bool:
        """Bring cursor, selected id and selected row into agreement; True when the selected row changed."""
        if self.selected_id is not None:
            for index, row in self.rows.items():
                if self._row_id(row) == self.selected_id:
                    self.cursor = index
                    break
        self.cursor = min(max(self.cursor, 0), max(self.total - 1, 0))
        row_now = self.rows.get(self.cursor) if self.total else None
        if row_now is not None:
            self.selected_id = self._row_id(row_now)
        elif not self.total:
            self.selected_id = None
        elif self.selected_id is not None:
            return False  # scrolled away from the selection: what was read of it still stands
        changed = row_now != self.selected
        self.selected = row_now
        return changed

    def move(self, index: int) -> bool:
        """Put the cursor on a row; True when the selected row changed. Its values may be still to come."""
        self.goto = None
        self.cursor = min(max(index, 0), max(self.total - 1, 0))
        row = self.rows.get(self.cursor)
        self.selected_id = self._row_id(row) if row is not None else None
        changed = row != self.selected
        self.selected = row
        return changed

    def _follow(self, window: Window[Row], first: int, visible: int) -> int | None:
        position, anchor = window.position, window.anchor
        if self.goto is not None and anchor == self.goto:
            self.goto = None
            if position is None:
                return None
            self.cursor, self.selected_id = position, anchor
            return position - visible // 2
        if anchor is None or position is None:
            if anchor is not None and anchor == self.selected_id:
                self.selected_id = None  # it left the list: the row that takes its line is selected
            return None
        if anchor == self.selected_id:
            old, self.cursor = self.cursor, position
        else:
            old = next((i for i, row in self.rows.items() if self._row_id(row) == anchor), position)
            self.cursor += position - old
        if first == 0:
            pushed_out = anchor == self.selected_id and position > visible - 1
            return position - visible + 1 if pushed_out else None
        return first + position - old if position != old else None
