"""One process's connection to a store file, and its write transactions."""

from __future__ import annotations

import _thread
import os

from ..domain.event import KINDS
from ..errors import NotFound, StoreBusy, StoreCorrupt, StoreError, StoreTooNew
from ..jsontext import dumps
from . import gate
from .writelock import WriteLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from ..clock import Moment

SCHEMA_VERSION = 1  #: PRAGMA user_version this code reads and writes
BUSY_S = 10.0  #: how long a write waits for others before StoreBusy
LOG_BYTES = 16 << 20  #: a write-ahead log that outgrew this is begun anew, though readers come and go all the time
FOLD_MS = 400  #: how long that waits for them
FOLD_EVERY_MS = 250
FILE = "store.db"
GENESIS = bytes(16)
_HEAD = "SELECT seq, hash FROM event ORDER BY seq DESC LIMIT 1"
_NAMED = KINDS["store.named"]

try:  # the builtin digest: hashlib loads OpenSSL, 3 ms
    from _sha2 import sha256  # type: ignore[import-not-found]  # CPython 3.12 and newer
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found]
    except ImportError:
        from hashlib import sha256


def digest(text: str) -> bytes:
    """Return the 16-byte digest (truncated SHA-256) by which a body takes part in an event's hash."""
    return bytes(sha256(text.encode(errors="surrogatepass")).digest()[:16])


def link(
    previous: bytes,
    seq: int,
    at_ms: int,
    kind: int,
    task: int | None,
    attempt: int | None,
    actor: int | None,
    session: int | None,
    body: int | None,
    data: str | None,
    correlation: bytes | None,
    body_digest: bytes,
) -> bytes:
    """Return an event's hash: SHA-256, cut to 16 bytes, over the previous hash, its fields and its body's digest."""
    head = f"{seq}|{at_ms}|{kind}|{task}|{attempt}|{actor}|{session}|{body}|{data}|".encode(errors="surrogatepass")
    return sha256(previous + head + (correlation or b"") + body_digest).digest()[:16]  # type: ignore[no-any-return]


def _boot() -> bytes:
    from ..clock import boot_id

    return boot_id().encode()


