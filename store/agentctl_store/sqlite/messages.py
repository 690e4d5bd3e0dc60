"""The SQLite driver's part about messages: each verb of agentctl_store.messagedriver as one transaction."""

from __future__ import annotations

from ..domain.message import Damping, Message, MessageSchema, Topic
from ..errors import NotFound
from ..ids import is_itself, write_id
from ..later import later
from . import delivering
from .clocks import clocks
from .messaging import Messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..clock import Moment
    from ..domain.message import Delivery, MessageFilter, NewMessage, Sent, Settled
    from . import letters, schemas, sending
    from .connection import Connection
else:
    later(globals(), __package__, "letters", "schemas", "sending")

LOOK = 50_000  #: newest messages that a list looks through


class SqliteMessages:
    """See agentctl_store.messagedriver.MessageDriver, whose words these are."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self.shared = Messages(conn)  #: what the functions that do it share, and whoever sweeps
        self._sql = self.shared.sql

    def send(self, message: NewMessage, *, actor: str | None, now: Moment) -> Sent:
        with self._conn.write(now) as tx:
            return sending.send(tx, self.shared, message, actor)

    def read(
        self, agent: str, *, reader: str | None, limit: int, ack_ms: int, wait_ms: int, now: Moment
    ) -> list[Delivery]:
        met = ("agent", agent) in self._conn.ids or not is_itself(reader, agent)
        if wait_ms and met and not self._any(agent, now):
            return []  # of many who wait, each commit wakes all: they must not queue up to write
        with self._conn.write(now) as tx:
            clocks(tx, self._conn)
            return delivering.read(tx, self.shared, agent, reader, limit, ack_ms, wait_ms)

    def _any(self, agent: str, now: Moment) -> bool:
        return bool(self._conn.rows(self._sql["peek"], (agent, now.boot_ms))[0][0])

    def ack(self, message: int, n: int, *, now: Moment) -> Settled:
        with self._conn.write(now) as tx:
            return delivering.ack(tx, self.shared, message, n)

    def refuse(self, message: int, n: int, *, error: str, now: Moment) -> Settled:
        with self._conn.write(now) as tx:
            return delivering.refuse(tx, self.shared, message, n, error)

    def give_back(self, message: int, n: int, *, now: Moment) -> Settled:
        with self._conn.write(now) as tx:
            return delivering.give_back(tx, self.shared, message, n)

    def requeue(self, message: int, *, payload: str | None, note: str, actor: str, now: Moment) -> Settled:
        with self._conn.write(now) as tx:
            return letters.requeue(tx, self.shared, message, payload, note, actor)

    def discard(self, message: int, *, reason: str, actor: str, now: Moment) -> Settled:
        with self._conn.write(now) as tx:
            return letters.discard(tx, self.shared, message, reason, actor)

    # --- topics, schemas, damping -----------------------------------------------------------------------------
    def subscribe(self, topic: str, agent: str, *, actor: str | None, now: Moment) -> bool:
        with self._conn.write(now) as tx:
            return sending.subscribe(tx, self.shared, topic, agent, actor)

    def unsubscribe(self, topic: str, agent: str, *, actor: str | None, now: Moment) -> bool:
        with self._conn.write(now) as tx:
            return sending.unsubscribe(tx, self.shared, topic, agent, actor)

    def set_schema(self, scope: str, schema: str, *, actor: str, now: Moment) -> bool:
        with self._conn.write(now) as tx:
            return schemas.set_schema(tx, self.shared, scope, schema, actor)

    def remove_schema(self, scope: str, *, actor: str, now: Moment) -> bool:
        with self._conn.write(now) as tx:
            return schemas.remove_schema(tx, self.shared, scope, actor)

    def configure(self, damping: Damping, *, actor: str, now: Moment) -> bool:
        with self._conn.write(now) as tx:
            return sending.configure(tx, self.shared, damping, actor)

    # --- reading ----------------------------------------------------------------------------------------------
    def message(self, message: int) -> Message:
        found = self._conn.rows(self._sql["one"], (message,))
        if not found:
            raise NotFound(f"there is no message {write_id(message)}", "Look for it with: agentctl msg list")
        return Message(*found[0])

    def find(self, low: int, high: int, limit: int) -> list[int]:
        return [row[0] for row in self._conn.rows(self._sql["between"], (low, high, limit))]

    def list(self, filter: MessageFilter, limit: int) -> Sequence[Message]:
        where, order, values = _narrowed(filter)
        block = self._sql["some"].replace("@where", where).replace("@order", order)
        return [Message(*row) for row in self._conn.rows(block, (*values, limit))]

    def thread(self, conversation: int, party: str | None, limit: int) -> Sequence[Message]:
        return [Message(*row) for row in self._conn.rows(self._sql["thread"], (conversation, party, limit))]

    def topics(self) -> Sequence[Topic]:
        found: dict[str, list[str]] = {}
        for topic, agent in self._conn.rows(self._sql["topics"]):
            found.setdefault(topic, []).append(agent)
        return [Topic(name, tuple(agents)) for name, agents in found.items()]

    def schemas(self) -> Sequence[MessageSchema]:
        return [MessageSchema(*row) for row in self._conn.rows(self._sql["schemas"])]

    def damping(self) -> Damping:
        found = self._conn.rows(self._sql["damping"])
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
            conditions.append("(m.finished_ms, m.id) < (?, ?)")
            values += (filter.before_ms, filter.before)
        return " AND ".join(conditions), "m.finished_ms DESC, m.id DESC", values
    # As a range, which ends as soon as enough are found; as a set of ids all LOOK would be looked up first.
    below, bound = ("", []) if filter.before is None else (" WHERE id < ?", [filter.before])
    oldest = f"SELECT min(id) FROM (SELECT id FROM message{below} ORDER BY id DESC LIMIT {LOOK})"  # noqa: S608 - no words of others
    conditions[:0] = [f"m.id >= ({oldest})", *(["m.id < ?"] if bound else ())]
    return " AND ".join(conditions), "m.id DESC", [*bound, *bound, *values]
