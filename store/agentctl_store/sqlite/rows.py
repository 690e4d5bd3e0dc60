"""Rows to records, in the column order of sql/*.sql."""

from __future__ import annotations

from ..domain.task import Attempt, Task, Usage
from ..jsontext import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..domain.retry import RetryPolicy


def policy_from(text: str | None) -> RetryPolicy | None:
    """Read a retry policy stored as JSON text."""
    if text is None:
        return None
    from ..domain.retry import RetryPolicy

    return RetryPolicy(**loads(text, "retry policy"))


def task_from(row: Any) -> Task:
    """Make a Task from the block `one`."""
    (
        number, queue, state, payload, correlation, priority, available, attempts, burnt, throttled, key, fallback,
        open_parents, deadline, timeout, retry, creator, reason, error_class, error, result, finished, cancel_asked,
        lease, agent, session,
    ) = row  # fmt: skip
    return Task(
        number, queue, state, payload, correlation.lower(), priority, number >> 20, available, attempts, burnt,
        throttled, key, fallback or "fail", open_parents, deadline, timeout, policy_from(retry), creator, reason,
        error_class, error, result, finished, bool(cancel_asked), lease, agent, session,
    )  # fmt: skip


def attempt_from(row: Any) -> Attempt:
    """Make an Attempt from the block `attempts`."""
    usage = Usage(row[11] or 0, row[12] or 0, row[13] or 0)
    values: list[Any] = [*row[:11], usage, *row[14:]]
    return Attempt(*values)
