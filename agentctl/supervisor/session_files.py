"""Reading what a shim leaves in a session directory: its record, the exit, the facts.

Files that are replaced whole are read whole; a missing or half-made one is None, never an error.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from agentctl.supervisor import shim_text

FACTS_READ_BYTES = 1 << 20
"""The longest line of facts.jsonl (64 KB, each byte at most six characters) fits in one read."""


@dataclass(frozen=True, slots=True)
class ShimRecord:
    """shim.json: who runs this session. `start` values are clock ticks since boot `boot`."""

    pid: int
    start: int
    boot: str
    nonce: str
    child_pid: int
    child_start: int | None
    started_ms: int
    tag: str = ""
    segment_bytes: int = 8 << 20


@dataclass(frozen=True, slots=True)
class Exit:
    """exit.json: how the session ended. Exactly one of code, signal, spawn_error is not None.

    `for_good`: the spawn error will be the same next time. `stopped`: a stop was asked for.
    `orphaned`: by the shim itself, after orphan_grace_s without a supervisor. `swept`: descendants that
    had to be killed. `survivors`: processes that SIGKILL did not end. `lost_bytes`: output that a full
    disk did not take.
    """

    code: int | None
    signal: int | None
    spawn_error: str | None
    started_ms: int
    ended_ms: int
    max_rss_kb: int
    cpu_s: float
    out_bytes: int
    err_bytes: int
    stopped: bool
    swept: int
    nonce: str
    lost_bytes: int = 0
    orphaned: bool = False
    survivors: int = 0
    for_good: bool = False


_Record = TypeVar("_Record", ShimRecord, Exit)


def read_shim(session_dir: str) -> ShimRecord | None:
    """The running session's record; None before the agent was spawned."""
    return _read(os.path.join(session_dir, "shim.json"), ShimRecord)


def read_exit(session_dir: str) -> Exit | None:
    """The exit record; None as long as the session has not ended properly."""
    return _read(os.path.join(session_dir, "exit.json"), Exit)


def _read(path: str, kind: type[_Record]) -> _Record | None:
    value = shim_text.read_object(path)
    if value is None:
        return None
    known: dict[str, Any] = {f.name: value[f.name] for f in fields(kind) if f.name in value}
    try:
        return kind(**known)
    except TypeError:
        return None


class FactsReader:
    """Follows facts.jsonl from an offset that can be stored and used by a later supervisor.

    The offset counts all bytes ever written, so it stays right when the shim begins a new file.
    """

    def __init__(self, session_dir: str, offset: int = 0) -> None:
        self.offset = offset
        self._new = os.path.join(session_dir, "facts.jsonl")
        self._old = os.path.join(session_dir, "facts.old.jsonl")

    def read(self) -> list[dict[str, Any]]:
        """The next whole facts, at most 1 MiB of them; an empty list: none for now.

        Facts have "t" (wall ms) and "k": `line` (with "raw"), `notify` ("v", "pid"), `dropped`
        ("n" facts that a full disk did not take, or "bytes" that were overwritten unread).
        """
        found: list[dict[str, Any]] = []
        newest = _Piece.open(self._new)
        try:
            piece = newest
            if piece is None or self.offset < piece.base:
                old = _Piece.open(self._old)
                if old is not None:
                    try:
                        if self.offset < old.base:
                            found.append({"t": 0, "k": "dropped", "bytes": old.base - self.offset})
                            self.offset = old.base
                        if self.offset < old.base + old.size:
                            return found + self._take(old)
                    finally:
                        os.close(old.fd)
            if piece is None:
                return found
            if self.offset < piece.base:
                found.append({"t": 0, "k": "dropped", "bytes": piece.base - self.offset})
                self.offset = piece.base
            return found + self._take(piece)
        finally:
            if newest is not None:
                os.close(newest.fd)

    def _take(self, piece: _Piece) -> list[dict[str, Any]]:
        data = os.pread(piece.fd, FACTS_READ_BYTES, self.offset - piece.base)
        data = data[: data.rfind(b"\n") + 1]
        self.offset += len(data)
        facts = []
        for line in data.splitlines():
            try:
                fact = json.loads(line)
            except ValueError:
                continue
            if isinstance(fact, dict) and fact.get("k") != "base":
                facts.append(fact)
        return facts


@dataclass(frozen=True, slots=True)
class _Piece:
    """One facts file and where its first byte stands in the whole."""

    fd: int
    base: int
    size: int

    @staticmethod
    def open(path: str) -> _Piece | None:
        try:
            fd = os.open(path, os.O_RDONLY)
        except OSError:
            return None
        base = 0
        first = os.pread(fd, 256, 0).split(b"\n", 1)[0]
        if b'"k":"base"' in first:
            try:
                base = int(json.loads(first)["n"])
            except (ValueError, KeyError):
                base = 0
        return _Piece(fd, base, os.fstat(fd).st_size)
