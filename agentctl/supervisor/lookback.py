"""Reading the output that a shim keeps from its end, for the newest lines that somebody wants.

It goes back piece by piece, through all that the ring still has if need be, and keeps no more than one piece and one
line of each stream. A line at the ring's edge whose beginning is gone is left out.
"""

from __future__ import annotations

from collections.abc import Iterator

from agentctl.supervisor.spool import LINE_BYTES, MARK, STREAMS, Follower, Line, Stream, Times

PIECE_BYTES = 65_536
"""Read at once of each stream; many streams are read side by side."""


def look_back(session_dir: str, *, facts: bool = True, label: str = "") -> tuple[Follower, list[Iterator[Line]]]:
    """Return the lines of each stream of a session, the newest first, and who reads on behind all of them.

    A line that has not ended yet is left to the follower. `facts` and `label` are as the follower has them.
    """
    streams = {name: Stream(session_dir, name) for name in STREAMS}
    ends = {name: last_line_end(stream) for name, stream in streams.items()}
    times = Times(session_dir)
    times.refresh()

    def lines(name: str) -> Iterator[Line]:
        for offset, end, text, cut in lines_before(streams[name], ends[name]):
            if facts or not (name == "out" and text.startswith(MARK)):
                yield Line(label or name, offset, times.of(name, end), text.decode("utf-8", "replace"), cut)

    return Follower(session_dir, ends, facts=facts, label=label), [lines(name) for name in STREAMS]


def lines_before(stream: Stream, end: int) -> Iterator[tuple[int, int, bytes, bool]]:
    """Yield (offset, end, bytes, cut) of each whole line before `end`, where one ends, as a Splitter would."""
    first = stream.extent()[0]
    if end <= first:
        return
    at = end - 1  # how far back it was read: behind that newline
    line_end, known = end, b""  # of the line whose beginning is further back
    while at > first:
        asked = max(first, at - PIECE_BYTES)
        begin, data = stream.span(asked, at)
        if not data:
            return
        if begin > asked:  # the ring dropped the place meanwhile
            first = begin
        stop = at
        beginning, *pieces = data.split(b"\n")
        for piece in reversed(pieces):
            start = stop - len(piece)
            yield _line(start, line_end, piece + known)
            line_end, known, stop = start, b"", start - 1
        known = (beginning + known)[: LINE_BYTES + 1]
        at = begin
    if first == 0:
        yield _line(0, line_end, known)


def _line(start: int, end: int, text: bytes) -> tuple[int, int, bytes, bool]:
    if len(text) > LINE_BYTES:
        return start, start + LINE_BYTES, text[:LINE_BYTES], True
    return start, end, text, False


def last_line_end(stream: Stream) -> int:
    """Return where the last line that has ended ends: the stream's beginning when none has."""
    first, at = stream.extent()
    while at > first:
        asked = max(first, at - PIECE_BYTES)
        begin, data = stream.span(asked, at)
        newline = data.rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
        if begin > asked or not data:  # the ring dropped the place meanwhile
            return begin
        at = begin
    return first
