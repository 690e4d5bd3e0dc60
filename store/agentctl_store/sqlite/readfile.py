"""A connection that only reads, for screens and reading verbs.

It goes on working when the disk is full or the folder cannot be written. Each call fetches all it asked for: a cursor
left half-read would pin the write-ahead log, which then grows without end.
"""

from __future__ import annotations

import os
import time

from ..errors import Interrupted, NotFound, StoreError, StoreTooNew
from . import gate
from .connection import BUSY_S, FILE, LONG_BYTES, SCHEMA_VERSION
from .explain import explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

GIVE_WAY_S = 2.0  #: how long who looks again and again stays away at most, that a long log can be begun anew
AWAY_S = 0.01  #: how often it looks meanwhile whether it was
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")


def _uri(path: str, options: str) -> str:
    quoted = "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in os.fsencode(path))
    return f"file:{quoted}?{options}"


class ReadFile:
    """An open store file, never written through. Not for use by two threads at once."""

    def __init__(self, directory: str, path: str | None = None) -> None:
        """Open the store of a folder, or, with `path`, a single file such as a backup."""
        self.library = gate.load()
        self.directory = directory
        self.path = os.path.abspath(path or os.path.join(directory, FILE))
        self._given_up = False  #: set by another thread; SQLite itself forgets it between two statements
        self.looked_s = 0.0  #: how long the last look took
        self._still: tuple[int, int] | None = None  #: mtime and size of a file opened as unchanging
        if not os.path.exists(self.path):
            raise NotFound(f"there is no store at {directory}", "Create one with: agentctl init")
        self.db = self._open()
        self.schema: int = self.db.execute("PRAGMA user_version").fetchone()[0]
        if self.schema > SCHEMA_VERSION:
            self.db.close()
            raise StoreTooNew(
                f"the store at {directory} has schema {self.schema}; this agentctl knows {SCHEMA_VERSION}",
                "Upgrade agentctl, or restore a backup made before the upgrade",
            )

    def current(self) -> ReadFile:
        """Return this file if it holds what statements of this version ask for. StoreError when it is an older one."""
        if self.schema < SCHEMA_VERSION:
            self.db.close()
            raise StoreError(
                f"the store at {self.directory} has schema {self.schema}; this agentctl reads {SCHEMA_VERSION}",
                "Bring it up to date: agentctl store migrate",
            )
        return self

    def _open(self) -> Any:
        try:
            db = self._connect("mode=ro")
            db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
        except self.library.Error as error:
            # SQLite needs a -shm file beside the store, and here it can make none (read-only or full disk). As long
            # as there is no log either, nobody writes, and the file can be read as it lies.
            db = self._open_still()
            if db is None:
                raise explain(self.directory, error) from None
        return db

    def _connect(self, options: str) -> Any:
        db = self.library.connect(
            _uri(self.path, options), uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        db.execute("PRAGMA trusted_schema=OFF")
        db.execute("PRAGMA cell_size_check=ON")
        db.execute("PRAGMA mmap_size=0")
        db.execute("PRAGMA cache_size=-8000")
        return db

    def _open_still(self) -> Any:
        if self._log_bytes():
            return None
        try:
            db = self._connect("mode=ro&immutable=1")
            db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
        except self.library.Error:
            return None
        self._still = self._mark()
        return db

    def _log_bytes(self) -> int:
        try:
            return os.stat(self.path + "-wal").st_size
        except OSError:
            return 0

    def give_way(self) -> None:
        """Before a look: while the log is long, stay away for as long as the last look took.

        It is begun anew where nobody reads. Between the looks of one who looks all the time such a moment is too
        short to be met, and to keep writers waiting for one would be the worse for all.
        """
        until_s = time.monotonic() + min(self.looked_s, GIVE_WAY_S)
        while not self._given_up and self._log_bytes() > LONG_BYTES and (left_s := until_s - time.monotonic()) > 0:
            time.sleep(min(AWAY_S, left_s))

    def _mark(self) -> tuple[int, int]:
        found = os.stat(self.path)
        return found.st_mtime_ns, found.st_size

    def _awake(self) -> None:
        """Reopen a file that was read as unchanging once somebody writes to it after all."""
        if self._still is not None and (self._log_bytes() or self._mark() != self._still):
            self.db.close()
            self._still = None
            self.db = self._open()

    def rows(self, sql: str, values: Any = ()) -> list[Any]:
        """Return all rows of one statement."""
        if self._still is not None:
            self._awake()
        try:
            if not self._given_up:
                return self.db.execute(sql, values).fetchall()  # type: ignore[no-any-return]
        except self.library.Error as error:
            if not self._given_up:
                raise explain(self.directory, error) from None
        self._given_up = False
        raise Interrupted(f"reading the store at {self.directory} was given up", "Ask again")

    def interrupt(self) -> None:
        """Have the statement that another thread waits for raise Interrupted, or the next one."""
        self._given_up = True
        try:
            self.db.interrupt()
        except self.library.Error:  # closed by now
            pass

    def version(self) -> int:
        """Return a number that changes when another connection has committed."""
        return int(self.rows("PRAGMA data_version")[0][0])

    def snapshot(self) -> Snapshot:
        """Return a context in which several statements see one state of the store. Keep it short."""
        return Snapshot(self)

    def close(self) -> None:
        self.db.close()


class Snapshot:
    """One read transaction. Nested ones join the outer."""

    __slots__ = ("_began_s", "_file", "_outer")

    def __init__(self, file: ReadFile) -> None:
        self._file = file

    def __enter__(self) -> None:
        self._outer = self._file.db.in_transaction
        if not self._outer:
            self._file.give_way()
            self._began_s = time.monotonic()
            self._file.rows("BEGIN")

    def __exit__(self, *_: object) -> None:
        if not self._outer:
            self._file.looked_s = time.monotonic() - self._began_s
            if self._file.db.in_transaction:
                self._file.db.execute("ROLLBACK")
