"""How pieces become segments: the theme's styles on the ground they stand on, the glyphs, and the clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, cast

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from agentctl_tui.cells import Line, fit
from agentctl_tui.glyphs import UNICODE, Glyphs, plain
from agentctl_tui.themes import COLORS, palette


class Look:
    """The current look of the whole dashboard. Widgets keep no styles of their own."""

    def __init__(self, now_ms: Callable[[], int], glyphs: Glyphs = UNICODE, name: str = "dark") -> None:
        self.now_ms = now_ms
        self.glyphs = glyphs
        self.name = name
        self.faded = False
        self.serial = 0  #: changes whenever everything must be drawn again
        self._styles: dict[tuple[str, str], Style] = {}
        self._inks: dict[str, Style] = {}
        self.dress(name, False)

    def dress(self, name: str, faded: bool) -> None:
        """Take another theme, or fade everything because the data may be out of date."""
        self.name, self.faded = name, faded
        self._inks = palette(COLORS[name], faded)
        self._styles.clear()
        self.serial += 1

    def style(self, role: str, ground: str = "ground") -> Style:
        """Return the style of a role on a ground."""
        key = (role, ground)
        style = self._styles.get(key)
        if style is None:
            under = Style(bgcolor=getattr(COLORS[self.name], ground))
            style = self._styles[key] = under + self._inks.get(role, self._inks[""])
        return style

    def strip(self, cells: Sequence[Line], width: int, ground: str = "ground") -> Strip:
        """Return lines side by side as one strip of exactly `width` cells."""
        segments: list[Segment] = []
        style = self.style
        text, last = "", ""
        ascii_only = self.glyphs is not UNICODE
        for cell in cells:
            for part in cell:
                if ascii_only and not part.text.isascii():
                    part = part._replace(text=plain(part.text, self.glyphs))
                # Neighbours in one style become one segment: each costs an escape sequence on the wire.
                if part.role == last or not part.text.strip(" "):
                    text += part.text
                    continue
                if text:
                    segments.append(Segment(text, style(last, ground)))
                text, last = part.text, part.role
        if text:
            segments.append(Segment(text, style(last, ground)))
        return Strip(segments).adjust_cell_length(width, style("", ground))

    def line(self, cells: Line, width: int, ground: str = "ground") -> Strip:
        """Return one line cut or padded to `width`."""
        return self.strip((fit(cells, width, more=self.glyphs.more),), width, ground)


class _HasLook(Protocol):
    look: Look


def look_of(widget: Widget) -> Look:
    """Return the look of the app a widget lives in."""
    return cast(_HasLook, widget.app).look
