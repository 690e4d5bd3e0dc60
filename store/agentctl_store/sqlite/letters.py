"""What a person decides about a message that is a dead letter."""

from __future__ import annotations

from ..domain.event import KINDS
from ..domain.message import Message, Settled
from ..domain.message_machine import LETTERS
from ..errors import BadInput, Conflict, NotFound
from ..ids import write_id
from ..jsontext import dumps
from .sending import refusal
from .signing import sign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .messaging import Messages
    from .transaction import Transaction


def _letter(tx: Transaction, messages: Messages, number: int, verb: str) -> Message:
    row = tx.execute(messages.sql["one"], (number,)).fetchone()
    if row is None:
        raise NotFound(f"there is no message {write_id(number)}", "Look for it with: agentctl msg list")
    message = Message(*row)
    if message.state not in LETTERS:
        raise Conflict(
            f"message {write_id(number)} is {message.state}, so it cannot be {verb}",
            "Only dead letters are; list them with: agentctl dlq list",
        )
    return message


def requeue(tx: Transaction, messages: Messages, number: int, payload: str | None, note: str, actor: str) -> Settled:
    """Store a dead letter again, if it can be delivered now; whoever sends it back vouches for it."""
    message = _letter(tx, messages, number, "requeued")
    text = message.payload if payload is None else payload
    reason, error = refusal(tx, messages, message.target, message.type, message.topic, text)
    if reason == "schema":
        raise BadInput(f"message {write_id(number)} cannot be requeued: {error}", "Give a --payload that is valid")
    if reason:
        raise Conflict(f"message {write_id(number)} cannot be requeued: {error}", "Name it in agentctl.toml first")
    body, body_digest = (None, b"") if payload is None else tx.body(payload)
    signature = sign(
        messages.key, number, message.source, message.target, message.topic, message.type, text, message.correlation,
        message.conversation, message.reply_to, message.priority, None, message.key, message.max_deliveries,
    )  # fmt: skip
    tx.execute(messages.sql["requeue"], (note or None, body, signature, number))
    told = dumps({"note": note}) if note else None
    tx.event(KINDS["message.requeued"], number, None, actor, told, body=body, body_digest=body_digest)
    messages.arrived.add(message.target)
    return Settled("stored")


def discard(tx: Transaction, messages: Messages, number: int, reason: str, actor: str) -> Settled:
    """Give a dead letter up for good."""
    _letter(tx, messages, number, "discarded")
    tx.execute(messages.sql["discard"], (tx.now.wall_ms, reason, number))
    tx.event(KINDS["message.discarded"], number, None, actor, dumps({"reason": reason}))
    return Settled("discarded", reason)
