"""Session tokens: what an agent shows to act as itself, and as nobody else.

`1:<agent>/<slot>:<session>:<expiry>:<mac>`, where the mac is HMAC-SHA256 (RFC 2104) over what stands before it, with a
key of 32 random bytes that lies in the store's folder, readable by its owner alone. A token says who somebody is, not
that he may: what an agent may do is in rights.py. Processes of one user can read each other's environment and files,
so without the sandbox a token keeps honest agents apart, not hostile ones.
"""

from __future__ import annotations

import hmac
import os
import stat

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


def anybody(pid: int, token: str | None) -> Identity | None:
    """Take every process of this user for the operator."""
    return None


def load_key(directory: str) -> bytes:
    """Return the store's key, made if there is none. StoreError when others can read it, or it is not a key."""
    path = os.path.join(directory, KEY_FILE)
    try:
        # Whatever lies there must not hold the supervisor up (a pipe would), nor lead it elsewhere (a link would).
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return _make(directory, path)
    except OSError as error:
        raise _unfit(path, f"cannot be read ({error.strerror})") from None
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise _unfit(path, "is no file")
        if facts.st_mode & 0o077:
            raise _unfit(path, "is open to others: anybody who read it can pose as an agent")
        key = os.read(descriptor, KEY_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(key) != KEY_BYTES:
        raise _unfit(path, f"is damaged: it has not {KEY_BYTES} bytes")
    return key


def _unfit(path: str, how: str) -> StoreError:
    return StoreError(
        f"the key of the agents' tokens at {path} {how}",
        "Delete it and start the supervisor again; agents that still run must be restarted",
    )


def bind(client: int, who: Identity | None) -> int:
    """Return the number under which a caller is known who calls itself `client`: of agents, one no other can name.

    Without it, whoever learned another's number could close its connection, take its receipts or write over them.
    Agents' numbers are below zero, the operator's are not.
    """
    if who is None:
        return client
    said = f"{who.instance}:{who.session}:{client}".encode()
    return -1 - (int.from_bytes(hmac.digest(b"client", said, "sha256")[:8], "big") >> 1)


def _make(directory: str, path: str) -> bytes:
    key, beside = os.urandom(KEY_BYTES), f"{path}.{os.urandom(4).hex()}"
    for left in [name for name in os.listdir(directory) if name.startswith(KEY_FILE + ".")]:
        os.unlink(os.path.join(directory, left))  # of a supervisor that was killed here
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
