"""Info, check, backup and restore; the words are those of agentctl_store/upkeep.py."""

from __future__ import annotations

import os
import shutil
import time

from ..clock import Clock, Moment
from ..domain.event import KINDS
from ..domain.machine import STATES
from ..domain.upkeep import Backup, Finding, StoreInfo
from ..errors import AgentctlError, AlreadyRunning, Conflict, NotFound, StoreCorrupt, StoreFull
from ..folders import disk_bytes
from ..jsontext import dumps
from ..read.presence import supervisor_row
from . import gate, migrate
from .connection import FILE, Connection
from .explain import explain
from .place import PRIVATE_FILE, check_place, open_to_others
from .readfile import ReadFile
from .tail import Tail
from .verify import verify_file
from .writelock import forget_mark, keep_mark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from ..domain.machine import State

NAMED = 5  #: faults spelled out in one finding
LOG_LIMIT = 64 << 20  #: bytes the write-ahead log may have
_RESTORE = "Stop the fleet and run: agentctl store restore BACKUP (the damaged file is laid aside, not deleted)"


# --- info -------------------------------------------------------------------------------------------------------------
def info(directory: str) -> StoreInfo:
    """See agentctl_store.upkeep.info."""
    from .reader import load_sql as reader_sql

    file = ReadFile(directory)
    try:
        with file.snapshot():
            counts: dict[str, int] = {}
            for (_, state), n in Tail(file, reader_sql()).counts().items():
                counts[state] = counts.get(state, 0) + n
            page = file.rows("PRAGMA page_size")[0][0]
            ends = file.rows(
                "SELECT (SELECT at_ms FROM event ORDER BY seq LIMIT 1), "
                "(SELECT at_ms FROM event ORDER BY seq DESC LIMIT 1)"
            )[0]
            pruned = file.rows("SELECT value FROM meta WHERE key = 'cut_at_ms'")
            return StoreInfo(
                directory=directory,
                schema=file.rows("PRAGMA user_version")[0][0],
                library=str(file.library.sqlite_version),
                store_bytes=_size(file.path),
                log_bytes=_size(file.path + "-wal"),
                free_bytes=file.rows("PRAGMA freelist_count")[0][0] * page,
                sessions_bytes=sum(disk_bytes(os.path.join(directory, "sessions"))),
                tasks=_states(counts),
                events=file.rows("SELECT count(*) FROM event")[0][0],
                sessions=file.rows("SELECT count(*) FROM session")[0][0],
                first_event_ms=ends[0],
                last_event_ms=ends[1],
                pruned_to_ms=pruned[0][0] if pruned else None,
                messages=tuple(file.rows("SELECT state, count(*) FROM message GROUP BY state ORDER BY state")),
            )
    finally:
        file.close()


def _states(counts: dict[str, int]) -> tuple[tuple[State, int], ...]:
    return tuple((state, counts[state]) for state in STATES if counts.get(state))


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


# --- check ------------------------------------------------------------------------------------------------------------
def check(directory: str, progress: Callable[[int, int], None] | None = None) -> tuple[Finding, ...]:
    """See agentctl_store.upkeep.check."""
    found: list[Finding] = []
    try:
        check_place(directory)
        found.append(Finding("place", True, "on a file system of this machine"))
    except AgentctlError as error:
        found.append(Finding("place", False, error.message, error.remedy))
    wide = open_to_others(directory)
    remedy = f"Run: chmod -R go= {directory}" if wide else ""
    said = f"others may read {', '.join(wide)}" if wide else "for the owner alone"
    found.append(Finding("permissions", not wide, said, remedy))
    try:
        file = ReadFile(directory)
    except NotFound:
        raise
    except AgentctlError as error:
        return (*found, Finding("file", False, error.message, error.remedy))
    try:
        found.extend(_inside(file, progress))
    finally:
        file.close()
    return tuple(found)


