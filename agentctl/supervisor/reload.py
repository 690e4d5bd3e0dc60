"""Watching agentctl.toml: a changed file becomes a fact, a broken one a complaint."""

from __future__ import annotations

import os
import queue
import threading
from typing import TYPE_CHECKING

from agentctl.config import Config, load_config
from agentctl_store.errors import AgentctlError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentctl.supervisor.doorbell import Bell

SETTLE_MS = 150  #: an editor writes a file in several steps
STOP_WITHIN_S = 2.0
LOOK_S = 1.0  #: between two looks at the file where it cannot be watched


class ConfigWatch:
    """Watches the file's folder in a thread: editors replace files, and a watch on the file itself would go blind."""

    def __init__(self, path: str, bell: Bell) -> None:
        self._path = os.path.abspath(path)
        self._bell = bell
        self._found: queue.SimpleQueue[Config | AgentctlError] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._last = _content(self._path)
        self._thread = threading.Thread(target=self._watch, name="config-watch", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        try:
            for _ in self._changes():
                self._look()
        except (OSError, RuntimeError):
            # The system gives no watch (others use up its inotify instances): look now and then.
            while not self._stop.wait(LOOK_S):
                self._look()

    def _changes(self) -> Iterator[object]:
        from watchfiles import watch

        own = self._path
        return watch(
            os.path.dirname(own),
            watch_filter=lambda _change, path: path == own,
            debounce=SETTLE_MS,
            step=50,
            recursive=False,
            stop_event=self._stop,
            rust_timeout=60_000,
            raise_interrupt=False,
        )

    def _look(self) -> None:
        content = _content(self._path)
        if content == self._last:
            return
        self._last = content
        try:
            self._found.put(load_config(self._path))
        except AgentctlError as error:
            self._found.put(error)
        self._bell.ring()

    def news(self) -> list[Config | AgentctlError]:
        """Return what was read since the last time: a configuration, or what is wrong with the file."""
        found: list[Config | AgentctlError] = []
        while True:
            try:
                found.append(self._found.get_nowait())
            except queue.Empty:
                return found

    def close(self) -> None:
        self._stop.set()
        self._thread.join(STOP_WITHIN_S)


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None
