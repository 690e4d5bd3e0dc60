"""What all screens share: strip, tabs, banner, the finding above the keys, filter and jump."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.timer import Timer
from textual.widgets import Input

from agentctl_tui import header, units
from agentctl_tui.asks import Ask
from agentctl_tui.bindings import BOARD, SCREENS
from agentctl_tui.cells import EMPTY, Line, fit, piece, raw
from agentctl_tui.dash import DashScreen
from agentctl_tui.findings import finding
from agentctl_tui.widgets.entry import Entry
from agentctl_tui.widgets.lines import Lines
from agentctl_tui.widgets.table import LiveTable

#: how keys are written in the line at the bottom
LATE_S = 0.2  #: rows that are longer in coming are said to be searched for
WRITTEN = {"slash": "/", "colon": ":", "question_mark": "?", "asterisk": "*"}


class Board(DashScreen):
    """A screen of the tab row. Subclasses give a body, put their questions and take the answers."""

    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-narrow"),
        (90, "-middle"),
        (110, "-wide"),
        (160, "-broad"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = BOARD
    AUTO_FOCUS = "LiveTable.-main"
    name_of = ""  #: in SCREENS
    searching = False  #: the rows wanted now are long in coming
    _late: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Lines(id="strip", ground="panel")
        yield Lines(id="tabs", ground="panel")
        yield Lines(id="banner")
        yield from self.body()
        yield Lines(id="finding")
        yield Entry(id="filter", placeholder="filter: any text of a row; enter keeps it, esc clears it")
        yield Entry(id="jump", placeholder="jump to: an instance, or a task id or the beginning of one")
        yield Lines(id="keys", ground="panel")

    def body(self) -> ComposeResult:
        """The part between tabs and finding."""
        raise NotImplementedError

    def entitle(self) -> None:
        """Write the titles of the panels."""

    def narrowed(self, text: str) -> None:
        """The filter's text changed."""

    def copied(self) -> str:
        """What `y` copies."""
        return ""

    # --- life

    def seek(self, name: str, ask: Ask) -> None:
        """Ask for the rows of the main table. The old ones stay meanwhile, and when it takes long the title says so."""
        self.dash.feed.ask(name, ask)
        if self._late is not None:
            self._late.stop()
        self._late = self.set_timer(LATE_S, partial(self._look_late, name))

    def _look_late(self, name: str) -> None:
        if self.dash.feed.waiting(name):
            self.searching = True
            self.entitle()

    def sought(self) -> str:
        """Return what a title says while rows are searched for."""
        glyphs = self.dash.look.glyphs
        return f" {glyphs.dot} searching{glyphs.more}" if self.searching and self.dash.lost is None else ""

    def on_resize(self) -> None:
        if self.ready:
            self.call_after_refresh(self.frame)

    def look_changed(self) -> None:
        """Draw everything again: theme or connection changed."""
        for table in self.query(LiveTable):
            table.look_changed()
        for lines in self.query(Lines):
            lines.refresh()
        self.frame()

    def frame(self) -> None:
        """Write strip, tabs, banner, finding and keys; only lines that differ are drawn."""
        dash, look, size = self.dash, self.dash.look, self.size.width
        now_ms, glyphs = look.now_ms(), look.glyphs
        self._line("strip", header.strip(dash.summary, now_ms, size, glyphs))
        dead = dash.summary.count("dead") if dash.summary else 0
        self._line("tabs", header.tabs(SCREENS, self.name_of, {"dead": dead}, size, glyphs))
        self._banner(now_ms, size)
        self._line("finding", self.notice() or self._finding())
        self._line("keys", header.keys(self._keys(), size))

    def notice(self) -> Line:
        """What goes before the finding: an act that can still be undone."""
        return self.dash.pending_line()

    def _finding(self) -> Line:
        dash = self.dash
        return finding(dash.summary, dash.worst, dash.look.glyphs, self.size.width) if dash.summary else EMPTY

    def _banner(self, now_ms: int, size: int) -> None:
        lost = self.dash.lost
        banner = self.query_one("#banner", Lines)
        banner.display = lost is not None
        if lost is None:
            return
        reason, since_ms = lost
        seen = f"{units.clock(since_ms)} ({units.since(since_ms, now_ms)} ago)"
        text = f" The store cannot be read; this is of {seen}, and agents go on. {reason}"
        banner.show((fit((piece(text, "alarm"), raw(" " * size, "alarm")), size),))

    def _line(self, name: str, line: Line) -> None:
        self.query_one(f"#{name}", Lines).show((line,))

    def _keys(self) -> list[tuple[str, str, str]]:
        shown = []
        for binding in (*type(self).BINDINGS, *(BOARD if type(self).BINDINGS is not BOARD else ())):
            if isinstance(binding, Binding) and binding.show:
                first = binding.key.split(",")[0]
                shown.append((WRITTEN.get(first, first), binding.description, f"screen.{binding.action}"))
        return shown

    # --- filter, jump, copy

    def action_filter(self) -> None:
        self._open("filter")

    def action_jump(self) -> None:
        self.query_one("#jump", Entry).value = ""
        self._open("jump")

    def _open(self, name: str) -> None:
        entry = self.query_one(f"#{name}", Entry)
        entry.display = True
        self.query_one("#finding").display = False
        entry.focus()

    def _close(self, entry: Input) -> None:
        entry.display = False
        self.query_one("#finding").display = True
        self.query_one("LiveTable.-main").focus()

    @on(Input.Changed, "#filter")
    def _filter_changed(self, event: Input.Changed) -> None:
        self.narrowed(event.value.strip())

    @on(Input.Submitted, "#filter")
    def _filter_kept(self, event: Input.Submitted) -> None:
        self._close(event.input)

    @on(Input.Submitted, "#jump")
    def _jump(self, event: Input.Submitted) -> None:
        self._close(event.input)
        if event.value.strip():
            self.dash.jump(event.value.strip())

    @on(Entry.Left)
    def _entry_left(self, event: Entry.Left) -> None:
        if event.entry.id == "filter":
            event.entry.value = ""
        self._close(event.entry)

    def unfilter(self) -> None:
        self.query_one("#filter", Entry).value = ""
        self.narrowed("")

    def action_back(self) -> None:
        entry = self.query_one("#filter", Entry)
        if entry.value:
            entry.value = ""

    def action_copy(self) -> None:
        text = self.copied()
        if text:
            self.app.copy_to_clipboard(text)
            self.dash.toast(f"Copied {text}")

    def action_help(self) -> None:
        from agentctl_tui.screens.help import Help

        self.app.push_screen(Help(type(self).BINDINGS))
