"""The store's verbs on messages, as everybody above the driver calls them: `store.messages`."""

from __future__ import annotations

from .domain.message import (
    MAX_DELIVERIES,
    MAX_INBOX_LIMIT,
    MOST_DELIVERIES,
    OPERATOR,
    TOPIC,
    TYPES,
    Damping,
    MessageFilter,
    NewMessage,
)
from .domain.task import PRIORITY_MAX, PRIORITY_MIN
from .errors import BadInput, Conflict
from .ids import check_correlation, check_key, check_name, id_range, new_correlation, new_id, write_id
from .jsontext import dumps, loads
from .record import record
from .taskverbs import FOREVER_MS, LOOK_MS, MAX_CLAIM, MAX_LEASE_MS, MAX_WAIT_MS, kept_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .clock import Clock
    from .domain.message import Delivery, Message, MessageSchema, MessageType, Sent, Settled, Topic
    from .driver import Driver

DEFAULT_ACK_MS = 60_000
MAX_WINDOW_MS = 24 * 3_600_000
MAX_LISTED = 10_000


@record
class MessageRequest:
    """What a caller asks to be sent. Durations are milliseconds."""

    source: str
    target: str | None = None  #: an agent, OPERATOR, `topic:NAME`; None: the sender of what this replies to
    payload: str = "null"  #: JSON text
    type: MessageType = "DIRECTIVE"
    key: str | None = None
    correlation: str | None = None
    conversation: int | None = None
    reply_to: int | None = None
    priority: int = 0
    ttl_ms: int | None = None  #: from now; not delivered after that
    max_deliveries: int = MAX_DELIVERIES
    creator: int | None = None  #: the task that is being worked on, whose correlation id is inherited
    acks: int | None = None  #: the delivery of `reply_to` that this acks, in the same step


