"""What a person decides about a task: cancel, hasten, requeue, discard."""

from __future__ import annotations

from ..domain.event import KINDS
from ..domain.machine import MOVES
from ..domain.task import Ended
from ..errors import Conflict, NotFound
from ..ids import write_id
from ..jsontext import dumps
from .fallback import home
from .settling import cancel_now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..domain.machine import State, Verb
    from .connection import Connection
    from .transaction import Transaction

_REMEDY = {
    "hasten": "Only a scheduled task can be hastened; a dead one is requeued: agentctl dlq requeue",
    "requeue": "Only dead letters are requeued; list them with: agentctl dlq list",
    "requeue_later": "Only dead letters are requeued; list them with: agentctl dlq list",
    "discard": "Only dead letters are discarded; list them with: agentctl dlq list",
    "cancel": "A task that has ended stays as it is",
}


def _state(tx: Transaction, conn: Connection, task: int, verb: Verb) -> State:
    row = tx.execute(conn.sql["parent"], (task,)).fetchone()
    if row is None:
        raise NotFound(f"there is no task {write_id(task)}", "Look for it with: agentctl task list")
    state: State = row[1]
    if MOVES[state, verb] is None:
        word = verb.replace("_later", "").replace("_", " ")
        raise Conflict(f"task {write_id(task)} is {state}, so it cannot be {_past(word)}", _REMEDY[verb])
    return state


def _past(word: str) -> str:
    return {"cancel": "cancelled", "requeue": "requeued", "hasten": "hastened"}.get(word, word + "ed")


def cancel(tx: Transaction, conn: Connection, task: int, reason: str, actor: str) -> Ended:
    """Cancel what waits; ask what runs. Asking twice changes nothing."""
    state = _state(tx, conn, task, "cancel")
    if state != "active":
        return cancel_now(tx, conn.sql, task, None, reason, actor, {"from": state})
    asked = tx.execute("SELECT cancel_asked FROM task WHERE id = ?", (task,)).fetchone()[0]
    if not asked:
        tx.execute(conn.sql["ask_cancel"], (reason, task))
        tx.event(KINDS["task.cancel_asked"], task, None, actor, dumps({"reason": reason}))
    return Ended("active", None, reason)


def hasten(tx: Transaction, conn: Connection, task: int, actor: str) -> Ended:
    """Make a scheduled task ready now."""
    _state(tx, conn, task, "hasten")
    tx.execute(conn.sql["hasten"], (tx.now.wall_ms, task))
    tx.event(KINDS["task.hastened"], task, None, actor)
    return Ended("ready")


def requeue(
    tx: Transaction,
    conn: Connection,
    task: int,
    payload: str | None,
    run_at_ms: int | None,
    note: str,
    actor: str,
) -> Ended:
    """Send a dead letter back with fresh tries, at once or at `run_at_ms`; the attempts it had stay on record."""
    later = run_at_ms is not None and run_at_ms > tx.now.wall_ms
    verb: Verb = "requeue_later" if later else "requeue"
    _state(tx, conn, task, verb)
    at = run_at_ms if later and run_at_ms is not None else tx.now.wall_ms
    number, body = (None, b"") if payload is None else tx.body(payload)
    lane, queue = home(tx, task)
    tx.execute(conn.sql[verb], (at, number, note or None, lane, task))
    told: dict[str, Any] = {"at": at}
    if queue is not None:
        told.update(queue=queue, lane=lane)
    if later:
        told["later"] = 1
    if note:
        told["note"] = note
    tx.event(KINDS["task.requeued"], task, None, actor, dumps(told), body=number, body_digest=body)
    return Ended("scheduled", at) if later else Ended("ready")


def discard(tx: Transaction, conn: Connection, task: int, reason: str, actor: str) -> Ended:
    """Give a dead letter up for good."""
    _state(tx, conn, task, "discard")
    tx.execute(conn.sql["discard"], (tx.now.wall_ms, reason, task))
    tx.event(KINDS["task.discarded"], task, None, actor, dumps({"reason": reason}))
    return Ended("cancelled", None, reason)
