"""What ended sessions leave for `agentctl logs`: kept while there is room, the oldest goes first."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable

from agentctl_store.ids import write_id

AT_ONCE = 200  #: folders measured, and folders removed, in one go: a few tens of milliseconds
MOST_SESSIONS = 2_000  #: folders of ended sessions that stay, however small
_BLOCK = 512  #: bytes of st_blocks


class Keeper:
    """Measures each folder once, when its session has ended: nobody writes to it any more."""

    def __init__(self, store: str) -> None:
        self._folder = os.path.join(store, "sessions")
        self._bytes: dict[str, int] = {}

    def tidy(self, running: Iterable[int], most_bytes: int, most_sessions: int = MOST_SESSIONS) -> bool:
        """Remove the oldest folders while there are too many, or they take too much; whether more is to be done."""
        try:
            names = sorted(os.listdir(self._folder))
        except OSError:
            return False
        open_now = {write_id(session) for session in running}
        ended = [name for name in names if name not in open_now]
        known, self._bytes = self._bytes, {}
        unknown = 0
        for name in reversed(ended):  # the newest first: they are to stay
            size = known.get(name)
            if size is None:
                unknown += 1
                if unknown > AT_ONCE:
                    continue
                size = disk_bytes(os.path.join(self._folder, name))
            self._bytes[name] = size
        left, total = len(ended), sum(self._bytes.values())
        removed = 0
        for name in ended[:AT_ONCE]:
            if left <= most_sessions and total <= most_bytes:
                break
            shutil.rmtree(os.path.join(self._folder, name), ignore_errors=True)
            total -= self._bytes.pop(name, 0)
            left -= 1
            removed += 1
        return removed == AT_ONCE or unknown > AT_ONCE


def disk_bytes(folder: str) -> int:
    """Return what the files in a folder, and below it, take of the disk; links are not followed."""
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    total += disk_bytes(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_blocks * _BLOCK
    except OSError:
        pass  # it is going: what is left of it counts
    return total
