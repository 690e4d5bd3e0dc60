"""Reading the history back."""

from __future__ import annotations

from ..domain.event import KINDS, NAMES, Event
from ..errors import BadInput
from ..ids import write_id
from ..read.models import EventRow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .connection import Connection
    from .readfile import ReadFile

_ADDED = KINDS["task.added"]
EVENT = """SELECT e.seq, e.at_ms, e.kind, e.task, e.attempt, a.name, e.data, e.hash, e.session, e.body,
    CASE length(e.correlation) WHEN 8 THEN printf('%016x', e.task) ELSE '' END || lower(hex(e.correlation))
    FROM event e LEFT JOIN actor a ON a.id = e.actor"""


def events(
    conn: Connection | ReadFile, after: int, limit: int, task: int | None, kinds: Sequence[str], newest_first: bool
) -> list[Event]:
    """Return a page of events by sequence number (keyset paging)."""
    conditions, values = [], []
    if after or not newest_first:
        conditions.append("e.seq < ?" if newest_first else "e.seq > ?")
        values.append(after)
    if task is not None:
        conditions.append("e.task = ?")
        values.append(task)
    if kinds:
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown:
            raise BadInput(f"there is no event kind {unknown[0]!r}", f"Kinds are: {', '.join(KINDS)}")
        codes = [KINDS[kind] for kind in kinds]
        conditions.append(f"e.kind IN ({', '.join('?' * len(codes))})")
        if min(codes) >= 7:
            conditions.append("e.kind >= 7")  # lets the planner use the index of rare kinds
        values.extend(codes)
    where = " AND ".join(conditions) or "1"
    order = "DESC" if newest_first else "ASC"
    rows = conn.rows(f"{EVENT} WHERE {where} ORDER BY e.seq {order} LIMIT ?", (*values, limit))
    return [event_from(row) for row in rows]


def tried(kind: int, attempt: int | None, data: str | None) -> tuple[int | None, str | None]:
    """Return an event's attempt and data as they are shown: what adds a task keeps its queue where attempts go."""
    if kind != _ADDED or attempt is None:
        return attempt, data
    return None, f'{{"queue":{attempt}' + (f",{data[1:]}" if data else "}")


def event_from(row: Any) -> Event:
    """Make an Event of a row of EVENT."""
    values: list[Any] = list(row)
    values[2] = NAMES.get(row[2], str(row[2]))
    values[4], values[6] = tried(row[2], row[4], row[6])
    values[10] = row[10] or None  # hex() makes '' of NULL
    return Event(*values)


def row_from(row: Any) -> EventRow:
    """Make a row for screens of a row of the block `events`."""
    seq, at, kind, task, attempt, actor, data, session = row
    attempt, data = tried(kind, attempt, data)
    about = [None if number is None else write_id(number) for number in (task, session)]
    return EventRow(seq, at, NAMES.get(kind, str(kind)), about[0], attempt, actor, data, about[1])
