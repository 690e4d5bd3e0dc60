"""The shim's two sockets: sd_notify from the agent, and the poke that wakes the supervisor."""

import _socket
import posix
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agentctl.supervisor import proctree
else:
    import proctree

DATAGRAM_BYTES = 65_536
DATAGRAMS_PER_WAKE = 64
FDS_PER_DATAGRAM = 253
"""The kernel's own bound on file descriptors in one message (SCM_MAX_FD)."""
LONGEST_SOCKET_PATH = 100
POKE_EVERY_S = 0.1
_CMSG_CLOEXEC = 0x40000000


class NotifySocket:
    """Receives sd_notify datagrams (systemd's sd_notify(3)).

    Linux: an abstract name, and only datagrams from our own user count. Elsewhere: a socket file
    in the session directory, which has mode 0700.
    """

    def __init__(self, folder: str, nonce: str) -> None:
        self.name = f"@agentctl-{nonce}" if proctree.LINUX else folder + "/notify.sock"
        """What belongs into NOTIFY_SOCKET. Raises OSError when it cannot be bound."""
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        if proctree.LINUX:
            self._socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
        self._socket.bind("\0" + self.name[1:] if proctree.LINUX else self.name)
        self._socket.setblocking(False)
        self._uid = posix.getuid()
        self._space = _socket.CMSG_SPACE(4 * FDS_PER_DATAGRAM) + _socket.CMSG_SPACE(12)

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> "tuple[list[tuple[str, int]], list[int]]":
        """Waiting datagrams as (text, sender's pid), and passed descriptors to close when they are kept.

        A sender of BARRIER=1 waits for its descriptor to be closed: that must happen only after
        everything it sent before has been written down.
        """
        texts: list[tuple[str, int]] = []
        fds: list[int] = []
        for _ in range(DATAGRAMS_PER_WAKE):
            try:
                data, extras, _, _ = self._socket.recvmsg(
                    DATAGRAM_BYTES, self._space, _CMSG_CLOEXEC if proctree.LINUX else 0
                )
            except OSError:
                break
            pid, uid = 0, self._uid
            for level, kind, value in extras:
                if level != _socket.SOL_SOCKET:
                    continue
                numbers = memoryview(value[: len(value) // 4 * 4]).cast("i").tolist()
                if kind == _socket.SCM_RIGHTS:
                    fds += numbers
                elif proctree.LINUX and kind == _socket.SCM_CREDENTIALS:
                    pid, uid = numbers[0], numbers[1]
            text = data.decode("utf-8", "replace").strip("\n")
            if uid == self._uid and text and text != "BARRIER=1":
                texts.append((text, pid))
        return texts, fds


class Poke:
    """Wakes the supervisor by a datagram, at most ten times a second; nobody listening is fine."""

    def __init__(self, path: str | None, session: str) -> None:
        self._path = path
        self._text = f"s {session}".encode()
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._last = 0.0
        self.due: float | None = None
        """When a held-back poke is to be sent (monotonic seconds)."""

    def soon(self) -> None:
        """News that may be told up to 100 ms late."""
        if self.due is None:
            self.due = max(time.monotonic(), self._last + POKE_EVERY_S)

    def tick(self, now: float) -> None:
        if self.due is not None and now >= self.due:
            self.now()

    def now(self) -> None:
        self.due = None
        self._last = time.monotonic()
        if self._path is None:
            return
        try:
            if len(self._path.encode("utf-8", "surrogateescape")) <= LONGEST_SOCKET_PATH:
                self._socket.sendto(self._text, self._path)
                return
            folder, _, name = self._path.rpartition("/")
            fd = posix.open(folder, posix.O_RDONLY | posix.O_CLOEXEC)
            try:  # a socket address holds 107 bytes: go through the folder's descriptor
                self._socket.sendto(self._text, f"/proc/self/fd/{fd}/{name}")
            finally:
                posix.close(fd)
        except OSError:
            pass
