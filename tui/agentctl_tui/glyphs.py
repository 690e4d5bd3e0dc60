"""Glyphs, bars and sparklines, each with an ASCII form for terminals without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Glyphs:
    """One set of signs. Health always shows as glyph, word and colour together."""

    health: dict[str, str]
    spark: str  #: rising levels, the first one is "nothing"
    bar: str  #: a full cell, then the eighths from one to seven; two characters in ASCII
    empty: str  #: an empty cell of a bar
    cursor: str
    mark: str
    more: str
    up: str
    down: str
    dot: str  #: between two facts
    rule: str
    arrow: str
    none: str


UNICODE = Glyphs(
    health={
        "healthy": "●",
        "degraded": "◐",
        "unhealthy": "✖",
        "starting": "◌",
        "draining": "◍",
        "stopped": "■",
        "paused": "⏸",
    },
    spark=" ▁▂▃▄▅▆▇█",
    bar="█▏▎▍▌▋▊▉",
    empty="░",
    cursor="▌",
    mark="✓",
    more="…",
    up="▲",
    down="▼",
    dot="·",
    rule="─",
    arrow="→",
    none="–",
)
ASCII = Glyphs(
    health={
        "healthy": "o",
        "degraded": "~",
        "unhealthy": "x",
        "starting": ".",
        "draining": "-",
        "stopped": "#",
        "paused": "=",
    },
    spark=" .:-=+*%#",
    bar="#",
    empty=".",
    cursor=">",
    mark="*",
    more="~",
    up="^",
    down="v",
    dot="|",
    rule="-",
    arrow="->",
    none="-",
)

#: health → role: green fine, amber look, red act, dim past
HEALTH_ROLES = {
    "healthy": "green",
    "degraded": "amber",
    "unhealthy": "red",
    "starting": "blue",
    "draining": "blue",
    "stopped": "dim",
    "paused": "dim",
}


def bar(share: float, cells: int, glyphs: Glyphs) -> tuple[str, str]:
    """Return the filled and the empty part of a bar of `cells` cells, to an eighth of a cell."""
    share = min(max(share, 0.0), 1.0)
    if len(glyphs.bar) == 1:
        full = round(share * cells)
        return glyphs.bar * full, glyphs.empty * (cells - full)
    eighths = round(share * cells * 8)
    full, part = divmod(eighths, 8)
    filled = glyphs.bar[0] * full + (glyphs.bar[part] if part else "")
    return filled, glyphs.empty * (cells - len(filled))


def sparkline(values: Sequence[int], cells: int, top: int, glyphs: Glyphs) -> str:
    """Return the newest `cells` values as a line scaled to `top`; anything above zero is visible."""
    shown = list(values)[-cells:]
    levels = len(glyphs.spark) - 1
    out = [" "] * (cells - len(shown))
    for value in shown:
        level = 0 if value <= 0 or top <= 0 else max(1, min(levels, round(value / top * levels)))
        out.append(glyphs.spark[level])
    return "".join(out)


def plain(text: str, glyphs: Glyphs) -> str:
    """Return the program's own text in ASCII when `glyphs` are ASCII."""
    return text if glyphs is UNICODE else text.translate(_ASCII)


_ASCII = str.maketrans(
    {"·": "|", "…": "~", "–": "-", "→": ">", "─": "-", "▲": "^", "▼": "v", "✓": "*", "“": '"', "”": '"'}
)
