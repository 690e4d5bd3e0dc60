"""Fleet: every instance at a glance, the selected one in detail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container

from agentctl_store.read.models import Filter, InstanceRow
from agentctl_tui.asks import InstanceLog, Instances
from agentctl_tui.bindings import FLEET
from agentctl_tui.cells import Line, clean, raw
from agentctl_tui.detail import instance_facts, log_lines, rule
from agentctl_tui.ports import LogLine
from agentctl_tui.render import INSTANCE_COLUMNS, USAGE_COLUMNS, flow_top
from agentctl_tui.screens.board import Board
from agentctl_tui.widgets.drawn import Panel
from agentctl_tui.widgets.lines import Lines
from agentctl_tui.widgets.table import LiveTable
from agentctl_tui.window import Window


class Fleet(Board):
    """The first screen."""

    BINDINGS: ClassVar[list[BindingType]] = FLEET
    name_of = "fleet"

    def __init__(self) -> None:
        super().__init__()
        self._filter = Filter()
        self._log: Sequence[LogLine] = ()

    def body(self) -> ComposeResult:
        columns = INSTANCE_COLUMNS
        if self.dash.usage:
            columns = (*INSTANCE_COLUMNS[:4], *USAGE_COLUMNS, *INSTANCE_COLUMNS[4:])
        with Container(id="body"):
            with Panel(id="list", classes="panel"):
                yield LiveTable(
                    columns,
                    lambda row: row.instance,
                    sort="instance",
                    id="instances",
                    empty=self._empty,
                    top=flow_top,
                ).add_class("-main")
            with Panel(id="detail", classes="panel"):
                yield Lines(id="facts")

    @property
    def table(self) -> LiveTable[InstanceRow]:
        return cast("LiveTable[InstanceRow]", self.query_one("#instances", LiveTable))

    @property
    def row(self) -> InstanceRow | None:
        return self.table.selected

    # --- feed

    def ask(self) -> None:
        self.seek("instances", Instances(self.table.span, self._filter))
        self._ask_log()

    def unask(self) -> None:
        self.dash.feed.drop("instances")
        self.dash.feed.drop("log")

    def fresh(self, name: str, value: object) -> None:
        if name == "instances":
            self.searching = False
            self.table.show(cast("Window[InstanceRow]", value))
            self.entitle()
            self._detail()  # in the same frame; that the row was selected is told only after it
            self.set_class(self.table.total == 0 and not self._filter.text, "-void")
        elif name == "log":
            self._log = cast("Sequence[LogLine]", value)
            self._detail()

    @on(LiveTable.Wanted)
    def _wanted(self) -> None:
        if self.is_current:
            self.seek("instances", Instances(self.table.span, self._filter))

    @on(LiveTable.Selected)
    def _selected(self) -> None:
        self._detail()
        self._ask_log()

    def _ask_log(self) -> None:
        row = self.row
        if row is not None and self.query_one("#detail").display:
            self.dash.feed.ask("log", InstanceLog(row.instance, row.session))
        else:
            self.dash.feed.drop("log")
            self._log = ()
            self._detail()

    def tick(self) -> None:
        self.table.recheck()
        self._detail()

    def on_resize(self) -> None:
        if self.ready:
            self.call_after_refresh(self._detail)

    def narrowed(self, text: str) -> None:
        self._filter = Filter(text=text)
        self.table.forget()

    # --- drawing

    def entitle(self) -> None:
        shown = self.table.total
        all_of = self.dash.summary.instances() if self.dash.summary else shown
        several = f"{shown} of {all_of}" if self._filter.text else str(shown)
        self.query_one("#list", Panel).entitle(f"Instances {several}{self.sought()}")

    def _detail(self) -> None:
        """Facts, and below them as much of the log's end as there is room for: one widget, so that selecting
        another row never lays the screen out anew."""
        panel, facts = self.query_one("#detail", Panel), self.query_one("#facts", Lines)
        row, look = self.row, self.dash.look
        if row is None:
            panel.entitle("")
            facts.show(())
            return
        panel.entitle(row.instance)
        size = max(facts.size.width, 20)
        lines = [*instance_facts(row, look.now_ms(), size, look.glyphs), rule("log", size, look.glyphs)]
        room = max(facts.size.height - len(lines), 0)
        tail = log_lines(self._log[-room:], size, look.glyphs) if room else []
        facts.show([*lines, *(tail or [(raw(" It has not written anything yet.", "dim"),)])])

    def _empty(self) -> Sequence[Line]:
        if self._filter.text:
            return (
                (raw(f"Nothing matches “{clean(self._filter.text)}”.", "strong"),),
                (raw("esc clears the filter.", "dim"),),
            )
        return (
            (raw("No agents yet.", "strong"),),
            (),
            (raw("agentctl init --example review", "link"), raw("  writes a team to start from", "dim")),
            (raw("agentctl run", "link"), raw("  starts the agents of agentctl.toml", "dim")),
        )

    # --- acts

    def select(self, row_id: str) -> None:
        self.table.select_id(row_id)

    def copied(self) -> str:
        return self.row.instance if self.row is not None else ""

    def action_open(self) -> None:
        from agentctl_tui.screens.instance import InstanceView

        if self.row is not None:
            self.app.push_screen(InstanceView(self.row))

    @on(LiveTable.Opened)
    def _opened(self) -> None:
        self.action_open()

    def action_start_stop(self) -> None:
        if self.row is None:
            return
        down = self.row.desired == "stopped" or self.row.latched or self.row.phase in ("stopped", "failed")
        self._act("start" if down else "stop", confirm=not down)

    def action_restart(self) -> None:
        self._act("restart", confirm=True)

    def action_drain(self) -> None:
        self._act("drain", confirm=False)

    def action_pause(self) -> None:
        if self.row is not None:
            self._act("resume" if self.row.desired == "paused" else "pause", confirm=False)

    def _act(self, verb: str, *, confirm: bool) -> None:
        if self.row is not None:
            self.dash.agent_act(verb, self.row.agent, confirm=confirm)
