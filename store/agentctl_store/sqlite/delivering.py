"""Delivering messages: one reader wins each delivery; what is not acked in time comes again, until it is given up."""

from __future__ import annotations

from ..domain.event import KINDS
from ..domain.message import OPERATOR, Delivery, Message, Settled, redelivery_ms
from ..domain.message_machine import target
from ..errors import NotFound, StaleAttempt
from ..ids import is_itself, write_attempt, write_id
from ..jsontext import dumps
from ..later import later
from .signing import genuine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from . import fleet
    from .messaging import Messages
    from .transaction import Transaction
else:
    later(globals(), __package__, "fleet")

_DELIVERED, _ACKED, _RETURNED = KINDS["message.delivered"], KINDS["message.acked"], KINDS["message.returned"]
_EXPIRED, _BURIED = KINDS["message.expired"], KINDS["message.buried"]
_STATE = target("deliver")
ATTEND_AT_ONCE = 64  #: messages not acked or outlived that a read attends to; the sweep does the rest
READ_AT_ONCE = 64  #: messages looked up in one go
MOST_READ = 16 << 20  #: characters of payloads beyond which a read takes no more messages, whatever its limit
_GOLDEN = 0.6180339887498949
FORGED = "it is not what its sender signed: its row was changed, or written past the store"


def read(
    tx: Transaction, messages: Messages, agent: str, reader: str | None, limit: int, ack_ms: int, wait_ms: int
) -> list[Delivery]:
    """Deliver up to `limit` messages, the best ranked first, after what time asks for has been done.

    NotFound for an agent nobody knows, unless it is waited for: it may become known meanwhile.
    """
    now = tx.now
    if agent != OPERATOR and not _is_known(tx, agent, reader):
        if wait_ms:
            return []
        raise fleet.unknown(tx, agent)
    won: list[Delivery] = []
    attended, much = False, 0
    while len(won) < limit and much < MOST_READ:
        wanted = limit - len(won)
        step = 1 if wanted == 1 else READ_AT_ONCE
        picked = messages.limited("next", step), (now.boot_ms, now.wall_ms, agent)
        rows = tx.execute(*picked).fetchall()
        if not rows or rows[0][0]:
            if not attended:
                attend(tx, messages, (now.boot_ms % 997) / 997, ATTEND_AT_ONCE)
                attended = True
                rows = tx.execute(*picked).fetchall()
            rows += tx.execute(messages.limited("next_again", step), (agent, now.boot_ms, now.wall_ms)).fetchall()
            rows.sort(key=_rank)
        if not rows:
            return won
        for row in rows[:wanted]:
            taken = _take(tx, messages, row, reader, ack_ms)
            if taken is not None:
                won.append(taken)
                much += len(taken.message.payload)
    return won


def expect_known(tx: Transaction, agent: str, who: str | None) -> None:
    """Raise NotFound for an agent that nobody knows, unless it is the one who acts: that makes it known."""
    if not _is_known(tx, agent, who):
        raise fleet.unknown(tx, agent)


def _is_known(tx: Transaction, agent: str, who: str | None) -> bool:
    if is_itself(who, agent):
        tx.number("agent", agent)  # from here on it is one, and can be sent to
        return True
    if ("agent", agent) in tx.conn.ids:
        return True
    return tx.execute("SELECT 1 FROM agent WHERE name = ?", (agent,)).fetchone() is not None


def _rank(row: Any) -> tuple[int, int]:
    return (row[1] >> 20) - row[11] * 60_000, row[1]


def _take(tx: Transaction, messages: Messages, row: Any, reader: str | None, ack_ms: int) -> Delivery | None:
    _, *fields, signature = row
    message = Message(*fields)
    if not genuine(messages.key, message, signature):
        bury(tx, messages, message.id, None, "signature", FORGED)
        return None
    until, before = tx.now.boot_ms + ack_ms, message.deliveries
    done = tx.execute(messages.sql["deliver"], (until, reader, tx.now.wall_ms, message.id, before))
    assert done.rowcount, "a stored message was found in this transaction"
    n = before + 1
    tx.event(_DELIVERED, message.id, n, reader)
    fields[5], fields[14], fields[15] = _STATE, n, message.burnt + 1
    fields[16], fields[17], fields[21] = reader, tx.now.wall_ms, until
    return Delivery(Message(*fields), n, until)


