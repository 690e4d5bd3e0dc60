"""Watching agentctl.toml: a changed file becomes a fact, a broken one a complaint."""

from __future__ import annotations

import os
import queue
import threading
from typing import TYPE_CHECKING

from agentctl.config import Config, load_config
from agentctl_store.errors import AgentctlError

if TYPE_CHECKING:
    from agentctl.supervisor.doorbell import Bell

SETTLE_MS = 150  #: an editor writes a file in several steps
STOP_WITHIN_S = 2.0


class ConfigWatch:
    """Watches the file's folder in a thread: editors replace files, and a watch on the file itself would go blind."""

    def __init__(self, path: str, bell: Bell) -> None:
        self._path = os.path.abspath(path)
        self._bell = bell
        self._found: queue.SimpleQueue[Config | AgentctlError] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="config-watch", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        from watchfiles import watch

        folder, own = os.path.dirname(self._path), self._path
        last = _content(own)
        for changes in watch(
            folder,
            watch_filter=lambda _change, path: path == own,
            debounce=SETTLE_MS,
            step=50,
            recursive=False,
            stop_event=self._stop,
            rust_timeout=60_000,
            raise_interrupt=False,
        ):
            content = _content(own)
            if not changes or content == last:
                continue
            last = content
            try:
                self._found.put(load_config(own))
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