class MessageVerbs:
    """Sending, reading and acking messages; topics; schemas; what a person decides about dead letters."""

    def __init__(self, driver: Driver, clock: Clock) -> None:
        self._driver, self._clock, self._changed = driver.messages, clock, driver.changed

    def send(self, request: MessageRequest, *, actor: str | None = None) -> Sent:
        """Send a message, durably before this returns. See MessageDriver.send for what is not delivered.

        BadInput and its kinds; Conflict when the conversation is damped, or the inbox crowded.
        """
        now = self._clock.now()
        number = new_id(self._clock, now.wall_ms)
        _check(request)
        if request.correlation is not None:
            correlation = check_correlation(request.correlation)
        else:
            correlation = new_correlation(self._clock, number)
        new = NewMessage(
            number,
            request.source,
            request.target,
            request.type,
            dumps(loads(request.payload)),
            correlation,
            request.conversation,
            request.reply_to,
            request.priority,
            None if request.ttl_ms is None else now.wall_ms + request.ttl_ms,
            request.key,
            request.max_deliveries,
            request.creator,
            request.acks,
        )
        sent = self._driver.send(new, actor=actor, now=now)
        if sent.state == "damped":
            raise Conflict(
                sent.error or "the conversation is damped",
                "Finish a task, send a RESULT, or wait; [messages] in agentctl.toml says how many are too many",
            )
        if sent.state == "crowded":
            raise Conflict(
                sent.error or "the inbox is crowded",
                "Wait until some are read, or give such messages a --ttl; [messages] inbox_limit in agentctl.toml says "
                "how many may",
            )
        return sent

    def read(
        self,
        agent: str,
        *,
        reader: str | None = None,
        limit: int = 1,
        ack_ms: int = DEFAULT_ACK_MS,
        wait_ms: int = 0,
    ) -> list[Delivery]:
        """Take up to `limit` messages; an empty list when there are none, nor came any within `wait_ms`.

        Each is delivered again when it is not acked within `ack_ms`. `reader` says who took it: an instance; without
        one the agent reads itself. NotFound when another reads, at once, for an agent that nobody knows.
        """
        check_name(agent, "agent")
        if not 1 <= ack_ms <= MAX_LEASE_MS:
            raise BadInput(f"{ack_ms} ms to ack a message is out of range", "Use 1 ms to 24 h")
        if not 1 <= limit <= MAX_CLAIM:
            raise BadInput(f"{limit} messages at once are out of range", f"Use 1 to {MAX_CLAIM:,}")
        now = self._clock.now()
        until_ms = now.boot_ms + wait_ms
        while True:
            seen = self._changed(0, task=None, wait_ms=0) if wait_ms else 0
            left_ms = min(max(0, until_ms - now.boot_ms), MAX_WAIT_MS)
            won = self._driver.read(agent, reader=reader or agent, limit=limit, ack_ms=ack_ms, wait_ms=left_ms, now=now)
            if won or not wait_ms:
                return won
            now = self._clock.now()
            if now.boot_ms >= until_ms:
                return won
            # Looks again now and then all the same: that an ack is overdue is no commit.
            self._changed(seen, task=None, wait_ms=min(until_ms - now.boot_ms, LOOK_MS))
            now = self._clock.now()

    def ack(self, message: int, n: int) -> Settled:
        """Say that a delivery was dealt with. StaleAttempt when the message was delivered again since."""
        return self._driver.ack(message, n, now=self._clock.now())

    def refuse(self, message: int, n: int, *, error: str = "") -> Settled:
        """Make a delivered message a dead letter. StaleAttempt as for `ack`."""
        return self._driver.refuse(message, n, error=kept_text(error), now=self._clock.now())

    def requeue(self, message: int, *, payload: str | None = None, note: str = "", actor: str) -> Settled:
        """Send a dead letter back, with `payload` (JSON text) in place of the old one when given."""
        edited = None if payload is None else dumps(loads(payload))
        return self._driver.requeue(message, payload=edited, note=kept_text(note), actor=actor, now=self._clock.now())

    def discard(self, message: int, *, reason: str = "discarded", actor: str) -> Settled:
        """Give a dead letter up."""
        return self._driver.discard(message, reason=kept_text(reason), actor=actor, now=self._clock.now())

    # --- topics, schemas, damping -----------------------------------------------------------------------------
    def subscribe(self, topic: str, agent: str, *, actor: str | None = None) -> bool:
        """Have an agent sent a copy of what is published to a topic. False when it was so already."""
        check_name(topic, "topic")
        check_name(agent, "agent")
        return self._driver.subscribe(topic, agent, actor=actor, now=self._clock.now())

    def unsubscribe(self, topic: str, agent: str, *, actor: str | None = None) -> bool:
        check_name(topic, "topic")
        check_name(agent, "agent")
        return self._driver.unsubscribe(topic, agent, actor=actor, now=self._clock.now())

    def topics(self) -> Sequence[Topic]:
        return self._driver.topics()

    def set_schema(self, scope: str, schema: str, *, actor: str) -> bool:
        """Hold payloads of a type or `topic:NAME` to a JSON Schema. BadInput when it is none."""
        text = dumps(loads(schema, "schema"))
        return self._driver.set_schema(check_scope(scope), text, actor=actor, now=self._clock.now())

    def remove_schema(self, scope: str, *, actor: str) -> bool:
        return self._driver.remove_schema(check_scope(scope), actor=actor, now=self._clock.now())

    def schemas(self) -> Sequence[MessageSchema]:
        return self._driver.schemas()

    def configure(self, damping: Damping, *, actor: str) -> bool:
        """Say when conversations are damped, and how full an inbox gets. False when it was so already."""
        if not 0 <= damping.messages <= 1_000 or not 1 <= damping.window_ms <= MAX_WINDOW_MS:
            raise BadInput("damping is out of range", "Use 0 to 1000 messages within 1 ms to 24 h")
        if not 0 <= damping.unread <= MAX_INBOX_LIMIT:
            raise BadInput(f"an inbox limit of {damping.unread:,} is out of range", f"Use 0 to {MAX_INBOX_LIMIT:,}")
        return self._driver.configure(damping, actor=actor, now=self._clock.now())

    def damping(self) -> Damping:
        return self._driver.damping()

    # --- looking ----------------------------------------------------------------------------------------------
    def message(self, message: int) -> Message:
        """NotFound when there is none."""
        return self._driver.message(message)

    def find_message(self, text: str) -> int:
        """Return the message a person names by its id or the id's beginning. NotFound, BadName, BadInput if several."""
        low, high = id_range(text, "message id")
        found = self._driver.find(low, high, 3)
        if len(found) > 1:
            shown = ", ".join(write_id(one) for one in found[:3])
            raise BadInput(f"{text!r} could be {shown}{' …' if len(found) > 2 else ''}", "Give more of the id")
        return found[0] if found else self._driver.message(low).id

    def list(self, filter: MessageFilter, limit: int = 50) -> Sequence[Message]:
        """Return the newest messages that match, with the beginning of their payloads."""
        return self._driver.list(filter, min(limit, MAX_LISTED))

    def thread(self, message: int, *, party: str | None = None, limit: int = 1_000) -> Sequence[Message]:
        """Return the conversation that `message` belongs to, oldest first, payloads as in `list`. NotFound."""
        return self._driver.thread(self._driver.message(message).conversation, party, min(limit, MAX_LISTED))


def check_scope(scope: str) -> str:
    """Return what a schema is for, if it is a type or a topic. Raises BadInput."""
    if scope.startswith(TOPIC):
        check_name(scope.removeprefix(TOPIC), "topic")
    elif scope not in TYPES:
        raise BadInput(f"{scope[:40]!a} is no type of message", f"Use {', '.join(TYPES)} or topic:NAME")
    return scope


def _check(request: MessageRequest) -> None:
    check_name(request.source, "agent")
    if request.target is not None and request.target.startswith(TOPIC):
        check_name(request.target.removeprefix(TOPIC), "topic")
    elif request.target is not None:
        check_name(request.target, "agent")
    if request.type not in TYPES:
        raise BadInput(f"{request.type[:40]!a} is no type of message", f"Use {', '.join(TYPES)}")
    if request.key is not None:
        check_key(request.key)
    if not PRIORITY_MIN <= request.priority <= PRIORITY_MAX:
        raise BadInput(f"priority {request.priority} is out of range", "Use -100 to 100; higher is sooner")
    if request.ttl_ms is not None and not 1 <= request.ttl_ms <= FOREVER_MS:
        raise BadInput("the time to live is out of range", "Use a duration of at least 1 ms")
    if not 1 <= request.max_deliveries <= MOST_DELIVERIES:
        raise BadInput(f"{request.max_deliveries} deliveries are out of range", f"Use 1 to {MOST_DELIVERIES:,}")


__all__ = ["DEFAULT_ACK_MS", "OPERATOR", "MessageRequest", "MessageVerbs", "check_scope"]
