"""Widgets that draw whole lines themselves and keep them until they change.

Textual's own way from `render_line` to the screen pads, filters and re-wraps each line at every frame; on a table
that changes four times a second that is most of the cost. Lines drawn here are complete: as wide as the widget, with
every style and ground set, so they go to the compositor as they are. Borders belong to a `Panel` around them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.color import Color
from textual.containers import Vertical
from textual.content import Content
from textual.filter import ANSIToTruecolor, LineFilter
from textual.geometry import Region
from textual.scroll_view import ScrollView
from textual.strip import Strip

from agentctl_tui.cells import clean
from agentctl_tui.look import look_of
from agentctl_tui.themes import COLORS

if TYPE_CHECKING:
    from typing import Self


class Drawn(ScrollView):
    """Base of the live table and of plain lines."""

    _strips: dict[int, Strip] | None = None
    _strips_for: tuple[int, ...] = ()

    def line_at(self, y: int) -> int:
        """Return the line of content shown at row `y` of the widget."""
        return y + self.scroll_offset.y

    def draw(self, line: int, width: int) -> Strip:
        """Return a line of content, exactly `width` cells wide."""
        raise NotImplementedError

    def redraw(self, line: int) -> None:
        """Draw a line of content again."""
        if self._strips is not None:
            self._strips.pop(line, None)
        self.refresh_line(line)

    def redraw_all(self) -> None:
        """Draw every line of content again. To `refresh` puts them on the screen as they are, as after a new focus."""
        if self._strips is not None:
            self._strips.clear()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        return self.render_lines(Region(0, y, self.region.width, 1))[0]

    def render_lines(self, crop: Region) -> list[Strip]:
        look, width = look_of(self), self.region.width
        made_for = (look.serial, width, self.scrollable_size.width)  # the last without the scrollbar
        if self._strips is None or self._strips_for != made_for:
            self._strips, self._strips_for = {}, made_for
        found = [self._strip(self.line_at(y), width) for y in range(crop.y, crop.bottom)]
        if crop.x == 0 and crop.width == width:
            return found
        return [strip.crop(crop.x, crop.right) for strip in found]

    def _strip(self, line: int, width: int) -> Strip:
        assert self._strips is not None
        strip = self._strips.get(line)
        if strip is None:
            strip = self.draw(line, width)
            for each in self._filters():
                strip = strip.apply_filter(each, Color.parse(COLORS[look_of(self).name].ground))
            self._strips[line] = strip
        return strip

    def _filters(self) -> list[LineFilter]:
        # All colours are 24-bit already; NO_COLOR and its like still apply.
        return [each for each in self.get_line_filters() if not isinstance(each, ANSIToTruecolor)]


class Panel(Vertical):
    """A titled border around one thing."""

    _title = ""
    _entitling = False

    def entitle(self, title: str) -> None:
        """Set the title in the border; never markup."""
        if title != self._title:
            self._title, self._entitling = title, True
            self.border_title = Content(clean(title)) if title else None
            self._entitling = False

    def refresh(
        self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False, **more: Any
    ) -> Self:
        if self._entitling and not regions:
            # A new title changes one line; Textual would draw the panel and all its ground again.
            x, y = self.content_offset
            regions = (Region(-x, -y, self.outer_size.width, 1),)
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose, **more)
