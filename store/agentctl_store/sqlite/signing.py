"""Signatures of messages: HMAC-SHA256 (RFC 2104) over the whole envelope, cut to 16 bytes.

The key is derived from the store's secret (keyfile.py). Whoever writes through a driver signs, having made
sure who the sender is; so a row that was changed or slipped into the file by other means is not delivered.
"""

from __future__ import annotations

from ..jsontext import dumps
from ..keyfile import load_key
from .transaction import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..domain.message import Message

try:  # what the library's hmac offers; importing that loads OpenSSL, a sixth of a whole `agentctl msg send`
    from _operator import _compare_digest as same
except ImportError:
    from hmac import compare_digest as same  # type: ignore[no-redef]

_PURPOSE = b"agentctl message 1"
_BYTES = 16
_BLOCK = 64  #: bytes of a block of SHA-256
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


def hmac_sha256(key: bytes, said: bytes) -> bytes:
    """Return the HMAC-SHA256 of `said` (RFC 2104), 32 bytes."""
    if len(key) > _BLOCK:
        key = sha256(key).digest()
    key = key.ljust(_BLOCK, b"\0")
    inner = sha256(key.translate(_INNER))
    inner.update(said)
    return sha256(key.translate(_OUTER) + inner.digest()).digest()  # type: ignore[no-any-return]


def message_key(directory: str) -> bytes:
    """Return the key that messages of the store in `directory` are signed with. StoreError as for tokens."""
    return hmac_sha256(load_key(directory), _PURPOSE)


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
    return hmac_sha256(key, said)[:_BYTES]


def genuine(key: bytes, message: Message, signature: bytes) -> bool:
    """Return whether a message is the one that was signed."""
    made = sign(
        key, message.id, message.source, message.target, message.topic, message.type, message.payload,
        message.correlation, message.conversation, message.reply_to, message.priority, message.expires_ms,
        message.key, message.max_deliveries,
    )  # fmt: skip
    return same(made, signature)
