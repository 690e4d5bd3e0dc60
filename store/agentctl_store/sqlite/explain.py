"""What SQLite's and the operating system's errors mean to a person. Loaded only when one happened."""

from __future__ import annotations

import os

from ..errors import StoreBusy, StoreCorrupt, StoreError, StoreFull
from .writelock import WriteLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BUSY, LOCKED, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, NOTADB = 5, 6, 8, 10, 11, 13, 14, 26
_SHORT_READ, _CORRUPT_FS, _BAD_PAGE = 522, 8458, 8202  #: extended codes of IOERR that mean damage, not lack of room
RESTORE = "Stop the fleet, keep the file aside, and run: agentctl store check, then agentctl store restore"
UNKNOWN = "Whether the last change was kept is not known: say it again, with the same idempotency key if it adds a task"


def code_of(error: Exception) -> int:
    """Return SQLite's extended error code, 0 when there is none."""
    code = getattr(error, "sqlite_errorcode", None)
    return code if isinstance(code, int) else 0


def no_room(error: Exception) -> bool:
    """Whether SQLite could not write, or not make its -shm file: a full disk, or a read-only one."""
    return code_of(error) & 0xFF in (CANTOPEN, FULL, IOERR, READONLY)


def explain(directory: str, error: Exception, at_commit: bool = False) -> StoreError:
    """Return what `error` means; `at_commit`, that the change may have been kept all the same."""
    text, code = _text_of(error), code_of(error)
    primary, low, where = code & 0xFF, f"{text[:1].lower()}{text[1:]}", f"the store at {directory}"
    if primary in (CORRUPT, NOTADB) or code in (_SHORT_READ, _CORRUPT_FS, _BAD_PAGE):
        return StoreCorrupt(f"{where} is damaged: {low}", RESTORE)
    if primary in (BUSY, LOCKED):
        return StoreBusy(f"{where} is held by another process", "Try again in a moment; nothing was written")
    unknown = f"; {UNKNOWN[0].lower()}{UNKNOWN[1:]}" if at_commit else ""
    if primary in (FULL, IOERR) or getattr(error, "errno", 0) in (27, 28, 122):  # EFBIG, ENOSPC, EDQUOT
        return StoreFull(
            f"{where} cannot be written: {low}",
            f"Free some disk space; reading works meanwhile, and writing goes on by itself{unknown}",
        )
    if primary == CANTOPEN and _closed(directory):
        return StoreError(
            f"this process may not open {where}",
            "In a sandboxed agent verbs on its own tasks work (task claim, complete, show, wait …); lists are yours",
        )
    if primary in (READONLY, CANTOPEN) or isinstance(error, OSError):
        return StoreFull(
            f"{where} cannot be written: {low}", f"Check the folder's permissions and mount options{unknown}"
        )
    return StoreError(f"{where} refused a statement: {text}")


def _text_of(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {os.fsdecode(error.filename)!r}" if error.filename else "")
    return str(error)


def _closed(directory: str) -> bool:
    # The folder, not the file: closing any descriptor of that would drop this process's locks.
    try:
        os.close(os.open(directory, os.O_RDONLY | os.O_CLOEXEC))
    except PermissionError:
        return True
    except OSError:
        pass
    return False


def read_alone(library: Any, directory: str, path: str, sql: str, values: Any) -> list[Any] | None:
    """Read where SQLite has no room for its -shm file (a full disk, a read-only one); None if that cannot be.

    With an empty -wal the file says everything, and with the writers' lock in hand (needless on a read-only mount)
    it stays as it is: only then may it be read without SQLite's own locks.
    """
    lock = WriteLock(directory)
    try:
        if not os.statvfs(directory).f_flag & os.ST_RDONLY:
            lock.take(1.0)
        if os.path.exists(path + "-wal") and os.stat(path + "-wal").st_size:
            return None
        name = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        db = library.connect(f"file:{name}?immutable=1", uri=True)
        try:
            return db.execute(sql, values).fetchall()  # type: ignore[no-any-return]
        finally:
            db.close()
    except (library.Error, OSError, StoreBusy):
        return None
    finally:
        lock.close()
