"""Verbs on the store itself: what is in it, whether it is whole, copies of it, and forgetting what is old."""

from __future__ import annotations

import os

from agentctl_store import upkeep
from agentctl_store.clock import Clock
from agentctl_store.errors import BadInput

from . import output
from .call import Call, actor, operators
from .diagnostics import counted
from .progress import Progress
from .table import Column
from .times import read_span
from .verb import arg, opt, verb

MAX_FILE_NAME = 200  #: bytes; file systems allow 255, and the copy has a longer name until it is whole
_COUNTS = (Column("state"), Column("count", "number"))
_INFO = (
    Column("directory"),
    Column("schema", "number"),
    Column("sqlite"),
    Column("store_bytes", "number"),
    Column("log_bytes", "number"),
    Column("free_bytes", "number"),
    Column("sessions_bytes", "number"),
    Column("events", "number"),
    Column("sessions", "number"),
    Column("first_event_at", "time"),
    Column("last_event_at", "time"),
    Column("pruned_to", "time"),
    Column("tasks", "rows", parts=_COUNTS),
    Column("messages", "rows", parts=_COUNTS),
)
_CHECK = (Column("check"), Column("ok", "flag"), Column("found"), Column("remedy"))
_BACKUP = (Column("path"), Column("bytes", "number"), Column("events", "number"), Column("head"))
_PRUNED = (
    Column("tasks", "number"),
    Column("messages", "number"),
    Column("sessions", "number"),
    Column("lanes", "number"),
    Column("events", "number"),
    Column("freed_bytes", "number"),
    Column("longest_hold_ms", "number"),
)


@verb("store info", summary="Show what is in the store and how large it is.", reads=True)
def info(call: Call) -> int:
    """Show the store."""

    def fetch() -> dict[str, object]:
        found = upkeep.info(call.place()[0])
        return {
            "directory": found.directory,
            "schema": found.schema,
            "sqlite": found.library,
            "store_bytes": found.store_bytes,
            "log_bytes": found.log_bytes,
            "free_bytes": found.free_bytes,
            "sessions_bytes": found.sessions_bytes,
            "events": found.events,
            "sessions": found.sessions,
            "first_event_at": found.first_event_ms,
            "last_event_at": found.last_event_ms,
            "pruned_to": found.pruned_to_ms,
            "tasks": [{"state": state, "count": count} for state, count in found.tasks],
            "messages": [{"state": state, "count": count} for state, count in found.messages],
        }

    return call.show_one(_INFO, fetch)


@verb(
    "store check",
    summary="Look for damage: the place, permissions, the file, its history.",
    details="Reads the whole store beside running work. Exit code 1 when something is wrong.",
    prints="table",
)
def check(call: Call) -> int:
    """Check the store."""
    with Progress("Checking") as progress:
        found = upkeep.check(call.place()[0], lambda done, total: progress.at(done, f"of {total:,} events"))
    rows = [{"check": one.name, "ok": one.ok, "found": one.said, "remedy": one.remedy} for one in found]
    call.show(_CHECK, lambda: rows)
    return 0 if all(one.ok for one in found) else 1


@verb(
    "store backup",
    summary="Copy the store as of this moment to a new file, and verify the copy.",
    details="Work goes on meanwhile. Copying the files by hand gives a damaged copy.",
    prints="table",
    path=arg("The file to write; it must not exist.", "FILE"),
)
def backup(call: Call, *, path: str) -> int:
    """Back the store up."""
    if len(os.fsencode(os.path.basename(path))) > MAX_FILE_NAME:
        raise BadInput("the backup's file name is too long", f"Use at most {MAX_FILE_NAME} bytes")
    call.expect(_BACKUP)
    made = upkeep.backup(call.place()[0], path, Clock(), actor())
    row = {"path": made.path, "bytes": made.bytes, "events": made.events, "head": made.head}
    return call.show_one(_BACKUP, lambda: row)


@verb(
    "store restore",
    summary="Put a backup in the store's place; the present store is laid aside, not lost.",
    details="The backup is verified first. Refused with exit code 4 while the store is in use.",
    asks=True,
    dry=True,
    path=arg("A file that `store backup` wrote.", "FILE"),
)
def restore(call: Call, *, path: str) -> int:
    """Restore a backup."""
    directory = call.place()[0]
    operators("restore the store", directory)
    if call.dry_run:
        output.say(f"would put {path} in the place of the store at {directory}")
        return 0
    if not call.confirm(f"Replace the store at {directory} by {path}?"):
        call.note("Nothing was changed.")
        return 1
    aside = upkeep.restore(directory, path, Clock(), actor())
    output.say(f"restored {path}")
    if aside:
        call.note(f"The former store is {aside}; delete it when it is not needed any more.")
    return 0


@verb(
    "store prune",
    summary="Forget tasks and messages that ended long ago, and the history before them.",
    details="Dead letters stay until a person decides, but for messages whose time to live was over (expired): these "
    "go. So do lanes, the sets of capabilities that tasks of a queue ask for, with the last task that asked for one. "
    "Parents of tasks that are kept stay.",
    asks=True,
    dry=True,
    prints="table",
    older_than=opt(help="Forget what ended longer ago than this.", metavar="DURATION"),
)
def prune(call: Call, *, older_than: str | None = None) -> int:
    """Prune the store."""
    if older_than is None:
        raise BadInput("how old?", "Say it with --older-than, like --older-than 30d")
    older_than_ms = read_span(older_than, "--older-than")
    call.expect(_PRUNED)
    directory = call.place()[0]
    operators("prune the store", directory)
    if call.dry_run:
        output.say(f"would forget what ended more than {older_than} ago in the store at {directory}")
        return 0
    if not call.confirm(f"Forget what ended more than {older_than} ago in the store at {directory}?"):
        call.note("Nothing was forgotten.")
        return 1
    with Progress("Pruning") as progress:
        gone = upkeep.prune(directory, older_than_ms, Clock(), actor(), lambda what, done: progress.at(done, what))
    return call.show_one(_PRUNED, lambda: {column.name: getattr(gone, column.name) for column in _PRUNED})


@verb(
    "store migrate",
    summary="Bring an older store to this version's schema, whole or not at all.",
    details="Every verb that writes does so by itself; this one only does it at a moment of your choice.",
    dry=True,
)
def migrate(call: Call) -> int:
    """Migrate the store."""
    directory = call.place()[0]
    before, newest = upkeep.info(directory).schema, upkeep.schema_version()
    if before == newest:
        output.say(f"the store at {directory} has schema {before} already")
        return 0
    steps = counted(newest - before, "step")
    if call.dry_run:
        output.say(f"would bring the store at {directory} from schema {before} to {newest}, {steps}")
        return 0
    call.store.version()
    output.say(f"the store at {directory} went from schema {before} to {newest}, {steps}")
    return 0
