"""The SQLite driver's part about messages: each verb of agentctl_store.messagedriver as one transaction."""

from __future__ import annotations

from ..domain import message_machine
from ..domain.agent import is_itself
from ..domain.message import INBOX_LIMIT, Damping, Message, MessageSchema, Topic
from ..errors import NotFound
from ..ids import write_id
from ..later import later
from . import delivering, sqltext
from .clocks import clocks
from .signing import message_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..clock import Moment
    from ..domain.message import Delivery, MessageFilter, NewMessage, Sent, Settled
    from . import letters, schemas, sending
    from .connection import Connection
    from .validating import Validator
else:
    later(globals(), __package__, "letters", "schemas", "sending")

LOOK = 50_000  #: newest messages that a list looks through
#: the columns of domain.message.Message; a body that is gone is empty, and its message's signature does not hold
COLUMNS = """m.id, m.source, m.target, m.topic, m.type, m.state, coalesce(b.text, ''), lower(hex(m.correlation)),
    coalesce(m.conversation, m.id), m.reply_to, m.priority, m.expires_ms, m.key, m.max_deliveries, m.deliveries,
    m.burnt, m.reader, m.delivered_ms, m.finished_ms, m.reason, m.error, m.due_boot_ms"""
LISTED = 500  #: characters of a payload in a list
_LISTED = COLUMNS.replace("coalesce(b.text, '')", f"substr(coalesce(b.text, ''), 1, {LISTED})")


