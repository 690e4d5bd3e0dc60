"""One instance on the whole screen: facts and its log, wrapped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content

from agentctl_store.read.models import Filter, InstanceRow
from agentctl_tui.asks import InstanceLog, Instances
from agentctl_tui.bindings import key
from agentctl_tui.cells import clean, raw
from agentctl_tui.dash import DashScreen
from agentctl_tui.detail import instance_facts, log_lines, rule
from agentctl_tui.ports import LogLine
from agentctl_tui.widgets.lines import Lines
from agentctl_tui.window import Span, Window


class InstanceView(DashScreen):
    """Opened by enter or `l` on the Fleet screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        key("escape,q,enter,l", "app.pop_screen", "back", "Back to the fleet", "instance.back"),
        key("up,k", "scroll(-1)", "up", "Scroll up", "instance.up"),
        key("down,j", "scroll(1)", "down", "Scroll down", "instance.down"),
        key("pageup", "scroll(-20)", "page up", "Page up", "instance.pageup"),
        key("pagedown", "scroll(20)", "page down", "Page down", "instance.pagedown"),
        key("home,g", "scroll(-100000)", "first", "First line", "instance.first"),
        key("end,G", "scroll(100000)", "last", "Last line, and follow", "instance.last"),
        key("y", "copy", "copy id", "Copy the whole id", "instance.copy"),
    ]

    def __init__(self, row: InstanceRow) -> None:
        super().__init__()
        self.row = row
        self._log: Sequence[LogLine] = ()

    def compose(self) -> ComposeResult:
        with Vertical(id="instance", classes="panel"):
            yield Lines(id="facts")
            yield Lines(id="log", follow=True, scrolls=True)
        yield Lines(id="keys", ground="panel")

    def on_mount(self) -> None:
        self.query_one("#instance").border_title = Content(clean(self.row.instance))
        keys = (raw(" esc ", "key", "app.pop_screen"), raw("back  ", "dim"), raw("↑↓ ", "key"))
        self.query_one("#keys", Lines).show(((*keys, raw("scroll  ", "dim"), raw("y ", "key"), raw("copy id", "dim")),))

    def ask(self) -> None:
        wanted = Instances(Span(0, 20, "instance"), Filter(text=self.row.instance))
        self.dash.feed.ask("one", wanted)
        self.dash.feed.ask("log", InstanceLog(self.row.instance, self.row.session))
        self.call_after_refresh(self.tick)

    def unask(self) -> None:
        self.dash.feed.drop("one")
        self.dash.feed.drop("log")

    def fresh(self, name: str, value: object) -> None:
        if name == "log":
            self._log = cast("Sequence[LogLine]", value)
        elif name == "one":
            rows = cast("Window[InstanceRow]", value).rows
            found = next((row for row in rows if row.instance == self.row.instance), None)
            if found is not None and found != self.row:
                self.row = found
                self.dash.feed.ask("log", InstanceLog(found.instance, found.session))
        self.tick()

    def tick(self) -> None:
        look = self.dash.look
        facts, log = self.query_one("#facts", Lines), self.query_one("#log", Lines)
        size = max(facts.size.width, 20)
        lines = [*instance_facts(self.row, look.now_ms(), size, look.glyphs), rule("log", size, look.glyphs)]
        facts.styles.height = len(lines)
        facts.show(lines)
        wrapped = log_lines(self._log, max(log.size.width, 20), look.glyphs, wrapped=True)
        log.show(wrapped or [(raw(" Nothing was written yet.", "dim"),)])

    def on_resize(self) -> None:
        self.call_after_refresh(self.tick)

    def look_changed(self) -> None:
        for lines in self.query(Lines):
            lines.refresh()

    def action_scroll(self, by: int) -> None:
        self.query_one("#log", Lines).scroll_relative(y=by, animate=False)

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self.row.instance)
        self.dash.toast(f"Copied {self.row.instance}")
