"""What a person hears while the fleet runs: one calm line per thing that happened.

Tasks that went well are told together, now and then: a night of work must not bury its three failures.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from agentctl_store.text import one_line

MAX_LINE = 400


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing to tell.

    `kind` is supervisor, config, start, task (one went well), progress (all that went well so far), exit, failure,
    health, latch or note.
    """

    at_ms: int
    kind: str
    text: str


OnEvent = Callable[[Happening], None]


def to_stderr(happening: Happening) -> None:
    """Write the line to stderr; a terminal that has gone away is no reason to stop."""
    if happening.kind == "task":
        return
    at = time.strftime("%H:%M:%S", time.localtime(happening.at_ms / 1000))
    try:
        sys.stderr.write(f"{at}  {one_line(happening.text, MAX_LINE)}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass


def plural(number: int, word: str) -> str:
    """Return the number with its word: "1 task", "3 tasks"."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"
