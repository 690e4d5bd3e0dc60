"""Rows to records, in the column order of sql/*.sql."""

from __future__ import annotations

from ..domain.task import Attempt, ParentResult, Task, Usage
from ..jsontext import loads
from ..later import later

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..domain.retry import RetryPolicy
    from . import routing
    from .connection import Connection
else:
    later(globals(), __package__, "routing")


def policy_from(text: str | None) -> RetryPolicy | None:
    """Read a retry policy stored as JSON text."""
    if text is None:
        return None
    from ..domain.retry import RetryPolicy

    return RetryPolicy(**loads(text, "retry policy"))


def task_from(row: Any, conn: Connection, unroutable: str = "") -> Task:
    """Make a Task from the block `one`; what its lane and chain are, the connection knows."""
    (
        number, queue, state, payload, correlation, priority, available, attempts, burnt, throttled, key, fallback,
        open_parents, deadline, timeout, retry, creator, lane, chain, degraded, reason, error_class, error, result,
        finished, cancel_asked, lease, agent, session,
    ) = row  # fmt: skip
    needs: tuple[str, ...] = ()
    delegated: tuple[str, ...] = ()
    if lane or chain:
        needs, delegated = routing.lane_of(conn, lane, queue).needs, routing.chain_of(conn, chain)
    return Task(
        number, queue, state, payload, correlation.lower(), priority, number >> 20, available, attempts, burnt,
        throttled, key, fallback or "fail", open_parents, deadline, timeout, policy_from(retry), creator, reason,
        error_class, error, result, finished, bool(cancel_asked), lease, agent, session, needs, delegated,
        degraded is not None, unroutable,
    )  # fmt: skip


def attempt_from(row: Any) -> Attempt:
    """Make an Attempt from the block `attempts`."""
    usage = Usage(row[11] or 0, row[12] or 0, row[13] or 0)
    values: list[Any] = [*row[:11], usage, *row[14:]]
    return Attempt(*values)


def parent_from(row: Any) -> ParentResult:
    """Make a ParentResult from the block `parents`."""
    values: list[Any] = [*row[:7], bool(row[7])]
    return ParentResult(*values)
