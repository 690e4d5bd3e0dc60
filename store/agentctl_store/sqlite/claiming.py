"""Claiming: one winner, in one transaction, at a constant cost."""

from __future__ import annotations

from ..domain.event import KINDS
from ..domain.machine import target
from ..domain.task import Claim
from ..jsontext import dumps
from ..later import later
from .rows import task_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..domain.agent import NewSession
    from . import routing
    from .connection import Connection
    from .limiting import Limits
    from .transaction import Group, Transaction
else:
    later(globals(), __package__, "routing")

_ACTIVE = target("claim")
_CLAIMED, _OPENED = KINDS["task.claimed"], KINDS["session.opened"]
ATTEND_AT_ONCE = 64  #: lost and overdue tasks a claim attends to; the sweep does the rest
AHEAD = 32  #: ready tasks looked up at once for the claims of one commit
MOST_CLAIMED = 16 << 20  #: characters of payloads beyond which a claim wins no more tasks, whatever its limit
BURIED_AT_ONCE = 1_000  #: ready tasks that have spent their budgets, per claim; the next claim goes on
PROMOTE_AT_ONCE = 64  #: due tasks of a queue made ready per claim; the next claim goes on
_OPEN = "INSERT INTO session (id, agent, slot, nonce, task, attempt) VALUES (?, ?, ?, ?, ?, ?)"
# A claim opens the session it names if that began in its own millisecond (replay/fleet.py): saying so would cost each
# of a million tasks its bytes. Where that would mislead, the event says how it is.
_OPENS = ('{"opens":0}', '{"opens":1}')


def claim(
    tx: Transaction,
    conn: Connection,
    queues: Sequence[str],
    agent: str,
    slot: int | None,
    session: int | None,
    open_session: NewSession | None,
    lease_ms: int,
    limit: int,
    can: Sequence[str] | None,
) -> list[Claim]:
    """Claim up to `limit` tasks of `queues`, the best ranked first, after what time asks for has been done.

    Fewer, when their payloads are many megabytes: a claimer that wants more asks again.
    """
    group = conn.group
    if group is not None:
        group.claims -= 1
        if limit == 1 and open_session is None and not conn.limited() and (found := _ahead(group, queues)) is not None:
            holder, told = tx.number("agent", agent), _opening(tx, session, False)
            taken = _take(tx, conn, *found, agent, holder, slot, session, lease_ms, told)
            if taken is not None:
                return [taken]
    looked = _survey(tx, conn, queues, agent, can)
    if not looked or [row for row in looked if row[4] or row[5] or row[6]]:
        _catch_up(tx, conn, looked)
        looked = _survey(tx, conn, queues, agent, can)
    conn.laned = bool(looked and looked[0][8])
    won: list[Claim] = []
    much, best = 0, _best(looked)
    limits = False if best is None else conn.limited()
    if limits:
        looked, best = _let_through(tx, conn, limits, agent, looked)
    while best is not None:
        holder = tx.number("agent", agent)
        session = session if open_session is None else open_session.id
        told = _opening(tx, session, open_session is not None)
        (ready,) = _claimable(tx, conn, "one_ready", (best[2],))
        taken = _take(tx, conn, ready, best[1], agent, holder, slot, session, lease_ms, told)
        assert taken is not None, "a ready task was found in this transaction"
        won.append(taken)
        much += len(taken.task.payload)
        if open_session is not None:
            tx.execute(_OPEN, (session, holder, open_session.slot, None, best[2], won[-1].n))
        if limits:
            limits.started(tx, agent, best[1], best[2], taken.n)
        if len(won) >= limit or much >= MOST_CLAIMED:
            if group is not None and len(queues) == 1 and group.claims > 0 and not conn.laned and not limits:
                _look_ahead(tx, conn, group, best)
            return won
        looked, best = _without(tx, conn.sql, looked, best)
        if limits:
            looked, best = _let_through(tx, conn, limits, agent, looked)
    return won


def _without(tx: Transaction, sql: dict[str, str], looked: list[Any], best: Any) -> tuple[list[Any], Any]:
    """Return what there is once the best task has gone from its queue, and the best of that."""
    looked = [row if row is not best else _next(tx, sql, row) for row in looked]
    return looked, _best(looked)


def _best(looked: list[Any]) -> Any:
    """Return the row whose task is to be claimed first, None when there is none."""
    best = None
    for row in looked:
        if row[2] is not None and (best is None or (row[3], row[2]) < (best[3], best[2])):
            best = row
    return best


def _let_through(
    tx: Transaction, conn: Connection, limits: Limits, agent: str, looked: list[Any]
) -> tuple[list[Any], Any]:
    """Return the queues from which this agent may start something now, and the best task of them.

    Those that have spent a budget of their own become dead letters; none is returned where those are too many.
    """
    now_ms = tx.now.wall_ms
    running = limits.running(tx.rows, now_ms)
    if limits.hold(agent, now_ms, running) is not None:
        return [], None
    looked = [row for row in looked if limits.hold_queue(row[1], now_ms, running) is None]
    best = _best(looked)
    for _ in range(BURIED_AT_ONCE):
        if best is None or not _bury_spent(tx, conn, limits, agent, best[2]):
            return looked, best
        looked, best = _without(tx, conn.sql, looked, best)
    return [], None


