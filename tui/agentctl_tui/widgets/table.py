"""The one live table: virtual, on Textual's line API, fed by windowed reads.

The table asks for the window on screen (`Wanted`) and is handed it (`show`); sorting and filtering are the
source's. Selection and scroll follow ids, so rows may come and go around them. A line is drawn again only
when its cells changed. Measured against Textual's DataTable in tests/bench/test_tui.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip

from agentctl_tui.cells import Line, Piece, fit, fit_path, raw, width
from agentctl_tui.columns import Column, Context, widths
from agentctl_tui.look import look_of
from agentctl_tui.place import Place
from agentctl_tui.still import still_of
from agentctl_tui.widgets.drawn import Drawn
from agentctl_tui.window import Row, Span, Window

GUTTER = 3  #: cursor, mark, blank
GAP = 2


class LiveTable(Drawn, Generic[Row], can_focus=True):
    """A table of rows that live elsewhere."""

    DEFAULT_CSS = """
    LiveTable {
        overflow-x: hidden;
        overflow-y: auto;
        scrollbar-size-vertical: 1;
        background: $ac-ground;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", id="table.up", show=False, tooltip="Select the row above"),
        Binding("down,j", "move(1)", "Down", id="table.down", show=False, tooltip="Select the row below"),
        Binding("pageup", "page(-1)", "Page up", id="table.pageup", show=False, tooltip="One screen up"),
        Binding("pagedown", "page(1)", "Page down", id="table.pagedown", show=False, tooltip="One screen down"),
        Binding("home,g", "edge(-1)", "First", id="table.first", show=False, tooltip="First row"),
        Binding("end,G", "edge(1)", "Last", id="table.last", show=False, tooltip="Last row"),
        Binding("enter", "open", "Open", id="table.open", show=False, tooltip="Open the selected row"),
        Binding("space", "mark", "Mark", id="table.mark", show=False, tooltip="Mark the row, go to the next"),
        Binding("o", "sort(1)", "Sort", id="table.sort", show=False, tooltip="Sort by the next column"),
        Binding("O", "flip", "Reverse", id="table.flip", show=False, tooltip="Reverse the order"),
    ]

    class _About(Message):
        def __init__(self, table: LiveTable[Any]) -> None:
            super().__init__()
            self.table = table

        @property
        def control(self) -> LiveTable[Any]:
            return self.table

        def can_replace(self, message: Message) -> bool:
            return type(message) is type(self) and getattr(message, "table", None) is self.table

    class Wanted(_About):
        """Another window is needed: `table.span` says which."""

    class Selected(_About):
        """Another row is selected, or the selected row's values changed: `table.selected`."""

    class Marked(_About):
        """The marks changed: `table.marks`."""

    class Opened(_About):
        """A person opened the selected row."""

    def __init__(
        self,
        columns: Sequence[Column[Row]],
        row_id: Callable[[Row], str],
        *,
        sort: str,
        id: str | None = None,
        markable: bool = False,
        empty: Callable[[], Sequence[Line]] = tuple,
        top: Callable[[Sequence[Row]], int] = lambda rows: 0,
    ) -> None:
        super().__init__(id=id)
        self._columns = tuple(columns)
        self._row_id = row_id
        self._markable = markable
        self._empty = empty
        self._top_of = top
        self.sort = sort
        self.marks: set[str] = set()
        self.loaded = False
        self._cells: dict[int, tuple[Line, ...]] = {}
        self._drawn_cursor = 0
        self._place: Place[Row] = Place(row_id)
        self._seen: dict[str, int] = {}
        self._layout_of: tuple[int, int] = (-1, 0)
        self._layout: list[tuple[Column[Row], int]] = []
        self._group_top = 0
        self._span: Span | None = None

    # --- what others see

    @property
    def selected(self) -> Row | None:
        """The selected row as last read."""
        return self._place.selected

    @property
    def total(self) -> int:
        """How many rows the source has."""
        return self._place.total

    @property
    def selected_id(self) -> str | None:
        return self._place.selected_id

    @property
    def visible_rows(self) -> int:
        return max(self.size.height - 1, 1)

    @property
    def first(self) -> int:
        """Index of the first row on screen."""
        return self.scroll_offset.y

    @property
    def span(self) -> Span:
        """The window needed now."""
        return self._place.span(self.sort, self.first, self.visible_rows)

    def show(self, window: Window[Row]) -> None:
        """Take the rows of a window, keeping what a person looks at where it is."""
        self.loaded = True
        move_to = self._place.take(window, self.first, self.visible_rows)
        self._group_top = self._top_of(window.rows)
        size = Size(0, self.total + 1)
        if size != self.virtual_size or not self.total:
            self.virtual_size = size
            self.redraw_all()
        if move_to is not None:
            self.scroll_to(y=move_to, animate=False, force=True, immediate=True)
        cursor = self._place.cursor
        if self._place.settle():
            self.post_message(self.Selected(self))
        if cursor != self._drawn_cursor or cursor != self._place.cursor:
            self.redraw_all()
        self._drawn_cursor = self._place.cursor
        self.recheck()
        self._ask()
        still_of(self).release(self)

    def recheck(self) -> None:
        """Draw again the lines whose cells changed; called with new rows and as time passes."""
        context = self._cell_context()
        columns = self._columns_now()
        cells: dict[int, tuple[Line, ...]] = {}
        for index in range(self.first, self.first + self.visible_rows):
            row = self._place.rows.get(index)
            if row is not None:
                cells[index] = tuple(column.cell(row, context) for column, _ in columns)
            if self._cells.get(index) != cells.get(index):
                self.redraw(index + 1)
        self._cells = cells
        if self._strips is not None:
            # What is off screen may have changed unseen.
            for line in [line for line in self._strips if line and line - 1 not in cells]:
                del self._strips[line]
        self._measure()

    def select_id(self, row_id: str) -> None:
        """Go to a row by id, wherever it is in the list."""
        self._place.goto = row_id
        self._ask(force=True)

    def forget(self) -> None:
        """Drop everything that was read: the source, its sort or its filter changed."""
        self._span = None
        self._ask(force=True)

    def set_marks(self, marks: set[str]) -> None:
        """Replace the marks."""
        self.marks = set(marks)
        self.redraw_all()
        self.post_message(self.Marked(self))

    def look_changed(self) -> None:
        """Draw everything again: the theme, the glyphs or the connection changed."""
        self._cells.clear()
        self.redraw_all()

    def _ask(self, force: bool = False) -> None:
        span = self.span
        if force or span != self._span:
            self._span = span
            if force or self._place.lacks(self.first, self.visible_rows):
                still_of(self).hold(self)
            self.post_message(self.Wanted(self))

    # --- drawing

    def _cell_context(self) -> Context:
        look = look_of(self)
        return Context(look.now_ms(), look.glyphs, self._group_top)

    def _columns_now(self) -> list[tuple[Column[Row], int]]:
        room = self.scrollable_size.width - GUTTER
        key = (room, sum(self._seen.values()))
        if key != self._layout_of:
            self._layout_of = key
            self._layout = widths(self._columns, self._seen, room, GAP)
            self._cells.clear()
            self.redraw_all()
        return self._layout

    def _measure(self) -> None:
        """Remember how wide contents are. Columns only ever grow, so the table never jitters."""
        for cells in self._cells.values():
            for (column, size), cell in zip(self._layout, cells, strict=False):
                if size < column.most:
                    wide = width(cell)
                    if wide > self._seen.get(column.key, 0):
                        self._seen[column.key] = wide
        self._columns_now()

    def line_at(self, y: int) -> int:
        return y + self.scroll_offset.y if y else 0  # the header stays

    def draw(self, line: int, width: int) -> Strip:
        look, room = look_of(self), self.scrollable_size.width
        if line == 0:
            return look.strip(self._header(), width)
        index = line - 1
        row = self._place.rows.get(index)
        if row is None:
            return self._filler(index - self.first, index).adjust_cell_length(width, look.style(""))
        columns = self._columns_now()
        cells = self._cells.get(index)
        if cells is None or len(cells) != len(columns):
            context = self._cell_context()
            cells = self._cells[index] = tuple(column.cell(row, context) for column, _ in columns)
        chosen = index == self._place.cursor
        parts: list[Line] = [self._gutter(row, chosen)]
        for at, ((column, size), cell) in enumerate(zip(columns, cells, strict=True)):
            if at:
                parts.append((Piece(" " * GAP),))
            more = look.glyphs.more
            parts.append(fit_path(cell, size, more) if column.path else fit(cell, size, column.right, more))
        used = self._layout_width(columns)
        parts.append((Piece(" " * max(room - used, 0)),))
        return look.strip(parts, width, "chosen" if chosen and self.has_focus_within else "ground")

    @staticmethod
    def _layout_width(columns: list[tuple[Column[Row], int]]) -> int:
        return GUTTER + sum(size for _, size in columns) + GAP * (len(columns) - 1)

    def _gutter(self, row: Row, chosen: bool) -> Line:
        glyphs = look_of(self).glyphs
        mark = raw(glyphs.mark, "amber") if self._row_id(row) in self.marks else Piece(" ")
        return (raw(glyphs.cursor, "link") if chosen else Piece(" "), mark, Piece(" "))

    def _header(self) -> list[Line]:
        glyphs = look_of(self).glyphs
        parts: list[Line] = [(Piece(" " * GUTTER),)]
        by = self.sort.lstrip("-")
        for at, (column, size) in enumerate(self._columns_now()):
            if at:
                parts.append((Piece(" " * GAP),))
            sorted_by = bool(column.sort) and column.sort == by
            arrow = (glyphs.down if self.sort.startswith("-") else glyphs.up) if sorted_by else ""
            title = column.title
            if arrow and len(title) < size:
                title = f"{title}{arrow}"
            parts.append(fit((raw(title, "headsort" if sorted_by else "head"),), size, column.right))
        return parts

    def _filler(self, y: int, index: int) -> Strip:
        look = look_of(self)
        if self.loaded and self.total == 0:
            lines = self._empty()
            start = max((self.visible_rows - len(lines)) // 3, 0)
            if 0 <= y - start < len(lines):
                cells = lines[y - start]
                pad = max((self.scrollable_size.width - width(cells)) // 2, 0)
                return look.line((Piece(" " * pad), *cells), self.scrollable_size.width)
        waiting = index < self.total
        return look.line((raw(f"  {look.glyphs.more}", "dim"),) if waiting else (), self.scrollable_size.width)

    # --- keys and mouse

    def _go(self, index: int) -> None:
        if not self.total:
            return
        place = self._place
        old = place.cursor
        changed = place.move(index)
        self.redraw(old + 1)
        self.redraw(place.cursor + 1)
        self._drawn_cursor = place.cursor
        if place.cursor < self.first:
            self.scroll_to(y=place.cursor, animate=False, force=True, immediate=True)
        elif place.cursor >= self.first + self.visible_rows:
            self.scroll_to(y=place.cursor - self.visible_rows + 1, animate=False, force=True, immediate=True)
        if changed and self.selected is not None:  # else told when it is there: beside it the last one stays till then
            self.post_message(self.Selected(self))
        self._ask()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self._ask()

    def on_resize(self) -> None:
        self.look_changed()
        if self.first <= self._place.cursor:
            hidden = self._place.cursor - (self.first + self.visible_rows - 1)
            if hidden > 0:
                self.scroll_to(y=self.first + hidden, animate=False, force=True, immediate=True)
        self._ask()

    def on_focus(self) -> None:
        self.redraw(self._place.cursor + 1)

    def on_blur(self) -> None:
        self.redraw(self._place.cursor + 1)

    def action_move(self, by: int) -> None:
        self._go(self._place.cursor + by)

    def action_page(self, by: int) -> None:
        self._go(self._place.cursor + by * max(self.visible_rows - 1, 1))

    def action_edge(self, side: int) -> None:
        self._go(0 if side < 0 else self.total - 1)

    def action_open(self) -> None:
        if self.selected is not None:
            self.post_message(self.Opened(self))

    def action_mark(self) -> None:
        if not self._markable or self.selected_id is None:
            return
        self.marks ^= {self.selected_id}
        self.redraw(self._place.cursor + 1)
        self.post_message(self.Marked(self))
        self._go(self._place.cursor + 1)

    def action_sort(self, by: int) -> None:
        keys = [column.sort for column, _ in self._columns_now() if column.sort]
        if not keys:
            return
        now = self.sort.lstrip("-")
        at = keys.index(now) if now in keys else -by
        self.sort = keys[(at + by) % len(keys)]
        self._resort()

    def action_flip(self) -> None:
        self.sort = self.sort[1:] if self.sort.startswith("-") else "-" + self.sort
        self._resort()

    def _resort(self) -> None:
        self._place.goto = self.selected_id
        self.redraw_all()
        self._ask(force=True)

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None:
            return
        if offset.y == 0:
            self._click_header(offset.x)
            return
        index = offset.y - 1 + self.first
        if index < self.total:
            self._go(index)
            if event.chain == 2:
                self.action_open()
            elif offset.x < GUTTER and self._markable:
                self.action_mark()

    def _click_header(self, x: int) -> None:
        at = GUTTER
        for column, size in self._columns_now():
            if at <= x < at + size + GAP and column.sort:
                if self.sort.lstrip("-") == column.sort:
                    self.action_flip()
                else:
                    self.sort = column.sort
                    self._resort()
                return
            at += size + GAP
