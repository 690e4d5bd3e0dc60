"""Session tokens: what an agent shows to act as itself, and as nobody else.

`1:<agent>/<slot>:<session>:<expiry>:<mac>`, where the mac is HMAC-SHA256 (RFC 2104) over what stands before it, with a
key of 32 random bytes that lies in the store's folder, readable by its owner alone. A token says who somebody is, not
that he may: what an agent may do is in rights.py. Processes of one user can read each other's environment and files,
so without the sandbox a token keeps honest agents apart, not hostile ones.
"""

from __future__ import annotations

import hmac
import os

from ..errors import Refused, StoreError
from ..ids import check_instance, read_id, write_id
from ..record import record

KEY_FILE = "token.key"
KEY_BYTES = 32
LIFE_S = 30 * 24 * 3_600  #: a session that lives on gets no new one: it is longer than any should
_VERSION = "1"


@record
class Identity:
    """Who is at the other end: one session of one instance."""

    agent: str
    slot: int
    session: int

    @property
    def instance(self) -> str:
        """`agent/slot`, as events name it."""
        return f"{self.agent}/{self.slot}"


def load_key(directory: str) -> bytes:
    """Return the store's key, made if there is none. StoreError when it is open to others or cut short."""
    path = os.path.join(directory, KEY_FILE)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return _make(path)
    try:
        key, mode = os.read(descriptor, KEY_BYTES + 1), os.fstat(descriptor).st_mode
    finally:
        os.close(descriptor)
    if len(key) != KEY_BYTES or mode & 0o077:
        raise StoreError(
            f"the key at {path} is {'open to others' if mode & 0o077 else 'damaged'}: anybody could pose as an agent",
            "Delete it and start the supervisor again; running agents must be restarted",
        )
    return key


def _make(path: str) -> bytes:
    key, beside = os.urandom(KEY_BYTES), f"{path}.{os.getpid()}"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, key)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(beside, path)
    return key


def mint(key: bytes, who: Identity, now_s: int) -> str:
    """Return the token of a session; good for LIFE_S from `now_s` (wall seconds)."""
    said = f"{_VERSION}:{who.instance}:{write_id(who.session)}:{now_s + LIFE_S}"
    return f"{said}:{_mac(key, said)}"


def read(key: bytes, token: str, now_s: int) -> Identity:
    """Return whom a token names. Refused says why it is not believed."""
    said, _, mac = token.rpartition(":")
    if not token.isascii() or not hmac.compare_digest(_mac(key, said), mac):
        raise Refused("the token was not made here", "Use the AGENTCTL_TOKEN that this session was started with")
    version, instance, session, until = said.split(":")
    if version != _VERSION or int(until) <= now_s:
        raise Refused(f"the token of {instance} has expired", "Restart the agent: agentctl agent restart")
    agent, slot = check_instance(instance)
    return Identity(agent, slot, read_id(session, "session id"))


def _mac(key: bytes, said: str) -> str:
    return hmac.new(key, said.encode(), "sha256").hexdigest()