def _inside(file: ReadFile, progress: Callable[[int, int], None] | None) -> Iterator[Finding]:
    log = _size(file.path + "-wal")
    remedy = "Something holds an old read open: look for a stopped agentctl process" if log > LOG_LIMIT else ""
    yield Finding("log", log <= LOG_LIMIT, f"the write-ahead log has {log:,} bytes", remedy)
    whole = True
    for name, look in (("pages", _pages), ("references", _references), ("schema", _schema)):
        try:
            faults = look(file)
        except AgentctlError as error:
            faults = [error.message]
        whole = whole and not faults
        yield _finding(name, faults)
    if not whole:
        yield Finding("history", False, "not looked at: the file is damaged", _RESTORE)
        return
    try:
        seen = verify_file(file, progress)
    except AgentctlError as error:
        yield Finding("history", False, error.message, _RESTORE)
        return
    if seen.faults:
        yield _finding("history", list(seen.faults))
    else:
        said = f"{seen.events:,} events to {seen.head} replay to {seen.tasks:,} tasks and {seen.sessions:,} sessions"
        yield Finding("history", True, said)


def _finding(name: str, faults: list[str]) -> Finding:
    if not faults:
        return Finding(name, True, "sound")
    more = f" … and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
    return Finding(name, False, "; ".join(faults[:NAMED]) + more, _RESTORE)


def _pages(file: ReadFile) -> list[str]:
    return [str(row[0]) for row in file.rows("PRAGMA integrity_check(100)") if row[0] != "ok"]


def _references(file: ReadFile) -> list[str]:
    rows = file.rows("SELECT * FROM pragma_foreign_key_check LIMIT 100")
    return [f"{row[0]} row {row[1]} refers to a {row[2]} that is not there" for row in rows]


def _schema(file: ReadFile) -> list[str]:
    """Compare with what the migrations make."""
    fresh = file.library.connect(":memory:", isolation_level=None)
    try:
        migrate.apply(fresh)
        wanted = _objects(fresh.execute(_OBJECTS).fetchall())
    finally:
        fresh.close()
    found = _objects(file.rows(_OBJECTS))
    faults = [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    faults += [f"{name} does not belong here" for name in sorted(found.keys() - wanted.keys())]
    changed = [name for name in sorted(wanted) if found.get(name, wanted[name]) != wanted[name]]
    return faults + [f"{name} has another form" for name in changed]


_OBJECTS = "SELECT type || ' ' || name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'"


def _objects(rows: list[Any]) -> dict[str, str]:
    return {name: " ".join((sql or "").split()) for name, sql in rows}


# --- backup -----------------------------------------------------------------------------------------------------------
def backup(directory: str, path: str, clock: Clock, actor: str) -> Backup:
    """See agentctl_store.upkeep.backup."""
    target = os.path.abspath(path)
    if os.path.exists(target):
        raise Conflict(f"{path} exists already", "Name a new file; a backup overwrites nothing")
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise NotFound(f"there is no folder {folder}", "Make it first, or name another")
    file = ReadFile(directory)
    try:
        need, room = _size(file.path) + _size(file.path + "-wal"), shutil.disk_usage(folder).free
        if room < need:
            raise StoreFull(f"a backup needs up to {need:,} bytes and {folder} has {room:,} free", "Make room first")
        part = target + ".part"
        _copy(file, part)
    finally:
        file.close()
    try:
        seen = _verified(directory, part)
    except AgentctlError:
        os.unlink(part)
        raise
    os.rename(part, target)
    _sync(folder)
    _note(directory, "store.backed_up", clock, actor, {"path": target, "bytes": _size(target), "head": seen[1]})
    return Backup(target, _size(target), seen[0], seen[1])


def _copy(file: ReadFile, target: str) -> None:
    """Write the store as of one moment to a file of its own. Readers and writers go on; the log grows meanwhile."""
    try:
        if os.path.exists(target):
            os.unlink(target)  # left by a backup that was cut short
        os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE))
        file.db.execute("VACUUM INTO ?", (target,)).fetchall()
        descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except (OSError, file.library.Error) as error:
        if os.path.exists(target):
            os.unlink(target)
        raise explain(os.path.dirname(target), error) from None