def attend(tx: Transaction, messages: Messages, jitter: float, limit: int) -> tuple[int, int]:
    """Return messages not acked in time, and expire those whose time is over: up to `limit` of each; how many."""
    sql, now = messages.sql, tx.now
    unacked = tx.execute(sql["unacked"], (now.boot_ms, limit)).fetchall()
    for index, (message, agent, n, burnt, most, expires_ms) in enumerate(unacked):
        if burnt >= most:
            bury(tx, messages, message, n, "max_deliveries", f"it was delivered {burnt} times and never acked")
        elif expires_ms is not None and expires_ms <= now.wall_ms:
            outlive(tx, messages, message, agent)
        else:
            # One draw spread by the golden ratio, as for lost tasks.
            wait_ms = redelivery_ms(burnt, (jitter + index * _GOLDEN) % 1.0)
            tx.execute(sql["give_back"], (now.boot_ms + wait_ms, 0, message, n))
            tx.event(_RETURNED, message, n)
    outlived = tx.execute(sql["outlived"], (now.wall_ms, limit)).fetchall()
    for message, agent in outlived:
        outlive(tx, messages, message, agent)
    return len(unacked), len(outlived)


def outlive(tx: Transaction, messages: Messages, message: int, agent: str) -> None:
    """End a message whose time is over; it is a dead letter when its recipient was stopped meanwhile."""
    away = tx.execute(messages.sql["away"], (agent,)).fetchone()
    if away is not None and away[0]:
        bury(tx, messages, message, None, "offline", f"{agent} was stopped for as long as it was to be delivered")
        return
    tx.execute(messages.sql["expire"], (tx.now.wall_ms, message))
    tx.event(_EXPIRED, message)


def bury(tx: Transaction, messages: Messages, message: int, n: int | None, reason: str, error: str | None) -> None:
    """Make a message a dead letter."""
    tx.execute(messages.sql["bury"], (tx.now.wall_ms, reason, error, message))
    tx.event(_BURIED, message, n, None, dumps({"reason": reason, **({"error": error} if error else {})}))


def ack(tx: Transaction, messages: Messages, message: int, n: int) -> Settled:
    """End a message well. Saying it again with the same delivery changes nothing."""
    if not tx.execute(messages.sql["ack"], (tx.now.wall_ms, message, n)).rowcount:
        state, deliveries, _ = _stands(tx, message)
        if state != "acked" or deliveries != n:
            raise _stale(message, n, "be acked", state, deliveries)
        return Settled("acked")
    tx.event(_ACKED, message, n)
    return Settled("acked")


def refuse(tx: Transaction, messages: Messages, message: int, n: int, error: str) -> Settled:
    """End a message as a dead letter because its recipient will not have it."""
    state, deliveries, reason = _stands(tx, message)
    if state != "delivered" or deliveries != n:
        if state == "dead" and reason == "refused" and deliveries == n:
            return Settled("dead", "refused")
        raise _stale(message, n, "be refused", state, deliveries)
    bury(tx, messages, message, n, "refused", error or None)
    return Settled("dead", "refused")


def give_back(tx: Transaction, messages: Messages, message: int, n: int) -> Settled:
    """Undo a delivery that nobody heard of."""
    if not tx.execute(messages.sql["give_back"], (None, 1, message, n)).rowcount:
        state, deliveries, _ = _stands(tx, message)
        raise _stale(message, n, "be given back", state, deliveries)
    tx.event(_RETURNED, message, n, None, '{"unheard":1}')
    (agent,) = tx.execute("SELECT target FROM message WHERE id = ?", (message,)).fetchone()
    messages.arrived.add(agent)
    return Settled("stored")


def _stands(tx: Transaction, message: int) -> tuple[str, int, str | None]:
    row = tx.execute("SELECT state, deliveries, reason FROM message WHERE id = ?", (message,)).fetchone()
    if row is None:
        raise NotFound(f"there is no message {write_id(message)}", "Look for it with: agentctl msg list")
    return row  # type: ignore[no-any-return]


def _stale(message: int, n: int, verb: str, state: str, deliveries: int) -> StaleAttempt:
    if n > deliveries:
        why = f"the message was delivered {deliveries} times" if deliveries else "the message was never delivered"
    elif n < deliveries:
        why = f"it was delivered again as {write_attempt(message, deliveries)}"
    else:
        why = f"the message is {state}" + (", to be delivered again" if state == "stored" else "")
    return StaleAttempt(
        f"delivery {write_attempt(message, n)} cannot {verb}: {why}",
        "Drop it: no ack came in time, or the message ended without it",
    )
