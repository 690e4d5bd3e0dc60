"""Pieces of styled text and their layout in terminal cells. No widgets, no markup.

Everything a screen shows is made of pieces, and every piece is made by `piece` or `raw`: `piece` passes its
text through `agentctl_store.text.printable`, `raw` is for the program's own glyphs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from rich.cells import cell_len

from agentctl_store.text import printable

# Zero-width joiners and variation selectors make terminals disagree about how wide a character is.
_UNSURE = {ord(c): None for c in "\u200c\u200d\ufe0e\ufe0f"}


class Piece(NamedTuple):
    """Some text in one role. `action` is what a click on it runs."""

    text: str
    role: str = ""
    action: str = ""


Line = tuple[Piece, ...]
EMPTY: Line = ()


@lru_cache(maxsize=8192)
def clean(text: str) -> str:
    """Return `text` safe to show on one line, with a width every terminal agrees on."""
    if text.isascii() and text.isprintable():
        return text
    return printable(text).translate(_UNSURE)


def piece(text: str, role: str = "", action: str = "") -> Piece:
    """Make a piece of text that came from outside."""
    return Piece(clean(text), role, action)


def raw(text: str, role: str = "", action: str = "") -> Piece:
    """Make a piece of the program's own text."""
    return Piece(text, role, action)


def line(*parts: Piece | str) -> Line:
    """Make a line; plain strings become cleaned pieces without a role."""
    return tuple(piece(part) if isinstance(part, str) else part for part in parts)


def width(cells: Line) -> int:
    """Return how many terminal cells the line takes."""
    return sum(cell_len(part.text) for part in cells)


def text_of(cells: Line) -> str:
    """Return the line's text without its roles."""
    return "".join(part.text for part in cells)


def cut(text: str, limit: int, more: str = "…") -> str:
    """Return at most `limit` cells of `text`, ending in `more` when something was left out."""
    if cell_len(text) <= limit:
        return text
    if limit <= 0:
        return ""
    kept, used = [], 0
    for character in text:
        size = cell_len(character)
        if used + size > limit - 1:
            break
        kept.append(character)
        used += size
    return "".join(kept) + more


def fit(cells: Line, size: int, right: bool = False, more: str = "…") -> Line:
    """Return the line cut or padded to exactly `size` cells."""
    have = width(cells)
    if have == size:
        return cells
    if have < size:
        pad = Piece(" " * (size - have))
        return (pad, *cells) if right else (*cells, pad)
    kept: list[Piece] = []
    left = size
    for index, part in enumerate(cells):
        took = cell_len(part.text)
        rest = index + 1 < len(cells)
        if took < left or (took == left and not rest):
            kept.append(part)
            left -= took
            continue
        # One cell is kept back: the line goes on, and must say so.
        text = cut(part.text + ("." if rest else ""), left, more)
        kept.append(part._replace(text=text + " " * (left - cell_len(text))))
        break
    return tuple(kept)


def fit_path(cells: Line, size: int, more: str = "…") -> Line:
    """Return the line fitted; of a path too long for it the end is kept, where paths differ."""
    if len(cells) == 1 and "/" in cells[0].text and " " not in cells[0].text and width(cells) > size > 1:
        kept, used = "", 1
        for character in reversed(cells[0].text):
            used += cell_len(character)
            if used > size:
                break
            kept = character + kept
        return fit((cells[0]._replace(text=more + kept),), size)
    return fit(cells, size, more=more)


def spread(left: Line, right: Line, size: int) -> Line:
    """Return `left` and `right` at the two ends of a line of `size` cells; `left` gives way."""
    room = max(size - width(right), 0)
    return (*fit(left, room), *fit(right, min(size, width(right))))


def wrap(text: str, size: int, limit: int = 1000) -> list[str]:
    """Return `text` broken at spaces into cleaned lines of at most `size` cells, at most `limit` lines."""
    lines: list[str] = []
    for source in text.splitlines() or [""]:
        rest = clean(source.replace("\t", "    ").rstrip())
        while cell_len(rest) > size and len(lines) < limit:
            at = _break(rest, size)
            lines.append(rest[:at].rstrip())
            rest = rest[at:].lstrip()
        lines.append(rest)
        if len(lines) >= limit:
            return lines[:limit]
    return lines


def _break(text: str, size: int) -> int:
    used, space = 0, 0
    for index, character in enumerate(text):
        used += cell_len(character)
        if used > size:
            # A word longer than a third of the line is broken: ragged paths waste more than they explain.
            return space if space > size // 3 else max(index, 1)
        if character == " ":
            space = index + 1
    return len(text)


def join(lines: Iterable[Line], gap: str) -> Line:
    """Return the lines one after another with a dim `gap` between them."""
    out: list[Piece] = []
    for part in lines:
        if out:
            out.append(Piece(gap, "dim"))
        out.extend(part)
    return tuple(out)


def pack(ranked: Sequence[tuple[int, Line]], gap: str, size: int) -> Line:
    """Return as many of the (rank, line) parts as fit, in order; the highest ranks go first."""
    parts = list(ranked)
    while True:
        joined = join((cells for _, cells in parts), gap)
        if width(joined) <= size or len(parts) <= 1:
            return joined
        worst = max(range(len(parts)), key=lambda i: (parts[i][0], i))
        del parts[worst]
