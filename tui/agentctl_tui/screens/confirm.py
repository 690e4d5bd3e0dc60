"""A question before something that cannot be taken back at once."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen

from agentctl_tui.bindings import key
from agentctl_tui.cells import Line, piece, raw
from agentctl_tui.widgets.lines import Lines


class Confirm(ModalScreen[bool]):
    """Asks; `y` or enter says yes, `n` or esc no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        key("y,enter", "answer(True)", "yes", "Yes", "confirm.yes"),
        key("n,escape,q", "answer(False)", "no", "No", "confirm.no"),
    ]

    def __init__(self, question: str, detail: str, yes: str) -> None:
        super().__init__()
        self._question, self._detail, self._yes = question, detail, yes

    def compose(self) -> ComposeResult:
        yield Lines(id="question", ground="panel")

    def on_mount(self) -> None:
        lines: list[Line] = [
            (),
            (raw("  "), piece(self._question, "strong")),
            (raw("  "), piece(self._detail, "dim")),
            (),
            (
                raw("  y ", "key", "screen.answer(True)"),
                raw(f"{self._yes}    ", "text", "screen.answer(True)"),
                raw("esc ", "key", "screen.answer(False)"),
                raw("no", "text", "screen.answer(False)"),
            ),
        ]
        box = self.query_one("#question", Lines)
        box.styles.height = len(lines) + 3
        box.show(lines)

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)

    def look_changed(self) -> None:
        """Draw everything again."""
        self.query_one("#question", Lines).refresh()
