"""What the functions on messages share on one connection: their statements, what they sign with, who got mail."""

from __future__ import annotations

from ..domain import message_machine
from ..domain.message import INBOX_LIMIT
from . import sqltext
from .signing import message_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .connection import Connection
    from .validating import Validator

#: the columns of domain.message.Message; a body that is gone is empty, and its message's signature does not hold
COLUMNS = """m.id, m.source, m.target, m.topic, m.type, m.state, coalesce(b.text, ''), lower(hex(m.correlation)),
    coalesce(m.conversation, m.id), m.reply_to, m.priority, m.expires_ms, m.key, m.max_deliveries, m.deliveries,
    m.burnt, m.reader, m.delivered_ms, m.finished_ms, m.reason, m.error, m.due_boot_ms"""
LISTED = 500  #: characters of a payload in a list
_LISTED = COLUMNS.replace("coalesce(b.text, '')", f"substr(coalesce(b.text, ''), 1, {LISTED})")


class Messages:
    """The messages of one connection's store."""

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
