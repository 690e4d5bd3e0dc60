"""Times and durations between people and machines: ISO-8601 UTC for machines, relative words for people."""

from __future__ import annotations

import time

from agentctl_store.errors import BadInput

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
MAX_MS = 10 * 366 * 86_400_000  #: no duration or schedule reaches further than ten years


def iso(wall_ms: int) -> str:
    """Write wall milliseconds as ISO-8601 UTC with milliseconds."""
    seconds, millis = divmod(wall_ms, 1000)
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{millis:03d}Z"
    except (OverflowError, OSError, ValueError):
        return f"{wall_ms} ms"


def span(ms: int) -> str:
    """Write a duration for people, two units at most: `850ms`, `3.2s`, `4m 10s`, `2d 3h`."""
    if ms < 0:
        return "-" + span(-ms)
    if ms < 1000:
        return f"{ms}ms"
    if ms < 60_000:
        return f"{ms / 1000:.1f}s" if ms < 10_000 else f"{ms // 1000}s"
    for unit, below, size, rest in (("m", "s", 60, 1), ("h", "m", 3600, 60), ("d", "h", 86400, 3600)):
        seconds = ms // 1000
        if unit == "d" or seconds < size * (60 if unit == "m" else 24):
            major, minor = divmod(seconds, size)
            return f"{major}{unit} {minor // rest}{below}" if minor // rest else f"{major}{unit}"
    raise AssertionError("every duration has a unit")


def relative(wall_ms: int, now_ms: int) -> str:
    """Write a time for people: `3m 20s ago`, `in 2h`."""
    away = now_ms - wall_ms
    if abs(away) < 1000:
        return "now"
    # Whole seconds: a column of 3.2s, 4.7s … flickers without telling more.
    shown = span(abs(away) // 1000 * 1000).replace(".0s", "s")
    return f"{shown} ago" if away > 0 else f"in {shown}"


def read_span(text: str, what: str) -> int:
    """Read a duration as milliseconds: `90s`, `15m`, `2h`, `1d`, `1h30m`, `500ms`. Raises BadInput."""
    total, at, seen = 0.0, 0, False
    stripped = text.strip().lower()
    while at < len(stripped) and len(stripped) <= 40:
        start = at
        while at < len(stripped) and (stripped[at] in "0123456789."):
            at += 1
        number = stripped[start:at]
        start = at
        while at < len(stripped) and stripped[at].isalpha():
            at += 1
        unit = stripped[start:at]
        try:
            total += float(number) * _UNITS_MS[unit]
        except (ValueError, KeyError):
            break
        seen = True
    else:
        if seen and total <= MAX_MS:
            return int(total)
        if seen:
            raise BadInput(f"{what} {_quoted(text)} is longer than ten years", "Use a shorter duration")
    raise BadInput(
        f"{what} {_quoted(text)} is not a duration", "Write a number and a unit, like 90s, 15m, 2h or 1d"
    )


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
