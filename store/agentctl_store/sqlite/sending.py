"""Sending messages: keys, replies, topics, and what is damped, finds an inbox crowded or cannot be delivered."""

from __future__ import annotations

from ..domain.event import KINDS
from ..domain.message import (
    EVERYBODY,
    MAX_COPIES,
    MAX_DELIVERIES,
    MAX_PUBLISHED,
    MAX_TOPICS,
    OPERATOR,
    TOPIC,
    Damping,
    Sent,
)
from ..errors import BadInput, NotFound
from ..ids import in_order, write_id
from ..jsontext import dumps
from ..record import as_dict
from . import schemas
from .delivering import ack, expect_known, outlive
from .signing import sign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..domain.message import MessageReason, NewMessage
    from .messaging import Messages
    from .transaction import Transaction

_SENT, _DAMPED, _CONFIGURED = KINDS["message.sent"], KINDS["message.damped"], KINDS["message.configured"]
_CROWDED = KINDS["message.crowded"]
_SUBSCRIBED, _UNSUBSCRIBED = KINDS["topic.subscribed"], KINDS["topic.unsubscribed"]
OUTLIVED_AT_ONCE = 16  #: messages that a send ends in an inbox it found crowded; the sweep does the rest


class _Envelope:
    """What of a message is the same for all its copies, once it is known what it inherits."""

    __slots__ = ("actor", "conversation", "correlation", "new", "target", "topic")

    def __init__(self, tx: Transaction, messages: Messages, new: NewMessage, actor: str | None) -> None:
        self.new, self.actor, self.target = new, actor, new.target
        self.correlation, self.conversation = new.correlation, new.conversation
        own = new.correlation[:16] == f"{new.id:016x}"
        if new.reply_to is not None:
            row = tx.execute(messages.sql["answered"], (new.reply_to,)).fetchone()
            if row is None:
                raise NotFound(f"there is no message {write_id(new.reply_to)}", "Look with: agentctl msg list")
            # An answer to what one sent oneself goes to the same one again.
            self.target = self.target or (row[0] if row[0] != new.source else row[1])
            self.conversation = self.conversation or row[3]
            if own:
                self.correlation, own = row[4].hex(), False
        if own and new.creator is not None:
            row = tx.execute(messages.sql["work_of"], (new.creator,)).fetchone()
            if row is None:
                raise NotFound(f"there is no task {write_id(new.creator)}", "Look for it with: agentctl task list")
            self.correlation = row[0].hex()
        if self.target is None:
            raise BadInput("to whom?", "Name an agent or a topic, or what this replies to")
        self.topic = self.target.removeprefix(TOPIC) if self.target.startswith(TOPIC) else None


def send(tx: Transaction, messages: Messages, new: NewMessage, actor: str | None) -> Sent:
    """Store a message; a known key answers the first one, and acks nothing again, nor does one that is not taken."""
    if new.key is not None and (known := _known(tx, messages, new)) is not None:
        return known
    envelope = _Envelope(tx, messages, new, actor)
    target = envelope.target or ""
    if envelope.topic is None and (damping := _looping(tx, messages, envelope, target)) is not None:
        return _damped(tx, messages, envelope, target, damping)
    if envelope.topic is None and _is_crowded(tx, messages, new.source, target):
        return Sent(0, True, "crowded", error=_crowded(tx, messages, envelope, [target]))
    if new.acks is not None and new.reply_to is not None:
        ack(tx, messages, new.reply_to, new.acks)
    if new.source != OPERATOR:
        tx.number("agent", new.source)  # who sends can be answered
    if envelope.topic is not None:
        return _publish(tx, messages, envelope)
    reason, error = refusal(tx, messages, target, new.type, None, new.payload)
    number = _store(tx, messages, envelope, new.id, target, None, reason, error)
    return Sent(number, True, "dead" if reason else "stored", reason, error)


def _known(tx: Transaction, messages: Messages, new: NewMessage) -> Sent | None:
    row = tx.execute(messages.sql["by_key"], (new.source, new.key)).fetchone()
    if row is None:
        return None
    number, state, reason, error, topic = row
    if topic is None:
        return Sent(number, False, state, reason, error)
    copies = tx.execute(messages.sql["copies"], (number,)).fetchall()
    return Sent(number, False, "published", copies=tuple([copy for (copy,) in copies]))


def refusal(
    tx: Transaction, messages: Messages, target: str, type: str, topic: str | None, payload: str
) -> tuple[MessageReason | None, str | None]:
    """Return why a message cannot be delivered, as a reason and in words."""
    known, named, declared, held = tx.execute(messages.sql["recipient"], (target,)).fetchone()
    if target != OPERATOR:
        if not known:
            return "no_such_agent", f"there is no agent {target}"
        if named and not declared:
            return "offline", f"agent {target} is no longer in agentctl.toml"
    error = schemas.violation(tx, messages, type, topic, payload) if held else None
    return ("schema", error) if error else (None, None)


