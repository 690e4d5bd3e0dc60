"""Messages, their deliveries, and what is asked of them."""

from __future__ import annotations

from ..record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from .message_machine import MessageState

    MessageType = Literal["DIRECTIVE", "QUERY", "RESULT", "ACK", "STATUS", "HANDSHAKE", "PING", "PONG", "ERROR"]
    #: `damped` and `crowded` were not stored; `published` stands for the copies of a publication
    SentState = Literal[
        "stored", "delivered", "acked", "expired", "dead", "discarded", "damped", "crowded", "published"
    ]
    MessageReason = Literal["expired", "no_such_agent", "offline", "schema", "refused", "max_deliveries", "signature"]

TYPES: tuple[MessageType, ...] = (
    "DIRECTIVE", "QUERY", "RESULT", "ACK", "STATUS", "HANDSHAKE", "PING", "PONG", "ERROR",
)  # fmt: skip
REASONS: tuple[MessageReason, ...] = (
    "expired", "no_such_agent", "offline", "schema", "refused", "max_deliveries", "signature",
)  # fmt: skip
OPERATOR = "operator"  #: who sends outside of any agent, and the inbox that answers to it come to
TOPIC = "topic:"  #: a target that begins so is a topic
EVERYBODY = "all"  #: the topic that every declared agent is subscribed to
MAX_DELIVERIES = 5  #: deliveries without an ack before a message becomes a dead letter, unless it says otherwise
MOST_DELIVERIES = 1_000
MAX_TOPICS = 1_000  #: that one agent is subscribed to
MAX_COPIES = 10_000  #: of one publication
MAX_PUBLISHED = 16 << 20  #: characters of all copies of one publication
LOOP_MESSAGES, LOOP_WINDOW_MS, INBOX_LIMIT = 20, 60_000, 1_000  #: see Damping
MAX_INBOX_LIMIT = 10_000  #: sending looks at so many entries of an index
REDELIVER_BASE_MS, REDELIVER_CAP_MS = 1_000, 300_000


@record
class NewMessage:
    """A message to send. Times are wall milliseconds."""

    id: int
    source: str  #: an agent, or OPERATOR
    target: str | None  #: an agent, OPERATOR or `topic:NAME`; None: whoever sent what this replies to
    type: MessageType
    payload: str  #: JSON text, checked and compact
    correlation: str  #: one that begins with this id gives way to that of what is replied to, or of the creator
    conversation: int | None = None  #: the message that began it; None: that of what is replied to, or a new one
    reply_to: int | None = None
    priority: int = 0
    expires_ms: int | None = None
    key: str | None = None  #: idempotency key, the source's own
    max_deliveries: int = MAX_DELIVERIES
    creator: int | None = None  #: the task whose attempt sends this
    acks: int | None = None  #: the delivery of `reply_to` that is acked in the same step


@record
class Sent:
    """What `send` answers: the first message under the key when `created` is false."""

    id: int
    created: bool
    state: SentState
    reason: MessageReason | None = None
    error: str | None = None  #: what is wrong with one that was not accepted, or not by all subscribers, in words
    copies: tuple[int, ...] = ()  #: of a publication, one per subscriber


@record
class Message:
    """A message as it stands."""

    id: int
    source: str
    target: str
    topic: str | None
    type: MessageType
    state: MessageState
    payload: str
    correlation: str
    conversation: int
    reply_to: int | None
    priority: int
    expires_ms: int | None
    key: str | None
    max_deliveries: int
    deliveries: int  #: so far: the fence of the newest
    burnt: int  #: those that count against max_deliveries
    reader: str | None  #: who took it last
    delivered_ms: int | None
    finished_ms: int | None
    reason: str | None
    error: str | None
    due_boot_ms: int | None  #: boot clock: until when an ack is awaited, or when it is delivered again

    @property
    def sent_ms(self) -> int:
        """When it was sent: a part of its id."""
        return self.id >> 20


@record
class Delivery:
    """A message that was taken. Its ack names (`message.id`, `n`)."""

    message: Message
    n: int
    ack_until_ms: int  #: boot clock


@record
class Settled:
    """Where an act left a message."""

    state: MessageState
    reason: str | None = None


@record
class MessageFilter:
    """Which messages are asked for; what is None does not matter. `party` is source or target."""

    target: str | None = None
    source: str | None = None
    party: str | None = None
    state: MessageState | None = None
    type: MessageType | None = None
    topic: str | None = None
    conversation: int | None = None
    dead: bool = False  #: dead letters: dead or expired
    reason: str | None = None
    text: str = ""  #: stands in payload, id or error
    before: int | None = None  #: ids below this one: the next page
    before_ms: int | None = None  #: of dead letters, with `before`: when that one died, for they are in that order


@record
class Topic:
    """A topic and who is subscribed to it."""

    name: str
    subscribers: tuple[str, ...]


@record
class MessageSchema:
    """A JSON Schema that payloads are held to; `scope` is a type, or `topic:NAME`."""

    scope: str
    schema: str  #: JSON text
    since_ms: int


@record
class Damping:
    """From `messages` within `window_ms` between two in one conversation, without progress, further ones are damped.

    Progress is a RESULT in the conversation, or a task of the correlation id that ended. 0 messages: never. Whatever
    the conversation, no more are taken while `unread` of one sender wait in one inbox; 0: any number may.
    """

    messages: int = LOOP_MESSAGES
    window_ms: int = LOOP_WINDOW_MS
    unread: int = INBOX_LIMIT


def redelivery_ms(burnt: int, jitter: float) -> int:
    """Return how long a message waits that was not acked in time: exponential with full jitter, as for tasks."""
    return int(min(REDELIVER_CAP_MS, REDELIVER_BASE_MS << min(max(burnt - 1, 0), 20)) * jitter)
