"""All keys of the screen it was opened from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen

from agentctl_tui.bindings import APP, BOARD, key
from agentctl_tui.cells import Line, fit, raw
from agentctl_tui.widgets.lines import Lines
from agentctl_tui.widgets.payload_editor import PayloadEditor
from agentctl_tui.widgets.table import LiveTable

_NAMES = {
    "slash": "/",
    "colon": ":",
    "question_mark": "?",
    "asterisk": "*",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "escape": "esc",
    "up": "↑",
    "down": "↓",
    "pageup": "pg up",
    "pagedown": "pg dn",
}


WIDE = 106  #: cells that two columns take


class Help(ModalScreen[None]):
    """Generated from the bindings, so it is never out of date."""

    BINDINGS: ClassVar[list[BindingType]] = [
        key("escape,q,question_mark,enter", "app.pop_screen", "close", "Close", "help.close"),
        key("up,k", "scroll(-1)", "up", "Scroll up", "help.up"),
        key("down,j", "scroll(1)", "down", "Scroll down", "help.down"),
    ]

    def __init__(self, own: Iterable[BindingType]) -> None:
        """Show the keys that a screen has of its `own`, and those there are everywhere."""
        super().__init__()
        self._own = own

    def compose(self) -> ComposeResult:
        with Vertical(id="help", classes="panel"):
            yield Lines(id="help-lines", ground="panel", scrolls=True)

    def on_mount(self) -> None:
        panel = self.query_one("#help")
        panel.border_title = Content("Keys")
        lines = self.lines()
        panel.styles.height = len(lines) + 2
        self.query_one("#help-lines", Lines).show(lines)

    def lines(self) -> list[Line]:
        """Two columns of groups: this screen and everywhere; lists and the payload."""
        left = [*_group("This screen", self._own), (), *_group("Everywhere", [*BOARD, *APP])]
        right = [*_group("Lists", LiveTable.BINDINGS), (), *_group("Payload", PayloadEditor.BINDINGS[-2:])]
        palette: Line = (raw(f"  {'ctrl+p':<10}", "key"), raw(" Every command, searchable"))
        left.append(palette)
        if self.size.width < WIDE:
            return [*left, (), *right]
        height = max(len(left), len(right))
        left += [()] * (height - len(left))
        right += [()] * (height - len(right))
        width = 52
        return [(*fit(one, width), *other) for one, other in zip(left, right, strict=True)]

    def action_scroll(self, by: int) -> None:
        self.query_one("#help-lines", Lines).scroll_relative(y=by, animate=False)

    def look_changed(self) -> None:
        """Draw everything again."""
        self.query_one("#help-lines", Lines).refresh()


def _group(title: str, bindings: Iterable[BindingType]) -> list[Line]:
    lines: list[Line] = [(raw(f" {title}", "strong"),)]
    for binding in bindings:
        if isinstance(binding, Binding) and binding.tooltip:
            keys = " ".join(_NAMES.get(k, k) for k in binding.key.split(","))
            lines.append((raw(f"  {keys:<10}", "key"), raw(f" {binding.tooltip}")))
    return lines
