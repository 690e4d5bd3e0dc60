"""One connection to the broker: the bytes that came, the answers that are to go, and who is at the other end."""

from __future__ import annotations

import errno
import os
import select
import socket

from ..errors import Refused
from .wire import LENGTH, MAX_CALL, Malformed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .tokens import Identity

SO_PEERPIDFD = 77  #: Linux 6.5: a descriptor of the very process that connected, whoever has its number now
CHUNK = 64 << 10  #: bytes taken from a connection at once


class Peer:
    """A client's connection. `calls` are read one at a time: whoever sends many waits in the kernel's buffer."""

    __slots__ = (
        "asking", "channel", "client", "gone", "greeted", "half", "heard", "identity", "owed", "parting", "pid",
        "reset", "said", "stuck_ms", "told", "watched",
    )  # fmt: skip

    def __init__(self, channel: socket.socket, pid: int) -> None:
        self.channel = channel
        self.pid = pid
        self.said = self.client = 0  #: the number it gave itself, and the one its receipts are kept under
        self.identity: Identity | None = None  #: None: the operator
        self.greeted = False
        self.asking = False  #: a call of it waits for its turn or its answer
        self.parting = False  #: let go once it has been told why
        self.gone = False
        self.watched = 0  #: what epoll is asked about it
        self.heard = bytearray()
        self.owed = bytearray()
        self.told: Answer | None = None  #: the last answer sent to it, if claims are in it; without its data
        self.reset = False  #: it closed its end with something unread in it
        self.stuck_ms = 0  #: boot time since which it has taken nothing of what it is owed; 0: it is owed nothing
        self.half = False  #: it had sent a part of a call, or no hello, when the broker last tidied up

    def pin(self) -> int:
        """Return a pidfd of the process that connected, -1 where the kernel has none to give. Refused if it is gone."""
        try:
            return self.channel.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
        except OSError as error:
            if error.errno == errno.ENOPROTOOPT:
                return -1  # then its number must do
            raise self.ended() from None

    def unpin(self, pinned: int) -> None:
        """Give the descriptor back. Refused if the process has ended: what its number told is worth nothing then.

        A connection outlives the process that made it where another holds it too. Without this, a child made for the
        purpose would connect and end, and its parent go on as somebody whom nobody can trace.
        """
        if pinned < 0:
            return
        try:
            if _readable(pinned):
                raise self.ended()
        finally:
            os.close(pinned)

    def ended(self) -> Refused:
        """Return the refusal of a caller that connected by a process which lives no more."""
        return Refused(
            f"process {self.pid}, which connected, has ended: who calls cannot be told", "Call from one that lives on"
        )

    def unheard(self) -> Answer | None:
        """Return the claims it was told of and, having gone, has never heard of."""
        told = self.told
        if told is None:
            return None
        # A Unix socket that is closed with something unread in it says so at the other end, once.
        reset = self.reset or self.channel.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
        return told if self.owed or reset else None

    def read(self) -> bool:
        """Take what has come; False when the connection has ended."""
        try:
            data = self.channel.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError as error:
            self.reset = error.errno == errno.ECONNRESET
            return False
        self.heard += data
        return bool(data)

    def dawdles(self) -> bool:
        """Whether it is to go on, and nobody waits for us: a call has come in part, or no hello yet."""
        return not self.asking and not self.owed and (bool(self.heard) or not self.greeted)

    @property
    def length(self) -> int:
        """Bytes of the next call as it was announced."""
        return int.from_bytes(self.heard[:LENGTH], "big")

    def whole(self) -> bool:
        """Whether a whole frame has come. Malformed when one is announced that is too large."""
        heard = self.heard
        if len(heard) < LENGTH:
            return False
        length = int.from_bytes(heard[:LENGTH], "big")
        if length > MAX_CALL:
            raise Malformed(f"a call of {length:,} bytes is larger than the limit of {MAX_CALL:,}", "Send it in parts")
        return len(heard) >= LENGTH + length

    def take(self) -> bytes:
        """Return the frame that has come whole, without its length."""
        heard = self.heard
        end = LENGTH + int.from_bytes(heard[:LENGTH], "big")
        data = bytes(heard[LENGTH:end])
        del heard[:end]
        return data

    def send(self, data: bytes, now_ms: int) -> bool:
        """Send, or keep for later what does not go now; False when the connection has ended."""
        if self.owed:
            self.owed += data
            return True
        try:
            sent = self.channel.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            return False
        if sent < len(data):
            self.owed += data[sent:]
            self.stuck_ms = now_ms
        return True

    def flush(self, now_ms: int) -> bool:
        """Send more of what is owed; False when the connection has ended."""
        try:
            sent = self.channel.send(memoryview(self.owed)[: 1 << 20])
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        del self.owed[:sent]
        self.stuck_ms = now_ms if self.owed else 0
        return True


class Answer:
    """What goes to a peer once it is true, and the claims or deliveries in it, which must not be lost with the peer."""

    __slots__ = ("claims", "data", "number", "peer", "verb")

    def __init__(
        self, peer: Peer, data: bytes, claims: tuple[tuple[int, int], ...] = (), number: int = 0, verb: str = ""
    ) -> None:
        self.peer, self.data, self.claims, self.number, self.verb = peer, data, claims, number, verb


def _readable(descriptor: int) -> bool:
    looker = select.poll()
    looker.register(descriptor, select.POLLIN)
    return bool(looker.poll(0))
