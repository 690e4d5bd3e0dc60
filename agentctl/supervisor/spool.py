"""Reading the output that a shim keeps: result bytes, tails, and both streams merged by time.

Offsets count from the first byte that the stream ever had. The ring deletes from the front while
it is being read: every read says at which offset its bytes begin, and what was lost is counted,
never silently skipped. Memory is bounded by READ_BYTES and the line cap, whatever the agent wrote.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge

from agentctl.supervisor.session_files import read_shim

LINE_BYTES = 65_536
"""A longer line is cut here; the rest of it is not shown as lines of its own."""
READ_BYTES = 262_144
MARK = b'{"agentctl"'
"""A stdout line that begins so is for the supervisor; shim_spool.MARK is the writer's side."""
STREAMS = ("out", "err")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of output. `wall_ms` is when it was complete, to 100 ms; None: not known yet."""

    stream: str
    offset: int
    wall_ms: int | None
    text: str
    cut: bool = False
    """Whether the line was longer than LINE_BYTES."""


@dataclass(frozen=True, slots=True)
class Result:
    """Text of the agent's stdout without its `{"agentctl"…` lines."""

    text: str
    cut: bool
    """Whether there was more than the limit."""
    dropped_bytes: int
    """Bytes at the beginning that the ring no longer held."""