def _verified(directory: str, path: str) -> tuple[int, str]:
    """Return the events of a copy and the hash of the last. StoreCorrupt when it is not sound."""
    try:
        file = ReadFile(directory, path)
    except StoreFull as error:
        raise StoreCorrupt(f"{path} cannot be read as a store: {error.message}", "Use another backup") from None
    try:
        if file.rows("PRAGMA user_version")[0][0] < 1:
            raise StoreCorrupt(f"{path} is not a store of agentctl", "Name a file that `agentctl store backup` wrote")
        faults = [*_pages(file), *_references(file)]
        seen = None if faults else verify_file(file)
        if seen is not None:
            faults = list(seen.faults)
        if faults or seen is None:
            raise StoreCorrupt(f"{path} is not sound: {faults[0]}", "Use another backup; this one was not put to use")
        return seen.events, seen.head
    finally:
        file.close()


def _note(directory: str, kind: str, clock: Clock, actor: str, said: dict[str, object]) -> None:
    conn = Connection(directory)
    try:
        with conn.write(clock.now()) as tx:
            tx.event(KINDS[kind], actor=actor, data=dumps(said))
    finally:
        conn.close()


def _sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- restore ----------------------------------------------------------------------------------------------------------
def restore(directory: str, path: str, clock: Clock, actor: str) -> str:
    """See agentctl_store.upkeep.restore."""
    if not os.path.exists(path):
        raise NotFound(f"there is no file {path}", "Name a file that `agentctl store backup` wrote")
    check_place(directory)
    _refuse_while_used(directory)
    _verified(directory, path)
    migrate.make_folder(directory)
    store = os.path.join(directory, FILE)
    building = store + ".new"
    source = ReadFile(directory, path)
    try:
        _copy(source, building)
    finally:
        source.close()
    _make_ready(directory, building)
    now = clock.now()
    with migrate.locked(directory):
        _refuse_while_used(directory)
        keep_mark(directory)  # it tells, should the power go when the log alone is laid aside
        aside = _lay_aside(store, now)
        _sync(directory)  # the mark is given up once nobody can find the old store without its log
        forget_mark(directory)  # the history ends earlier than it did, and is meant to
        os.rename(building, store)
        _sync(directory)
    _note(directory, "store.restored", clock, actor, {"from": os.path.abspath(path), "aside": aside})
    return aside


def _make_ready(directory: str, path: str) -> None:
    from .vouching import vouch

    db = gate.load().connect(path, isolation_level=None)
    try:
        vouch(db, directory)
        db.execute("PRAGMA journal_mode=WAL").fetchall()
    finally:
        db.close()


def _lay_aside(store: str, now: Moment) -> str:
    """Rename the store and its log together, so that SQLite still finds the one with the other."""
    if not os.path.exists(store):
        return ""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now.wall_ms / 1000))
    aside, count = f"{store}.aside-{stamp}", 1
    while os.path.exists(aside):
        count += 1
        aside = f"{store}.aside-{stamp}-{count}"
    for suffix in ("-wal", "-shm", ""):  # the store last: until then a second try finds it in place
        if os.path.exists(store + suffix):
            os.rename(store + suffix, aside + suffix)
    return aside


def _refuse_while_used(directory: str) -> None:
    supervisor = supervisor_row(directory)
    if supervisor.running:
        raise AlreadyRunning(
            f"supervisor {supervisor.pid} runs on the store at {directory}", "Stop it first: agentctl down"
        )
    for pid in holders(os.path.join(directory, FILE)):
        raise AlreadyRunning(
            f"process {pid} has the store at {directory} open: what it writes would go to the old file",
            f"End it first (look with: ps -p {pid}), then restore again",
        )


def holders(path: str) -> Iterator[int]:
    """Yield the other processes that have a file open, as far as this user may see."""
    try:
        wanted = os.stat(path)
        numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return
    for pid in numbers:
        if pid == os.getpid():
            continue
        try:
            opened = os.scandir(f"/proc/{pid}/fd")
        except OSError:
            continue
        with opened:
            for entry in opened:
                try:
                    found = os.stat(entry.path)
                except OSError:
                    continue
                if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                    yield pid
                    break
