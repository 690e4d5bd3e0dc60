"""A screen that asks the feed while a person looks at it, and not a moment longer."""

from __future__ import annotations

from collections.abc import Sequence

from textual.screen import Screen

from agentctl_tui.still import still_of


class Listening(Screen[None]):
    """Subclasses put their questions in `ask`, take them back in `unask`, and take answers in `fresh`."""

    ready = False  #: all widgets are there: answers may be shown

    def ask(self) -> None:
        """Put this screen's questions to the feed."""

    def unask(self) -> None:
        """Take them back."""

    def fresh(self, name: str, value: object) -> None:
        """Take an answer."""

    def tick(self) -> None:
        """A second has passed: ages changed."""

    def frame(self) -> None:
        """Write what surrounds the data."""

    def select(self, row_id: str) -> None:
        """Go to a row by its id, where there are rows."""

    def unfilter(self) -> None:
        """Show everything, so that what is gone to cannot be hidden."""

    def mark(self, ids: set[str]) -> None:
        """Mark these rows, where rows can be marked."""

    def forget_marks(self, ids: Sequence[str]) -> None:
        """These were acted on."""

    def look_changed(self) -> None:
        """Draw everything again: theme or connection changed."""

    def on_mount(self) -> None:
        # A screen is mounted after all it composed; asking earlier could bring answers to widgets not yet there.
        self.ready = True
        self._listen()

    def on_resize(self) -> None:
        still_of(self).end()  # what a terminal does to the screen when its size changes is not waited out

    def on_screen_resume(self) -> None:
        self._listen()

    def on_screen_suspend(self) -> None:
        self.unask()

    def _listen(self) -> None:
        if self.ready and self.is_current:
            self.ask()
            self.frame()
