"""Dead letters: read why, edit the payload, requeue, discard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container

from agentctl_store.read.models import DeadLetter, DeadLetterGroup, DeadLetterRow, Filter
from agentctl_tui import units
from agentctl_tui.asks import DeadLetters, Groups, LastOutput, Letter
from agentctl_tui.bindings import DEAD
from agentctl_tui.cells import Line, raw
from agentctl_tui.ports import LogLine
from agentctl_tui.render import DEAD_LETTER_COLUMNS, GROUP_COLUMNS, reason
from agentctl_tui.screens.board import Board
from agentctl_tui.widgets.drawn import Panel
from agentctl_tui.widgets.letter_panel import LetterPanel
from agentctl_tui.widgets.payload_editor import PayloadEditor
from agentctl_tui.widgets.table import LiveTable
from agentctl_tui.window import Window

ALL = "\0all"  #: the row of all groups; no reason has such a name


class DeadLetterBoard(Board):
    """The third screen."""

    BINDINGS: ClassVar[list[BindingType]] = DEAD
    name_of = "dead"

    def __init__(self) -> None:
        super().__init__()
        self._filter = Filter()
        self._groups: tuple[DeadLetterGroup, ...] = ()

    def body(self) -> ComposeResult:
        with Container(id="body"):
            with Panel(id="reasons", classes="panel"):
                yield LiveTable(GROUP_COLUMNS, lambda row: row.key or ALL, sort="", id="groups", empty=tuple)
            with Panel(id="list", classes="panel"):
                yield LiveTable(
                    DEAD_LETTER_COLUMNS,
                    lambda row: row.task,
                    sort="-died",
                    id="letters",
                    markable=True,
                    empty=self._empty,
                ).add_class("-main")
            yield LetterPanel(self.dash.drafts, id="letter").add_class("panel")

    @property
    def table(self) -> LiveTable[DeadLetterRow]:
        return cast("LiveTable[DeadLetterRow]", self.query_one("#letters", LiveTable))

    @property
    def panel(self) -> LetterPanel:
        return self.query_one("#letter", LetterPanel)

    @property
    def row(self) -> DeadLetterRow | None:
        return self.table.selected

    def on_mount(self) -> None:
        self.query_one("#reasons", Panel).entitle("Reasons")
        self.entitle()

    # --- feed

    def ask(self) -> None:
        self._ask_rows()
        self._ask_letter()

    def unask(self) -> None:
        for name in ("groups", "letters", "letter", "output"):
            self.dash.feed.drop(name)

    def select(self, row_id: str) -> None:
        """Go to a dead letter by its id, whatever the filter hides."""
        self._narrow(Filter())
        self.query_one("#groups", LiveTable).action_edge(-1)
        self.table.select_id(row_id)

    def fresh(self, name: str, value: object) -> None:
        if name == "letters":
            self.searching = False
            self.table.show(cast("Window[DeadLetterRow]", value))
            self.entitle()
            narrowed = self._filter.text or self._filter.reason
            self.set_class(self.table.total == 0 and not narrowed and not self.panel.gone, "-void")
        elif name == "groups":
            self._groups = cast("tuple[DeadLetterGroup, ...]", value)
            self._show_groups()
        elif name == "letter":
            letter = cast("DeadLetter | None", value)
            self.panel.show(letter)
            if letter is not None and letter.session is not None:
                self.dash.feed.ask("output", LastOutput(letter.session, letter.ended_ms))
            else:
                self.dash.feed.drop("output")
                self.panel.show_output(())
        elif name == "output":
            self.panel.show_output(cast("Sequence[LogLine]", value))

    def _show_groups(self) -> None:
        groups = self._groups
        everything = DeadLetterGroup(
            "",
            sum(g.count for g in groups),
            min((g.oldest_ms for g in groups), default=0),
            max((g.newest_ms for g in groups), default=0),
        )
        rows = (everything, *groups)
        self.query_one("#groups", LiveTable).show(Window(rows, 0, len(rows)))

    @on(LiveTable.Wanted, "#letters")
    def _wanted(self) -> None:
        if self.is_current:
            self._ask_rows()

    def _ask_rows(self) -> None:
        self.seek("letters", DeadLetters(self.table.span, self._filter))
        self.dash.feed.ask("groups", Groups(self._filter))  # after the rows: all are counted for it

    @on(LiveTable.Selected, "#letters")
    def _selected(self) -> None:
        self._ask_letter()

    @on(LiveTable.Selected, "#groups")
    def _group_selected(self) -> None:
        group = cast("DeadLetterGroup | None", self.query_one("#groups", LiveTable).selected)
        self._narrow(Filter(text=self._filter.text, reason=group.key or None if group else None))

    @on(LiveTable.Marked, "#letters")
    def _marked(self) -> None:
        self.entitle()

    def _ask_letter(self) -> None:
        if self.panel.editing:
            return  # the list may move on; what a person types into must not
        if self.row is None:
            self.dash.feed.drop("letter")
            self.dash.feed.drop("output")
            self.panel.show(None)
        elif self.is_current:
            self.dash.feed.ask("letter", Letter(self.row.task))

    def narrowed(self, text: str) -> None:
        self._narrow(Filter(text=text, reason=self._filter.reason))

    def _narrow(self, wanted: Filter) -> None:
        if wanted == self._filter:
            return
        self._filter = wanted
        self.table.forget()

    def tick(self) -> None:
        for table in self.query(LiveTable):
            table.recheck()
        self.panel.refresh_lines()

    # --- drawing

    def entitle(self) -> None:
        group = f" {look_dot(self)} {reason(self._filter.reason)}" if self._filter.reason else ""
        marked = f" {look_dot(self)} {len(self.table.marks)} marked" if self.table.marks else ""
        self.query_one("#list", Panel).entitle(
            f"Dead letters {units.count(self.table.total)}{group}{marked}{self.sought()}"
        )

    def _empty(self) -> Sequence[Line]:
        if self._filter.text or self._filter.reason:
            return (
                (raw("No dead letter matches.", "strong"),),
                (raw("esc clears the filter, [ goes to the next reason.", "dim"),),
            )
        return (
            (raw("No dead letters.", "strong"),),
            (),
            (raw("A task comes here when it will not be tried again", "dim"),),
            (raw("until a person decides: out of tries, failed for", "dim"),),
            (raw("good, past its deadline, or against a policy.", "dim"),),
            (),
            (raw("agentctl dlq list", "link"), raw("  shows the same on the command line", "dim")),
        )

    def look_changed(self) -> None:
        super().look_changed()
        self.panel.editor.refresh()

    # --- acts

    def copied(self) -> str:
        return self.row.task if self.row is not None else ""

    def action_open(self) -> None:
        from agentctl_tui.screens.letter import LetterView

        if self.row is not None:
            self.app.push_screen(LetterView(self.row.task))

    @on(LiveTable.Opened, "#letters")
    def _opened(self) -> None:
        self.action_open()

    @on(LiveTable.Opened, "#groups")
    def _group_opened(self) -> None:
        self.table.focus()

    def action_edit(self) -> None:
        if self.row is None:
            return
        if self.panel.display:
            self.panel.editor.focus()
        else:
            from agentctl_tui.screens.letter import LetterView

            self.app.push_screen(LetterView(self.row.task, edit=True))

    def action_revert(self) -> None:
        self.panel.revert()

    @on(LetterPanel.Edited)
    def _edited(self, event: LetterPanel.Edited) -> None:
        self.dash.draft(event.task, event.text)

    @on(PayloadEditor.Left)
    def _editor_left(self) -> None:
        self.table.focus()

    def on_descendant_blur(self) -> None:
        panel = self.panel
        if panel.gone and panel.letter is not None and not panel.editing:
            self.dash.rescue(panel.letter.row.task)
        self._ask_letter()

    @on(PayloadEditor.Sent)
    def _editor_sent(self) -> None:
        if self.panel.letter is not None:
            self.dash.requeue([self.panel.letter.row.task])

    def _chosen(self) -> list[str]:
        """The marked ones, or the selected one."""
        if self.table.marks:
            return sorted(self.table.marks)
        return [self.row.task] if self.row is not None else []

    def action_requeue(self) -> None:
        self.dash.requeue(self._chosen())

    def action_discard(self) -> None:
        self.dash.discard(self._chosen())

    def action_undo(self) -> None:
        self.dash.undo()

    def action_mark_all(self) -> None:
        if self.table.marks:
            self.table.set_marks(set())
        else:
            self.dash.mark_all(self._filter)

    def action_group(self) -> None:
        keys = ["", *(g.key for g in self._groups)]
        now = self._filter.reason or ""
        at = keys.index(now) if now in keys else 0
        following = keys[(at + 1) % len(keys)]
        groups = self.query_one("#groups", LiveTable)
        groups.action_edge(-1)
        groups.action_move(keys.index(following))
        self._narrow(Filter(text=self._filter.text, reason=following or None))

    def action_back(self) -> None:
        super().action_back()
        if self.table.marks:
            self.table.set_marks(set())
        elif self._filter.reason:
            self.query_one("#groups", LiveTable).action_edge(-1)
            self._narrow(Filter(text=self._filter.text))

    def mark(self, ids: set[str]) -> None:
        self.table.set_marks(ids)

    def forget_marks(self, ids: Sequence[str]) -> None:
        if self.table.marks & set(ids):
            self.table.set_marks(self.table.marks - set(ids))


def look_dot(board: Board) -> str:
    """Return the glyph between two facts."""
    return board.dash.look.glyphs.dot