def _bury_spent(tx: Transaction, conn: Connection, limits: Limits, agent: str, task: int) -> bool:
    """Make a ready task that has spent a budget of its own a dead letter; whether it had."""
    why = limits.task_spent(tx.rows, task, agent, tx.now.wall_ms)
    if why:
        from .settling import bury

        bury(tx, conn.sql, task, None, {"reason": "policy", "class": "policy", "error": why, "from": "ready"})
    return bool(why)


def _catch_up(tx: Transaction, conn: Connection, looked: list[Any]) -> None:
    """Do what time asks for, so that no supervisor is needed for it."""
    from .sweeping import attend, keep_appointments, promote

    jitter = (tx.now.boot_ms % 997) / 997
    attend(tx, conn, jitter, ATTEND_AT_ONCE)
    keep_appointments(tx, conn, jitter, ATTEND_AT_ONCE)
    for queue in dict.fromkeys([row[0] for row in looked]):
        promote(tx, conn.sql, queue, PROMOTE_AT_ONCE)


def _survey(
    tx: Transaction, conn: Connection, queues: Sequence[str], agent: str, can: Sequence[str] | None
) -> list[Any]:
    """Return (queue, its name, its best ready task, that one's rank, three flags, lane) of each queue not paused.

    So too of each lane that the agent may claim from, in a store that has any.
    """
    plain = conn.is_plain()
    block = conn.survey.get((plain, len(queues)))
    if block is None:
        block = conn.sql["survey"].replace("@names", ", ".join("?" * len(queues)))
        block = block.replace("@others_due", "" if plain else conn.sql["others_due"])
        block = block.replace("@newest_lane", "0" if plain else conn.sql["newest_lane"])
        conn.survey[plain, len(queues)] = block
    looked: list[Any] = tx.execute(block, (tx.now.wall_ms, tx.now.boot_ms, *queues)).fetchall()
    if looked and looked[0][8]:
        known = routing.read_lanes(conn, looked[0][8])
        names = [row[1] for row in looked]
        lanes = known.open_to(names, agent, tuple(can) if can is not None else routing.can_of(conn, agent))
        if lanes:
            looked += tx.execute(conn.sql["survey_lanes"], (dumps(lanes),)).fetchall()
    return looked


def _claimable(tx: Transaction, conn: Connection, which: str, values: tuple[int, ...]) -> list[Any]:
    """Return what a claim must know of one ready task, or of the next ones of a queue."""
    block = conn.claimable.get(which)
    if block is None:
        block = conn.claimable[which] = conn.sql["claimable"].replace("@which", conn.sql[which])
    return tx.execute(block, values).fetchall()  # type: ignore[no-any-return]


def _look_ahead(tx: Transaction, conn: Connection, group: Group, best: Any) -> None:
    """Look up the next tasks of a queue for the claims to come in this commit."""
    ahead = _claimable(tx, conn, "next_ready", (best[0], min(group.claims, AHEAD)))
    group.ahead[best[1]] = [(row, best[1]) for row in reversed(ahead)]


def _ahead(group: Group, queues: Sequence[str]) -> tuple[Any, str] | None:
    # What a neighbour in this commit adds, cancels or pauses meanwhile has not been told to anybody: this claim is
    # as if it had come before. One that is not ready any more is not taken (see _take).
    line = group.ahead.get(queues[0]) if len(queues) == 1 else None
    return line.pop() if line else None


def _opening(tx: Transaction, session: int | None, opens: bool) -> str | None:
    return _OPENS[opens] if session is not None and opens != (session >> 20 == tx.now.wall_ms) else None


def _next(tx: Transaction, sql: dict[str, str], row: Any) -> Any:
    found = tx.execute(sql["pick"], (row[0], row[7])).fetchone() or (None, None)
    return row[0], row[1], *found, None, None, None, row[7]


def _take(
    tx: Transaction,
    conn: Connection,
    ready: Any,
    queue: str,
    agent: str,
    holder: int,
    slot: int | None,
    session: int | None,
    lease_ms: int,
    told: str | None,
) -> Claim | None:
    actor = agent if slot is None else f"{agent}/{slot}"
    task, payload, correlation, priority, available, before, *rest, error_class, error = ready
    until, n = tx.now.boot_ms + lease_ms, before + 1
    if not tx.execute(conn.sql["claim"], (until, task, before)).rowcount:
        return None
    tx.execute(conn.sql["insert_attempt"], (task, n, holder, slot, session, tx.now.wall_ms))
    tx.event(_CLAIMED, task, n, actor, told, session=session)
    row = (task, queue, _ACTIVE, payload, correlation, priority, available, n, *rest, None, error_class, error)
    return Claim(task_from((*row, None, None, None, until, agent, session), conn), n, until, session)


def open_session(tx: Transaction, new: NewSession) -> None:
    """Write the intent to start a session without a task."""
    tx.execute(_OPEN, (new.id, tx.number("agent", new.agent), new.slot, new.nonce, None, None))
    tx.event(_OPENED, None, None, f"{new.agent}/{new.slot}", f'{{"nonce":"{new.nonce}"}}', session=new.id)
