"""Waking the supervisor after a commit: one datagram to `wake.sock`, never waited for.

The datagram carries nothing that must arrive: the store is the truth and is looked at anyway, only later.
"""

from __future__ import annotations

import os

SOCKET = "wake.sock"
_PATH_LIMIT = 100  #: bytes; sun_path holds 108 on Linux and 104 on macOS


def poke(directory: str, word: bytes = b"task") -> bool:
    """Send `word` to the store's supervisor; False when none listens. Never raises, never blocks."""
    path = f"{directory}/{SOCKET}"
    if not os.access(path, os.F_OK):  # exists() makes and drops an exception: four times the cost on every add
        return False
    import _socket

    folder = -1
    channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    try:
        channel.setblocking(False)
        if len(os.fsencode(path)) > _PATH_LIMIT:
            folder = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
            path = f"/proc/self/fd/{folder}/{SOCKET}"
        channel.sendto(word, path)
        return True
    except OSError:
        return False
    finally:
        channel.close()
        if folder >= 0:
            os.close(folder)
