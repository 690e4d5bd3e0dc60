"""A payload that a person reads and edits."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

from agentctl_tui.cells import clean


class PayloadEditor(TextArea):
    """A payload as text. It is always editable; esc goes back and keeps what was typed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", id="payload.leave", show=False, tooltip="Back; the text is kept"),
        Binding("ctrl+s", "send", "Requeue", id="payload.send", show=False, tooltip="Requeue with this payload"),
    ]

    class Left(Message):
        """esc was pressed."""

    class Sent(Message):
        """A person asked to requeue with this text."""

    def __init__(self, *, id: str) -> None:
        super().__init__("", id=id, soft_wrap=True, show_line_numbers=False, tab_behavior="focus", compact=True)
        self.cursor_blink = False
        self.highlight_cursor_line = False
        self.match_cursor_bracket = False
        self.show_cursor = False  # until it has the focus: a payload is read more often than edited

    def get_line(self, line_index: int) -> Text:
        # One replacement per character keeps the columns that the cursor counts in.
        source = self.document.get_line(line_index)
        if not source.isprintable():
            source = "".join(c if c.isprintable() else clean(c)[:1] or " " for c in source)
        return Text(source, end="", no_wrap=True)

    def on_focus(self) -> None:
        self.show_cursor = True

    def on_blur(self) -> None:
        self.show_cursor = False

    def action_leave(self) -> None:
        self.post_message(self.Left())

    def action_send(self) -> None:
        self.post_message(self.Sent())
