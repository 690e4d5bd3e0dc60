"""Tasks, claims and attempts as rows of values; their columns stand in cli/task_view.py.

Apart from these because `task claim` prints JSON lines at once and has no use for columns.
"""

from __future__ import annotations

from agentctl_store.ids import write_attempt, write_id
from agentctl_store.jsontext import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentctl_store.domain.task import Attempt, Claim
    from agentctl_store.store import Store


def claim_object(row: dict[str, Any]) -> dict[str, Any]:
    """Return a claim's row as the object that JSON writes: what `task_view.CLAIM` makes of it, without columns."""
    made = dict(row)
    made["payload"] = loads(row["payload"])
    if row["deadline_at"] is not None:
        from .times import iso

        made["deadline_at"] = iso(row["deadline_at"])
    made["answers"] = [answer_object(answer) for answer in row["answers"]]
    made["parents"] = [
        {**parent, "result": None if parent["result"] is None else loads(parent["result"])} for parent in row["parents"]
    ]
    return made


def answer_object(row: dict[str, Any]) -> dict[str, Any]:
    """Return what was asked and answered as JSON writes it."""
    from .times import iso

    times = {name: None if row[name] is None else iso(row[name]) for name in ("asked_at", "ended_at")}
    return {**row, "options": list(row["options"]), **times}


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
        "needs": list(task.needs),
        "degraded": task.degraded,
        "parents": _parents(store, task.id),
        "answers": answers(store, task.id) if claim.n > 1 else [],
    }


def task_row(store: Store, number: int) -> dict[str, Any]:
    """Return all of one task. NotFound."""
    task = store.task(number)
    attempts = store.attempts(number)
    return {
        "task": write_id(task.id),
        "queue": task.queue,
        "state": task.state,
        "unroutable": task.unroutable,
        "degraded": task.degraded,
        "reason": task.reason,
        "class": task.error_class,
        "error": task.error,
        "payload": task.payload,
        "result": task.result,
        "partial": next((one.partial for one in reversed(attempts) if one.partial is not None), None),
        "priority": task.priority,
        "needs": list(task.needs),
        "agent": task.agent,
        "session": None if task.session is None else write_id(task.session),
        "created_at": task.created_ms,
        "available_at": task.available_ms,
        "finished_at": task.finished_ms,
        "deadline_at": task.deadline_ms,
        "timeout_ms": task.timeout_ms,
        "burnt": task.burnt,
        "key": task.key,
        "correlation": task.correlation,
        "creator": None if task.creator is None else write_id(task.creator),
        "chain": list(task.chain),
        "open_parents": task.open_parents,
        "cancel_asked": task.cancel_asked,
        "parents": _parents(store, number),
        "attempts": [_attempt_row(attempt) for attempt in attempts],
        "answers": answers(store, number) if any(one.outcome == "asked" for one in attempts) else [],
    }


def answers(store: Store, task: int) -> list[dict[str, Any]]:
    """Return what a task asked and was answered: a first attempt, and most others, can have asked nothing."""
    return [
        {
            "question": one.text,
            "options": one.options,
            "answer": one.answer,
            "how": one.how,
            "by": one.by,
            "asked_at": one.asked_ms,
            "ended_at": one.ended_ms,
        }
        for one in store.questions.of_task(task)
    ]


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
            "degraded": parent.degraded,
        }
        for parent in store.parents(number)
    ]
