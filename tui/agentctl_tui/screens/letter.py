"""One dead letter on the whole screen: what enter opens, and where `e` edits on narrow terminals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType

from agentctl_store.read.models import DeadLetter
from agentctl_tui import header
from agentctl_tui.asks import LastOutput, Letter
from agentctl_tui.bindings import key
from agentctl_tui.dash import DashScreen
from agentctl_tui.ports import LogLine
from agentctl_tui.widgets.letter_panel import LetterPanel
from agentctl_tui.widgets.lines import Lines
from agentctl_tui.widgets.payload_editor import PayloadEditor


class LetterView(DashScreen):
    """Reads and edits one dead letter."""

    BINDINGS: ClassVar[list[BindingType]] = [
        key("escape,q", "app.pop_screen", "back", "Back to the list; edits are kept", "letter.back", True),
        key("e", "edit", "edit", "Edit the payload", "letter.edit", True),
        key("R", "requeue", "requeue", "Requeue it, with the payload as edited", "letter.requeue", True),
        key("X", "discard", "discard", "Discard it", "letter.discard", True),
        key("ctrl+r", "revert", "revert", "Back to the stored payload", "letter.revert", True),
        key("y", "copy", "copy id", "Copy the whole id", "letter.copy", True),
        key("up,k", "scroll(-1)", "up", "Scroll up", "letter.up"),
        key("down,j", "scroll(1)", "down", "Scroll down", "letter.down"),
        key("pageup", "scroll(-15)", "page up", "Page up", "letter.pageup"),
        key("pagedown", "scroll(15)", "page down", "Page down", "letter.pagedown"),
    ]
    AUTO_FOCUS = ""

    def __init__(self, task: str, edit: bool = False) -> None:
        super().__init__()
        self._task_id = task
        self._edit = edit

    @property
    def panel(self) -> LetterPanel:
        return self.query_one(LetterPanel)

    def compose(self) -> ComposeResult:
        yield LetterPanel(self.dash.drafts, id="letter").add_class("panel")
        yield Lines(id="finding")
        yield Lines(id="keys", ground="panel")

    def on_mount(self) -> None:
        self.panel.entitle(self._task_id)

    def ask(self) -> None:
        self.dash.feed.ask("letter", Letter(self._task_id))

    def unask(self) -> None:
        self.dash.feed.drop("letter")
        self.dash.feed.drop("output")

    def fresh(self, name: str, value: object) -> None:
        if name == "letter":
            letter = cast("DeadLetter | None", value)
            if letter is None and self.dash.drafts.get(self._task_id) is None:
                self.dismiss()
                return
            self.panel.show(letter)
            self.panel.entitle(self._task_id)
            if letter is not None and letter.session is not None:
                self.dash.feed.ask("output", LastOutput(letter.session, letter.ended_ms))
            else:
                self.panel.show_output(())
            if self._edit:
                self._edit = False
                self.panel.editor.focus()
        elif name == "output":
            self.panel.show_output(cast("Sequence[LogLine]", value))

    def tick(self) -> None:
        self.panel.refresh_lines()

    def frame(self) -> None:
        self.query_one("#finding", Lines).show((self.dash.pending_line(),))
        shown = [("esc", "back", "app.pop_screen")]
        shown += [(k, name, f"screen.{action}") for k, name, action in _KEYS]
        self.query_one("#keys", Lines).show((header.keys(shown, self.size.width),))

    def on_resize(self) -> None:
        self.call_after_refresh(self.frame)

    def look_changed(self) -> None:
        for lines in self.query(Lines):
            lines.refresh()
        self.panel.refresh_lines()

    @on(LetterPanel.Edited)
    def _edited(self, event: LetterPanel.Edited) -> None:
        self.dash.draft(event.task, event.text)

    @on(PayloadEditor.Left)
    def _editor_left(self) -> None:
        if self.panel.gone:
            self.dash.rescue(self._task_id)
            self.dismiss()
        else:
            self.set_focus(None)

    @on(PayloadEditor.Sent)
    def _editor_sent(self) -> None:
        self.action_requeue()

    def action_edit(self) -> None:
        self.panel.editor.focus()

    def action_requeue(self) -> None:
        self.dash.requeue([self._task_id])

    def action_discard(self) -> None:
        self.dash.discard([self._task_id])

    def action_revert(self) -> None:
        self.panel.revert()

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self._task_id)
        self.dash.toast(f"Copied {self._task_id}")

    def action_scroll(self, by: int) -> None:
        self.query_one("#letter-facts", Lines).scroll_relative(y=by, animate=False)


_KEYS = (
    ("e", "edit", "edit"),
    ("R", "requeue", "requeue"),
    ("X", "discard", "discard"),
    ("^r", "revert", "revert"),
    ("y", "copy id", "copy"),
)
