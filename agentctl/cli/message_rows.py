"""Messages and deliveries as rows of values, and their columns."""

from __future__ import annotations

from agentctl_store.ids import write_attempt, write_id
from agentctl_store.text import one_line

from .table import Column

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentctl_store.domain.message import Delivery, Message, Sent

TITLE = 200  #: characters of a payload in a list
SENT = (
    Column("message"),
    Column("created", "flag"),
    Column("state"),
    Column("reason"),
    Column("error", wide=True),
)
DELIVERY = (
    Column("delivery"),
    Column("message", wide=True),
    Column("type"),
    Column("source"),
    Column("topic"),
    Column("payload", "json"),
    Column("conversation", wide=True),
    Column("reply_to", wide=True),
    Column("correlation", wide=True),
    Column("priority", "number", wide=True),
    Column("deliveries", "number", wide=True),
    Column("sent_at", "time", title="sent"),
    Column("expires_at", "time", title="expires", wide=True),
)
LIST = (
    Column("message"),
    Column("type"),
    Column("source"),
    Column("target"),
    Column("state"),
    Column("reason", wide=True),
    Column("deliveries", "number"),
    Column("sent_at", "time", title="sent"),
    Column("topic", wide=True),
    Column("conversation", wide=True),
    Column("reply_to", wide=True),
    Column("correlation", wide=True),
    Column("error", wide=True),
    Column("title"),
)
MESSAGE = (
    Column("message"),
    Column("type"),
    Column("source"),
    Column("target"),
    Column("topic"),
    Column("state"),
    Column("reason"),
    Column("error"),
    Column("payload", "json"),
    Column("conversation"),
    Column("reply_to"),
    Column("correlation"),
    Column("priority", "number"),
    Column("key", wide=True),
    Column("sent_at", "time", title="sent"),
    Column("expires_at", "time", title="expires"),
    Column("delivered_at", "time", title="delivered"),
    Column("reader"),
    Column("deliveries", "number"),
    Column("burnt", "number", wide=True),
    Column("max_deliveries", "number", wide=True),
    Column("finished_at", "time", title="finished"),
)


def sent_row(sent: Sent, number: int) -> dict[str, Any]:
    """Return what a sender is told of one message."""
    return {
        "message": write_id(number),
        "created": sent.created,
        "state": sent.state,
        "reason": sent.reason,
        "error": sent.error,
    }


def listed_row(message: Message) -> dict[str, Any]:
    """Return a message as a line of a list: of its payload the beginning."""
    return {**message_row(message), "title": one_line(message.payload, TITLE)}


def message_row(message: Message) -> dict[str, Any]:
    """Return all of one message."""
    return {
        "message": write_id(message.id),
        "type": message.type,
        "source": message.source,
        "target": message.target,
        "topic": message.topic,
        "state": message.state,
        "reason": message.reason,
        "error": message.error,
        "payload": message.payload or None,
        "conversation": write_id(message.conversation),
        "reply_to": None if message.reply_to is None else write_id(message.reply_to),
        "correlation": message.correlation,
        "priority": message.priority,
        "key": message.key,
        "sent_at": message.sent_ms,
        "expires_at": message.expires_ms,
        "delivered_at": message.delivered_ms,
        "reader": message.reader,
        "deliveries": message.deliveries,
        "burnt": message.burnt,
        "max_deliveries": message.max_deliveries,
        "finished_at": message.finished_ms,
    }


def delivery_row(delivery: Delivery) -> dict[str, Any]:
    """Return what a reader needs: the delivery to ack, who sent what, and what to answer to."""
    row = message_row(delivery.message)
    return {"delivery": write_attempt(delivery.message.id, delivery.n), **row}
