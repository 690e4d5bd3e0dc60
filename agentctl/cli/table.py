"""Rows to text: an aligned table for people, JSON, JSON lines or CSV for machines."""

from __future__ import annotations

import time

from agentctl.quantities import show_duration
from agentctl_store.errors import BadInput
from agentctl_store.jsontext import dumps, loads
from agentctl_store.text import cut, one_line, printable

from . import output, times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

_GAP = "  "
_MAX_CELL = 120  #: of a table; wide and machine forms are never cut
_MAX_ENTRY = 20_000  #: of one entry when one record is shown


class Column:
    """One field of a row: its machine name, what kind of value it holds and how a table shows it.

    Kinds: text · branch (a text of ours, shown as it is) · number · flag · time (wall ms; ISO-8601 for machines,
    relative for people) · span (a duration in ms, whose name ends in `_ms`) · json (JSON text; a value for machines) ·
    list (of texts or numbers) · rows (of the columns `parts`).
    """

    __slots__ = ("kind", "name", "parts", "title", "wide")

    def __init__(
        self,
        name: str,
        kind: str = "text",
        *,
        title: str = "",
        wide: bool = False,
        parts: Sequence[Column] = (),
    ) -> None:
        self.name, self.kind, self.wide, self.parts = name, kind, wide, parts
        self.title = (title or name.removesuffix("_ms").removesuffix("_at").replace("_", " ")).upper()

    def machine(self, value: Any) -> Any:
        """Return `value` as JSON writes it."""
        if value is None:
            return None
        if self.kind == "time":
            return times.iso(value)
        if self.kind == "json":
            return loads(value, self.name)
        if self.kind == "list":
            return list(value)
        if self.kind == "rows":
            return [{part.name: part.machine(row[part.name]) for part in self.parts} for row in value]
        return value

    def person(self, value: Any, now_ms: int, limit: int) -> str:
        """Return `value` as one line of a table."""
        if value is None or value == "" or value == ():
            return "-"
        if self.kind == "branch":
            return str(value)
        if self.kind == "time":
            return times.relative(value, now_ms)
        if self.kind == "span":
            return show_duration(value)
        if self.kind == "flag":
            return "yes" if value else "no"
        if self.kind == "number":
            return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
        if self.kind == "list":
            return one_line(", ".join(map(str, value)), limit)
        if self.kind == "rows":
            return str(len(value))
        return one_line(str(value), limit)


