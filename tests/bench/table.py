"""One table of everything measured, printed at the end of `make bench`."""

from __future__ import annotations

_ROWS: list[tuple[str, str, str, str, str]] = []


def add(number: str, what: str, measured: str, goal: str, met: bool | None) -> None:
    """Note a line; `met` is None when nothing was promised."""
    _ROWS.append((number, what, measured, goal, {True: "met", False: "MISSED", None: ""}[met]))


def text() -> str:
    """The table, columns aligned; empty when nothing was measured."""
    rows = [("#", "what", "measured", "goal", ""), *sorted(_ROWS)]
    if len(rows) == 1:
        return ""
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
