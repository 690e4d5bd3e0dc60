"""Folding the history into the tables of few rows beside messages: subscriptions, schemas, damping."""

from __future__ import annotations

from ..domain.event import KINDS
from ..domain.message import INBOX_LIMIT
from .tables import TableFold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .tasks import Line, Row


class SubscriptionFold(TableFold):
    """Who is subscribed to what."""

    table, keys, columns = "subscription", ("topic", "agent"), ("since_ms",)

    def subscribed(self, line: Line, said: Row) -> None:
        self.rows[said["topic"], said["agent"]] = {"since_ms": line[1]}

    def unsubscribed(self, line: Line, said: Row) -> None:
        self.rows.pop((said["topic"], said["agent"]), None)

    steps = {KINDS["topic.subscribed"]: subscribed, KINDS["topic.unsubscribed"]: unsubscribed}  # noqa: RUF012


class SchemaFold(TableFold):
    """What payloads are held to."""

    table, keys, columns = "message_schema", ("scope",), ("schema", "since_ms")

    def set(self, line: Line, said: Row) -> None:
        self.rows[(said["scope"],)] = {"schema": said["schema"], "since_ms": line[1]}

    def removed(self, line: Line, said: Row) -> None:
        self.rows.pop((said["scope"],), None)

    steps = {KINDS["schema.set"]: set, KINDS["schema.removed"]: removed}  # noqa: RUF012


class DampingFold(TableFold):
    """When conversations are damped, and how full an inbox gets; which older events and snapshots do not say."""

    table, keys, columns = "damping", ("id",), ("messages", "window_ms", "unread")

    def configured(self, line: Line, said: Row) -> None:
        self.load([{"id": 1, **said}])

    def load(self, rows: Iterable[Row]) -> None:
        super().load({"unread": INBOX_LIMIT, **row} for row in rows)

    steps = {KINDS["message.configured"]: configured}  # noqa: RUF012
