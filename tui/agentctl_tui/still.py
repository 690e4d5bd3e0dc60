"""Holding the screen still while rows are on their way.

A frame without them would be one more to wait for: what is asked is mostly there within milliseconds, but the next
frame is drawn a sixtieth of a second after the last. So nothing is drawn until they are there, or are late.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Protocol, cast

from textual.app import App
from textual.timer import Timer
from textual.widget import Widget

HOLD_S = 0.02  #: rows that are longer in coming find the screen drawn without them


class Still:
    """Whether an app's screen is held, and for whom."""

    def __init__(self, app: App[Any]) -> None:
        self._app = app
        self._batch = ExitStack()
        self._holder: object = None
        self._late: Timer | None = None

    def hold(self, holder: object) -> None:
        """Draw nothing until `holder` has its rows. Who asks again is not given more time."""
        self._holder = holder
        if self._late is None:
            self._batch.enter_context(self._app.batch_update())
            self._late = self._app.set_timer(HOLD_S, self.end)

    def release(self, holder: object) -> None:
        """The rows of `holder` are there."""
        if holder is self._holder:
            self.end()

    def end(self) -> None:
        """Draw again."""
        if self._late is not None:
            self._late.stop()
            self._late = self._holder = None
            self._batch.close()
            self._app.screen.check_idle()


class _HasStill(Protocol):
    still: Still


def still_of(widget: Widget) -> Still:
    """Return what holds the screen of the app a widget lives in."""
    return cast(_HasStill, widget.app).still
