"""The file `write.lock`: whose turn it is to write, and how far the history had got.

A flock queues fairly where SQLite's own busy handler starves most of fifty writers (Jain fairness 0.23 against 0.96
and more, measured). It is not handed over, though: who lets go of it and wants it again is often faster than who was
woken by that, who then waits behind whoever came meanwhile. So those who have to wait stand in a queue of their own, a
flock on the store's folder, and only the first of them waits for the lock (the longest wait of fifty writers was 141 to
200 ms without it and 101 to 107 with it).

In the file stands the number of the last event written. A store whose history ends before it has lost its -wal, or is
an older copy: SQLite alone cannot know, and would go on with what is left.
"""

from __future__ import annotations

import os
import time

from ..errors import StoreBusy

try:
    import fcntl
except ImportError:  # Windows: agentctl refuses to run there with a plain sentence (agentctl.main)
    fcntl = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "write.lock"
LOOK_S = 1.0  #: how long the queue is trusted to move: its first may be stopped, which keeps nobody from the lock
_MARK = 64  #: bytes read at most; a mark is 20 digits and the boot it is good for


class WriteLock:
    """The writers' lock of one connection; the descriptor is opened when first needed. Methods raise OSError."""

    __slots__ = ("_descriptor", "_directory", "_mine")

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._descriptor = -1
        self._mine = b""  #: the mark as this connection wrote it last

    def take(self, within_s: float) -> None:
        """Wait for the lock. Raises StoreBusy when nobody lets go of it in time."""
        if self._descriptor < 0:
            self._descriptor = self._open()
        if not _now(self._descriptor):
            self._wait(self._descriptor, within_s)

    def _open(self) -> int:
        return os.open(os.path.join(self._directory, NAME), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _wait(self, descriptor: int, within_s: float) -> None:
        # A plain blocking flock queues fairly but cannot time out, so a thread does the blocking. One that comes
        # through after its waiter has gone lets go at once.
        import _thread

        got, guard = _thread.allocate_lock(), _thread.allocate_lock()
        got.acquire()
        state = {"left": False}

        def block() -> None:
            try:
                with _Queue(self._directory):
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
            except OSError:
                return
            with guard:
                if state["left"]:
                    os.close(descriptor)
                else:
                    got.release()

        _thread.start_new_thread(block, ())
        won, past, until_s = False, -1, time.monotonic() + within_s
        try:
            while not won and past < 0 and (left_s := until_s - time.monotonic()) > 0:
                won = got.acquire(timeout=min(left_s, LOOK_S))
                if not won:
                    past = self._past()
        finally:
            if not won:
                with guard:
                    won = got.acquire(blocking=False)
                    if not won:
                        state["left"] = True
                        self._descriptor = past  # the thread owns the other one now and closes it
        if won or past >= 0:
            return
        raise StoreBusy(
            f"another process has held the store at {self._directory} for more than {within_s:g} s",
            f"{_whom_to_wake(self._directory)}, then try again; nothing was written",
        )

    def _past(self) -> int:
        """Take the lock past the queue, if it is free: its descriptor, else -1."""
        descriptor = self._open()
        if _now(descriptor):
            return descriptor
        os.close(descriptor)
        return -1

    def let_go(self) -> None:
        """Let the next writer in."""
        if self._descriptor >= 0:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def mark(self, seq: int, boot: bytes) -> None:
        """Note that event `seq` is committed. `boot` names the boot it is good for; `*` for any, once it is synced."""
        self._mine = b"%020d %s\n" % (seq, boot)
        try:
            os.pwrite(self._descriptor, self._mine, 0)
        except OSError:
            pass  # a full disk: an old mark only proves less

    def unmoved(self) -> bool:
        """Whether the mark is as this connection left it, lock in hand: nobody wrote, or who did was killed at once."""
        # Behind a short mark stands what is left of a longer one.
        return bool(self._mine) and os.pread(self._descriptor, len(self._mine), 0) == self._mine

    def marked(self) -> tuple[int, bytes]:
        """Return the last marked event (0: none) and the boot the mark is good for."""
        if self._descriptor >= 0:
            return _read(os.pread(self._descriptor, _MARK, 0))
        try:
            descriptor = os.open(os.path.join(self._directory, NAME), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return 0, b""
        try:
            return _read(os.read(descriptor, _MARK))
        finally:
            os.close(descriptor)

    def close(self, close: Callable[[int], None] = os.close) -> None:
        """Close the descriptor. `close` outlives this module's names, which the end of a process takes away first."""
        if self._descriptor >= 0:
            close(self._descriptor)
            self._descriptor = -1

    # Of a store that was dropped, not closed: SQLite closes its own descriptors then.
    __del__ = close


class _Queue:
    """The place in front of the lock, as a context: those who come wait until who stands there has the lock."""

    __slots__ = ("_descriptor", "_directory")

    def __init__(self, directory: str) -> None:
        self._directory, self._descriptor = directory, -1

    def __enter__(self) -> None:
        try:
            self._descriptor = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        except OSError:
            pass  # a folder that cannot be read: the lock itself is what keeps writers apart

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # a process forked meanwhile has it open, too
            os.close(self._descriptor)


def _now(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _whom_to_wake(directory: str) -> str:
    from ..read.presence import supervisor_row

    row = supervisor_row(directory)
    if row.stopped:
        return f"Supervisor {row.pid} is stopped: let it go on with kill -CONT {row.pid}"
    return "Look for a stopped or stuck agentctl process"


def _read(text: bytes) -> tuple[int, bytes]:
    try:
        return int(text[:20]), text[21:].partition(b"\n")[0]
    except ValueError:
        return 0, b""


def keep_mark(directory: str) -> None:
    """Make the mark durable. Each write leaves that to the system: one that is behind only proves less."""
    _settle(directory, forget=False)


def forget_mark(directory: str) -> None:
    """Forget how far the history had got: for whoever puts an older store in place on purpose, lock in hand.

    Durable before this returns: the old mark coming back after a power cut would condemn the store put in place.
    """
    _settle(directory, forget=True)


def _settle(directory: str, forget: bool) -> None:
    try:
        descriptor = os.open(os.path.join(directory, NAME), os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if forget:
            os.ftruncate(descriptor, 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
