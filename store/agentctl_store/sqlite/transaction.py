"""Write transactions: one verb alone, or the verbs of many clients in one commit."""

from __future__ import annotations

from ..domain.event import KINDS
from ..errors import StoreError
from ..jsontext import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from ..clock import Moment
    from .connection import Connection

    Telling = tuple[int, int | None, int | None, int | None, int | None, int | None, str | None, bytes | None, bytes]

MOST_KNOWN = 10_000  #: names whose numbers are remembered: a process that lives long meets any number of them
GENESIS = bytes(16)
HEAD = "SELECT seq, hash FROM event ORDER BY seq DESC LIMIT 1"
_APPEND = "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_NAMED = KINDS["store.named"]
#: what brings, or may bring, something that a claim must look for beside tasks: Connection.is_plain
_OTHERS = frozenset(code for kind, code in KINDS.items() if kind.startswith(("lane.", "schedule.", "task.asked")))

try:  # the builtin digest: hashlib loads OpenSSL, 3 ms
    from _sha2 import sha256 as sha256  # type: ignore[import-not-found]  # CPython 3.12 and newer
except ImportError:
    try:
        from _sha256 import sha256 as sha256  # type: ignore[import-not-found]
    except ImportError:
        from hashlib import sha256 as sha256


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


class Transaction:
    """One BEGIN IMMEDIATE … COMMIT with the moment it happens at. Leaving by an exception rolls back."""

    __slots__ = ("conn", "execute", "now", "told")

    def __init__(self, conn: Connection, now: Moment) -> None:
        self.conn = conn
        self.now = now
        self.execute = conn.execute
        #: the events so far, as they will be written at the end: (kind, task, …, digest of the body)
        self.told: list[Telling] = []

    def __enter__(self) -> Transaction:
        conn = self.conn
        conn.lock()
        try:
            conn.check_files(self.now.boot_ms)
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
        if kind is None:
            self._commit()
            return
        try:
            self._roll_back()
        finally:
            conn.unlock()
        if isinstance(error, conn.library.Error):
            raise conn.explained(error) from None

    def _commit(self) -> None:
        conn = self.conn
        at_commit = False
        try:
            if not conn.db.in_transaction:
                # SQLite gave it up on the way (disk full, an I/O error): events written now would tell what was undone.
                raise StoreError("the store gave up the transaction; nothing of it was written", "Try again")
            head = self._write_events() if self.told else None
            at_commit = True
            self.execute("COMMIT")
            conn.committed(head, self.now.boot_ms)
        except BaseException as error:
            self._roll_back()
            if isinstance(error, conn.library.Error):
                raise conn.explained(error, at_commit) from None
            raise
        finally:
            conn.unlock()
        if head is not None:
            conn.wake(self.told)

    def _roll_back(self) -> None:
        self.conn.forget()
        if self.conn.db.in_transaction:
            try:
                self.execute("ROLLBACK")
            except self.conn.library.Error:
                self.conn.db.rollback()

    def rows(self, sql: str, values: Any = ()) -> list[Any]:
        """Run a read of this transaction."""
        return self.execute(sql, values).fetchall()  # type: ignore[no-any-return]

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
    ) -> None:
        """Append one event. `body` is the payload or result it brought."""
        if kind in _OTHERS:
            self.conn.plain = None
        who = None if actor is None else self.number("actor", actor)
        self.told.append((kind, task, attempt, who, session, body, data, correlation, body_digest))

    def _write_events(self) -> tuple[int, bytes]:
        """Number, chain and write what was told; return the last event's number and hash."""
        head, guessed = self.conn.head(self.execute)
        rows = self._chained(head)
        try:
            if len(rows) == 1:
                self.execute(_APPEND, rows[0])
            else:
                self.conn.db.executemany(_APPEND, rows)
        except self.conn.library.IntegrityError:
            if not guessed:
                raise
            self.conn.limits = self.conn.plain = self.conn.clock_seen = None  # somebody wrote whom no mark told of
            rows = self._chained(self.execute(HEAD).fetchone())
            self.conn.db.executemany(_APPEND, rows)
        return rows[-1][0], rows[-1][-1]

    def _chained(self, head: tuple[int, bytes]) -> list[Any]:
        seq, previous = head
        at, rows = self.now.wall_ms, []
        for kind, task, attempt, who, session, body, data, correlation, body_digest in self.told:
            seq += 1
            previous = link(
                previous, seq, at, kind, task, attempt, who, session, body, data, correlation, body_digest
            )  # fmt: skip
            rows.append((seq, at, kind, task, attempt, who, session, body, data, correlation, previous))
        return rows

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
        if len(self.conn.ids) >= MOST_KNOWN:
            self.conn.ids.clear()
        self.conn.ids[table, name] = row[0]
        return int(row[0])

    def body(self, text: str) -> tuple[int, bytes]:
        """Store a payload or result; return its number and digest."""
        return int(self.execute("INSERT INTO body (text) VALUES (?)", (text,)).lastrowid), digest(text)


class Group(Transaction):
    """A transaction in which each verb is a step of its own: one that fails takes nothing of the others with it.

    While it is open, `Connection.write` gives its steps instead of transactions. What a step returned is true only
    once the group has been left without an error.
    """

    __slots__ = ("ahead", "claims", "gave_up", "stepping")

    def __init__(self, conn: Connection, now: Moment) -> None:
        super().__init__(conn, now)
        #: ready tasks found for the claims to come, by queue, the best last; sqlite/claiming.py
        self.ahead: dict[str, list[tuple[Any, str]]] = {}
        self.claims = 0  #: how many claims are still to come in this commit, as far as is known
        self.stepping = False  #: a step is open

    def __enter__(self) -> Group:
        super().__enter__()
        self.gave_up: StoreError | None = None  #: why SQLite undid all of it: disk full, or an I/O error
        self.conn.group = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.conn.group = None
        gave_up = self.gave_up
        if kind is None and gave_up is not None:
            super().__exit__(type(gave_up), gave_up, None)
            raise gave_up
        super().__exit__(kind, error, trace)


class Step:
    """A savepoint around one verb of a group, or around a verb and what must not be kept without it.

    A step within a step needs no savepoint of its own: its error ends both.
    """

    __slots__ = ("_before", "_group", "_within")

    def __init__(self, group: Group) -> None:
        self._group = group
        self._before = len(group.told)
        self._within = group.stepping

    def __enter__(self) -> Transaction:
        group = self._group
        if group.gave_up is not None:
            raise group.gave_up
        if self._within:
            return group
        group.stepping = True
        try:
            group.execute("SAVEPOINT step")
        except group.conn.library.Error as error:
            group.stepping = False
            raise self._explained(error) from None
        return group

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._within:
            return
        group = self._group
        group.stepping = False
        conn = group.conn
        if kind is None:
            try:
                group.execute("RELEASE step")
            except conn.library.Error as failed:
                raise self._explained(failed) from None
            return
        conn.forget()
        del group.told[self._before :]
        told = self._explained(error) if isinstance(error, conn.library.Error) else None
        if conn.db.in_transaction and group.gave_up is None:
            try:
                group.execute("ROLLBACK TO step")
                group.execute("RELEASE step")
            except conn.library.Error as failed:
                group.gave_up = conn.explained(failed)  # half of a verb must not be committed
        if told is not None:
            raise told from None

    def _explained(self, error: Exception) -> StoreError:
        """Return what an error means; one after which SQLite has undone everything ends the group."""
        group = self._group
        told = group.conn.explained(error)
        if not group.conn.db.in_transaction:
            group.gave_up = told
        return told