class Messages:
    """See agentctl_store.messagedriver.MessageDriver, whose words these are."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        blocks = sqltext.load("message", message_machine)
        self.sql = {
            name: block.replace("@message", COLUMNS).replace("@listed", _LISTED) for name, block in blocks.items()
        }
        self.sql["crowded"] = self.sql["crowded"].replace("@unread", str(INBOX_LIMIT))
        self._limited: dict[tuple[str, int], str] = {}
        self.arrived: set[str] = set()  #: who got mail; the broker, which lets readers wait, empties it
        self.validators: dict[str, Validator] = {}  #: by the schema's text
        self._key = b""

    @property
    def key(self) -> bytes:
        """What messages are signed with."""
        if not self._key:
            self._key = message_key(self.conn.directory)
        return self._key

    def limited(self, block: str, limit: int) -> str:
        """Return a block with its limit written into it."""
        found = self._limited.get((block, limit))
        if found is None:
            found = self._limited[block, limit] = self.sql[block].replace("@limit", str(limit))
        return found

    def send(self, message: NewMessage, *, actor: str | None, now: Moment) -> Sent:
        with self.conn.write(now) as tx:
            return sending.send(tx, self, message, actor)

    def read(
        self, agent: str, *, reader: str | None, limit: int, ack_ms: int, wait_ms: int, now: Moment
    ) -> list[Delivery]:
        met = ("agent", agent) in self.conn.ids or not is_itself(reader, agent)
        if wait_ms and met and not self._any(agent, now):
            return []  # of many who wait, each commit wakes all: they must not queue up to write
        with self.conn.write(now) as tx:
            clocks(tx, self.conn)
            return delivering.read(tx, self, agent, reader, limit, ack_ms, wait_ms)

    def _any(self, agent: str, now: Moment) -> bool:
        return bool(self.conn.rows(self.sql["peek"], (agent, now.boot_ms))[0][0])

    def ack(self, message: int, n: int, *, now: Moment) -> Settled:
        with self.conn.write(now) as tx:
            return delivering.ack(tx, self, message, n)

    def refuse(self, message: int, n: int, *, error: str, now: Moment) -> Settled:
        with self.conn.write(now) as tx:
            return delivering.refuse(tx, self, message, n, error)

    def give_back(self, message: int, n: int, *, now: Moment) -> Settled:
        with self.conn.write(now) as tx:
            return delivering.give_back(tx, self, message, n)

    def requeue(self, message: int, *, payload: str | None, note: str, actor: str, now: Moment) -> Settled:
        with self.conn.write(now) as tx:
            return letters.requeue(tx, self, message, payload, note, actor)

    def discard(self, message: int, *, reason: str, actor: str, now: Moment) -> Settled:
        with self.conn.write(now) as tx:
            return letters.discard(tx, self, message, reason, actor)

    # --- topics, schemas, damping -----------------------------------------------------------------------------
    def subscribe(self, topic: str, agent: str, *, actor: str | None, now: Moment) -> bool:
        with self.conn.write(now) as tx:
            return sending.subscribe(tx, self, topic, agent, actor)

    def unsubscribe(self, topic: str, agent: str, *, actor: str | None, now: Moment) -> bool:
        with self.conn.write(now) as tx:
            return sending.unsubscribe(tx, self, topic, agent, actor)

    def set_schema(self, scope: str, schema: str, *, actor: str, now: Moment) -> bool:
        with self.conn.write(now) as tx:
            return schemas.set_schema(tx, self, scope, schema, actor)

    def remove_schema(self, scope: str, *, actor: str, now: Moment) -> bool:
        with self.conn.write(now) as tx:
            return schemas.remove_schema(tx, self, scope, actor)

    def configure(self, damping: Damping, *, actor: str, now: Moment) -> bool:
        with self.conn.write(now) as tx:
            return sending.configure(tx, self, damping, actor)

    # --- reading ----------------------------------------------------------------------------------------------
    def message(self, message: int) -> Message:
        found = self.conn.rows(self.sql["one"], (message,))
        if not found:
            raise NotFound(f"there is no message {write_id(message)}", "Look for it with: agentctl msg list")
        return Message(*found[0])

    def find(self, low: int, high: int, limit: int) -> list[int]:
        return [row[0] for row in self.conn.rows(self.sql["between"], (low, high, limit))]

    def list(self, filter: MessageFilter, limit: int) -> Sequence[Message]:
        where, order, values = _narrowed(filter)
        block = self.sql["some"].replace("@where", where).replace("@order", order)
        return [Message(*row) for row in self.conn.rows(block, (*values, limit))]

    def thread(self, conversation: int, party: str | None, limit: int) -> Sequence[Message]:
        return [Message(*row) for row in self.conn.rows(self.sql["thread"], (conversation, party, limit))]

    def topics(self) -> Sequence[Topic]:
        found: dict[str, list[str]] = {}
        for topic, agent in self.conn.rows(self.sql["topics"]):
            found.setdefault(topic, []).append(agent)
        return [Topic(name, tuple(agents)) for name, agents in found.items()]

    def schemas(self) -> Sequence[MessageSchema]:
        return [MessageSchema(*row) for row in self.conn.rows(self.sql["schemas"])]

    def damping(self) -> Damping:
        found = self.conn.rows(self.sql["damping"])
        return Damping(*found[0]) if found else Damping()


def _narrowed(filter: MessageFilter) -> tuple[str, str, list[Any]]:
    """Return a filter as conditions, an order and values."""
    conditions: list[str] = []
    values: list[Any] = []
    for column in ("target", "source", "state", "type", "topic", "reason"):
        wanted = getattr(filter, column)
        if wanted is not None:
            conditions.append(f"m.{column} = ?")
            values.append(wanted)
    if filter.party is not None:
        conditions.append("(m.source = ? OR m.target = ?)")
        values += (filter.party, filter.party)
    if filter.conversation is not None:
        conditions.append("(m.conversation = ? OR m.id = ?)")
        values += (filter.conversation, filter.conversation)
    if filter.text:
        conditions.append("(instr(b.text, ?) OR instr(coalesce(m.error, ''), ?))")
        values += (filter.text, filter.text)
    if filter.dead:
        conditions.insert(0, "(m.state = 'dead' OR m.state = 'expired')")
        if filter.before is not None:
            conditions.append("m.id < ?")
            values.append(filter.before)
        return " AND ".join(conditions), "m.finished_ms DESC, m.id DESC", values
    below = "" if filter.before is None else " WHERE id < ?"
    newest = f"m.id IN (SELECT id FROM message{below} ORDER BY id DESC LIMIT {LOOK})"  # noqa: S608 - no words of others
    before = [] if filter.before is None else [filter.before]
    return " AND ".join([newest, *conditions]), "m.id DESC", [*before, *values]
