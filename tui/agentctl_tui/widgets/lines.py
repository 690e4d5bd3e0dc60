"""Lines of pieces on Textual's line API: nothing goes through markup, and only changed lines are drawn."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual import events
from textual.geometry import Size
from textual.strip import Strip

from agentctl_tui.cells import EMPTY, Line, fit
from agentctl_tui.look import look_of
from agentctl_tui.widgets.drawn import Drawn


class Lines(Drawn, can_focus=False):
    """Shows lines; a click on a piece with an action runs it.

    With `follow`, the end stays in view while lines are added, unless a person scrolled away from it.
    """

    DEFAULT_CSS = """
    Lines {
        overflow-x: hidden;
        overflow-y: hidden;
        scrollbar-size-vertical: 1;
        background: $ac-ground;
    }
    """

    def __init__(
        self, *, id: str | None = None, ground: str = "ground", follow: bool = False, scrolls: bool = False
    ) -> None:
        super().__init__(id=id)
        self._ground = ground
        self._follow = follow
        self._scrolls = scrolls
        self._lines: tuple[Line, ...] = ()
        if scrolls:
            self.styles.overflow_y = "auto"

    @property
    def lines(self) -> tuple[Line, ...]:
        """The lines as last shown."""
        return self._lines

    def show(self, lines: Sequence[Line]) -> None:
        """Replace the lines, drawing only those that differ."""
        old, new = self._lines, tuple(lines)
        if old == new:
            return
        at_end = self.scroll_offset.y >= self.max_scroll_y
        self._lines = new
        if self._strips is not None:
            for index in [i for i in self._strips if old[i : i + 1] != new[i : i + 1]]:
                del self._strips[index]
        if self._scrolls and len(new) != len(old):
            self.virtual_size = Size(0, len(new))
            if self._follow and at_end:
                self.scroll_end(animate=False, immediate=True, x_axis=False)
        first = self.scroll_offset.y
        for index in range(first, first + self.size.height):
            before = old[index] if index < len(old) else EMPTY
            after = new[index] if index < len(new) else EMPTY
            if before != after:
                self.redraw(index)

    def draw(self, line: int, width: int) -> Strip:
        cells = self._lines[line] if line < len(self._lines) else EMPTY
        look = look_of(self)
        room = self.scrollable_size.width  # without the scrollbar
        if room == width:
            return look.line(cells, width, self._ground)
        return look.strip((fit(cells, room, more=look.glyphs.more),), width, self._ground)

    async def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None:
            return
        index = offset.y + self.scroll_offset.y
        at = 0
        for part in self._lines[index] if index < len(self._lines) else EMPTY:
            at += cell_len(part.text)
            if offset.x < at:
                if part.action:
                    event.stop()
                    await self.app.run_action(part.action, self.screen)
                return
