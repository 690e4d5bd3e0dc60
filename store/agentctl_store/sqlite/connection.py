"""One process's connection to a store file, and its write transactions."""

from __future__ import annotations

import _thread
import os

from ..domain.event import WAKES
from ..errors import NotFound, StoreBusy, StoreCorrupt, StoreError, StoreTooNew
from ..wake import listened, tell
from . import gate
from .transaction import GENESIS, HEAD, Group, Step, Transaction
from .writelock import WriteLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal

    from ..clock import Moment
    from ..domain.routing import Routing
    from ..wake import Waiter
    from .limiting import Limits
    from .transaction import Telling

SCHEMA_VERSION = 7  #: PRAGMA user_version this code reads and writes
BUSY_S = 10.0  #: how long a write waits for others before StoreBusy
LOG_PAGES = 1_000  #: of the log that SQLite copies into the file with the commit that makes them so many
LOG_EVENTS = 64  #: after which whoever copies them apart from his commits looks how many there are
LOG_BYTES = 16 << 20  #: a write-ahead log that outgrew this is begun anew, though readers come and go all the time
FOLD_MS = 400  #: how long that waits for them, and with it all who want to write
#: A log that outgrew this is begun anew by the first commit of whoever opens the store. Where short processes come one
#: after the other, each reads it whole, and SQLite, which forgot with the last one what of it is in the file already,
#: copies it whole: past 1,000 pages with every commit, and never begins anew.
FOUND_BYTES = 1 << 20
FOUND_MS = 50  #: how long that waits: each call of a script would
FOLD_EVERY_MS = 250
LONG_BYTES = 32 << 20  #: of a log to which readers give way between two looks: it is to stay below 64 MB
FOLD_REST_MS = 60_000  #: the longest pause: it doubles with each wait in vain, for a backup reads on for minutes
FILE = "store.db"
_OTHERS = """SELECT EXISTS (SELECT 1 FROM lane) OR EXISTS (SELECT 1 FROM schedule WHERE due_ms IS NOT NULL)
    OR EXISTS (SELECT 1 FROM question WHERE ended_ms IS NULL AND deadline_ms IS NOT NULL)"""
_LIMITED = "SELECT EXISTS (SELECT 1 FROM bound) OR EXISTS (SELECT 1 FROM budget) OR EXISTS (SELECT 1 FROM breaker)"


def _boot() -> bytes:
    from ..clock import boot_id

    return boot_id().encode()


