"""The instances of a fleet as rows. There are at most thousands, so they are sorted and filtered in memory."""

from __future__ import annotations

import os
import time

from ..ids import write_id
from ..read.models import HEALTH_ORDER, InstanceRow
from ..read.vitals import Vitals, read_vitals, written_ns
from ..record import replace
from ..text import title
from .tail import Tail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ..read.models import Filter
    from .readfile import ReadFile

_RANK = {health: place for place, health in enumerate(HEALTH_ORDER)}


class Slots:
    """Reads instances; what it read is kept until somebody commits."""

    def __init__(self, file: ReadFile, sql: dict[str, str], tail: Tail) -> None:
        self._file, self._sql, self._tail = file, sql, tail
        self._read_at: tuple[int, int] | None = None
        self._rows: list[tuple[InstanceRow, tuple[int, int]]] = []

    def window(self, offset: int, limit: int, sort: str, filter: Filter) -> tuple[InstanceRow, ...]:
        """Return rows `offset` to `offset + limit` of those that match."""
        chosen = self._ordered(sort, filter)[offset : offset + limit]
        return self._completed(chosen)

    def count(self, filter: Filter) -> int:
        """Return how many match."""
        return sum(1 for row, _ in self._load() if _matches(row, filter))

    def position(self, instance: str, sort: str, filter: Filter) -> int | None:
        """Return where an instance stands among those that match."""
        for place, (row, _) in enumerate(self._ordered(sort, filter)):
            if row.instance == instance:
                return place
        return None

    def one(self, instance: str) -> InstanceRow | None:
        """Return one instance's row."""
        found = self._completed([pair for pair in self._load() if pair[0].instance == instance])
        return found[0] if found else None

    def _ordered(self, sort: str, filter: Filter) -> list[tuple[InstanceRow, tuple[int, int]]]:
        rows = [pair for pair in self._load() if _matches(pair[0], filter)]
        name, descending = sort.removeprefix("-"), sort.startswith("-")
        if name != "instance":  # read in that order, which sorting keeps among equals
            rows.sort(key=lambda pair: _KEYS[name](pair[0]))
        return rows[::-1] if descending else rows

    def _completed(self, pairs: Iterable[tuple[InstanceRow, tuple[int, int]]]) -> tuple[InstanceRow, ...]:
        """Add what costs a look elsewhere: flow, tasks done, the age of the output."""
        now_ms = time.time_ns() // 1_000_000
        done = self._tail.done(now_ms)
        return tuple(
            replace(
                row,
                done=done.get(slot, 0),
                flow=self._tail.flow(slot, now_ms),
                output_ms=row.output_ms or self._written_ms(row),
            )
            for row, slot in pairs
        )

    def _written_ms(self, row: InstanceRow) -> int | None:
        """Return when the running session last wrote output: the newest change of its files."""
        if row.session is None or row.pid is None:
            return None
        folder = os.path.join(self._file.directory, "sessions", row.session)
        newest = None
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith(("out.", "err.")):
                        found = entry.stat()
                        if found.st_size and (newest is None or found.st_mtime_ns > newest):
                            newest = found.st_mtime_ns
        except OSError:
            return None
        return None if newest is None else newest // 1_000_000

    def _load(self) -> list[tuple[InstanceRow, tuple[int, int]]]:
        directory = self._file.directory
        version = self._file.version(), written_ns(directory)
        if version != self._read_at:
            vitals = read_vitals(directory, time.time_ns() // 1_000_000)
            rows: dict[tuple[int, int], InstanceRow] = {}
            for row in self._file.rows(self._sql["instances"]):
                seen = vitals.get(f"{row[0]}/{row[1]}", Vitals())
                rows[row[21], row[1]] = _row(row, seen)  # of several open attempts the newest is shown
            self._rows = [(row, slot) for slot, row in rows.items()]
            self._read_at = version
        return self._rows


def _row(row: Any, seen: Vitals) -> InstanceRow:
    return InstanceRow(
        instance=f"{row[0]}/{row[1]}",
        agent=row[0],
        mode=row[2],
        desired=row[3],
        phase=row[4],
        health=row[5],
        reason=row[6],
        since_ms=row[7],
        session=None if row[8] is None else write_id(row[8]),
        pid=row[9],
        started_ms=row[10],
        task=None if row[11] is None else write_id(row[11]),
        attempt=row[12],
        queue=row[13],
        title=title(row[14]),
        claimed_ms=row[15],
        progress=row[16] or "",
        heartbeat_ms=seen.heartbeat_ms,
        output_ms=seen.output_ms,
        probe=seen.probe,
        memory_bytes=seen.memory_bytes,
        restarts=row[17],
        next_start_ms=row[18],
        latched=bool(row[19]),
        cost_microusd=row[20],
    )


def _matches(row: InstanceRow, filter: Filter) -> bool:
    if filter.agent not in (None, row.agent) or filter.health not in (None, row.health):
        return False
    if filter.queue not in (None, row.queue):
        return False
    if not filter.text:
        return True
    needle = filter.text.casefold()
    texts = (
        row.instance, row.phase, row.health, row.reason, row.session, row.task, row.queue, row.title, row.progress,
        row.mode, row.desired,
    )  # fmt: skip
    return any(needle in text.casefold() for text in texts if text)


_KEYS: dict[str, Any] = {
    "health": lambda row: _RANK[row.health],
    "task": lambda row: row.task or "",
    "since": lambda row: row.since_ms,
    "memory": lambda row: row.memory_bytes or 0,
    "restarts": lambda row: row.restarts,
    "context": lambda row: row.context or 0.0,
    "cost": lambda row: row.cost_microusd or 0,
}