class Connection:
    """An open store file. Writes by two threads take turns; not for use by a process forked after it was opened."""

    def __init__(self, directory: str, *, create: bool = False, synchronous: str = "FULL") -> None:
        self.library = gate.load()
        self.directory = directory
        self.path = os.path.join(directory, FILE)
        self.ids: dict[tuple[str, str], int] = {}  #: numbers of known queues, agents and actors
        self.sql: dict[str, str] = {}  #: the driver's blocks by name
        self.survey: dict[int, str] = {}  #: its block `survey` by the number of queues; sqlite/claiming.py
        self.tail: tuple[int, bytes] | None = None  #: the last event this connection wrote: number and hash
        self.clock_seen: tuple[int, int] | None = None  #: last seen (slept, wall offset); sqlite/sweeping.py
        self._pid = os.getpid()
        self._turn = _thread.allocate_lock()
        self._lock = WriteLock(directory)
        if not os.path.exists(self.path):
            if not create:
                raise NotFound(f"there is no store at {directory}", "Create one with: agentctl init")
            from .migrate import create_store

            create_store(directory)
        # What the mark in write.lock is good for: a commit that is not synced may be gone after a power cut.
        self._good_for = b"*" if synchronous in ("FULL", "EXTRA") else _boot()
        self._files: tuple[Any, Any] = (None, None)
        self._checked_ms = -1  #: boot time of the last look at the files
        self._log_bytes = self._folded_ms = 0
        self._synchronous, self._prepared = synchronous, False
        self.db = self._open()
        self._check_version()
        self._check_tail()
        self._files = self._identities()

    def _open(self) -> Any:
        try:
            db = self.library.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        except self.library.Error as error:
            raise self.explained(error) from None
        try:
            self._prepare(db)
        except self.library.Error as error:
            from .explain import no_room

            if not no_room(error):
                raise self.explained(error) from None
        return db

    def _prepare(self, db: Any) -> None:
        db.execute("PRAGMA trusted_schema=OFF")
        db.execute("PRAGMA cell_size_check=ON")
        db.execute("PRAGMA mmap_size=0")
        db.execute("PRAGMA foreign_keys=ON")
        db.execute("PRAGMA journal_size_limit=67108864")
        db.execute(f"PRAGMA synchronous={self._synchronous}")  # the first that looks into the file
        self._prepared = True

    def _check_version(self) -> None:
        version = self.rows("PRAGMA user_version")[0][0]
        if version == SCHEMA_VERSION:
            return
        if version > SCHEMA_VERSION:
            raise StoreTooNew(
                f"the store at {self.directory} has schema {version}; this agentctl knows {SCHEMA_VERSION}",
                "Upgrade agentctl, or restore a backup made before the upgrade",
            )
        if version < 1:  # a store comes into being with its schema, in one rename
            raise self._damaged("its file is empty or was never a store")
        from .migrate import migrate

        migrate(self)

    def _check_tail(self) -> None:
        """Raise StoreCorrupt if the history ends before the last event that was marked as written."""
        seq, boot = self._lock.marked()
        if seq and (boot == b"*" or boot == _boot()):
            last = self.rows("SELECT max(seq) FROM event")[0][0] or 0
            if last < seq:
                raise self._damaged(
                    f"its history ends at event {last}, but event {seq} was written: its -wal file is gone, or the "
                    "file is an older copy"
                )

    def _identities(self) -> tuple[Any, Any]:
        try:
            main = os.stat(self.path)
        except OSError:
            return None, None
        try:
            wal = os.stat(self.path + "-wal")
        except OSError:
            return (main.st_ino, main.st_dev), None
        self._log_bytes = wal.st_size
        return (main.st_ino, main.st_dev), (wal.st_ino, wal.st_dev)

    def _check_files(self, boot_ms: int) -> None:
        """Raise StoreCorrupt if the file, or its -wal, is no longer the one that was opened. Once a millisecond."""
        if boot_ms == self._checked_ms:
            return
        now = self._identities()
        if now == self._files:
            self._checked_ms = boot_ms
            return
        if now[0] == self._files[0] and self._files[1] is None:
            self._files = now  # the disk was full or read-only when the store was opened
            return
        what = FILE if now[0] != self._files[0] else FILE + "-wal"
        raise self._damaged(f"{what} was moved, replaced or deleted while it was open; nothing was written")

    def _fold_log(self, boot_ms: int) -> None:
        """Wait a moment for a gap between readers and begin the log anew; checkpoints alone never find one."""
        if boot_ms - self._folded_ms < FOLD_EVERY_MS:
            return
        self._folded_ms, self._log_bytes = boot_ms, 0
        try:
            self.db.execute(f"PRAGMA busy_timeout={FOLD_MS}")
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except self.library.Error:
            pass  # a reader that stays, or no space: the next commit tries again
        finally:
            self.db.execute(f"PRAGMA busy_timeout={int(BUSY_S * 1000)}")

    def _damaged(self, why: str) -> StoreCorrupt:
        from .explain import RESTORE

        return StoreCorrupt(f"the store at {self.directory} is damaged: {why}", RESTORE)

    def own(self) -> None:
        """Raise StoreError in a process forked after the store was opened: SQLite's locks are not inherited."""
        if os.getpid() != self._pid:
            raise StoreError(
                f"the store at {self.directory} was opened before this process was forked",
                "Open it again in the new process",
            )

    def lock(self) -> None:
        """Take the turn to write. Raises StoreBusy when nobody lets go of it for BUSY_S seconds."""
        self.own()
        if not self._turn.acquire(False) and not self._turn.acquire(timeout=BUSY_S):
            raise StoreBusy(
                f"another thread has held the store at {self.directory} for more than {BUSY_S:g} s",
                "Let each thread open the store for itself; nothing was written",
            )
        try:
            self._lock.take(BUSY_S)
        except BaseException as error:
            self._lock.let_go()
            self._turn.release()
            if isinstance(error, OSError):
                raise self.explained(error) from None
            raise

    def unlock(self) -> None:
        """Let the next writer in."""
        self._lock.let_go()
        self._turn.release()

    def write(self, now: Moment) -> Transaction:
        """Return the context of one write transaction at `now`."""
        return Transaction(self, now)

    def rows(self, sql: str, values: Any = ()) -> list[Any]:
        """Run a read outside any transaction; all rows are fetched, so no cursor is left to pin the WAL."""
        self.own()
        try:
            return self.db.execute(sql, values).fetchall()  # type: ignore[no-any-return]
        except self.library.Error as error:
            from .explain import no_room, read_alone

            if no_room(error):
                found = read_alone(self.library, self.directory, self.path, sql, values)
                if found is not None:
                    return found
            raise self.explained(error) from None

    def explained(self, error: Exception, at_commit: bool = False) -> StoreError:
        """Return what `error`, from SQLite or the operating system, means to a person."""
        from .explain import explain

        return explain(self.directory, error, at_commit)

    def close(self) -> None:
        """Close the file. The last one out folds the WAL back."""
        self.db.close()
        self._lock.close()


