"""Looking after a store: info, check, backup, restore, prune. None of it is needed for work to go on."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .clock import Clock
    from .domain.upkeep import Backup, Finding, Pruned, StoreInfo


def schema_version() -> int:
    """Return the schema that this agentctl reads and writes."""
    from .sqlite.connection import SCHEMA_VERSION

    return SCHEMA_VERSION


def check_place(directory: str) -> None:
    """Raise StoreError where a store would lie on a file system whose locks do not hold."""
    from .sqlite.place import check_place

    check_place(directory)


def info(directory: str) -> StoreInfo:
    """Say how large a store is and what is in it. NotFound, StoreError and its kinds."""
    from .sqlite.upkeep import info

    return info(directory)


def check(directory: str, progress: Callable[[int, int], None] | None = None) -> tuple[Finding, ...]:
    """Look for damage: the place, permissions, the file, its schema, its history. Reads the whole store."""
    from .sqlite.upkeep import check

    return check(directory, progress)


def backup(directory: str, path: str, clock: Clock, actor: str) -> Backup:
    """Copy the store, as of one moment, to a new file, and verify the copy. Work goes on meanwhile.

    Conflict when the file exists, StoreFull when there is no room, StoreCorrupt when the copy does not verify.
    """
    from .sqlite.upkeep import backup

    return backup(directory, path, clock, actor)


def restore(directory: str, path: str, clock: Clock, actor: str) -> str:
    """Put a verified backup in the store's place; return where the old file was laid aside ("" if there was none).

    AlreadyRunning while a supervisor or another process has the store open; StoreCorrupt for a bad backup.
    """
    from .sqlite.upkeep import restore

    return restore(directory, path, clock, actor)


def prune(
    directory: str, older_than_ms: int, clock: Clock, actor: str, progress: Callable[[str, int], None] | None = None
) -> Pruned:
    """Forget tasks and messages that ended more than `older_than_ms` ago, and the history before that.

    Dead letters and parents of tasks that are kept stay. `progress` hears what is forgotten ("tasks", "messages",
    "lanes", "events") and how many.
    """
    from .sqlite.prune import prune

    return prune(directory, older_than_ms, clock, actor, progress)