class Form:
    """How rows are printed. Raises BadInput for a field no column has.

    `one` record is an entry per line for people and one object for machines; of `tall` ones people see each so.
    """

    def __init__(
        self, columns: Sequence[Column], form: str, fields: str | None, *, one: bool = False, tall: bool = False
    ) -> None:
        self.columns, self.form, self.one, self.tall = list(columns), form, one, tall
        if fields is not None:
            self.columns = _chosen(self.columns, fields)
            self.form = form if form in ("jsonl", "csv") else "json"
        elif form == "table":
            self.columns = [column for column in columns if not column.wide]
        self.for_people = self.form in ("table", "wide")
        self._begun = False  # whether `line` has given a row

    def render(self, rows: Iterable[Mapping[str, Any]]) -> str:
        """Return `rows` as text that ends with a newline, or is empty."""
        if self.form == "json":
            made = [self._object(row) for row in rows]
            return output.escaped(dumps(made[0] if self.one and made else made)) + "\n"
        if self.form == "jsonl":
            return "".join(output.escaped(dumps(self._object(row))) + "\n" for row in rows)
        if self.form == "csv":
            return self._csv(rows)
        return self._entries(rows) if self.one or self.tall else self._aligned(rows)

    def line(self, row: Mapping[str, Any]) -> str:
        """Return one of rows that are printed as they come; of CSV the first one brings the header."""
        text = self.render([row])
        if self.form == "csv" and self._begun:
            text = text.partition("\n")[2]  # no name of a column holds a line break
        self._begun = True
        return text

    def _object(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {column.name: column.machine(row[column.name]) for column in self.columns}

    def _csv(self, rows: Iterable[Mapping[str, Any]]) -> str:
        lines = [[column.name for column in self.columns]]
        for row in rows:
            values = (
                (column, column.machine(row[column.name]) if column.kind != "json" else row[column.name])
                for column in self.columns
            )
            lines.append([_csv_text(column, value) for column, value in values])
        return "".join(",".join(_csv_cell(cell) for cell in line) + "\n" for line in lines)

    def _entries(self, rows: Iterable[Mapping[str, Any]]) -> str:
        now_ms = time.time_ns() // 1_000_000
        width = max(len(column.title) for column in self.columns)
        lines: list[str] = []
        for row in rows:
            if lines:
                lines.append("\n")
            for column in self.columns:
                value = row[column.name]
                if self.form == "table" and (value in (None, "", (), []) or value is False):
                    continue
                if column.kind == "rows" and value:
                    inner = Form(column.parts, "wide", None).render(value)
                    lines.append(f"{column.title.lower()}\n" + "".join(f"  {line}\n" for line in inner.splitlines()))
                    continue
                if column.kind in ("text", "json") and isinstance(value, str):
                    shown = printable(cut(value, _MAX_ENTRY), lines=True).expandtabs()
                    shown = shown.replace("\n", "\n" + " " * (width + 2)) or "-"
                elif column.kind == "time" and value is not None:
                    shown = f"{times.relative(value, now_ms)} ({times.iso(value)})"
                else:
                    shown = column.person(value, now_ms, _MAX_ENTRY)
                lines.append(f"{column.title.lower().ljust(width)}  {shown}\n")
        return "".join(lines)

    def _aligned(self, rows: Iterable[Mapping[str, Any]]) -> str:
        now_ms = time.time_ns() // 1_000_000
        limit = _MAX_ENTRY if self.form == "wide" else _MAX_CELL
        cells = [[column.person(row[column.name], now_ms, limit) for column in self.columns] for row in rows]
        if not cells:
            return ""
        cells.insert(0, [column.title for column in self.columns])
        widths = [max(_width(line[at]) for line in cells) for at in range(len(self.columns))]
        right = [column.kind in ("number", "span") for column in self.columns]
        screen = output.terminal_width() if output.on_terminal() and self.form == "table" else 0
        lines = []
        for line in cells:
            padded = (
                " " * (width - _width(cell)) + cell if to_right else cell + " " * (width - _width(cell))
                for cell, width, to_right in zip(line, widths, right, strict=True)
            )
            text = _GAP.join(padded).rstrip()
            lines.append(_fit(text, screen) if screen else text)
        return "\n".join(lines) + "\n"


def _chosen(columns: Sequence[Column], fields: str) -> list[Column]:
    by_name = {column.name: column for column in columns}
    names = [name.strip() for name in fields.split(",") if name.strip()]
    unknown = [name for name in names if name not in by_name]
    if unknown or not names:
        said = (
            f"no field is called {', '.join(repr(cut(name, 40)) for name in unknown[:5])}"
            if unknown
            else "--json names no field"
        )
        raise BadInput(said, f"The fields are {', '.join(by_name)}")
    return [by_name[name] for name in dict.fromkeys(names)]


def _csv_text(column: Column, value: Any) -> str:
    if value is None:
        return ""
    if value is True or value is False:
        return "true" if value else "false"
    if column.kind == "list":
        return " ".join(map(str, value))
    return dumps(value) if isinstance(value, list | dict) else str(value)


def _csv_cell(text: str) -> str:
    text = printable(text, lines=True)
    if any(c in text for c in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) or c in "\u200c\u200d" else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def _fit(text: str, screen: int) -> str:
    if _width(text) <= screen:
        return text
    while text and _width(text) > screen - 1:
        text = text[: screen - 1] if len(text) > screen else text[:-1]
    return text + "…"
