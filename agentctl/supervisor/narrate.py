"""What a person hears while the fleet runs: one calm line per thing that happened.

Tasks that went well are told together, now and then: a night of work must not bury its three failures.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from agentctl_store.text import one_line

MAX_LINE = 400
MOST_WAITING = 1_000  #: lines that wait for a terminal
MOST_LOG_BYTES = 8 << 20  #: of supervisor.log; then it becomes the only older one, supervisor.log.1
LAST_WORDS_S = 1.0  #: how long the end waits for lines that are not written yet
LOOK_S = 0.002


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing to tell.

    `kind` is supervisor, config, start, task (one went well), progress (all that went well so far), exit, failure,
    ask, health, latch or note.
    """

    at_ms: int
    kind: str
    text: str


OnEvent = Callable[[Happening], None]


class Voice:
    """Writes lines to stderr in a thread of its own.

    A terminal held with Ctrl-S, or a pipe that nobody reads, takes no line for hours: the fleet must not wait for it.
    """

    def __init__(self) -> None:
        self._lines: queue.Queue[str] = queue.Queue(MOST_WAITING)
        self._dropped = 0
        self._thread: threading.Thread | None = None
        self.log: str | None = None  #: the file that stdout and stderr are, where that is the supervisor's own
        self.day = ""  #: of the last line

    def say(self, line: str) -> None:
        """Have the line written soon; when too many wait already, only their number is told later."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="narration", daemon=True)
            self._thread.start()
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped += 1

    def flush(self, within_s: float = LAST_WORDS_S) -> None:
        """Wait until all is written, but not for ever."""
        deadline = time.monotonic() + within_s
        while self._lines.unfinished_tasks and time.monotonic() < deadline:
            time.sleep(LOOK_S)

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            dropped, self._dropped = self._dropped, 0
            if self.log is not None:
                self._keep(self.log)
            try:
                # Not through sys.stderr: its lock, held by a write that blocks, would keep the process from ending.
                os.write(sys.stderr.fileno(), line.encode(errors="replace"))
                if dropped:
                    os.write(sys.stderr.fileno(), f"          … {dropped} lines were left out\n".encode())
            except (OSError, ValueError, AttributeError):
                pass  # a terminal that has gone away is no reason to stop
            self._lines.task_done()

    def _keep(self, log: str) -> None:
        """See that the next line is to be found in the log, and that it does not grow for ever."""
        try:
            written = os.fstat(sys.stderr.fileno())
            if not _is_at(log, written):
                _turn_to(log)
            elif written.st_size > MOST_LOG_BYTES:
                os.rename(log, f"{log}.1")
                _turn_to(log)
            else:
                return
            if self.day:
                os.write(sys.stderr.fileno(), f"{self.day}\n".encode())
        except (OSError, ValueError, AttributeError):
            pass  # it goes on as it was, and the next line tries again


def _is_at(log: str, written: os.stat_result) -> bool:
    """Whether it is the log that is written to: people remove logs, and lay them aside in their own way."""
    try:
        return os.path.samestat(os.stat(log), written)
    except FileNotFoundError:
        return False


def _turn_to(path: str) -> None:
    """Have stdout and stderr go on at the end of a file. Raises OSError; then they go on as they were."""
    fresh = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        for descriptor in (1, 2):
            os.dup2(fresh, descriptor)
    finally:
        os.close(fresh)


VOICE = Voice()


def to_stderr(happening: Happening) -> None:
    """Have the line written to stderr; before the first one of another day, and in a log the first of all, its date."""
    if happening.kind == "task":
        return
    day, at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(happening.at_ms / 1000)).split()
    if day != VOICE.day:
        if VOICE.day or VOICE.log:  # what is on a terminal since today needs no date
            VOICE.say(f"{day}\n")
        VOICE.day = day
    VOICE.say(f"{at}  {one_line(happening.text, MAX_LINE)}\n")


def plural(number: int, word: str) -> str:
    """Return the number with its word: "1 task", "3 tasks"."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"
