"""Numbers for people: at most three significant digits, units always, ages relative."""

from __future__ import annotations

from time import localtime, strftime

NONE = "–"


def age(ms: int | None) -> str:
    """Return a duration as `38 s`, `4m10s`, `2h13m`, `3d4h`."""
    if ms is None:
        return NONE
    seconds = max(ms, 0) // 1000
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 10:
        return f"{minutes}m{seconds:02}s"
    hours, minutes = divmod(minutes, 60)
    if hours == 0:
        return f"{minutes} min"
    if hours < 24:
        return f"{hours}h{minutes:02}m"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours}h" if days < 100 else f"{days} d"


def since(then_ms: int | None, now_ms: int) -> str:
    """Return how long ago `then_ms` was."""
    return NONE if then_ms is None else age(now_ms - then_ms)


def duration(ms: int | None) -> str:
    """Return how long something took, finer than `age` below a minute."""
    if ms is None:
        return NONE
    if ms < 1000:
        return f"{max(ms, 0)} ms"
    return f"{three(ms / 1000)} s" if ms < 60_000 else age(ms)


def three(value: float) -> str:
    """Return a number with at most three significant digits and no exponent."""
    if value >= 100:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}".removesuffix(".0")
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


def size(count: int | None) -> str:
    """Return bytes as `312 MB` (decimal units)."""
    if count is None:
        return NONE
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{three(value)} {unit}"
        value /= 1000
    return f"{three(value)} TB"


def count(value: int) -> str:
    """Return a count as `47`, `1 204`, `12.3k`, `1.2M`."""
    if value < 1000:
        return str(value)
    if value < 10_000:
        return f"{value // 1000} {value % 1000:03}"
    if value < 999_500:
        return f"{three(value / 1000)}k"
    return f"{three(value / 1e6)}M"


def money(microusd: int | None) -> str:
    """Return a cost as `$1.60`; below a cent as `$0.004`."""
    if microusd is None:
        return NONE
    usd = microusd / 1e6
    if usd and usd < 0.01:
        return f"${usd:.4f}".rstrip("0")
    return f"${usd:.2f}" if usd < 1000 else f"${usd:,.0f}"


def percent(share: float | None) -> str:
    """Return a share as `86%`."""
    return NONE if share is None else f"{share * 100:.0f}%"


def clock(ms: int) -> str:
    """Return a wall time as `12:08:41`, local time."""
    return strftime("%H:%M:%S", localtime(ms / 1000))


def plural(number: int, word: str, words: str = "") -> str:
    """Return `1 task`, `3 tasks`."""
    return f"{count(number)} {word if number == 1 else words or word + 's'}"
