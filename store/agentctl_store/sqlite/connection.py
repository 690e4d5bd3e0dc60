"""One process's connection to a store file, and its write transactions.

Every write takes the flock of `write.lock` before BEGIN IMMEDIATE: SQLite's own busy handler starves most of fifty
writers, a queue on a lock serves them all (Jain fairness 0.23 against 0.96 and more, measured).
"""

from __future__ import annotations

import os

from ..domain.event import KINDS
from ..errors import NotFound, StoreBusy, StoreCorrupt, StoreError, StoreFull, StoreTooNew
from ..jsontext import dumps
from . import gate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from ..clock import Moment

SCHEMA_VERSION = 1  #: PRAGMA user_version this code reads and writes
BUSY_S = 10.0  #: how long a write waits for others before StoreBusy
FILE = "store.db"
LOCK = "write.lock"
GENESIS = bytes(16)
_NAMED = KINDS["store.named"]

try:
    import fcntl
except ImportError:  # Windows: agentctl refuses to run there with a plain sentence (agentctl.main)
    fcntl = None  # type: ignore[assignment]

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


def explain(directory: str, error: Exception) -> StoreError:
    """Return what `error`, from SQLite or the operating system, means to a person."""
    text, code = str(error), getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    low = text.lower()
    where = f"the store at {directory}"
    if primary in (5, 6) or "locked" in low:
        return StoreBusy(f"{where} is held by another process", "Try again in a moment; nothing was written")
    if primary in (13, 10) or "disk is full" in low or "disk i/o" in low or getattr(error, "errno", 0) == 28:
        return StoreFull(
            f"{where} cannot be written: {low}",
            "Free some disk space; reading works meanwhile, and writing goes on by itself",
        )
    if primary in (8, 14) or "readonly" in low or "unable to open" in low or isinstance(error, OSError):
        return StoreFull(f"{where} cannot be written: {low}", "Check the folder's permissions and mount options")
    if primary in (11, 26) or "malformed" in low or "not a database" in low:
        return StoreCorrupt(
            f"{where} is damaged: {low}",
            "Stop the fleet, keep the file aside, and run: agentctl store check, then agentctl store restore",
        )
    return StoreError(f"{where} refused a statement: {text}")


class Connection:
    """An open store file. Not for use by two threads at once."""

    def __init__(self, directory: str, *, create: bool = False, synchronous: str = "FULL") -> None:
        self.library = gate.load()
        self.directory = directory
        self.path = os.path.join(directory, FILE)
        self._lock: int | None = None
        self.ids: dict[tuple[str, str], int] = {}  #: numbers of known queues, agents and actors
        self.sql: dict[str, str] = {}  #: the driver's blocks by name
        self.clock_seen: tuple[int, int] | None = None  #: last seen (slept, wall offset); sqlite/sweeping.py
        if not os.path.exists(self.path):
            if not create:
                raise NotFound(f"there is no store at {directory}", "Create one with: agentctl init")
            from .migrate import create_store

            create_store(directory)
        self.db = self._open(synchronous)
        version = self.db.execute("PRAGMA user_version").fetchone()[0]
        if version != SCHEMA_VERSION:
            if version > SCHEMA_VERSION:
                raise StoreTooNew(
                    f"the store at {directory} has schema {version}; this agentctl knows {SCHEMA_VERSION}",
                    "Upgrade agentctl, or restore a backup made before the upgrade",
                )
            from .migrate import migrate

            migrate(self)

    def _open(self, synchronous: str) -> Any:
        try:
            db = self.library.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            db.execute(f"PRAGMA synchronous={synchronous}")
            db.execute("PRAGMA foreign_keys=ON")
            db.execute("PRAGMA trusted_schema=OFF")
            db.execute("PRAGMA cell_size_check=ON")
            db.execute("PRAGMA mmap_size=0")
            db.execute("PRAGMA journal_size_limit=67108864")
        except self.library.Error as error:
            raise self.explained(error) from None
        return db

    def lock(self) -> None:
        """Take the writers' flock. Raises StoreBusy when nobody lets go of it for BUSY_S seconds."""
        if self._lock is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            try:
                self._lock = os.open(os.path.join(self.directory, LOCK), flags, 0o600)
            except OSError as error:
                raise self.explained(error) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._wait_for_lock(self._lock)

    def _wait_for_lock(self, descriptor: int) -> None:
        # A plain blocking flock queues fairly but cannot time out, so a thread does the blocking. One that comes
        # through after its waiter has gone lets go at once.
        import _thread

        got, guard = _thread.allocate_lock(), _thread.allocate_lock()
        got.acquire()
        state = {"left": False}

        def block() -> None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except OSError:
                return
            with guard:
                if state["left"]:
                    os.close(descriptor)
                else:
                    got.release()

        _thread.start_new_thread(block, ())
        if got.acquire(timeout=BUSY_S):
            return
        with guard:
            if got.acquire(blocking=False):
                return
            state["left"] = True
        self._lock = None  # the thread owns the descriptor now and closes it
        raise StoreBusy(
            f"another process has held the store at {self.directory} for more than {BUSY_S:.0f} s",
            "Look for a stopped or stuck agentctl process, then try again; nothing was written",
        )

    def unlock(self) -> None:
        """Let the next writer in."""
        if self._lock is not None:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def write(self, now: Moment) -> Transaction:
        """Return the context of one write transaction at `now`."""
        return Transaction(self, now)

    def rows(self, sql: str, values: Any = ()) -> list[Any]:
        """Run a read outside any transaction; all rows are fetched, so no cursor is left to pin the WAL."""
        try:
            return self.db.execute(sql, values).fetchall()  # type: ignore[no-any-return]
        except self.library.Error as error:
            raise self.explained(error) from None

    def explained(self, error: Exception) -> StoreError:
        """Return what `error`, from SQLite or the operating system, means to a person."""
        return explain(self.directory, error)

    def close(self) -> None:
        """Close the file. The last one out folds the WAL back."""
        self.db.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class Transaction:
    """One BEGIN IMMEDIATE … COMMIT with the moment it happens at. Leaving by an exception rolls back."""

    __slots__ = ("_head", "conn", "execute", "now")

    def __init__(self, conn: Connection, now: Moment) -> None:
        self.conn = conn
        self.now = now
        self.execute = conn.db.execute
        self._head: tuple[int, bytes] | None = None

    def __enter__(self) -> Transaction:
        self.conn.lock()
        try:
            self.execute("BEGIN IMMEDIATE")
        except self.conn.library.Error as error:
            self.conn.unlock()
            raise self.conn.explained(error) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        conn = self.conn
        try:
            if kind is None:
                self.execute("COMMIT")
                return
        except conn.library.Error as failed:
            self._roll_back()
            raise conn.explained(failed) from None
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
            row = self.execute("SELECT seq, hash FROM event ORDER BY seq DESC LIMIT 1").fetchone()
            head = row or (0, GENESIS)
        seq, at = head[0] + 1, self.now.wall_ms
        linked = link(head[1], seq, at, kind, task, attempt, who, session, body, data, correlation, body_digest)
        self.execute(
            "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (seq, at, kind, task, attempt, who, session, body, data, correlation, linked),
        )
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
