"""What ended sessions leave for `agentctl logs`: kept while there is room, the oldest goes first."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from agentctl_store.folders import disk_bytes, removing
from agentctl_store.ids import write_id

AT_ONCE = 200  #: folders measured, and folders removed, in one go: a few tens of milliseconds
ENTRIES_AT_ONCE = 5_000  #: files and folders in them that are looked at, and removed, in one go
MOST_ENTRIES = 200_000  #: of one folder that are measured; of more, what was seen counts
MOST_SESSIONS = 2_000  #: folders of ended sessions that stay, however small


class Keeper:
    """Measures each folder once, when its session has ended: nobody writes to it any more."""

    def __init__(self, store: str, tell: Callable[[str], None]) -> None:
        """`tell` hears in a sentence what keeps old output from being removed."""
        self._folder = os.path.join(store, "sessions")
        self._tell = tell
        self._bytes: dict[str, int] = {}
        self._begun: tuple[str, Iterator[int]] | None = None  #: a folder too full to be measured in one go
        self._trouble = ""  #: what was told last
        self._stuck: set[str] = set()  #: what could not be removed; it takes its room all the same

    def tidy(self, running: Iterable[int], most_bytes: int, most_sessions: int = MOST_SESSIONS) -> bool:
        """Remove the oldest folders while there are too many, or they take too much; whether more is to be done."""
        try:
            names = sorted(os.listdir(self._folder))
            open_now = {write_id(session) for session in running}
            ended = [name for name in names if name not in open_now]
            unmeasured = self._measure(ended)
            return self._remove(ended, most_bytes, most_sessions) or unmeasured
        except FileNotFoundError:  # nothing has run yet
            return False
        except Exception as error:  # agents made what is in there: whatever it is must not end their supervisor
            trouble = f"old output in {self._folder} is not removed: {type(error).__name__}: {error}"
            if trouble != self._trouble:
                self._tell(trouble)
            self._trouble = trouble
            return False

    def _measure(self, ended: list[str]) -> bool:
        """Measure some of the folders that are not measured yet, the newest first: they are to stay."""
        self._bytes = {name: self._bytes[name] for name in ended if name in self._bytes}
        begun, self._begun = self._begun, None
        new = [name for name in reversed(ended) if name not in self._bytes]
        walks = [begun] if begun is not None and begun[0] in self._bytes else []
        walks += [(name, islice(disk_bytes(self._path(name)), MOST_ENTRIES)) for name in new[:AT_ONCE]]
        left = ENTRIES_AT_ONCE
        for name, walk in walks:
            if not left:
                return True
            for size in islice(walk, left):
                self._bytes[name] = self._bytes.get(name, 0) + size
                left -= 1
            self._bytes.setdefault(name, 0)
            if not left:
                self._begun = name, walk
        return self._begun is not None or len(new) > AT_ONCE

    def _remove(self, ended: list[str], most_bytes: int, most_sessions: int) -> bool:
        """Remove some of what is too much; count only what is gone then."""
        self._stuck.intersection_update(ended)
        kept, total, left, gone = len(ended), sum(self._bytes.values()), ENTRIES_AT_ONCE, 0
        stuck = []
        for name in ended:
            if kept <= most_sessions and total <= most_bytes:
                break
            if not left or gone == AT_ONCE:
                return True
            if name in self._stuck:
                continue
            moved = False
            for went in islice(removing(self._path(name)), left):
                moved |= went
                left -= 1
            if not os.path.lexists(self._path(name)):
                total -= self._bytes.pop(name, 0)
                kept -= 1
                gone += 1
            elif left or not moved:
                stuck.append(name)
        self._say_stuck(stuck)
        return not left or gone == AT_ONCE

    def _say_stuck(self, names: list[str]) -> None:
        if names:
            self._stuck.update(names)
            what = self._path(names[0]) + (f" and {len(names) - 1:,} more" if len(names) > 1 else "")
            self._tell(f"{what} could not be removed, to make room for newer output. Look whose it is: ls -lR")

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name)
