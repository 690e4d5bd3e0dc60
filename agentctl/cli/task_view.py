"""How tasks, claims and attempts are shown."""

from __future__ import annotations

from agentctl_store.ids import write_attempt, write_id

from .table import Column

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentctl_store.domain.task import Attempt, Claim
    from agentctl_store.store import Store

ATTEMPTS = (
    Column("attempt"),
    Column("agent"),
    Column("outcome"),
    Column("class"),
    Column("exit_code", "number", title="exit"),
    Column("claimed_at", "time", title="claimed"),
    Column("ended_at", "time", title="ended"),
    Column("session"),
    Column("error"),
)
PARENTS = (Column("task"), Column("queue"), Column("state"), Column("result", "json"), Column("reason"))
CLAIM = (
    Column("attempt"),
    Column("task"),
    Column("queue"),
    Column("payload", "json"),
    Column("priority", "number"),
    Column("correlation", wide=True),
    Column("attempts", "number"),
    Column("deadline_at", "time", title="deadline", wide=True),
    Column("timeout_ms", "span", wide=True),
    Column("parents", "rows", parts=PARENTS, wide=True),
)
TASK = (
    Column("task"),
    Column("queue"),
    Column("state"),
    Column("reason"),
    Column("class"),
    Column("error"),
    Column("payload", "json"),
    Column("result", "json"),
    Column("priority", "number"),
    Column("agent"),
    Column("session", wide=True),
    Column("created_at", "time", title="created"),
    Column("available_at", "time", title="available", wide=True),
    Column("finished_at", "time", title="finished"),
    Column("deadline_at", "time", title="deadline", wide=True),
    Column("timeout_ms", "span", wide=True),
    Column("tries", "number"),
    Column("key", wide=True),
    Column("correlation"),
    Column("creator", wide=True),
    Column("open_parents", "number", wide=True),
    Column("cancel_asked", "flag", wide=True),
    Column("parents", "rows", parts=PARENTS),
    Column("attempts", "rows", parts=ATTEMPTS),
)


def claim_row(store: Store, claim: Claim) -> dict[str, Any]:
    """Return what a claimer needs: the attempt id, the payload and what the parents found."""
    task = claim.task
    return {
        "attempt": write_attempt(task.id, claim.n),
        "task": write_id(task.id),
        "queue": task.queue,
        "payload": task.payload,
        "priority": task.priority,
        "correlation": task.correlation,
        "attempts": task.attempts,
        "deadline_at": task.deadline_ms,
        "timeout_ms": task.timeout_ms,
        "parents": _parents(store, task.id),
    }


def task_row(store: Store, number: int) -> dict[str, Any]:
    """Return all of one task. NotFound."""
    task = store.task(number)
    return {
        "task": write_id(task.id),
        "queue": task.queue,
        "state": task.state,
        "reason": task.reason,
        "class": task.error_class,
        "error": task.error,
        "payload": task.payload,
        "result": task.result,
        "priority": task.priority,
        "agent": task.agent,
        "session": None if task.session is None else write_id(task.session),
        "created_at": task.created_ms,
        "available_at": task.available_ms,
        "finished_at": task.finished_ms,
        "deadline_at": task.deadline_ms,
        "timeout_ms": task.timeout_ms,
        "tries": task.burnt,
        "key": task.key,
        "correlation": task.correlation,
        "creator": None if task.creator is None else write_id(task.creator),
        "open_parents": task.open_parents,
        "cancel_asked": task.cancel_asked,
        "parents": _parents(store, number),
        "attempts": [_attempt_row(attempt) for attempt in store.attempts(number)],
    }


def _attempt_row(attempt: Attempt) -> dict[str, Any]:
    return {
        "attempt": write_attempt(attempt.task, attempt.n),
        "agent": attempt.agent if attempt.slot is None else f"{attempt.agent}/{attempt.slot}",
        "outcome": attempt.outcome or "active",
        "class": attempt.error_class,
        "exit_code": attempt.exit_code,
        "claimed_at": attempt.claimed_ms,
        "ended_at": attempt.ended_ms,
        "session": None if attempt.session is None else write_id(attempt.session),
        "error": attempt.error,
    }


def _parents(store: Store, number: int) -> list[dict[str, Any]]:
    return [
        {
            "task": write_id(parent.task),
            "queue": parent.queue,
            "state": parent.state,
            "result": parent.result,
            "reason": parent.reason,
        }
        for parent in store.parents(number)
    ]
