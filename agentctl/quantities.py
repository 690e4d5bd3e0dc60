"""Durations and sizes as people write them in agentctl.toml: "10s", "1h30m", "512MB", "2GiB"."""

from __future__ import annotations

_DURATION_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SIZE_UNITS = {"": 1, "b": 1, **{f"{p}b": 1000**i for i, p in enumerate("kmgt", 1)}}
_SIZE_UNITS |= {f"{p}ib": 1024**i for i, p in enumerate("kmgt", 1)} | {p: 1000**i for i, p in enumerate("kmgt", 1)}
_DIGITS = "0123456789."
_SIZE = r"(\d+(?:\.\d+)?)\s*([a-z]*)"
_SPANS = {"sec": "s", "second": "s", "min": "m", "minute": "m", "hour": "h", "day": "d"}
MAX_DURATION_MS = 366 * 86_400_000
MAX_SIZE_BYTES = 1 << 50


def read_duration_ms(value: object) -> int:
    """Return the milliseconds of "10s", "1h30m", "250ms", or of a bare number, seconds. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError('is not a duration; write a text like "10s", "5m" or "1h30m"')
    if isinstance(value, str):
        total = _total_ms(value.replace(" ", "").lower())
        if total is None:
            raise ValueError(f'{value[:40]!r} is not a duration; write a text like "10s", "5m" or "1h30m"')
    else:
        total = value * 1000  # as it is: no float holds every int
    if not 0 <= total <= MAX_DURATION_MS:
        raise ValueError(f"{value!r:.40} is out of range; a duration is from 0 to 366 days")
    return round(total)


def _total_ms(text: str) -> float | None:
    # By hand: `task claim --wait 30s` and `msg read` come through here, and importing `re` takes 4 ms.
    total = 0.0
    left = text
    while left:
        unit = left.lstrip(_DIGITS)
        number = left[: len(left) - len(unit)]
        left = unit.lstrip("dhms")
        unit = unit[: len(unit) - len(left)]
        whole, point, part = number.partition(".")
        if unit not in _DURATION_UNITS or not whole.isdigit() or (point and not part.isdigit()):
            return None
        total += float(number) * _DURATION_UNITS[unit]
    return total if text else None


def read_size_bytes(value: object) -> int:
    """Return the bytes of "512MB" (10^6), "2GiB" (2^30), or of a bare number. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError('is not a size; write a text like "512MB" or "2GiB"')
    if isinstance(value, int):
        total: float = value
    else:
        import re

        match = re.fullmatch(_SIZE, value.strip().lower(), re.ASCII)
        if match is None or match[2] not in _SIZE_UNITS:
            raise ValueError(f'{value[:40]!r} is not a size; write a text like "512MB" or "2GiB"')
        total = float(match[1]) * _SIZE_UNITS[match[2]]
    if not 0 <= total <= MAX_SIZE_BYTES:
        raise ValueError(f"{value!r:.40} is out of range; a size is from 0 to 1024 TiB")
    return int(total)


def read_rate(value: object) -> tuple[int, int]:
    """Return the starts and the milliseconds of "30/min", "5/s" or "100/2h". Raises ValueError."""
    from agentctl_store.domain.limits import MAX_PERIOD_MS, MAX_STARTS

    count, slash, span = (value if isinstance(value, str) else "").replace(" ", "").lower().partition("/")
    span = _SPANS.get(span, span)
    try:
        period_ms = read_duration_ms(span if span[:1].isdigit() else f"1{span}")
    except ValueError:
        period_ms = 0
    if not slash or not count.isascii() or not count.isdigit() or not period_ms:
        raise ValueError(
            f'{str(value)[:40]!r} is not a rate; write so many starts in so long, like "30/min" or "5/10s"'
        )
    if not 1 <= int(count[:9]) <= MAX_STARTS or len(count) > 9 or period_ms > MAX_PERIOD_MS:
        raise ValueError(f"{value!r} is out of range; a rate is 1 to {MAX_STARTS:,} starts in at most 31d")
    return int(count), period_ms


def write_rate(rate: tuple[int, int] | None) -> str | None:
    """Return the text that `read_rate` reads as this: "30/min", "5/10s"."""
    if rate is None:
        return None
    span = write_duration(rate[1])
    short = {"1m": "min", "1s": "s", "60m": "h", "1h": "h", "1d": "day"}
    return f"{rate[0]}/{short.get(span, span)}"


def read_count(value: object) -> int:
    """Return the number of 200, "200k" or "1.5M". Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError('is not a count; write a number, or a text like "200k" or "2M"')
    text = str(value).replace("_", "").replace(",", "").strip().lower()
    factor = {"k": 1_000, "m": 1_000_000}.get(text[-1:], 1)
    digits = text if factor == 1 else text[:-1]
    whole, _, part = digits.partition(".")
    if not (whole + part).isascii() or not whole.isdigit() or (part and not part.isdigit()) or len(digits) > 16:
        raise ValueError(f'{str(value)[:40]!r} is not a count; write a number, or a text like "200k" or "2M"')
    return round(float(digits) * factor) if part else int(digits) * factor


def write_duration(duration_ms: int) -> str:
    """Return the text that `read_duration_ms` reads as this: "90s", "5m", "250ms"."""
    for unit in ("d", "h", "m", "s"):
        if duration_ms and duration_ms % _DURATION_UNITS[unit] == 0:
            return f"{duration_ms // _DURATION_UNITS[unit]}{unit}"
    return f"{duration_ms}ms" if duration_ms else "0s"


def write_size(size_bytes: int) -> str:
    """Return the text that `read_size_bytes` reads as this: "512MB", "2GiB", "100B"."""
    for unit in ("TiB", "TB", "GiB", "GB", "MiB", "MB", "KiB", "kB"):
        factor = _SIZE_UNITS[unit.lower()]
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return f"{size_bytes}B"


def show_duration(duration_ms: float) -> str:
    """Write a duration for a person, in its two largest units: "2h13m", "38 s", "250 ms"."""
    if duration_ms < 1_000:
        return f"{int(duration_ms)} ms"
    seconds = int(duration_ms) // 1000
    if seconds < 60:
        return f"{seconds} s" if duration_ms >= 10_000 or duration_ms % 1000 == 0 else f"{duration_ms / 1000:.1f} s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02}s" if seconds % 60 else f"{seconds // 60} min"
    if seconds < 86_400:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02}m"
    return f"{seconds // 86_400}d{seconds % 86_400 // 3600:02}h"


def show_size(size_bytes: float) -> str:
    """Write a size for a person with at most three significant digits: "312 MB"."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            amount = size_bytes / factor
            return f"{amount:.0f} {unit}" if amount >= 10 else f"{amount:.1f} {unit}"
    return f"{int(size_bytes)} B"
