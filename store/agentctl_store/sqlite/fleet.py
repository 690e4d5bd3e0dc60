"""Queues, agents, instances and sessions."""

from __future__ import annotations

from ..domain.agent import Agent, Instance, Session, no_such_agent
from ..domain.event import KINDS
from ..errors import NotFound
from ..ids import session_nonce
from ..jsontext import dumps, loads
from . import routing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..domain.agent import AgentSpec, Desired
    from .connection import Connection
    from .transaction import Transaction

_AGENT = """SELECT name, mode, queues, instances, scale, desired, restart_seq, reset_seq, declared, since_ms, can,
    fallback, max_depth, checked FROM agent"""
_INSTANCE = """SELECT a.name, i.slot,
    CASE WHEN i.phase = 'idle' AND i.session IS NOT NULL THEN 'busy' ELSE i.phase END, i.health, i.reason, i.session,
    i.restarts, i.latched, i.next_start_ms, i.memo, i.since_ms FROM instance i JOIN agent a ON a.id = i.agent"""
_SESSION = """SELECT s.id, a.name, s.slot, coalesce(s.nonce, lower(hex(t.correlation))), s.task, s.attempt, s.pid,
    s.started_ms, s.ended_ms, CASE WHEN s.ended_ms IS NOT NULL THEN coalesce(s.outcome, 'exited') END, s.exit_code,
    s.signal, s.detail FROM session s JOIN agent a ON a.id = s.agent LEFT JOIN task t ON t.id = s.task"""


def pause_queue(tx: Transaction, queue: str, reason: str, actor: str) -> bool:
    """Stop claims from a queue."""
    number = tx.number("queue", queue)
    changed = tx.execute(
        "UPDATE queue SET paused_ms = ?, paused_by = ?, reason = ? WHERE id = ? AND paused_ms IS NULL RETURNING 1",
        (tx.now.wall_ms, actor, reason, number),
    ).fetchone()
    if changed:
        tx.event(KINDS["queue.paused"], actor=actor, data=dumps({"queue": number, "name": queue, "reason": reason}))
    return bool(changed)


def resume_queue(tx: Transaction, queue: str, actor: str) -> bool:
    """Let claims go on."""
    row = tx.execute("SELECT id FROM queue WHERE name = ?", (queue,)).fetchone()
    if row is None:
        raise NotFound(f"there is no queue {queue}", "List the queues with: agentctl queue list")
    changed = tx.execute(
        "UPDATE queue SET paused_ms = NULL, paused_by = NULL, reason = NULL "
        "WHERE id = ? AND paused_ms IS NOT NULL RETURNING 1",
        (row[0],),
    ).fetchone()
    if changed:
        tx.event(KINDS["queue.resumed"], actor=actor, data=dumps({"queue": row[0], "name": queue}))
    return bool(changed)


def declare_agents(tx: Transaction, sql: dict[str, str], specs: Sequence[AgentSpec], actor: str) -> None:
    """Make the declared agents these."""
    known = {agent.name: agent for agent in agents(tx.conn)}
    before = routing.servers(tx.execute)
    for spec in specs:
        number = tx.number("agent", spec.name)
        stored = tx.execute(
            "SELECT mode, queues, instances, retry, can, fallback, max_depth, checked, declared FROM agent "
            "WHERE id = ?",
            (number,),
        )
        can = sorted(set(spec.can))
        queues, more = (
            dumps(list(spec.queues)),
            (spec.retry, dumps(can), spec.fallback, spec.max_depth, int(spec.checked)),
        )
        wanted = (spec.mode, queues, spec.instances, *more, 1)
        if stored.fetchone() == wanted:
            continue
        tx.execute(
            "UPDATE agent SET mode = ?, queues = ?, instances = ?, retry = ?, can = ?, fallback = ?, max_depth = ?, "
            "checked = ?, declared = ? WHERE id = ?",
            (*wanted, number),
        )
        told: dict[str, Any] = {
            "agent": spec.name,
            "mode": spec.mode,
            "queues": list(spec.queues),
            "instances": spec.instances,
        }
        rest = {"retry": spec.retry, "can": can or None, "fallback": spec.fallback, "max_depth": spec.max_depth}
        rest["checked"] = int(spec.checked) or None
        told |= {name: value for name, value in rest.items() if value is not None}
        tx.event(KINDS["agent.declared"], actor=actor, data=dumps(told))
        for queue in spec.queues:
            tx.number("queue", queue)
    for name, agent in known.items():
        if agent.declared and name not in {spec.name for spec in specs}:
            tx.execute("UPDATE agent SET declared = 0 WHERE name = ?", (name,))
            tx.event(KINDS["agent.withdrawn"], actor=actor, data=dumps({"agent": name}))
    routing.redeclared(tx, sql, before, actor)


def unknown(tx: Transaction, name: str) -> NotFound:
    """Return what to raise for an agent that is not known."""
    return no_such_agent(name, [row[0] for row in tx.execute("SELECT name FROM agent ORDER BY name LIMIT 10000")])


def _known_agent(tx: Transaction, name: str) -> None:
    if tx.execute("SELECT 1 FROM agent WHERE name = ?", (name,)).fetchone() is None:
        raise unknown(tx, name)


def set_desired(tx: Transaction, agent: str, desired: Desired, actor: str) -> Agent:
    """Write what a person wants of an agent. Asking for `running` also clears a start-limit latch."""
    _known_agent(tx, agent)
    tx.execute(
        "UPDATE agent SET desired = ?1, since_ms = ?2, reset_seq = reset_seq + (?1 = 'running') WHERE name = ?3",
        (desired, tx.now.wall_ms, agent),
    )
    tx.event(KINDS["agent.desired"], actor=actor, data=dumps({"agent": agent, "desired": desired}))
    return _agent(tx, agent)