def _publish(tx: Transaction, messages: Messages, envelope: _Envelope) -> Sent:
    new, topic = envelope.new, envelope.topic or ""
    error = schemas.violation(tx, messages, new.type, topic, new.payload)
    if error:
        raise BadInput(f"nothing was published to {topic}: {error}", "See what it must be: agentctl schema list")
    found = {row[0] for row in tx.execute(messages.sql["subscribers"], (topic,))}
    if topic == EVERYBODY:
        found.update(row[0] for row in tx.execute(messages.sql["declared"]))
    found.discard(new.source)
    if len(found) > MAX_COPIES or len(found) * len(new.payload) > MAX_PUBLISHED:
        raise BadInput(
            f"{len(found):,} copies of {len(new.payload):,} characters are too much for one publication",
            "Publish the name of a file instead",
        )
    crowded = [agent for agent in sorted(found) if _is_crowded(tx, messages, new.source, agent)]
    error = _crowded(tx, messages, envelope, crowded) if crowded else None
    if crowded and len(crowded) == len(found):
        return Sent(0, True, "crowded", error=error)
    copies: list[int] = []
    for agent in sorted(found.difference(crowded)):
        first = copies[0] if copies else None
        number = new.id if first is None else copies[-1] + 1
        copies.append(_store(tx, messages, envelope, number, agent, first, None, None))
    return Sent(copies[0] if copies else 0, True, "published", error=error, copies=tuple(copies))


def _store(
    tx: Transaction,
    messages: Messages,
    envelope: _Envelope,
    number: int,
    target: str,
    post: int | None,
    reason: str | None,
    error: str | None,
) -> int:
    """Write a message's row and event; return the number it got."""
    new = envelope.new
    key = new.key if post is None else None
    body, body_digest = tx.body(new.payload)
    own = envelope.correlation[:16] == f"{new.id:016x}"  # begins with this message, under whatever number
    number = in_order(tx.conn.last_message, number)
    while True:
        correlation = f"{number:016x}{envelope.correlation[16:]}" if own and post is None else envelope.correlation
        conversation = envelope.conversation or post
        signature = sign(
            messages.key, number, new.source, target, envelope.topic, new.type, new.payload, correlation,
            conversation or number, new.reply_to, new.priority, new.expires_ms, key, new.max_deliveries,
        )  # fmt: skip
        values = (
            number, new.source, target, envelope.topic, post, new.type, "dead" if reason else "stored", body,
            bytes.fromhex(correlation), conversation, new.reply_to, new.priority, new.expires_ms, key,
            new.max_deliveries, tx.now.wall_ms if reason else None, reason, error, signature,
        )  # fmt: skip
        try:
            tx.execute(messages.sql["insert"], values)
            break
        except tx.conn.library.IntegrityError:
            if tx.execute(messages.sql["exists"], (number,)).fetchone() is None:
                raise
            number += 1  # two of one millisecond drew the same 20 random bits
    tx.conn.last_message = number
    if own and post is None:
        envelope.correlation = correlation
    _tell(tx, envelope, number, target, post, conversation, key, reason, error, body, body_digest)
    if not reason:
        messages.arrived.add(target)
    return number


def _tell(
    tx: Transaction,
    envelope: _Envelope,
    number: int,
    target: str,
    post: int | None,
    conversation: int | None,
    key: str | None,
    reason: str | None,
    error: str | None,
    body: int,
    body_digest: bytes,
) -> None:
    """Append the event; what goes without saying is left out (replay/messages.py)."""
    new, actor = envelope.new, envelope.actor
    told: dict[str, Any] = {
        "to": target,
        "type": new.type,
        "from": new.source if actor is None or new.source != actor.partition("/")[0] else None,
        "topic": envelope.topic,
        "post": post,
        "conversation": conversation if conversation != post else None,
        "reply_to": new.reply_to,
        "priority": new.priority or None,
        "expires": new.expires_ms,
        "key": key,
        "max": new.max_deliveries if new.max_deliveries != MAX_DELIVERIES else None,
        "reason": reason,
        "error": error,
    }
    correlation = bytes.fromhex(envelope.correlation)
    trace = correlation[8:] if correlation[:8] == number.to_bytes(8, "big") else correlation
    tx.event(
        _SENT, number, None, actor, dumps({name: value for name, value in told.items() if value is not None}),
        body=body, body_digest=body_digest, correlation=trace,
    )  # fmt: skip


