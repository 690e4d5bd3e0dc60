"""What stands in for an agent that failed for good: another agent, once, or a result that was agreed upon."""

from __future__ import annotations

from ..domain.event import KINDS
from ..domain.routing import Lane, barred_by
from ..domain.task import Ended
from ..jsontext import dumps, loads
from ..record import replace
from . import routing, settling
from .holding import kept_partial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..domain.retry import Failure, Verdict
    from .holding import Held
    from .transaction import Transaction

_FELL_BACK, _STOOD_IN = KINDS["task.fell_back"], KINDS["task.stood_in"]


def fall_back(
    tx: Transaction,
    sql: dict[str, str],
    held: Held,
    failure: Failure,
    verdict: Verdict,
    told: dict[str, Any],
    session: int | None,
) -> Ended | None:
    """Let the fallback of a failed attempt's agent stand in, if it has one that can; None: it is a dead letter.

    A hard stop (`policy`) is none: what must not go on here must not go on elsewhere. `told` carries how the attempt
    ended, and why there is no fallback where one was declared.
    """
    if held.fallback is None or verdict.dead == "policy":
        return None
    fallback = loads(held.fallback, "fallback")
    if "result" in fallback:
        return _stand_in(tx, sql, held, fallback["result"], told, session)
    found = _lane(tx, held, fallback["agent"], told)
    if found is None:
        return None
    queue, lane = found
    told.update(reason="fallback", to=fallback["agent"], queue=queue)
    if lane:
        told["lane"] = lane
    values = (queue, lane, tx.now.wall_ms, told["reason"], told["class"], told["error"], held.task, held.n)
    tx.execute(sql["fall_back"], values)
    data, (number, body) = dumps(told), kept_partial(tx, held, failure)
    tx.event(_FELL_BACK, held.task, held.n, None, data, session=session, body=number, body_digest=body)
    return Ended("ready", None, told["reason"])


def _lane(tx: Transaction, held: Held, agent: str, told: dict[str, Any]) -> tuple[int, int] | None:
    """Return the queue and lane in which a fallback agent finds the task; None, told, when it cannot take it."""
    server = next((one for one in routing.servers(tx.execute) if one.agent == agent), None)
    if held.degraded is not None:
        told["no_fallback"] = "it is a fallback's task already"
    elif server is None or not server.queues:
        told["no_fallback"] = f"no agent {agent} is declared"
    else:
        (name,) = tx.execute("SELECT name FROM queue WHERE id = ?", (held.queue,)).fetchone()
        asked = routing.lane_of(tx.conn, held.lane, name)
        wanted = Lane(server.queues[0], asked.needs, asked.barred)
        if server.serves(wanted):
            failed = next((one for one in routing.servers(tx.execute) if one.agent == held.agent), None)
            if failed is not None and failed.serves(wanted):  # it must not be given again to whom it fell from
                wanted = replace(wanted, barred=tuple(sorted({*wanted.barred, failed.agent})))
            return tx.number("queue", wanted.queue), routing.number_of(tx, wanted)
        barred = agent in wanted.barred
        told["no_fallback"] = f"{agent} delegated it" if barred else f"{agent} cannot do what it needs"
    return None


def _stand_in(
    tx: Transaction, sql: dict[str, str], held: Held, result: Any, told: dict[str, Any], session: int | None
) -> Ended:
    number, body = tx.body(dumps(result))
    told["reason"] = "fallback"
    values = (
        number, tx.now.wall_ms, told["burns"], told["reason"], told["class"], told["error"], held.task, held.n,
    )  # fmt: skip
    tx.execute(sql["stand_in"], values)
    tx.event(_STOOD_IN, held.task, held.n, None, dumps(told), session=session, body=number, body_digest=body)
    return Ended("done", None, told["reason"], tuple(settling.settle_children(tx, sql, held.task, "done")))


def home(tx: Transaction, task: int) -> tuple[int, int | None]:
    """Return the lane in which a dead letter goes back, and the queue it was meant for where it has left that."""
    lane, degraded, queue, chain = tx.execute(
        "SELECT t.lane, t.degraded, q.name, t.chain FROM task t JOIN queue q ON q.id = t.queue WHERE t.id = ?", (task,)
    ).fetchone()
    if not lane or degraded is None:
        return lane, degraded
    (name,) = tx.execute("SELECT name FROM queue WHERE id = ?", (degraded,)).fetchone()
    barred = barred_by(routing.chain_of(tx.conn, chain))  # not whom it fell from
    return routing.number_of(tx, Lane(name, routing.lane_of(tx.conn, lane, queue).needs, barred)), degraded
