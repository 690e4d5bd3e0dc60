"""Lanes, chains and who serves them, as one connection knows them: what domain/routing.py decides upon.

Lanes and chains are few and never change, so each connection reads those it has not seen, once. Lanes that no task is
left of are dropped when the store is pruned, by another process: to look for work in one finds nothing, and before a
task is put into one it is looked whether it is still there. No number is given twice.
"""

from __future__ import annotations

from ..domain.event import KINDS
from ..domain.routing import MAX_DEPTH, MAX_LANES, Lane, Routing, Server, barred_by, circle, unroutable
from ..domain.task import WAITING
from ..errors import BadDelegation, BadInput
from ..jsontext import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from ..domain.task import NewTask
    from .connection import Connection
    from .transaction import Transaction

    Placed = tuple[int, int | None]  #: a task's lane and chain

_LANE_NAMED, _CHAIN_NAMED = KINDS["lane.named"], KINDS["chain.named"]
_LOST, _FOUND = KINDS["route.lost"], KINDS["route.found"]


def _known(conn: Connection) -> Routing:
    """Return what a connection knows; forgotten with a transaction that is undone."""
    if conn.routing is None:
        conn.routing = Routing()
    return conn.routing


def read_lanes(conn: Connection, newest: int) -> Routing:
    """Know the lanes up to number `newest`; return all that is known."""
    routing = _known(conn)
    before = routing.newest
    if newest > before:
        for number, *row in conn.rows(conn.sql["lanes"], (before,)):
            routing.keep(number, Lane(row[0], tuple(loads(row[1])), tuple(loads(row[2]))))
        if before and max(map(len, routing.of_queue.values())) > MAX_LANES:  # some of them have been dropped since
            routing.forget_lanes()
            read_lanes(conn, newest)
    return routing


def lane_of(conn: Connection, number: int, queue: str) -> Lane:
    """Return a lane by its number."""
    if not number:
        return Lane(queue)
    return read_lanes(conn, number).lanes.get(number) or Lane(queue)  # its task was pruned since its row was read


def number_of(tx: Transaction, lane: Lane) -> int:
    """Return a lane's number; a new one is made known. BadInput when its queue has too many."""
    if not lane.needs and not lane.barred:
        return 0
    routing = _known(tx.conn)
    number = routing.numbers.get(lane)
    if number is not None and tx.execute("SELECT 1 FROM lane WHERE id = ?", (number,)).fetchone() is not None:
        return number
    newest: int = tx.execute("SELECT coalesce(max(id), 0) FROM lane").fetchone()[0]
    if number is not None or len(routing.of_queue.get(lane.queue, ())) >= MAX_LANES:
        routing.forget_lanes()  # some were dropped
    read_lanes(tx.conn, newest)
    number = routing.numbers.get(lane)
    if number is not None:
        return number
    if len(routing.of_queue.get(lane.queue, ())) >= MAX_LANES:
        raise _too_many(tx, lane.queue)
    queue, number = tx.number("queue", lane.queue), newest + 1
    texts = (dumps(list(lane.needs)), dumps(list(lane.barred)))
    tx.execute("INSERT INTO lane (id, queue, needs, barred) VALUES (?, ?, ?, ?)", (number, queue, *texts))
    told = {"id": number, "queue": queue, "needs": list(lane.needs), "barred": list(lane.barred)}
    tx.event(_LANE_NAMED, data=dumps(told))
    routing.keep(number, lane)
    return number


def chain_of(conn: Connection, number: int | None) -> tuple[str, ...]:
    """Return the agents of a chain by its number, the first to delegate first."""
    if number is None:
        return ()
    chains = _known(conn).chains
    found = chains.get(number)
    if found is None:
        before, agent = conn.rows(conn.sql["chain"], (number,))[0]
        found = chains[number] = (*chain_of(conn, before), str(agent))
    return found


def _longer(tx: Transaction, before: int | None, agent: int) -> int:
    """Return the number of the chain that goes on with an agent; a new one is made known."""
    found = tx.execute(tx.conn.sql["chain_link"], (before or 0, agent)).fetchone()
    if found is not None:
        return int(found[0])
    made = tx.execute("INSERT INTO chain (before, agent) VALUES (?, ?)", (before, agent)).lastrowid
    tx.event(_CHAIN_NAMED, data=dumps({"id": made, "before": before, "agent": agent}))
    return int(made)


def _too_many(tx: Transaction, queue: str) -> BadInput:
    """Return what to raise for one lane too many; pruning helps where nobody works in one any more."""
    (idle,) = tx.execute(tx.conn.sql["lanes_idle"], (queue,)).fetchone()
    remedy = "Use fewer words, or another queue"
    if idle:
        remedy = (
            f"Up to {idle:,} of them go with agentctl store prune --older-than 0s: those of which all tasks are done, "
            "and none is a dead letter. Or use fewer words, or another queue"
        )
    return BadInput(f"the tasks of queue {queue} have asked for {MAX_LANES:,} different sets of capabilities", remedy)


def servers(execute: Callable[..., Any]) -> tuple[Server, ...]:
    """Return the declared agents that take tasks, by name."""
    rows = execute("SELECT name, queues, can FROM agent WHERE declared = 1 AND mode <> 'service' ORDER BY name")
    return tuple(Server(name, tuple(loads(queues)), tuple(loads(can))) for name, queues, can in rows)


