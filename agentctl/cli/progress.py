"""Progress of long work: one line on a terminal's stderr, rewritten in place; nothing when piped."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType

from agentctl_store.text import cut, printable

_EVERY_S = 0.1


class Progress:
    """`with Progress("Copying", total) as progress: progress.at(done)`. `total` 0 means unknown."""

    def __init__(self, what: str, total: int = 0) -> None:
        self._what, self._total = printable(what), total
        self._shown_at = 0.0
        self._started = time.monotonic()
        self._drawn = False
        self.live = bool(sys.stderr) and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def at(self, done: int, detail: str = "") -> None:
        """Show that `done` units are done; at most ten times a second."""
        now = time.monotonic()
        if not self.live or now - self._shown_at < _EVERY_S:
            return
        self._shown_at = now
        line = f"{self._what} {self._count(done, now)}"
        if detail:
            line += f" · {printable(detail)}"
        self._draw(line)

    def clear(self) -> None:
        """Take the line away, for something else to be written; the next `at` draws it again."""
        if self._drawn:
            self._drawn, self._shown_at = False, 0.0
            try:
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()
            except (OSError, ValueError):
                self.live = False

    def _count(self, done: int, now: float) -> str:
        elapsed = now - self._started
        if not self._total:
            return f"{done:,} · {elapsed:.0f}s"
        share = min(done / self._total, 1.0)
        filled = int(share * 20)
        left = f" · {elapsed / share - elapsed:.0f}s left" if share > 0.02 and elapsed > 2 else ""
        return f"{'█' * filled}{'░' * (20 - filled)} {done:,}/{self._total:,}{left}"

    def _draw(self, line: str) -> None:
        try:
            width = os.get_terminal_size(sys.stderr.fileno()).columns or 80
            sys.stderr.write("\r" + cut(line, max(width - 1, 20)) + "\x1b[K")
            sys.stderr.flush()
            self._drawn = True
        except (OSError, ValueError, UnicodeEncodeError):
            self.live = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()
