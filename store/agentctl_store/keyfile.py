"""The store's secret: 32 random bytes beside it, readable by its owner alone.

Agents' tokens are made with it (broker/tokens.py), and the key that messages are signed with (sqlite/signing.py).
"""

from __future__ import annotations

import os
import stat
import time

from .errors import StoreError

KEY_FILE = "token.key"
KEY_BYTES = 32
LEFT_S = 60  #: a key that was not put in place within this time never will be


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
        "Delete it and start the supervisor again; agents that still run must be restarted, and messages that wait "
        "become dead letters: send them back with agentctl dlq requeue --reason signature",
    )


def _make(directory: str, path: str) -> bytes:
    """Put a key in place, if nobody else does so at the same time; return the one that is there."""
    beside = f"{path}.{os.urandom(4).hex()}"
    _sweep(directory)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            os.pwrite(descriptor, os.urandom(KEY_BYTES), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.link(beside, path)  # unlike a rename it puts no other key in the place of one that is used already
    except FileExistsError:
        pass
    finally:
        os.unlink(beside)
    _sync(directory)  # what is signed with it is good for nothing without it
    return load_key(directory)


def _sync(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(directory: str) -> None:
    """Remove what was left by processes that were killed here; not what one is about to put in place."""
    for name in os.listdir(directory):
        left = os.path.join(directory, name)
        try:
            if name.startswith(KEY_FILE + ".") and time.time() - os.stat(left).st_mtime > LEFT_S:
                os.unlink(left)
        except FileNotFoundError:
            pass
