"""The questions screens put to the feed: values that know how to read themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agentctl_store.read.models import DeadLetterRow, Filter, InstanceRow
from agentctl_store.record import replace
from agentctl_tui.ports import LogLine, Logs
from agentctl_tui.window import Span, Window

if TYPE_CHECKING:
    from agentctl_store.read.port import Reader

LOG_LINES = 200  #: lines of a log tail held in a detail panel


@dataclass(frozen=True, slots=True)
class Ask:
    """A question. `live` ones are read at every beat, others only when the store's version changed."""

    live = False

    def read(self, reader: Reader, logs: Logs | None, now_ms: int) -> object:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Summary(Ask):
    """The whole fleet, and the instances that need a person most."""

    def read(self, reader: Reader, logs: Logs | None, now_ms: int) -> object:
        return reader.summary(now_ms), reader.instances(0, 3, "health", Filter())


@dataclass(frozen=True, slots=True)
class Instances(Ask):
    span: Span
    filter: Filter

    def read(self, reader: Reader, logs: Logs | None, now_ms: int) -> Window[InstanceRow]:
        span, wanted = self.span, self.filter
        total = reader.instance_count(wanted)
        position = None
        if span.anchor is not None:
            position = reader.instance_position(span.anchor, span.sort, wanted)
        offset = place(span, position, total)
        rows = reader.instances(offset, span.limit, span.sort, wanted)
        held = {hold.agent: hold.why for hold in reader.holds(now_ms) if hold.agent is not None}
        if held:
            rows = tuple(replace(row, held=held[row.agent]) if row.agent in held else row for row in rows)
        return Window(rows, offset, total, span.anchor, position)


@dataclass(frozen=True, slots=True)
class DeadLetters(Ask):
    span: Span
    filter: Filter

    def read(self, reader: Reader, logs: Logs | None, now_ms: int) -> Window[DeadLetterRow]:
        span, wanted = self.span, self.filter
        total = reader.dead_letter_count(wanted)
        position = None
        if span.anchor is not None:
            position = reader.dead_letter_position(span.anchor, span.sort, wanted)
        offset = place(span, position, total)
        rows = reader.dead_letters(offset, span.limit, span.sort, wanted)
        return Window(rows, offset, total, span.anchor, position)


@dataclass(frozen=True, slots=True)
class Groups(Ask):
    filter: Filter

    def read(self, reader: Reader, logs: Logs | None, now_ms: int) -> object:
        return reader.dead_letter_groups(self.filter)


@dataclass(frozen=True, slots=True)
class Letter(Ask):
    task: str

    def read(self, reader: Reader, logs: Logs | None, now_ms: int) -> object:
        return reader.dead_letter(self.task)


@dataclass(frozen=True, slots=True)
class InstanceLog(Ask):
    """The end of an instance's output, which grows without the store knowing; between two sessions, the last one's."""

    instance: str
    session: str | None
    live: bool = field(default=True, init=False)

    def read(self, reader: Reader, logs: Logs | None, now_ms: int) -> Sequence[LogLine]:
        session = self.session
        if session is None:
            past = reader.sessions(self.instance, 1)
            session = past[0].session if past else None
        return tuple(logs.tail(session, LOG_LINES)) if logs is not None and session is not None else ()


@dataclass(frozen=True, slots=True)
class LastOutput(Ask):
    """The end of what a finished attempt wrote."""

    session: str
    until_ms: int | None
    lines: int = 50

    def read(self, reader: Reader, logs: Logs | None, now_ms: int) -> Sequence[LogLine]:
        return tuple(logs.tail(self.session, self.lines, self.until_ms)) if logs is not None else ()


def place(span: Span, position: int | None, total: int) -> int:
    """Return the offset to read from so that the anchor stays on its line."""
    if position is None or span.anchor_row is None:
        offset = span.offset
        if position is not None and not offset <= position < offset + span.limit:
            offset = position - span.limit // 2
    else:
        offset = position - span.anchor_row
    return max(min(offset, total - 1), 0)


MAX_MARKS = 10_000  #: dead letters that one key marks


@dataclass(frozen=True, slots=True)
class LetterIds(Ask):
    """All dead letters that a filter shows."""

    filter: Filter

    def read(self, reader: Reader, logs: Logs | None, now_ms: int) -> tuple[str, ...]:
        return reader.dead_letter_ids(self.filter, MAX_MARKS)


@dataclass(frozen=True, slots=True)
class Find(Ask):
    """What a person means by some text: (screen, the text, id), with an empty screen when nothing fits."""

    text: str

    def read(self, reader: Reader, logs: Logs | None, now_ms: int) -> tuple[str, str, str]:
        wanted = Filter(text=self.text)
        names = [row.instance for row in reader.instances(0, 200, "instance", wanted)]
        begun = [name for name in names if name.startswith(self.text)]
        if begun:
            return ("fleet", self.text, self.text if self.text in begun else begun[0])
        letters = [row.task for row in reader.dead_letters(0, 200, "-died", wanted)]
        begun = [task for task in letters if task.startswith(self.text.lower())]
        if begun or letters:
            return ("dead", self.text, (begun or letters)[0])
        return ("fleet", self.text, names[0]) if names else ("", self.text, "")
