"""What the store's columns are as rows for screens and reading verbs."""

from __future__ import annotations

from ..ids import write_id
from ..read.models import AttemptRow, DeadLetterRow
from ..text import title

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ERROR_LINE = 200  #: characters of an error in a list


def attempt_row(row: Any) -> AttemptRow:
    """Make an attempt of a row of the block `attempts`."""
    who = row[2] if row[3] is None else f"{row[2]}/{row[3]}"
    session = None if row[4] is None else write_id(row[4])
    values: list[Any] = [write_id(row[0]), row[1], who, session, *row[5:12], row[12] or 0]
    return AttemptRow(*values)


def dead_row(row: Any) -> DeadLetterRow:
    """Make a dead letter of a row of the block `tasks_by_id`."""
    lines = (row[12] or "").strip().splitlines()
    return DeadLetterRow(
        write_id(row[0]),
        row[1],
        row[10] or "",
        row[11],
        lines[0][:ERROR_LINE] if lines else "",
        row[8],
        row[5],
        row[7],
        title(row[3]),
    )
