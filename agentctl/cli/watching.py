"""`--watch`: the same findings again whenever they change.

On a terminal the picture is redrawn in place. Piped, JSON lines and CSV print the rows that are new or
changed, so that a program can follow; other forms print the whole again, after an empty line.
"""

from __future__ import annotations

import time

from . import output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from .table import Form

EVERY_S = 1.0  #: how often it looks
REST = 20  #: after a look that took long, so many times as long: what is watched for hours must not keep a core busy
MOST_REST_S = 60.0  #: but no longer: one slow look must not leave an old picture standing


def watch(
    form: Form, fetch: Callable[[], Iterable[Mapping[str, Any]]], empty: str, pause: Callable[[float], None]
) -> int:
    """Print until a signal or a closed pipe ends it; `pause` waits for news, so many seconds at most."""
    before = ""
    seen: frozenset[str] = frozenset()
    while True:
        began = time.monotonic()
        rows = list(fetch())
        took_s = time.monotonic() - began
        if output.on_terminal() and form.for_people:
            text = form.render(rows) or f"{empty}\n"
            if text != before:
                lines = text.replace("\n", "\x1b[K\n")
                output.write(f"\x1b[H{lines}\x1b[J" if before else f"\x1b[2J\x1b[H{lines}")
        elif form.form in ("jsonl", "csv"):
            text = form.render(rows)
            lines_now = text.splitlines(keepends=True)
            output.write("".join(line for line in lines_now if line not in seen))
            seen = frozenset(lines_now)
        else:
            text = form.render(rows)
            if text != before:
                output.write(("\n" if before else "") + text)
        before = text or " "
        output.flush()
        pause(min(max(EVERY_S, REST * took_s), MOST_REST_S))
