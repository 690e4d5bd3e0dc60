"""Session tokens: what an agent shows to act as itself, and as nobody else.

`1:<agent>/<slot>:<session>:<expiry>:<mac>`, where the mac is HMAC-SHA256 (RFC 2104) over what stands before it, with a
key of 32 random bytes that lies in the store's folder, readable by its owner alone. A token says who somebody is, not
that he may: what an agent may do is in rights.py. Processes of one user can read each other's environment and files,
so without the sandbox a token keeps honest agents apart, not hostile ones.
"""

from __future__ import annotations

import hmac

from ..errors import Refused
from ..ids import check_instance, read_id, write_id
from ..keyfile import KEY_BYTES as KEY_BYTES
from ..keyfile import load_key as load_key
from ..record import record

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


def bind(client: int, who: Identity | None) -> int:
    """Return the number under which a caller is known who calls itself `client`: of agents, one no other can name.

    Without it, whoever learned another's number could close its connection, take its receipts or write over them.
    Agents' numbers are below zero, the operator's are not.
    """
    if who is None:
        return client
    said = f"{who.instance}:{who.session}:{client}".encode()
    return -1 - (int.from_bytes(hmac.digest(b"client", said, "sha256")[:8], "big") >> 1)


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