class Connection:
    """An open store file. Writes by two threads take turns; not for use by a process forked after it was opened."""

    _folder = -1  #: a descriptor of the store's folder, once it was needed

    def __init__(self, directory: str, *, create: bool = False, synchronous: str = "FULL") -> None:
        self.library = gate.load()
        self.directory = directory
        self.path = os.path.join(directory, FILE)
        self.ids: dict[tuple[str, str], int] = {}  #: numbers of known queues, agents and actors
        self.sql: dict[str, str] = {}  #: the driver's blocks by name
        self.claimable: dict[str, str] = {}  #: its block `claimable` by which tasks are meant; sqlite/claiming.py
        self.survey: dict[tuple[bool, int], str] = {}  #: its block `survey` by is_plain and number of queues
        self.laned = False  #: whether its last claim met a lane
        self.routing: Routing | None = None  #: the lanes and chains it has met; sqlite/routing.py
        self.served: dict[str, bool] = {}  #: whether a declared agent takes from a queue; sqlite/adding.py
        self.served_ms = 0  #: boot time since which that was looked up
        self.tail: tuple[int, bytes] | None = None  #: the last event this connection wrote: number and hash
        self.clock_seen: tuple[int, int] | None = None  #: last seen (slept, wall offset); sqlite/clocks.py
        self.gaps: list[tuple[int, int]] = []  #: those noticed in the open transaction; sqlite/clocks.py
        self.waiter: Waiter | None = None  #: this connection's own, once it has waited; sqlite/waiting.py
        self.group: Group | None = None  #: the one that is open; sqlite/transaction.py
        #: what limits the store (sqlite/limiting.py), False when nothing does; None: to be read. It is what this
        #: connection read or wrote, good for as long as nobody else writes: ask `limited`
        self.limits: Limits | Literal[False] | None = None
        self.plain: bool | None = None  #: the same, of having no lane, no schedule and no open question: ask `is_plain`
        self._unmoved: bool | None = None  #: nobody else wrote since, turn in hand; None: not looked yet
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
        self._log_bytes = self._fold_from_ms = self._folded_ms = 0
        self._fold_pause_ms = FOLD_EVERY_MS
        self.last_task = self.last_message = 0  #: the ids given last
        self._most_log = FOUND_BYTES  #: bytes; until the first commit
        self._copied = 0  #: the last event at the last look of `checkpoint`
        self._synchronous, self._prepared = synchronous, False
        self.use(self._open())
        self._check_version()
        self._check_tail()
        self._files = self._identities()

    def use(self, db: Any) -> None:
        """Work through `db`, an open connection; tests put things around it that count, cut or fail."""
        self.db: Any = db
        # One cursor for all writes: making one for each statement takes as long as a short statement.
        self.execute: Any = db.cursor().execute

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
        self._migrate()

    def _migrate(self) -> None:
        """Bring an older store to this schema, all or nothing. Raises StoreError."""
        from .migrate import apply

        self.lock()
        try:
            apply(self.db)
        except self.library.Error as error:
            raise self.explained(error) from None
        finally:
            self.unlock()

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

    def check_files(self, boot_ms: int) -> None:
        """Raise StoreCorrupt if the file, or its -wal, is no longer the one that was opened. Once a millisecond."""
        if boot_ms == self._checked_ms and self._prepared:
            return
        if not self._prepared:
            self._prepare(self.db)
        now = self._identities()
        if now == self._files:
            self._checked_ms = boot_ms
            return
        if now[0] == self._files[0] and self._files[1] is None:
            self._files = now  # the disk was full or read-only when the store was opened
            return
        what = FILE if now[0] != self._files[0] else FILE + "-wal"
        raise self._damaged(f"{what} was moved, replaced or deleted while it was open; nothing was written")

    def _fold_log(self, boot_ms: int, patience_ms: int) -> None:
        """Wait a moment for a gap between readers and begin the log anew; checkpoints alone never find one."""
        long = self._log_bytes > LONG_BYTES
        if boot_ms < (self._folded_ms + FOLD_EVERY_MS if long else self._fold_from_ms):
            return
        if long:
            patience_ms = 0  # readers make the gap themselves now
        self._log_bytes, self._folded_ms, stays = 0, boot_ms, True
        try:
            self.db.execute(f"PRAGMA busy_timeout={patience_ms}")
            stays = bool(self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0])
        except self.library.Error:
            pass  # a reader that stays, or no space: a later commit tries again
        finally:
            self.db.execute(f"PRAGMA busy_timeout={int(BUSY_S * 1000)}")
        if not long:
            self._fold_pause_ms = min(2 * self._fold_pause_ms, FOLD_REST_MS) if stays else FOLD_EVERY_MS
            self._fold_from_ms = boot_ms + patience_ms + self._fold_pause_ms

    def checkpoint_apart(self) -> None:
        """From here on no commit copies the log into the file: whoever asked for that does, when nobody waits."""
        self.rows("PRAGMA wal_autocheckpoint=0")

    def checkpoint(self) -> None:
        """Copy the log into the file once it is long enough: milliseconds, and as many syncs as a commit and more."""
        if self.last - self._copied < LOG_EVENTS and self._log_bytes < LOG_BYTES // 2:
            return
        self._copied = self.last
        try:
            _, pages, copied = self.db.execute("PRAGMA wal_checkpoint(NOOP)").fetchone()
            if pages - copied >= LOG_PAGES:
                self.db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except self.library.Error:
            pass  # no space, or an I/O error: the log grows, and the next look tries again

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
        self._unmoved = None

    def _compare(self) -> bool:
        """Whether nobody else wrote since this connection did; else what is kept of the store is dropped."""
        unmoved = self._lock.unmoved()
        if unmoved and self.limits:
            # A writer killed between its commit and its mark may have started something that counts.
            unmoved = self.execute(HEAD).fetchone() == self.tail
        if not unmoved:
            self.limits = self.plain = self.clock_seen = None
        self._unmoved = unmoved
        return unmoved

    def clock_noticed(self) -> tuple[int, int] | None:
        """Return the clocks as this connection saw them last; None when others may have noticed another since."""
        if self._unmoved is None:
            self._compare()
        return self.clock_seen

    def is_plain(self) -> bool:
        """Whether no claim need look for lanes, schedules and questions. In a transaction, turn in hand."""
        if self._unmoved is None:
            self._compare()
        if self.plain is None:
            self.plain = not self.execute(_OTHERS).fetchone()[0]
        return self.plain

    def limited(self) -> Limits | Literal[False]:
        """Return what limits the store, False when nothing does. In a transaction, turn in hand."""
        if self._unmoved is None:
            self._compare()
        if self.limits is None:
            if self.execute(_LIMITED).fetchone()[0]:
                from .limiting import Limits

                self.limits = Limits(lambda sql, values=(): self.db.execute(sql, values).fetchall(), self.gaps)
            else:
                self.limits = False
        return self.limits

    def unlock(self) -> None:
        """Let the next writer in."""
        self._lock.let_go()
        self._turn.release()

    def write(self, now: Moment) -> Transaction | Step:
        """Return the context of one write transaction at `now`, or of the next step of the group that is open."""
        return Transaction(self, now) if self.group is None else Step(self.group)

    def together(self, now: Moment) -> Group:
        """Return the context of many verbs in one commit: until it is left, `write` gives its steps."""
        return Group(self, now)

    def head(self, execute: Any) -> tuple[tuple[int, bytes], bool]:
        """Return the last event, number and hash, and whether that is a guess. In a transaction, turn in hand."""
        unmoved = self._compare() if self._unmoved is None else self._unmoved
        if self.tail is not None and unmoved:
            # Nobody marked a later one. A writer killed between its commit and its mark makes this guess wrong, and
            # then the number is taken and the insert fails.
            return self.tail, True
        seq, boot = self._lock.marked()
        row: tuple[int, bytes] = execute(HEAD).fetchone() or (0, GENESIS)
        if row[0] < seq and (boot == b"*" or boot == _boot()):
            raise self._damaged(f"its history ends at event {row[0]}, but event {seq} was written")
        return row, False

    def committed(self, head: tuple[int, bytes] | None, boot_ms: int) -> None:
        """Take note of a commit that wrote events up to `head`, turn in hand."""
        self.gaps.clear()
        if head is not None:
            self.tail = head
            self._lock.mark(head[0], self._good_for)
        if self._log_bytes > self._most_log:
            patience_ms = FOLD_MS if self._most_log == LOG_BYTES else FOUND_MS
            self._fold_log(boot_ms, patience_ms if self._log_bytes > LOG_BYTES else 0)
        self._most_log = LOG_BYTES

    def wake(self, told: list[Telling]) -> None:
        """Wake whoever waits for what was just committed. Never raises: it is done, and would be told as undone."""
        if self._folder < 0:
            try:
                self._folder = os.open(self.directory, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                return  # no descriptor is left: whoever waits looks for himself, only later
        if listened(self._folder):
            but = "" if self.waiter is None else self.waiter.name
            words = {WAKES[one[0]] for one in told if one[0] in WAKES}
            if self.limits:
                words.add(b"task")  # any end may be what a start was held back by
            tell(self.directory, words, but)

    @property
    def last(self) -> int:
        """The number of the last event that this connection wrote; 0 before it wrote any."""
        return 0 if self.tail is None else self.tail[0]

    def forget(self) -> None:
        """Forget what was learned in a transaction that is undone.

        Numbers given to new names are gone with it, and so are the leases it voided or extended for a reboot or a
        suspend: the next one must notice those again.
        """
        self.ids.clear()
        self.served.clear()
        self.gaps.clear()
        self.routing = self.clock_seen = self.limits = self.plain = None

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
        if self.waiter is not None:
            self.waiter.close()
        self.__del__()
        self.db.close()
        self._lock.close()

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # Of a store that was dropped, not closed: SQLite closes its own descriptors then. `close` outlives the names of
        # this module, which the end of a process takes away first.
        if self._folder >= 0:
            close(self._folder)
            self._folder = -1