class Transaction:
    """One BEGIN IMMEDIATE … COMMIT with the moment it happens at. Leaving by an exception rolls back."""

    __slots__ = ("_guessed", "_head", "conn", "execute", "now")

    def __init__(self, conn: Connection, now: Moment) -> None:
        self.conn = conn
        self.now = now
        self.execute = conn.db.execute
        self._head: tuple[int, bytes] | None = None
        self._guessed = False

    def __enter__(self) -> Transaction:
        conn = self.conn
        conn.lock()
        try:
            conn._check_files(self.now.boot_ms)
            if not conn._prepared:
                conn._prepare(conn.db)
            self.execute("BEGIN IMMEDIATE")
        except BaseException as error:
            conn.unlock()
            if isinstance(error, conn.library.Error):
                raise conn.explained(error) from None
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        conn = self.conn
        try:
            if kind is None:
                self.execute("COMMIT")
                if self._head is not None:
                    conn.tail = self._head
                    conn._lock.mark(self._head[0], conn._good_for)
                if conn._log_bytes > LOG_BYTES:
                    conn._fold_log(self.now.boot_ms)
                return
        except conn.library.Error as failed:
            self._roll_back()
            raise conn.explained(failed, at_commit=True) from None
        finally:
            if kind is not None:
                self._roll_back()
            conn.unlock()
        if isinstance(error, conn.library.Error):
            raise conn.explained(error) from None

    def _roll_back(self) -> None:
        self.conn.ids.clear()  # numbers given to new names are gone with the transaction
        self.conn.clock_seen = None
        if self.conn.db.in_transaction:
            try:
                self.execute("ROLLBACK")
            except self.conn.library.Error:
                self.conn.db.rollback()

    def _find_head(self) -> tuple[int, bytes]:
        conn = self.conn
        seq, boot = conn._lock.marked()
        if conn.tail is not None and conn.tail[0] == seq:
            # Nobody marked a later one. A writer killed between its commit and its mark makes this guess wrong, and
            # then the number is taken and the insert fails.
            self._guessed = True
            return conn.tail
        row: tuple[int, bytes] = self.execute(_HEAD).fetchone() or (0, GENESIS)
        if row[0] < seq and (boot == b"*" or boot == _boot()):
            raise conn._damaged(f"its history ends at event {row[0]}, but event {seq} was written")
        return row

    def event(
        self,
        kind: int,
        task: int | None = None,
        attempt: int | None = None,
        actor: str | None = None,
        data: str | None = None,
        *,
        session: int | None = None,
        body: int | None = None,
        body_digest: bytes = b"",
        correlation: bytes | None = None,
    ) -> int:
        """Append one event and return its sequence number. `body` is the payload or result it brought."""
        who = None if actor is None else self.number("actor", actor)
        head = self._head
        if head is None:
            head = self._find_head()
        seq, at = head[0] + 1, self.now.wall_ms
        linked = link(head[1], seq, at, kind, task, attempt, who, session, body, data, correlation, body_digest)
        values = (seq, at, kind, task, attempt, who, session, body, data, correlation, linked)
        try:
            self.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        except self.conn.library.IntegrityError:
            if not self._guessed:
                raise
            seq, hashed = self.execute(_HEAD).fetchone()
            linked = link(hashed, seq + 1, *values[1:10], body_digest)
            self.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (seq + 1, *values[1:10], linked))
            seq += 1
        self._guessed = False
        self._head = (seq, linked)
        return seq

    def number(self, table: str, name: str) -> int:
        """Return the number of a queue, agent or actor, making it known if it is new."""
        known = self.conn.ids.get((table, name))
        if known is not None:
            return known
        row = self.execute(f"SELECT id FROM {table} WHERE name = ?", (name,)).fetchone()  # noqa: S608
        if row is None:
            if table == "agent":
                made = self.execute("INSERT INTO agent (name, since_ms) VALUES (?, ?)", (name, self.now.wall_ms))
            else:
                made = self.execute(f"INSERT INTO {table} (name) VALUES (?)", (name,))  # noqa: S608
            row = (made.lastrowid,)
            # Rows and events name it by its number: the history must say what the number stands for.
            self.event(_NAMED, data=dumps({table: name, "id": row[0]}))
        self.conn.ids[table, name] = row[0]
        return int(row[0])

    def body(self, text: str) -> tuple[int, bytes]:
        """Store a payload or result; return its number and digest."""
        return int(self.execute("INSERT INTO body (text) VALUES (?)", (text,)).lastrowid), digest(text)
