"""One line that a person types: filter and jump."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input

from agentctl_tui.cells import clean


class Entry(Input):
    """One line, opened by a key and closed by enter or esc. What is pasted cannot steer the terminal."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", id="entry.leave", show=False, tooltip="Back without it")
    ]

    class Left(Message):
        """esc was pressed."""

        def __init__(self, entry: Entry) -> None:
            super().__init__()
            self.entry = entry

        @property
        def control(self) -> Entry:
            return self.entry

    def __init__(self, *, id: str, placeholder: str) -> None:
        super().__init__(id=id, placeholder=placeholder, compact=True, select_on_focus=False)
        self.cursor_blink = False

    def validate_value(self, value: str) -> str:
        return clean(value)

    def action_leave(self) -> None:
        self.post_message(self.Left(self))
