"""The tables of few rows that the history is folded into, of every noun that has some."""

from __future__ import annotations

from .message_tables import DampingFold, SchemaFold, SubscriptionFold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .tables import TableFold

TABLES: tuple[type[TableFold], ...] = (SubscriptionFold, SchemaFold, DampingFold)