def restart_agent(tx: Transaction, agent: str, actor: str) -> Agent:
    """Ask for every session of an agent to be replaced."""
    _known_agent(tx, agent)
    tx.execute("UPDATE agent SET restart_seq = restart_seq + 1 WHERE name = ?", (agent,))
    tx.event(KINDS["agent.desired"], actor=actor, data=dumps({"agent": agent, "restart": 1}))
    return _agent(tx, agent)


def scale_agent(tx: Transaction, agent: str, instances: int | None, actor: str) -> Agent:
    """Set how many instances a person wants; None goes back to the configuration."""
    _known_agent(tx, agent)
    tx.execute("UPDATE agent SET scale = ? WHERE name = ?", (instances, agent))
    tx.event(KINDS["agent.scaled"], actor=actor, data=dumps({"agent": agent, "instances": instances}))
    return _agent(tx, agent)


def _agent(tx: Transaction, name: str) -> Agent:
    return _agent_from(tx.execute(f"{_AGENT} WHERE name = ?", (name,)).fetchone())


def _agent_from(row: Any) -> Agent:
    values: list[Any] = [*row[:2], tuple(loads(row[2], "queues")), *row[3:8], bool(row[8]), row[9]]
    values += [tuple(loads(row[10], "can")), *row[11:13], bool(row[13])]
    return Agent(*values)


def agents(conn: Connection) -> list[Agent]:
    """Return every agent by name."""
    return [_agent_from(row) for row in conn.rows(f"{_AGENT} ORDER BY name")]


def save_instances(tx: Transaction, changed: Sequence[Instance]) -> None:
    """Write instances; an event for each whose phase, health, reason or latch is new.

    That an idle one takes a task and gives it back is no event: the task's own say it. Its row stays idle and names the
    session, which is how readers know it for busy.
    """
    for instance in changed:
        number = tx.number("agent", instance.agent)
        before = tx.execute(
            "SELECT phase, health, reason, latched, since_ms FROM instance WHERE agent = ? AND slot = ?",
            (number, instance.slot),
        ).fetchone()
        seen = (instance.phase, instance.health, instance.reason, int(instance.latched))
        if seen[0] == "busy" and before is not None and tuple(before[:4]) == ("idle", *seen[1:]) and instance.session:
            seen = ("idle", *seen[1:])
        fresh = before is None or tuple(before[:4]) != seen
        since = tx.now.wall_ms if fresh else before[4]
        tx.execute(
            "INSERT INTO instance (agent, slot, phase, health, reason, latched, session, restarts, next_start_ms, "
            "memo, since_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (agent, slot) DO UPDATE SET "
            "phase = excluded.phase, health = excluded.health, reason = excluded.reason, latched = excluded.latched, "
            "session = excluded.session, restarts = excluded.restarts, next_start_ms = excluded.next_start_ms, "
            "memo = excluded.memo, since_ms = excluded.since_ms",
            (
                number, instance.slot, *seen, instance.session, instance.restarts, instance.next_start_ms,
                instance.memo, since,
            ),
        )  # fmt: skip
        if fresh:
            told = {"phase": seen[0], "health": seen[1], "reason": seen[2], "latched": seen[3]}
            told.update(session=instance.session, restarts=instance.restarts)
            data = dumps({name: value for name, value in told.items() if value})
            tx.event(KINDS["instance.changed"], actor=f"{instance.agent}/{instance.slot}", data=data)


def drop_instances(tx: Transaction, gone: Sequence[tuple[str, int]]) -> None:
    """Forget instances that were scaled away."""
    for agent, slot in gone:
        removed = tx.execute(
            "DELETE FROM instance WHERE agent = ? AND slot = ? RETURNING 1", (tx.number("agent", agent), slot)
        ).fetchone()
        if removed:
            tx.event(KINDS["instance.removed"], actor=f"{agent}/{slot}")


def instances(conn: Connection) -> list[Instance]:
    """Return every instance by agent and slot."""
    rows = conn.rows(f"{_INSTANCE} ORDER BY a.name, i.slot")
    found = []
    for row in rows:
        values: list[Any] = [*row[:7], bool(row[7]), *row[8:]]
        found.append(Instance(*values))
    return found


def session_started(tx: Transaction, session: int, pid: int) -> None:
    """Note the process of a session. Of a task's it is no event: its end tells, if anybody will ask (end_session)."""
    row = tx.execute(
        "UPDATE session SET pid = ?, started_ms = ? "
        "WHERE id = ? AND started_ms IS NULL AND ended_ms IS NULL RETURNING task",
        (pid, tx.now.wall_ms, session),
    ).fetchone()
    if row is not None and row[0] is None:
        tx.event(KINDS["session.started"], data=dumps({"pid": pid}), session=session)


def sessions(conn: Connection, where: str, values: tuple[Any, ...]) -> list[Session]:
    """Return sessions by a condition of ours."""
    rows = conn.rows(f"{_SESSION} WHERE {where} ORDER BY s.id", values)
    found = []
    for row in rows:
        nonce = row[3] if row[4] is None else session_nonce(row[0], row[3])
        columns: list[Any] = [*row[:3], nonce, row[0] >> 20, *row[4:]]
        found.append(Session(*columns))
    return found
