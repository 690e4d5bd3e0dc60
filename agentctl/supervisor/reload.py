"""Watching agentctl.toml: a changed file becomes a fact, a broken one a complaint."""

from __future__ import annotations

import os
import queue
import threading
from typing import TYPE_CHECKING

from agentctl.config import Config, parse_config
from agentctl.config_file import read_text
from agentctl_store.errors import AgentctlError, BadConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentctl.supervisor.doorbell import Bell

STEP_MS, GATHER_MS = 50, 150  #: changes of a folder less than a step apart are told together, after so long at most
SETTLE_S = 0.15  #: an editor writes a file in several steps: what it holds for so long is what it is to hold
SETTLE_LOOKS = 20  #: a file that is still written after so many looks is read as it is
STOP_WITHIN_S = 2.0
LOOK_S = 1.0  #: between two looks at the file where nobody tells of a change


class ConfigWatch:
    """Watches the file in a thread, which outlives whatever the file holds.

    The system's word about the file's folder makes it quick (editors replace files, and a watch on the file itself
    would go blind). What is true is a look now and then: it also sees where any link on the way leads elsewhere.
    """

    def __init__(self, path: str, bell: Bell) -> None:
        self.told = True  #: whether the system tells of changes; others may have used up its watches
        self._path = os.path.abspath(path)
        self._bell = bell
        self._found: queue.SimpleQueue[Config | AgentctlError] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._last = _content(self._path)
        self._thread = threading.Thread(target=self._watch, name="config-watch", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while self.told and not self._stop.is_set():
            real = os.path.realpath(self._path)
            try:
                for _ in self._changes(real):
                    self._look()
                    if os.path.realpath(self._path) != real:
                        break  # and another folder is to be watched
            except Exception:  # whatever keeps it from being watched: it can be looked at
                self.told = False
        while not self._stop.wait(LOOK_S):
            self._look()

    def _changes(self, real: str) -> Iterator[object]:
        from watchfiles import watch

        return watch(
            *{os.path.dirname(self._path), os.path.dirname(real)},
            watch_filter=None,  # what is passed over begins the time to the next look anew
            debounce=GATHER_MS,
            step=STEP_MS,
            recursive=False,
            stop_event=self._stop,
            rust_timeout=round(LOOK_S * 1000),
            yield_on_timeout=True,
            raise_interrupt=False,
        )

    def _look(self) -> None:
        content = _content(self._path)
        if _same(content, self._last):
            return
        for _ in range(SETTLE_LOOKS):
            if self._stop.wait(SETTLE_S):
                return
            before, content = content, _content(self._path)
            if _same(content, before):
                break
        if not _same(content, self._last):
            self._last = content
            self._found.put(self._read(content))
            self._bell.ring()

    def _read(self, content: str | AgentctlError) -> Config | AgentctlError:
        if isinstance(content, AgentctlError):
            return content
        if not content.strip():
            # More likely half a save than a wish to end every agent.
            return BadConfig(f"{self._path} is empty", "To have no agent, leave a comment in it", file=self._path)
        try:
            return parse_config(content, self._path)
        except AgentctlError as error:
            return error
        except Exception as error:  # a defect of the checks must not end the reading of later saves
            why = f"{type(error).__name__}: {str(error)[:200]}"
            return BadConfig(f"{self._path} cannot be understood: {why}", "Change it back", file=self._path)

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


def _content(path: str) -> str | AgentctlError:
    try:
        return read_text(path)
    except AgentctlError as error:
        return error


def _same(one: str | AgentctlError, other: str | AgentctlError) -> bool:
    return type(one) is type(other) and str(one) == str(other)
