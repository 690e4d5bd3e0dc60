"""Creating and upgrading a store: numbered .sql files, run through sqlite-utils' migrations in one transaction."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Any

from ..errors import StoreCorrupt, StoreError
from . import gate
from .place import PRIVATE_FOLDER, check_place
from .writelock import forget_mark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = os.path.join(os.path.dirname(__file__), "migrations")
SET = "agentctl"


def create_store(directory: str) -> None:
    """Make the folder (0700) and an empty store file (0600) in it. Raises StoreError."""
    library = gate.load()
    check_place(directory)
    try:
        make_folder(directory)
        os.chmod(directory, PRIVATE_FOLDER)  # a folder that was there, or an odd umask
        with locked(directory):
            path = os.path.join(directory, "store.db")
            if os.path.exists(path):
                return
            if os.path.exists(path + "-wal"):
                raise StoreCorrupt(
                    f"the store at {directory} is damaged: store.db is gone, but its -wal is there",
                    "Put store.db back, or restore a backup: agentctl store restore",
                )
            forget_mark(directory)
            # Built beside and moved into place: nobody ever opens a half-made store.
            building = path + ".new"
            if os.path.exists(building):
                os.unlink(building)
            os.close(os.open(building, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            db = library.connect(building, isolation_level=None)
            try:
                db.execute("PRAGMA auto_vacuum=INCREMENTAL")
                db.execute("PRAGMA journal_mode=WAL")
                apply(db)
            finally:
                db.close()
            os.rename(building, path)
            _sync_folder(directory)
    except (OSError, library.Error) as error:
        raise StoreError(
            f"cannot create a store at {directory}: {error}", "Check the folder's permissions and free space"
        ) from None


def make_folder(directory: str) -> None:
    """Make a store's folder and those above it, so that a power cut does not take them away with all they hold."""
    above = os.path.dirname(os.path.abspath(directory))
    grown = [above]
    while not os.path.exists(above):
        above = os.path.dirname(above)
        grown.append(above)
    os.makedirs(directory, mode=PRIVATE_FOLDER, exist_ok=True)
    for folder in grown:
        try:
            _sync_folder(folder)
        except PermissionError:
            pass  # one that may be written, but not read, cannot be synced


class locked:
    """The writers' flock of a store folder, as a context."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, "write.lock")

    def __enter__(self) -> None:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _sync_folder(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def apply(db: Any) -> None:
    """Run what is pending and stamp user_version, in one transaction: a killed upgrade leaves the old store."""
    import sqlite_utils
    from sqlite_utils.migrations import Migrations

    migrations = Migrations(SET)
    numbers = []
    for number, name, script in scripts():
        migrations(name=name)(_runner(script))
        numbers.append(number)
    db.execute("BEGIN IMMEDIATE")
    try:
        migrations.apply(sqlite_utils.Database(db, recursive_triggers=False, execute_plugins=False))
        db.execute(f"PRAGMA user_version={max(numbers)}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def scripts() -> Iterator[tuple[int, str, str]]:
    """Yield (number, name, SQL) of each migration file, in order."""
    for file in sorted(os.listdir(HERE)):
        if file.endswith(".sql"):
            with open(os.path.join(HERE, file), encoding="utf-8") as text:
                yield int(file.split("_")[0]), file.removesuffix(".sql"), text.read()


def _runner(script: str) -> Callable[[Any], None]:
    def run(database: Any) -> None:
        for statement in statements(script):
            database.conn.execute(statement)

    return run


def statements(script: str) -> Iterator[str]:
    """Split a script into statements; executescript() would commit the transaction around it."""
    import sqlite3

    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
