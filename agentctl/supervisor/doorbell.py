"""The receiving end of wake.sock, the signals, and wake-ups from threads: all as descriptors for one epoll."""

from __future__ import annotations

import os
import signal
import socket

from agentctl_store.errors import StoreError
from agentctl_store.wake import SOCKET, WAITERS

MAX_DRAIN = 4_096  #: datagrams taken at once; what is left rings again
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Doorbell:
    """A datagram socket bound in the store's folder; whoever holds the supervisor lock may replace an old one."""

    def __init__(self, store: str) -> None:
        self._folder = os.open(store, os.O_RDONLY | os.O_CLOEXEC)
        self.path = os.path.join(store, SOCKET)
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        long_path = len(os.fsencode(self.path)) > 100
        try:
            self._socket.bind(f"/proc/self/fd/{self._folder}/{SOCKET}" if long_path else self.path)
        except OSError as error:
            raise StoreError(
                f"the socket {self.path} cannot be made: {error.strerror or error}",
                "Put the store into a folder with a shorter path (under 100 characters) on a local disk",
            ) from None
        os.chmod(self.path, 0o600)
        os.makedirs(os.path.join(store, WAITERS), mode=0o700, exist_ok=True)  # by it writers know that somebody listens

    def fileno(self) -> int:
        return self._socket.fileno()

    def words(self) -> set[str]:
        """Return what was said since the last time, each word once."""
        found: set[str] = set()
        for _ in range(MAX_DRAIN):
            try:
                found.add(self._socket.recv(256).decode(errors="replace"))
            except BlockingIOError:
                break
        return found

    def close(self) -> None:
        self._socket.close()
        try:
            os.unlink(SOCKET, dir_fd=self._folder)  # ours, whatever is at the path by now
            os.rmdir(WAITERS, dir_fd=self._folder)  # fails while others wait there
        except OSError:
            pass
        os.close(self._folder)


class SignalPipe:
    """Turns SIGINT, SIGTERM and SIGHUP into bytes to read. Main thread only; `close` puts the old handlers back."""

    def __init__(self) -> None:
        self._read, self._write = _pipe()
        self._before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def fileno(self) -> int:
        return self._read

    def numbers(self) -> list[int]:
        """Return the signals that came since the last time."""
        try:
            return list(os.read(self._read, 4096))
        except BlockingIOError:
            return []

    def close(self) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)


class Bell:
    """Lets a thread wake the loop."""

    def __init__(self) -> None:
        self._read, self._write = _pipe()

    def fileno(self) -> int:
        return self._read

    def ring(self) -> None:
        """Wake the loop; once is enough until it has looked."""
        try:
            os.write(self._write, b"!")
        except (BlockingIOError, OSError):
            pass

    def hush(self) -> None:
        try:
            os.read(self._read, 65_536)
        except BlockingIOError:
            pass

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


def _pipe() -> tuple[int, int]:
    read_end, write_end = os.pipe()  # both ends are close-on-exec
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, False)
    return read_end, write_end