# --- damping ----------------------------------------------------------------------------------------------------------
def _looping(tx: Transaction, messages: Messages, envelope: _Envelope, target: str) -> Damping | None:
    """Return the rule by which a message is one too many between two who get nowhere, None if it is not."""
    if envelope.conversation is None:
        return None
    damping = _damping(tx, messages)
    if not damping.messages:
        return None
    now_ms, since_ms = tx.now.wall_ms, tx.now.wall_ms - damping.window_ms
    pair = (envelope.conversation, since_ms << 20, envelope.new.source, target, now_ms + 1 << 20)
    said = tx.execute(messages.limited("exchanged", damping.messages), pair).fetchall()
    if len(said) < damping.messages or any(type == "RESULT" for _, type in said) or envelope.new.type == "RESULT":
        return None
    oldest_ms = said[-1][0] >> 20
    correlation = bytes.fromhex(envelope.correlation)
    work = (int.from_bytes(correlation[:8], "big") & ((1 << 63) - 1), correlation, oldest_ms)
    return None if tx.execute(messages.sql["work_ended"], work).fetchone() else damping


def _damped(tx: Transaction, messages: Messages, envelope: _Envelope, target: str, damping: Damping) -> Sent:
    """Refuse it; the first refusal of a window is an event."""
    conversation = envelope.conversation
    last = tx.execute(messages.sql["last_told"], (conversation, _DAMPED)).fetchone()[0]
    if last is None or not tx.now.wall_ms - damping.window_ms < last <= tx.now.wall_ms:
        told = {"from": envelope.new.source, "to": target, "messages": damping.messages, "window": damping.window_ms}
        tx.event(_DAMPED, conversation, None, envelope.actor, dumps(told))
    error = (
        f"{envelope.new.source} and {target} have sent each other {damping.messages} messages within "
        f"{damping.window_ms / 1000:g} s in conversation {write_id(conversation or 0)} and got nowhere"
    )
    return Sent(0, True, "damped", error=error)


def _is_crowded(tx: Transaction, messages: Messages, source: str, target: str) -> bool:
    if tx.execute(messages.sql["crowded"], (source, target)).fetchone() is None:
        return False
    # Where nobody sweeps or reads, what has expired would fill it for ever.
    over = (source, target, tx.now.wall_ms)
    outlived = tx.execute(messages.limited("outlived_from", OUTLIVED_AT_ONCE), over).fetchall()
    for (message,) in outlived:
        outlive(tx, messages, message, target)
    return not outlived or tx.execute(messages.sql["crowded"], (source, target)).fetchone() is not None


def _crowded(tx: Transaction, messages: Messages, envelope: _Envelope, targets: list[str]) -> str:
    """Say in whose inboxes there is no room; of each it is an event, once until its oldest message has gone."""
    source, unread = envelope.new.source, _damping(tx, messages).unread
    for target in targets:
        oldest = tx.execute(messages.sql["oldest_unread"], (source, target)).fetchone()[0]
        if tx.execute(messages.sql["last_told"], (oldest, _CROWDED)).fetchone()[0] is None:
            told = {"from": source, "to": target, "unread": unread}
            tx.event(_CROWDED, oldest, None, envelope.actor, dumps(told))
    names = ", ".join(targets[:3]) + (f" and {len(targets) - 3:,} others" if len(targets) > 3 else "")
    return f"as many messages of {source} as may ({unread:,}) wait unread in the inbox of {names}"


def _damping(tx: Transaction, messages: Messages) -> Damping:
    row = tx.execute(messages.sql["damping"]).fetchone()
    return Damping(*row) if row is not None else Damping()


def configure(tx: Transaction, messages: Messages, damping: Damping, actor: str) -> bool:
    """Say when conversations are damped, and how full an inbox gets."""
    if _damping(tx, messages) == damping:
        return False
    tx.execute(messages.sql["set_damping"], (damping.messages, damping.window_ms, damping.unread))
    tx.event(_CONFIGURED, actor=actor, data=dumps(as_dict(damping)))
    return True


# --- topics -----------------------------------------------------------------------------------------------------------
def subscribe(tx: Transaction, messages: Messages, topic: str, agent: str, actor: str | None) -> bool:
    """Have copies of what is published to a topic sent to an agent. NotFound for one that only somebody else names."""
    if agent != OPERATOR:
        if actor is not None:
            expect_known(tx, agent, actor)
        tx.number("agent", agent)
    if not tx.execute(messages.sql["subscribe"], (topic, agent, tx.now.wall_ms)).rowcount:
        return False
    if tx.execute(messages.sql["subscribed"], (agent,)).fetchone()[0] > MAX_TOPICS:
        raise BadInput(f"{agent} is subscribed to {MAX_TOPICS:,} topics already", "Unsubscribe it from some first")
    tx.event(_SUBSCRIBED, actor=actor, data=dumps({"topic": topic, "agent": agent}))
    return True


def unsubscribe(tx: Transaction, messages: Messages, topic: str, agent: str, actor: str | None) -> bool:
    """Send no more copies; those that were sent stay."""
    if not tx.execute(messages.sql["unsubscribe"], (topic, agent)).rowcount:
        return False
    tx.event(_UNSUBSCRIBED, actor=actor, data=dumps({"topic": topic, "agent": agent}))
    return True
