"""The socket that callers connect to."""

from __future__ import annotations

import errno
import os
import socket
import struct

from .wire import SOCKET

BACKLOG = 128
LOOKED_AT_BY = 2  #: descriptors it takes to find out who a caller is: of his process, and of a file about it
_PATH_LIMIT = 100  #: bytes; sun_path holds 108


class Door:
    """A listening socket in a store's folder, for whoever holds the supervisor's lock. Raises OSError."""

    def __init__(self, directory: str, folder: int) -> None:
        """Open it in `directory`, of which `folder` is a descriptor; what a killed supervisor left is removed."""
        self._folder = folder
        path = os.path.join(directory, SOCKET)
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        self._spare = os.dup(folder)  # given up to accept one more connection when no descriptor is left
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._socket.bind(f"/proc/self/fd/{folder}/{SOCKET}" if len(os.fsencode(path)) > _PATH_LIMIT else path)
        os.chmod(path, 0o600)
        self._socket.listen(BACKLOG)

    def fileno(self) -> int:
        """A descriptor that becomes readable when somebody is at the door; -1 once it is closed."""
        return self._socket.fileno()

    def accept(self) -> tuple[socket.socket, int, int] | None:
        """Let the next one in: the connection, and his pid and user (SO_PEERCRED); None when nobody is left."""
        while True:
            try:
                channel, _ = self._socket.accept()
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE) or not self._turn_away():
                    return None
                continue
            if not self._room():
                channel.close()
                continue
            channel.setblocking(False)
            pid, uid, _ = struct.unpack("3i", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            return channel, pid, uid

    def _room(self) -> bool:
        """Whether a caller can be looked at. Who could not be told from others would be refused, not turned away."""
        taken: list[int] = []
        try:
            for _ in range(LOOKED_AT_BY):
                taken.append(os.dup(self._folder))
        except OSError:
            return False
        finally:
            for one in taken:
                os.close(one)
        return True

    def _turn_away(self) -> bool:
        """With no descriptor left, close a caller's connection: he goes on with the file instead of waiting for us.

        Left alone he would keep this readable, and the loop around it busy. False when it cannot be done either.
        """
        if self._spare >= 0:
            os.close(self._spare)
        try:
            self._socket.accept()[0].close()
            return True
        except OSError:
            return False
        finally:
            try:
                self._spare = os.dup(self._folder)
            except OSError:
                self._spare = -1

    def close(self) -> None:
        """Close it for good; who stands there goes on with the file itself."""
        try:
            os.unlink(SOCKET, dir_fd=self._folder)
        except OSError:
            pass
        self._socket.close()
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