class Stream:
    """One stream of one session as a readable range of bytes."""

    def __init__(self, session_dir: str, name: str, segment_bytes: int | None = None) -> None:
        self._dir = session_dir
        self._name = name
        self._size = segment_bytes

    def extent(self) -> tuple[int, int]:
        """(first, end): the bytes that can be read now. `first` is also the number dropped."""
        numbers = self._numbers()
        if not numbers:
            return 0, 0
        size = self._segment_bytes()
        try:
            last = os.stat(self._path(numbers[-1])).st_size
        except FileNotFoundError:  # the ring moved on between the two looks
            return self.extent()
        return numbers[0] * size, numbers[-1] * size + last

    def read(self, offset: int, limit: int = READ_BYTES) -> tuple[int, bytes]:
        """At most `limit` bytes from `offset` on, and the offset where they begin.

        That is later than asked for when the ring has dropped the place. Empty bytes: nothing yet.
        """
        size = self._segment_bytes()
        for _ in range(3):
            numbers = self._numbers()
            if not numbers:
                return offset, b""
            offset = max(offset, numbers[0] * size)
            number, within = divmod(offset, size)
            try:
                fd = os.open(self._path(number), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                if number > numbers[-1]:
                    return offset, b""
                continue
            try:
                return offset, os.pread(fd, limit, within)
            finally:
                os.close(fd)
        return offset, b""

    def tail(self, count: int) -> tuple[int, bytes]:
        """The newest `count` bytes (fewer when there are no more) and the offset of the first."""
        first, end = self.extent()
        return self.span(max(first, end - count), end)

    def span(self, start: int, end: int) -> tuple[int, bytes]:
        """The bytes from `start` to `end`, and the offset of the first: later when the ring has dropped the place."""
        at = start
        parts: list[bytes] = []
        while at < end:
            begin, data = self.read(at, min(READ_BYTES, end - at))
            if not data:
                break
            if begin != at:  # dropped meanwhile: what was collected no longer touches the rest
                parts, start = [], begin
            parts.append(data)
            at = begin + len(data)
        return start, b"".join(parts)

    def _segment_bytes(self) -> int:
        if self._size is None:
            record = read_shim(self._dir)
            if record is None:
                return 8 << 20
            self._size = record.segment_bytes
        return self._size

    def _path(self, number: int) -> str:
        return f"{self._dir}/{self._name}.{number:06d}"

    def _numbers(self) -> list[int]:
        prefix = self._name + "."
        try:
            names = os.listdir(self._dir)
        except FileNotFoundError:
            return []
        return sorted(int(n[len(prefix) :]) for n in names if n.startswith(prefix) and n[-1:].isdecimal())


class Times:
    """index.jsonl: when a stream had reached an offset. Reads only what is new."""

    def __init__(self, session_dir: str) -> None:
        self._path = os.path.join(session_dir, "index.jsonl")
        self._ends: dict[str, list[int]] = {name: [] for name in STREAMS}
        self._walls: dict[str, list[int]] = {name: [] for name in STREAMS}
        self._inode = 0
        self._at = 0

    def refresh(self) -> None:
        """Read the lines that were added; everything again when the shim has thinned the file."""
        try:
            with open(self._path, "rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                if inode != self._inode:
                    self._inode, self._at = inode, 0
                    for table in (*self._ends.values(), *self._walls.values()):
                        table.clear()
                file.seek(self._at)
                data = file.read()
        except FileNotFoundError:
            return
        data = data[: data.rfind(b"\n") + 1]
        self._at += len(data)
        for line in data.splitlines():
            try:
                wall_ms, stream, end = json.loads(line)
                self._ends[stream].append(end)
                self._walls[stream].append(wall_ms)
            except (ValueError, KeyError):
                continue

    def of(self, stream: str, end: int) -> int | None:
        """When the byte before `end` had been read (wall ms); None: not indexed yet."""
        at = bisect_left(self._ends[stream], end)
        return self._walls[stream][at] if at < len(self._ends[stream]) else None


class Splitter:
    """Bytes of one stream, in any pieces, into lines of at most LINE_BYTES."""

    def __init__(self, stream: str, offset: int) -> None:
        self.stream = stream
        self._start = offset
        self._begun = 0  # bytes of the open line fed so far
        self._open = bytearray()
        self._cut = False

    def feed(self, data: bytes) -> list[tuple[int, int, bytes, bool]]:
        """(offset, end, bytes, cut) of each line completed; an overlong one as soon as it is cut."""
        found: list[tuple[int, int, bytes, bool]] = []
        at = 0
        while at < len(data):
            newline = data.find(b"\n", at)
            stop = newline if newline >= 0 else len(data)
            if not self._cut:
                self._open += data[at : min(stop, at + LINE_BYTES + 1 - len(self._open))]
                if len(self._open) > LINE_BYTES:
                    self._cut = True
                    end = self._start + LINE_BYTES
                    found.append((self._start, end, bytes(self._open[:LINE_BYTES]), True))
            if newline < 0:
                self._begun += stop - at
                break
            end = self._start + self._begun + (newline + 1 - at)
            if not self._cut:
                found.append((self._start, end, bytes(self._open), False))
            self._next(end)
            at = newline + 1
        return found

    def rest(self) -> list[tuple[int, int, bytes, bool]]:
        """The open line, for a stream that has ended."""
        if not self._open or self._cut:
            return []
        end = self._start + self._begun
        line = (self._start, end, bytes(self._open), False)
        self._next(end)
        return [line]

    def skip_to(self, offset: int) -> None:
        """The bytes up to `offset` are gone: whatever was open is not a line any more."""
        self._next(offset)

    @property
    def offset(self) -> int:
        """The first byte that has not been fed yet."""
        return self._start + self._begun

    def _next(self, start: int) -> None:
        self._start = start
        self._begun = 0
        self._open.clear()
        self._cut = False


class Follower:
    """Both streams as lines in the order of their times, from given offsets on."""

    def __init__(
        self, session_dir: str, offsets: dict[str, int] | None = None, *, facts: bool = True, label: str = ""
    ) -> None:
        """`facts` False leaves the `{"agentctl"…` lines out; with `label` both streams are called that."""
        self._facts, self._label = facts, label
        self._times = Times(session_dir)
        self._streams = {name: Stream(session_dir, name) for name in STREAMS}
        start = offsets or {}
        self._splitters = {name: Splitter(name, start.get(name, 0)) for name in STREAMS}
        self.dropped = 0
        """Bytes that the ring deleted before they could be read."""

    @classmethod
    def tail(cls, session_dir: str, count: int = READ_BYTES, *, facts: bool = True, label: str = "") -> Follower:
        """A follower that begins at a line start within the newest `count` bytes of each stream."""
        offsets = {}
        for name in STREAMS:
            stream = Stream(session_dir, name)
            first, end = stream.extent()
            start = max(first, end - count)
            if start > 0:
                start, data = stream.tail(count)
                newline = data.find(b"\n")
                start += newline + 1 if newline >= 0 else 0
            offsets[name] = start
        return cls(session_dir, offsets, facts=facts, label=label)

    @property
    def offsets(self) -> tuple[int, ...]:
        """How far each stream was read: what has moved may have more, also where no line came of it."""
        return tuple([splitter.offset for splitter in self._splitters.values()])

    def read_on(self, reads: int, *, ended: bool = False) -> Iterator[Line]:
        """The lines from here to the end, in so many reads at most: an agent may write faster than they are read."""
        for _ in range(reads):
            before = self.offsets
            yield from self.read()
            if self.offsets == before:
                break
        if ended:
            yield from self.read(ended=True)

    def read(self, *, ended: bool = False) -> list[Line]:
        """The next lines, of at most READ_BYTES of each stream; `offsets` tells whether there was anything new.

        `ended`: the session is over, so a last line without a newline counts too.
        """
        self._times.refresh()
        found = [self._lines(name, ended) for name in STREAMS]
        return list(merge(*found, key=lambda line: line.wall_ms or 1 << 62))

    def _lines(self, name: str, ended: bool) -> list[Line]:
        splitter = self._splitters[name]
        begin, data = self._streams[name].read(splitter.offset)
        if begin > splitter.offset:
            self.dropped += begin - splitter.offset
            splitter.skip_to(begin)
        pieces = splitter.feed(data)
        if ended and not data:
            pieces += splitter.rest()
        return [
            Line(self._label or name, offset, self._times.of(name, end), text.decode("utf-8", "replace"), cut)
            for offset, end, text, cut in pieces
            if self._facts or not (name == "out" and text.startswith(MARK))
        ]


def result(session_dir: str, limit: int) -> Result:
    """The agent's stdout as its result: at most `limit` bytes, lines for the supervisor left out."""
    stream = Stream(session_dir, "out")
    dropped, _ = stream.extent()
    kept = bytearray()
    at = dropped
    line_start, plain = True, True
    carry = b""
    while len(kept) <= limit:
        begin, data = stream.read(at)
        if begin > at:
            dropped += begin - at
        at = begin + len(data)
        if not data:
            kept += carry if not carry.startswith(MARK) else b""
            break
        for piece in _pieces(carry + data):
            carry = b""
            if line_start and not piece.endswith(b"\n") and len(piece) < len(MARK):
                carry = piece
                break
            if line_start:
                plain = not piece.startswith(MARK)
            if plain:
                kept += piece
            line_start = piece.endswith(b"\n")
    text = bytes(kept[:limit]).decode("utf-8", "replace")
    return Result(text, len(kept) > limit, dropped)


def _pieces(data: bytes) -> list[bytes]:
    """Split behind each newline, and only there (splitlines would also split at \\r and others)."""
    pieces = [piece + b"\n" for piece in data.split(b"\n")]
    pieces[-1] = pieces[-1][:-1]
    return pieces if pieces[-1] else pieces[:-1]
