"""Folding the history into the tables of few rows beside messages: subscriptions, schemas, damping."""

from __future__ import annotations

from ..domain.event import KINDS
from .tables import TableFold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .fleet import FleetFold
    from .tasks import Line, Row


class SubscriptionFold(TableFold):
    """Who is subscribed to what."""

    table, keys, columns = "subscription", ("topic", "agent"), ("since_ms",)

    def subscribed(self, line: Line, said: Row, fleet: FleetFold) -> None:
        self.rows[said["topic"], said["agent"]] = {"since_ms": line[1]}

    def unsubscribed(self, line: Line, said: Row, fleet: FleetFold) -> None:
        self.rows.pop((said["topic"], said["agent"]), None)

    steps = {KINDS["topic.subscribed"]: subscribed, KINDS["topic.unsubscribed"]: unsubscribed}  # noqa: RUF012


class SchemaFold(TableFold):
    """What payloads are held to."""

    table, keys, columns = "message_schema", ("scope",), ("schema", "since_ms")

    def set(self, line: Line, said: Row, fleet: FleetFold) -> None:
        self.rows[(said["scope"],)] = {"schema": said["schema"], "since_ms": line[1]}

    def removed(self, line: Line, said: Row, fleet: FleetFold) -> None:
        self.rows.pop((said["scope"],), None)

    steps = {KINDS["schema.set"]: set, KINDS["schema.removed"]: removed}  # noqa: RUF012


class DampingFold(TableFold):
    """When conversations are damped."""

    table, keys, columns = "damping", ("id",), ("messages", "window_ms")

    def configured(self, line: Line, said: Row, fleet: FleetFold) -> None:
        self.rows[(1,)] = {"messages": said["messages"], "window_ms": said["window_ms"]}

    steps = {KINDS["message.configured"]: configured}  # noqa: RUF012
