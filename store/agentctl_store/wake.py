"""Waking those who wait for work or news: datagrams after a commit, never waited for.

A datagram carries nothing that must arrive: the store is the truth and is looked at anyway, only later. The supervisor
listens on `wake.sock`; whoever else waits (a claim without a supervisor, `task wait`, the broker, which must hear of
writes that did not come through it) has a socket of its own in `waiters/`. The -wal file is never watched instead: it
changes before the commit can be seen (measured: a waiter woken by it slept on for up to 251 ms).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

SOCKET = "wake.sock"
WAITERS = "waiters"
MOST_DRAINED = 4_096  #: datagrams taken in at once: who sends faster than they are taken must not hold the waiter up
MOST_WAITERS = 1_024  #: told after one commit; more must rely on their own slow look
_PATH_LIMIT = 100  #: bytes; sun_path holds 108 on Linux and 104 on macOS


def poke(directory: str, word: bytes = b"task") -> bool:
    """Send `word` to the store's supervisor; False when none listens. Never raises, never blocks."""
    # exists() makes and drops an exception: four times the cost on every add
    return os.access(f"{directory}/{SOCKET}", os.F_OK) and bool(_send(directory, (SOCKET,), (word,)))


def listened(folder: int) -> bool:
    """Whether anybody listens for commits in the store whose folder's descriptor this is.

    Whoever listens has made `waiters/`, the supervisor too. From a descriptor the name is found in a quarter of the
    time that walking the whole path takes.
    """
    return os.access(WAITERS, os.F_OK, dir_fd=folder)


def tell(directory: str, words: Collection[bytes], but: str = "") -> None:
    """After a commit: wake every waiter but the one of that name, and the supervisor with each of `words`.

    Never raises, never blocks.
    """
    for word in words:
        poke(directory, word)
    room = f"{directory}/{WAITERS}"
    try:
        names = os.listdir(room)
    except OSError:
        return
    names = [name for name in names[:MOST_WAITERS] if name != but]
    for name in _send(room, names, (b"!",), gone=True) if names else ():
        try:
            os.unlink(f"{room}/{name}")  # its process was killed
        except OSError:
            pass


def _send(folder: str, names: Collection[str], words: Collection[bytes], *, gone: bool = False) -> list[str]:
    """Send to the sockets in `folder`; return those that were reached, or with `gone` those that nobody holds."""
    import _socket

    found: list[str] = []
    try:
        channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    except OSError:
        return found  # no descriptor is left: whoever waits looks for himself, only later
    where, descriptor = folder, -1
    try:
        channel.setblocking(False)
        if len(os.fsencode(folder)) > _PATH_LIMIT - 40:
            descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            where = f"/proc/self/fd/{descriptor}"
        for name in names:
            try:
                for word in words:
                    channel.sendto(word, f"{where}/{name}")
                if not gone:
                    found.append(name)
            except ConnectionRefusedError:
                if gone:
                    found.append(name)
            except OSError:
                pass  # full: it has been woken already
    except OSError:
        pass
    finally:
        channel.close()
        if descriptor >= 0:
            os.close(descriptor)
    return found


class Waiter:
    """A socket of its own in `waiters/`: becomes readable after each commit until `drain`. Raises OSError."""

    def __init__(self, directory: str, name: str = "") -> None:
        import _socket

        self._directory, self.folder = directory, f"{directory}/{WAITERS}"
        self.name = name or f"{os.getpid()}-{os.urandom(4).hex()}"
        self._channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        for left in (3, 2, 1, 0):
            try:
                self._enter()
                return
            except FileNotFoundError:  # the last one out took the folder along just now
                if not left:
                    self._channel.close()
                    raise
            except BaseException:
                self._channel.close()
                raise

    def _enter(self) -> None:
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        self._descriptor = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            long = len(os.fsencode(self.folder)) > _PATH_LIMIT - 40
            self._channel.bind(f"/proc/self/fd/{self._descriptor}/{self.name}" if long else self.path)
        except BaseException:
            os.close(self._descriptor)
            raise

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.name}"

    def fileno(self) -> int:
        return self._channel.fileno()

    def wait(self, timeout_ms: int) -> bool:
        """Sleep until something was committed, at most `timeout_ms`; whether it was."""
        self._channel.settimeout(max(0.0, timeout_ms / 1000))
        try:
            self._channel.recv(16)
        except OSError:  # TimeoutError and BlockingIOError are OSErrors
            return False
        self.drain()
        return True

    def drain(self) -> None:
        """Take in all that has come, so that the next commit wakes again."""
        self._channel.settimeout(0)
        try:
            for _ in range(MOST_DRAINED):
                self._channel.recv(16)
        except OSError:
            pass

    def close(self) -> None:
        """Leave the room. What cannot be removed is removed by the next writer who finds nobody there."""
        self._channel.close()
        try:
            os.unlink(self.name, dir_fd=self._descriptor)
            if not os.access(f"{self._directory}/{SOCKET}", os.F_OK):  # a supervisor is known by the room as well
                os.rmdir(self.folder)  # fails while others wait there
        except OSError:
            pass
        os.close(self._descriptor)
