"""Sessions as screens and `agentctl logs` see them."""

from __future__ import annotations

from ..ids import check_instance, read_id, write_id
from ..jsontext import dumps
from ..read.models import SessionRow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .readfile import ReadFile


def of_instance(file: ReadFile, sql: dict[str, str], instance: str, limit: int) -> tuple[SessionRow, ...]:
    """See Reader.sessions."""
    agent, slot = check_instance(instance)
    found = file.rows(sql["sessions"], (agent, slot, limit))
    found += file.rows(sql["task_sessions"], (agent, slot, limit))
    return tuple(_row(row) for row in sorted(found, reverse=True)[:limit])


def of_now(file: ReadFile, sql: dict[str, str], since_ms: int, known: Sequence[str]) -> tuple[SessionRow, ...]:
    """See Reader.sessions_now."""
    numbers = dumps([read_id(session) for session in known])
    return tuple(_row(row) for row in file.rows(sql["sessions_now"], (max(since_ms, 0) << 20, numbers)))


def _row(row: Any) -> SessionRow:
    task = None if row[10] is None else write_id(row[10])
    values: list[Any] = [write_id(row[0]), f"{row[1]}/{row[2]}", row[0] >> 20, *row[3:10], task]
    return SessionRow(*values)
