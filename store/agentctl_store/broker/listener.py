"""The socket that callers connect to."""

from __future__ import annotations

import os
import socket

from .wire import SOCKET

BACKLOG = 128
_PATH_LIMIT = 100  #: bytes; sun_path holds 108


def listener(directory: str, folder: int) -> socket.socket:
    """Return a listening socket in a store's folder, which is open as `folder`; a killed supervisor's is removed.

    For whoever holds the supervisor's lock.
    """
    path = os.path.join(directory, SOCKET)
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    made.bind(f"/proc/self/fd/{folder}/{SOCKET}" if len(os.fsencode(path)) > _PATH_LIMIT else path)
    os.chmod(path, 0o600)
    made.listen(BACKLOG)
    return made
