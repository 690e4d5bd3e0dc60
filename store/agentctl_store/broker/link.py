"""A client's connection to the broker: one call at a time, each answered only once it is durable."""

from __future__ import annotations

import os

from .wire import LENGTH, MAX_CALL, SOCKET, VALUE, VERSION, error_from, frame, read_answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ANSWER_S = 15.0  #: how long a call may take beside what it waits for; the store itself gives up after 10
LOOK_S, LOOK_MOST_S = 1.0, 16.0  #: pauses after which a caller looks whether the supervisor is stopped; they double
_PATH_LIMIT = 100
_CHUNK = 64 << 10


class Lost(Exception):
    """The connection broke: what was called may have been done, or not. `silent`: nobody answered in time."""

    def __init__(self, why: OSError) -> None:
        super().__init__(str(why))
        self.silent = isinstance(why, TimeoutError)


class Link:
    """A connection. It greets with the first call, so that a command of one call makes one round trip."""

    def __init__(self, directory: str, client: int, token: str | None, patience_s: float = ANSWER_S) -> None:
        """Connect. Raises OSError when nobody listens."""
        import _socket

        self._directory, self._patience_s = directory, patience_s
        self._look_s = min(LOOK_S, patience_s)
        self._channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self._channel.settimeout(self._look_s)
        path, folder = f"{directory}/{SOCKET}", -1
        try:
            if len(os.fsencode(path)) > _PATH_LIMIT:
                folder = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
                path = f"/proc/self/fd/{folder}/{SOCKET}"
            self._channel.connect(path)
        except BaseException:
            self._channel.close()
            raise
        finally:
            if folder >= 0:
                os.close(folder)
        self._hello: bytes | None = frame([0, "hello", [VERSION, client, token]], MAX_CALL)
        self.client = client  #: the number receipts are kept under; the broker says it
        self._left_s = patience_s  #: how long the call in hand may still take, when nothing comes
        self._come = b""

    def call(self, number: int, data: bytes, wait_ms: int = 0) -> Any:
        """Send the frame of call `number`; return the value of its answer, or raise the error it names. Raises Lost."""
        self._left_s = self._patience_s + wait_ms / 1000
        hello, self._hello = self._hello, None
        try:
            try:
                if hello is not None:
                    data = hello + data
                if len(data) <= _CHUNK:  # the kernel takes it at once, whoever reads
                    self._channel.sendall(data)
                else:
                    self._send_much(data)
            except (BrokenPipeError, ConnectionResetError):
                self._taken(number)  # it has closed, and may have said why
                raise
            if hello is not None:
                self.client = self._taken(0)[2]
            return self._taken(number)
        except OSError as error:
            raise Lost(error) from None

    def _send_much(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                sent = self._channel.send(rest)
            except TimeoutError:
                sent = self._late(self._channel.send, rest)
            rest = rest[sent:]

    def _taken(self, number: int) -> Any:
        try:
            come = self._come or self._channel.recv(_CHUNK)
        except TimeoutError:
            come = self._late(self._channel.recv, _CHUNK)
        end = LENGTH + int.from_bytes(come[:LENGTH], "big")
        if len(come) != end or end == LENGTH:
            come, self._come = self._whole(come)
        elif self._come:
            self._come = b""
        answers, how, value = read_answer(come[LENGTH:])
        if answers not in (number, 0):  # 0: of no call, but why the connection ends
            raise ConnectionResetError(f"an answer to call {answers} came to call {number}")
        if how == VALUE:
            return value
        raise error_from(value)

    def _whole(self, come: bytes) -> tuple[bytes, bytes]:
        """Return a frame that has not come alone and in one piece, and what came after it."""
        while len(come) < LENGTH:
            come += self._more()
        end = LENGTH + int.from_bytes(come[:LENGTH], "big")
        parts, size = [come], len(come)
        while size < end:
            parts.append(self._more())
            size += len(parts[-1])
        come = b"".join(parts)
        return come[:end], come[end:]

    def _more(self) -> bytes:
        try:
            data: bytes = self._channel.recv(_CHUNK)
        except TimeoutError:
            data = self._late(self._channel.recv, _CHUNK)
        if not data:
            raise ConnectionResetError("the broker closed the connection")
        return data

    def _late(self, act: Callable[[Any], Any], given: Any) -> Any:
        """Try to send or receive for as long as the call may take, unless in vain: the supervisor is stopped."""
        from ..read.presence import supervisor_row

        pause_s = self._look_s
        try:
            while True:
                self._left_s -= pause_s
                if self._left_s <= 0 or supervisor_row(self._directory).stopped:
                    raise TimeoutError("the broker does not answer")
                pause_s = min(2 * pause_s, LOOK_MOST_S, self._left_s)
                self._channel.settimeout(pause_s)
                try:
                    return act(given)
                except TimeoutError:
                    pass
        finally:
            self._channel.settimeout(self._look_s)

    def close(self) -> None:
        self._channel.close()
