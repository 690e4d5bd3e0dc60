"""The tables of few rows that the history is folded into, of every noun that has some."""

from __future__ import annotations

from .limits import FOLDS as LIMITS
from .message_tables import DampingFold, SchemaFold, SubscriptionFold
from .routing import Chains, Lanes
from .schedules import ScheduleFold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .tables import TableFold

TABLES: tuple[type[TableFold], ...] = (SubscriptionFold, SchemaFold, DampingFold, ScheduleFold, Lanes, Chains, *LIMITS)