def can_of(conn: Connection, agent: str) -> tuple[str, ...]:
    """Return the capabilities an agent was declared with; none of one that never was."""
    rows = conn.rows("SELECT can FROM agent WHERE name = ?", (agent,))
    return tuple(loads(rows[0][0])) if rows else ()


def unfinished(conn: Connection, queues: Iterable[str], agents: Iterable[str] | None) -> bool:
    """Whether work is left in these queues, of what these agents may claim (None: anybody)."""
    routing = read_lanes(conn, conn.rows("SELECT coalesce(max(id), 0) FROM lane")[0][0])
    able = None if agents is None or not routing.lanes else {agent: can_of(conn, agent) for agent in agents}
    for queue in queues:
        lanes = {0, *routing.of_queue.get(queue, ())}
        if able is not None:
            lanes = {0}.union(*(routing.open_to((queue,), agent, can) for agent, can in able.items()))
        if conn.rows(conn.sql["unfinished"], (queue, dumps(sorted(lanes))))[0][0]:
            return True
    return False


def why(conn: Connection, row: Any) -> str:
    """Say why nobody can take the task of a row of the block `one`; empty when somebody can."""
    return unroutable(lane_of(conn, row[17], row[1]), servers(conn.rows))


def placed(tx: Transaction, sql: dict[str, str], task: NewTask, actor: str | None) -> Placed:
    """Return the lane and chain of a new task. BadDelegation for a circle, or a chain that is too long."""
    chain = agent = None
    names: tuple[str, ...] = ()
    most = MAX_DEPTH
    if task.creator is not None:
        who = (actor or "").partition("/")[0]
        row = tx.execute(sql["delegator"], (who, task.creator, bytes.fromhex(task.correlation))).fetchone()
        if row is not None:
            chain, agent, name, longest = row
            names, most = chain_of(tx.conn, chain), longest or MAX_DEPTH
            if agent is not None:
                names = (*names, name)
    if len(names) > most:
        raise BadDelegation(
            f"the chain of delegations would be {len(names)} long on correlation {task.correlation}: "
            f"{_shown(names)} → {task.queue}",
            f"The most is {most}: end the recursion earlier, or raise fleet.max_delegation_depth",
        )
    if names and agent is not None:
        chain = _longer(tx, chain, agent)
    lane = Lane(task.queue, task.needs, barred_by(names))
    if lane.barred:
        closed = circle(lane, servers(tx.execute))
        if closed:
            raise BadDelegation(
                f"circular delegation on correlation {task.correlation}: {_shown(names)} → {' or '.join(closed)}",
                f"Only {' and '.join(closed)} could take it, and would wait for itself: do this part here, or "
                "delegate it to another queue",
            )
    return number_of(tx, lane), chain


def _shown(names: tuple[str, ...]) -> str:
    """Return a chain for people: an agent that went on with its own work is named once, with how often."""
    told: list[tuple[str, int]] = []
    for name in names:
        if told and told[-1][0] == name:
            told[-1] = name, told[-1][1] + 1
        else:
            told.append((name, 1))
    shown = [name if times == 1 else f"{name} ({times}×)" for name, times in told]
    return " → ".join(shown if len(shown) <= 12 else [*shown[:6], "…", *shown[-5:]])


class Unrouted:
    """The tasks of one call that no declared agent can take: each is told, and of each lane one event."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._reasons: dict[tuple[str, int], str] = {}
        self._found: dict[tuple[str, int], list[int]] = {}

    def why(self, task: int, queue: str, lane: int) -> str:
        """Say why nobody can take a new task; empty when somebody can."""
        key = queue, lane
        if key not in self._reasons:
            self._reasons[key] = unroutable(lane_of(self._tx.conn, lane, queue), servers(self._tx.execute))
        if self._reasons[key]:
            self._found.setdefault(key, []).append(task)
        return self._reasons[key]

    def tell(self) -> None:
        """Write the events."""
        for (queue, lane), tasks in self._found.items():
            told = {"queue": queue, "lane": lane, "tasks": len(tasks), "reason": self._reasons[queue, lane]}
            self._tx.event(_LOST, tasks[0], data=dumps({name: value for name, value in told.items() if value}))


def redeclared(tx: Transaction, sql: dict[str, str], before: tuple[Server, ...], actor: str) -> None:
    """Tell what a change of the declared agents means for tasks that wait: which lost their agents, which found one."""
    tx.conn.served.clear()
    after = servers(tx.execute)
    if before == after or not after:
        return
    routing = read_lanes(tx.conn, tx.execute("SELECT coalesce(max(id), 0) FROM lane").fetchone()[0])
    for number, queue in tx.execute("SELECT id, name FROM queue ORDER BY id").fetchall():
        for lane in (0, *routing.of_queue.get(queue, ())):
            asked = lane_of(tx.conn, lane, queue)
            old, new = unroutable(asked, before), unroutable(asked, after)
            if bool(old) == bool(new) or not _waits(tx, sql, number, lane):
                continue
            told = {"queue": queue, "lane": lane, "reason": new}
            data = dumps({name: value for name, value in told.items() if value})
            tx.event(_LOST if new else _FOUND, actor=actor, data=data)


def _waits(tx: Transaction, sql: dict[str, str], queue: int, lane: int) -> bool:
    return any(
        tx.execute(sql["waits_in"].replace("@state", state), (queue, lane)).fetchone() is not None for state in WAITING
    )
