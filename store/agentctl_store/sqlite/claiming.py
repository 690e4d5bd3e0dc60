"""Claiming: one winner, in one transaction, at a constant cost."""

from __future__ import annotations

from ..domain.event import KINDS
from ..domain.task import Claim
from .rows import task_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..domain.agent import NewSession
    from .connection import Transaction

_CLAIMED, _PROMOTED, _OPENED = KINDS["task.claimed"], KINDS["task.promoted"], KINDS["session.opened"]
PROMOTE_AT_ONCE = 64  #: due tasks of a queue made ready per claim; the next claim goes on


def claimable_queues(tx: Transaction, sql: dict[str, str], names: Sequence[str]) -> list[int]:
    """Return the numbers of those of `names` that exist and are not paused."""
    marks = ", ".join("?" * len(names))
    found = tx.execute(
        f"SELECT id FROM queue WHERE name IN ({marks}) AND paused_ms IS NULL",  # noqa: S608 - question marks only
        tuple(names),
    ).fetchall()
    return [row[0] for row in found]


def claim(
    tx: Transaction,
    sql: dict[str, str],
    queues: Sequence[str],
    agent: str,
    slot: int | None,
    session: int | None,
    open_session: NewSession | None,
    lease_ms: int,
    limit: int,
) -> list[Claim]:
    """Claim up to `limit` tasks of `queues`, the best ranked first."""
    numbers = claimable_queues(tx, sql, queues)
    for queue in numbers:
        promote(tx, sql, queue, PROMOTE_AT_ONCE)
    won: list[Claim] = []
    holder = tx.number("agent", agent) if numbers else 0
    actor = agent if slot is None else f"{agent}/{slot}"
    while len(won) < limit:
        best = None
        for queue in numbers:
            row = tx.execute(sql["pick"], (queue,)).fetchone()
            if row is not None and (best is None or (row[1], row[0]) < best):
                best = (row[1], row[0])
        if best is None:
            break
        task = best[1]
        if open_session is not None:
            session = open_session.id
        won.append(_take(tx, sql, task, holder, slot, session, actor, lease_ms))
        if open_session is not None:
            _open(tx, open_session, holder, task, won[-1].n)
            break
    return won


def _take(
    tx: Transaction,
    sql: dict[str, str],
    task: int,
    holder: int,
    slot: int | None,
    session: int | None,
    actor: str,
    lease_ms: int,
) -> Claim:
    until = tx.now.boot_ms + lease_ms
    n = tx.execute(sql["claim"], (until, task)).fetchone()[0]
    tx.execute(sql["insert_attempt"], (task, n, holder, slot, session, tx.now.wall_ms))
    tx.event(_CLAIMED, task, n, actor, session=session)
    row = tx.execute(sql["one"], (task,)).fetchone()
    return Claim(task_from(row), n, until, session)


def _open(tx: Transaction, new: NewSession, holder: int, task: int | None, n: int | None) -> None:
    tx.execute(
        "INSERT INTO session (id, agent, slot, nonce, boot_id, task, attempt) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (new.id, holder, new.slot, new.nonce, tx.now.boot_id, task, n),
    )
    data = f'{{"slot":{new.slot},"nonce":"{new.nonce}","boot":"{tx.now.boot_id}"}}'
    tx.event(_OPENED, task, n, f"{new.agent}/{new.slot}", data, session=new.id)


def open_session(tx: Transaction, new: NewSession) -> None:
    """Write the intent to start a session without a task."""
    _open(tx, new, tx.number("agent", new.agent), None, None)


def promote(tx: Transaction, sql: dict[str, str], queue: int, limit: int) -> int:
    """Make up to `limit` due tasks of `queue` ready; return how many there were."""
    due = tx.execute(sql["scheduled_due"], (queue, tx.now.wall_ms, limit)).fetchall()
    for (task,) in due:
        tx.execute(sql["promote"], (task,))
        tx.event(_PROMOTED, task)
    return len(due)
