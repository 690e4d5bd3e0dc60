"""Signing the messages of a store that was made elsewhere: another key signed them, which no backup holds."""

from __future__ import annotations

from ..domain import message_machine
from ..domain.message import Message
from . import sqltext
from .messaging import COLUMNS
from .signing import genuine, message_key, sign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_SQL = sqltext.load("message", message_machine)
_HAS_MESSAGES = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'message'"
AT_ONCE = 1_000


def vouch(db: Any, directory: str) -> None:
    """Sign what may still be delivered with the key of `directory`, unless that one signed any of it.

    Whoever restores a store from elsewhere vouches for it; one of here stays under its signatures.
    """
    if db.execute(_HAS_MESSAGES).fetchone() is None:
        return  # a backup older than they are
    key = message_key(directory)
    if any(genuine(key, message, signature) for message, signature in _deliverable(db)):
        return
    db.execute("BEGIN")
    for one, _ in _deliverable(db):
        signature = sign(
            key, one.id, one.source, one.target, one.topic, one.type, one.payload, one.correlation, one.conversation,
            one.reply_to, one.priority, one.expires_ms, one.key, one.max_deliveries,
        )  # fmt: skip
        db.execute(_SQL["sign"], (signature, one.id))
    db.execute("COMMIT")


def _deliverable(db: Any) -> Iterator[tuple[Message, bytes]]:
    query, last = _SQL["deliverable"].replace("@message", COLUMNS), -1
    while rows := db.execute(query, (last, AT_ONCE)).fetchall():
        last = rows[-1][0]
        for *fields, signature in rows:
            yield Message(*fields), signature
