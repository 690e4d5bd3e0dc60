"""One dead letter: why it died, and its payload to edit."""

from __future__ import annotations

from collections.abc import Sequence

from textual import on
from textual.app import ComposeResult
from textual.message import Message

from agentctl_store.read.models import DeadLetter
from agentctl_tui import units
from agentctl_tui.cells import Line, fit, piece, raw, width
from agentctl_tui.detail import letter_facts
from agentctl_tui.look import look_of
from agentctl_tui.payload import pretty, problem
from agentctl_tui.ports import LogLine
from agentctl_tui.widgets.drawn import Panel
from agentctl_tui.widgets.lines import Lines
from agentctl_tui.widgets.payload_editor import PayloadEditor

MIN_EDITOR, MAX_EDITOR_SHARE = 4, 0.4  #: lines; share of the panel


class LetterPanel(Panel):
    """Shows a dead letter; keeps each edited payload as a draft until it is sent or reverted."""

    class Edited(Message):
        """The draft of `task` changed."""

        def __init__(self, task: str, text: str | None) -> None:
            super().__init__()
            self.task = task
            self.text = text  #: None: as stored

    def __init__(self, drafts: dict[str, str], *, id: str) -> None:
        super().__init__(id=id)
        self._drafts = drafts
        self.letter: DeadLetter | None = None
        self._output: Sequence[LogLine] | None = None
        self._stored = ""
        self.gone = False  #: no longer a dead letter, though its draft is still shown

    def compose(self) -> ComposeResult:
        yield Lines(id="letter-facts", scrolls=True)
        yield Lines(id="letter-state")
        yield PayloadEditor(id="payload")

    @property
    def editor(self) -> PayloadEditor:
        return self.query_one(PayloadEditor)

    def show(self, letter: DeadLetter | None) -> None:
        """Show another letter, or newer facts of the same one. A draft is never overwritten."""
        other = (letter and letter.row.task) != (self.letter and self.letter.row.task)
        self.gone = letter is None and self.letter is not None and self.letter.row.task in self._drafts
        if self.gone:
            self.refresh_lines()  # someone else decided, but what was typed is still here
            return
        self.letter = letter
        self.entitle(letter.row.task if letter is not None else "")
        if other:
            self._output = None
            self.query_one("#letter-facts", Lines).scroll_home(animate=False)
        if letter is not None:
            stored = pretty(letter.payload)
            if other or stored != self._stored:
                self._stored = stored
                text = self._drafts.get(letter.row.task, stored)
                if text != self.editor.text:
                    self.editor.load_text(text)
        self.editor.display = letter is not None
        self.refresh_lines()

    def show_output(self, output: Sequence[LogLine]) -> None:
        """Show the last output of the letter's last attempt."""
        self._output = output
        self.refresh_lines()

    def refresh_lines(self) -> None:
        """Write facts and state anew: time has passed, or the size changed."""
        look = look_of(self)
        facts = self.query_one("#letter-facts", Lines)
        size = max(self.size.width - 1, 20)
        if self.letter is None:
            facts.show(())
            self.query_one("#letter-state", Lines).show(())
            return
        facts.show(letter_facts(self.letter, self._output, look.now_ms(), size, look.glyphs))
        self.query_one("#letter-state", Lines).show((self._state(size),))
        rows = max(self.editor.wrapped_document.height, MIN_EDITOR)
        self.editor.styles.height = min(rows + 1, max(int(self.size.height * MAX_EDITOR_SHARE), MIN_EDITOR))

    def _state(self, size: int) -> Line:
        """The rule above the payload: whether it is edited, and whether it would be accepted."""
        glyphs = look_of(self).glyphs
        text = self.editor.text
        why = problem(text)
        if self.gone:
            gone = "no longer a dead letter; esc copies this text"
            verdict: Line = (raw(f"{glyphs.health['unhealthy']} {gone}", "red"),)
        elif why:
            verdict = (raw(f"{glyphs.health['unhealthy']} ", "red"), piece(why, "red"))
        elif self.edited:
            verdict = (raw(f"{glyphs.mark} edited, valid JSON", "amber"),)
        else:
            verdict = (raw(f"{units.size(len(text.encode('utf-8', 'replace')))} of JSON", "dim"),)
        head: Line = (raw(glyphs.rule * 2, "rule"), raw(" payload ", "dim"))
        rest = max(size - width(head), 0)
        body = (*verdict, raw(" "))
        if width(body) < rest:
            body = (*body, raw(glyphs.rule * (rest - width(body)), "rule"))
        return (*head, *fit(body, rest, more=glyphs.more))

    @property
    def edited(self) -> bool:
        """Whether the text differs from the stored payload."""
        return self.letter is not None and self.editor.text != self._stored

    @property
    def editing(self) -> bool:
        """Whether a person has the cursor in the payload: then the panel stays with this letter."""
        return self.letter is not None and self.editor.has_focus

    def revert(self) -> None:
        """Go back to the stored payload; the editor's own undo still knows the text."""
        if self.letter is not None:
            self.editor.replace(self._stored, (0, 0), self.editor.document.end)

    @on(PayloadEditor.Changed)
    def _changed(self, event: PayloadEditor.Changed) -> None:
        event.stop()
        if self.letter is None:
            return
        text = self.editor.text if self.edited else None
        self.post_message(self.Edited(self.letter.row.task, text))
        self.refresh_lines()

    def on_resize(self) -> None:
        self.refresh_lines()
