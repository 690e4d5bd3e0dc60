"""How a task ends as a dead letter or cancelled, and what any end of it means for its children."""

from __future__ import annotations

from ..domain.event import KINDS
from ..domain.task import Ended
from ..ids import write_id
from ..jsontext import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..domain.machine import State
    from .holding import Body
    from .transaction import Transaction

_BURIED, _CANCELLED = KINDS["task.buried"], KINDS["task.cancelled"]
_UNBLOCKED, _DEFERRED = KINDS["task.unblocked"], KINDS["task.deferred"]
FREED_NAMED = 100


def bury(
    tx: Transaction,
    sql: dict[str, str],
    task: int,
    n: int | None,
    told: dict[str, Any],
    session: int | None = None,
    actor: str | None = None,
    partial: Body = (None, b""),
) -> Ended:
    """Make a task a dead letter; `told` carries reason, class, error, burns and the state it was in if not active."""
    _bury_alone(tx, sql, task, n, told, session, actor, partial)
    return Ended("dead", None, told["reason"], tuple(settle_children(tx, sql, task, "dead")))


def _bury_alone(
    tx: Transaction,
    sql: dict[str, str],
    task: int,
    n: int | None,
    told: dict[str, Any],
    session: int | None = None,
    actor: str | None = None,
    partial: Body = (None, b""),
) -> None:
    values = (
        tx.now.wall_ms,
        told.get("burns", 0),
        told["reason"],
        told.get("class"),
        told.get("error"),
        task,
    )
    tx.execute(sql["bury"], values)
    _leave(tx, sql, task, told.get("from"))
    tx.event(_BURIED, task, n, actor, dumps(told), session=session, body=partial[0], body_digest=partial[1])


def _leave(tx: Transaction, sql: dict[str, str], task: int, state: State | None) -> None:
    """End what a task did in the state it ends in: it waits for no parent, and asks nobody, any more."""
    if state == "blocked":
        tx.execute(sql["end_edges"], (task,))
    elif state == "waiting":
        tx.execute(sql["drop_question"], (tx.now.wall_ms, task))


def cancel_now(
    tx: Transaction,
    sql: dict[str, str],
    task: int,
    n: int | None,
    reason: str,
    actor: str | None,
    told: dict[str, Any],
    session: int | None = None,
) -> Ended:
    """End a task as cancelled; `told` carries how its attempt ended, or the state it was in if not active."""
    _cancel_alone(tx, sql, task, n, reason, actor, told, session)
    return Ended("cancelled", None, reason, tuple(settle_children(tx, sql, task, "cancelled")))


def _cancel_alone(
    tx: Transaction,
    sql: dict[str, str],
    task: int,
    n: int | None,
    reason: str,
    actor: str | None,
    told: dict[str, Any],
    session: int | None = None,
) -> None:
    tx.execute(sql["cancel"], (tx.now.wall_ms, reason, task))
    _leave(tx, sql, task, told.get("from"))
    tx.event(_CANCELLED, task, n, actor, dumps({"reason": reason, **told}), session=session)


def settle_children(tx: Transaction, sql: dict[str, str], parent: int, state: State) -> list[int]:
    """Free, bury or cancel the children of a task that just ended, and theirs in turn.

    Returns the freed ones, FREED_NAMED at most.
    """
    if tx.execute(sql["has_children"], (parent,)).fetchone() is None:
        return []
    freed: list[int] = []
    ended: list[tuple[int, State]] = [(parent, state)]  # a list, not recursion: chains can be long
    while ended:
        above, how = ended.pop()
        for child, open_parents, fallback, available in tx.execute(sql["children"], (above,)).fetchall():
            tx.execute(sql["end_edge"], (above, child))
            if how != "done" and fallback != "run":
                ended.append((child, end_child_alone(tx, sql, child, "blocked", above, fallback, None)))
            elif open_parents > 1:
                tx.execute(sql["fewer_parents"], (child,))
            elif available > tx.now.wall_ms:
                tx.execute(sql["defer"], (child,))
                tx.event(_DEFERRED, child)
            else:
                tx.execute(sql["unblock"], (tx.now.wall_ms, child))
                tx.event(_UNBLOCKED, child)
                freed.append(child)
    return freed[:FREED_NAMED]


def end_child_alone(
    tx: Transaction,
    sql: dict[str, str],
    child: int,
    state: State,
    parent: int,
    fallback: str | None,
    actor: str | None,
) -> State:
    """End a child whose parent failed, as its on_parent_failure says; its own children are the caller's."""
    why = f"its parent {write_id(parent)} failed"
    if fallback == "cancel":
        _cancel_alone(tx, sql, child, None, why, actor, {"from": state})
        return "cancelled"
    _bury_alone(tx, sql, child, None, {"reason": "parent_failed", "error": why, "from": state})
    return "dead"
