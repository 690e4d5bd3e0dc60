"""Seeing: from a session's files, its process and the machine to facts."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agentctl.policy.admission import free_memory_bytes
from agentctl.policy.outcome import SessionFacts
from agentctl.supervisor import session_dir
from agentctl.supervisor.facts import Said
from agentctl.supervisor.jsonlines import read_line
from agentctl.supervisor.notify import read_notify
from agentctl_store.text import redact

if TYPE_CHECKING:
    from agentctl.supervisor.session_files import Exit, FactsReader
    from agentctl_store.clock import Moment

READS_AT_ONCE = 8  #: pieces of facts.jsonl taken in one look, each at most 1 MiB
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def hear(reader: FactsReader, now: Moment) -> Said | None:
    """Return what the session said since the last time, folded into one fact; None for nothing."""
    fields: dict[str, Any] = {}
    last_ms, extend_ms = 0, 0
    for _ in range(READS_AT_ONCE):
        found = reader.read()
        for fact in found:
            last_ms = max(last_ms, _whole(fact.get("t")))
            said = _one(fact)
            extend_ms += int(said.pop("extend_ms", 0))
            fields |= said
        if not found:
            break
    if not last_ms:
        return None
    if extend_ms:
        fields["extend_ms"] = extend_ms
    return Said(heard_ms=boot_of(last_ms, now), **fields)


def _one(fact: dict[str, Any]) -> dict[str, Any]:
    if fact.get("k") == "line" and isinstance(fact.get("raw"), str):
        return read_line(fact["raw"])
    if fact.get("k") == "notify" and isinstance(fact.get("v"), str):
        return read_notify(fact["v"])
    return {}


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def boot_of(wall_ms: int, now: Moment) -> int:
    """Turn a wall time of this boot into boot time, never later than now."""
    return now.boot_ms - max(0, now.wall_ms - wall_ms)


def look(folder: str, pid: int | None, now: Moment) -> Said:
    """Look at the output's age and the memory of the agent's process."""
    wall_ms = session_dir.output_wall_ms(folder)
    return Said(
        output_ms=None if wall_ms is None else boot_of(wall_ms, now),
        memory_bytes=None if pid is None else memory_bytes(pid),
    )


def memory_bytes(pid: int) -> int | None:
    """Return the resident memory of a process (Linux), or None."""
    text = _read(f"/proc/{pid}/statm").split()
    return int(text[1]) * _PAGE_BYTES if len(text) > 1 else None


def free_memory() -> int | None:
    """Return the memory that can be had without swapping, or None where the system does not say."""
    return free_memory_bytes(_read("/proc/meminfo"))


def free_disk(folder: str) -> int | None:
    """Return the bytes that the file system of `folder` has left for us, or None where the system does not say."""
    try:
        room = os.statvfs(folder)
    except OSError:
        return None
    return room.f_bavail * room.f_frsize


def _read(path: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(descriptor, 4096).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def verify_end(folder: str, ended: Exit) -> SessionFacts:
    """Gather how the check of a success ended; what it said on either stream counts."""
    said = session_dir.tail(folder, "out", session_dir.STDERR_TAIL_BYTES).rstrip()
    said += "\n" + session_dir.tail(folder, "err", session_dir.STDERR_TAIL_BYTES)
    return replace(session_end(folder, ended, None), stderr_tail=redact(said.strip()))


def session_end(folder: str, ended: Exit, retry_after_ms: int | None) -> SessionFacts:
    """Gather how a session ended from its exit record and the files beside it."""
    reason = session_dir.stop_reason(folder) if ended.stopped else ""
    return SessionFacts(
        code=ended.code,
        signal=ended.signal,
        spawn_error=None if reason and ended.spawn_error else ended.spawn_error,
        for_good=ended.for_good,
        stop_reason=reason or ("stop" if ended.stopped and not ended.orphaned else ""),
        orphaned=ended.orphaned,
        ran_ms=max(0, ended.ended_ms - ended.started_ms),
        stderr_tail=redact(session_dir.tail(folder, "err", session_dir.STDERR_TAIL_BYTES)),
        retry_after_ms=retry_after_ms,
    )
