"""Times and durations between people and machines: ISO-8601 UTC for machines, relative words for people."""

from __future__ import annotations

import time

from agentctl.quantities import read_duration_ms, show_duration
from agentctl_store.errors import BadInput

MAX_MS = 10 * 366 * 86_400_000  #: no time lies further away than ten years


def iso(wall_ms: int) -> str:
    """Write wall milliseconds as ISO-8601 UTC with milliseconds."""
    seconds, millis = divmod(wall_ms, 1000)
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{millis:03d}Z"
    except (OverflowError, OSError, ValueError):
        return f"{wall_ms} ms"


def relative(wall_ms: int, now_ms: int) -> str:
    """Write a time for people: `3m 20s ago`, `in 2h`."""
    away = now_ms - wall_ms
    if abs(away) < 1000:
        return "now"
    # Whole seconds: a column of 3.2 s, 4.7 s … flickers without telling more.
    shown = show_duration(abs(away) // 1000 * 1000)
    return f"{shown} ago" if away > 0 else f"in {shown}"


def read_span(text: str, what: str) -> int:
    """Read a duration as milliseconds: `90s`, `15m`, `2h`, `1h30m`, `500ms`. Raises BadInput."""
    try:
        return read_duration_ms(text)
    except ValueError as error:
        raise BadInput(f"{what} {error}") from None


def read_time(text: str, what: str, now_ms: int) -> int:
    """Read a time as wall milliseconds.

    Accepts ISO-8601 (local time unless it names a zone), `HH:MM` for the next such time of day, or a duration
    before now with ` ago`. Raises BadInput.
    """
    words = text.strip()
    if words.endswith(" ago"):
        return now_ms - read_span(words.removesuffix(" ago"), what)
    from datetime import datetime, timedelta

    here = datetime.fromtimestamp(now_ms / 1000).astimezone()
    try:
        if len(words) == 5 and words[2] == ":":
            found = here.replace(hour=int(words[:2]), minute=int(words[3:]), second=0, microsecond=0)
            moment = found if found > here else found + timedelta(days=1)
        else:
            moment = datetime.fromisoformat(words).astimezone()
        wall_ms = int(moment.timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        wall_ms = -1
    if wall_ms < 0 or wall_ms - now_ms > MAX_MS:
        raise BadInput(
            f"{what} {_quoted(text)} is not a time that can be used",
            "Write it like 2026-03-01T08:00, 2026-03-01T08:00:00Z or 08:00",
        )
    return wall_ms


def _quoted(text: str) -> str:
    return ascii(text[:40])
