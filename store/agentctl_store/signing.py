"""Signatures of messages: HMAC-SHA256 (RFC 2104) over the whole envelope, cut to 16 bytes.

The key is derived from the store's secret (keyfile.py). Whoever writes through a driver signs, having made
sure who the sender is; so a row that was changed or slipped into the file by other means is not delivered.
"""

from __future__ import annotations

import hmac

from .jsontext import dumps
from .keyfile import load_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .domain.message import Message

_PURPOSE = b"agentctl message 1"
_BYTES = 16


def message_key(directory: str) -> bytes:
    """Return the key that messages of the store in `directory` are signed with. StoreError as for tokens."""
    return hmac.digest(load_key(directory), _PURPOSE, "sha256")


def sign(
    key: bytes,
    number: int,
    source: str,
    target: str,
    topic: str | None,
    type: str,
    payload: str,
    correlation: str,
    conversation: int,
    reply_to: int | None,
    priority: int,
    expires_ms: int | None,
    idempotency_key: str | None,
    max_deliveries: int,
) -> bytes:
    """Return the signature of an envelope and its payload."""
    envelope = (
        number, source, target, topic, type, correlation, conversation, reply_to, priority, expires_ms,
        idempotency_key, max_deliveries,
    )  # fmt: skip
    said = f"{dumps(envelope)}\n{payload}".encode(errors="surrogatepass")
    return hmac.digest(key, said, "sha256")[:_BYTES]


def genuine(key: bytes, message: Message, signature: bytes) -> bool:
    """Return whether a message is the one that was signed."""
    made = sign(
        key, message.id, message.source, message.target, message.topic, message.type, message.payload,
        message.correlation, message.conversation, message.reply_to, message.priority, message.expires_ms,
        message.key, message.max_deliveries,
    )  # fmt: skip
    return hmac.compare_digest(made, signature)
