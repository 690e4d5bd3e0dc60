"""The store as it was: the history folded up to a moment."""

from __future__ import annotations

import heapq

from ..errors import AgentctlError, NotFound
from ..ids import write_id
from ..jsontext import dumps, loads
from ..read.models import InstanceRow, TaskRow
from ..replay.fleet import FLEET_KINDS, FleetFold
from ..text import title
from .readfile import ReadFile
from .rebuild import fleet_base, load_sql, of_kind, origin, parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..replay.tasks import TaskFold


class Past:
    """A store as of `moment_ms`. Close it when done; lists are read in parts, so they may be long."""

    def __init__(self, directory: str, moment_ms: int) -> None:
        self._file, self._sql = ReadFile(directory).current(), load_sql()
        self.moment_ms = moment_ms
        try:
            anchor, _, cut_to = origin(self._file, self._sql)
            self.seq = seq_at(self._file, self._sql, moment_ms, max(anchor, cut_to))
            if self.seq < cut_to or (cut_to and self.seq == cut_to and not self._reaches(cut_to, moment_ms)):
                raise NotFound(
                    "the history does not reach back to that moment: it has been pruned",
                    "See how far it reaches with: agentctl store info",
                )
            self.fleet = fleet_at(self._file, self._sql, self.seq)
        except BaseException:
            self._file.close()
            raise

    def _reaches(self, cut_to: int, moment_ms: int) -> bool:
        found = self._file.rows("SELECT value FROM meta WHERE key = 'cut_at_ms'")
        return bool(found) and moment_ms >= found[0][0]

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Past:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def tasks(self) -> Iterator[TaskRow]:
        """Yield every task there was, in order of ids."""
        for part in parts(self._file, self._sql, self.seq, rows=False):
            folds = [fold for _, fold in sorted(part.folds.items()) if fold.task is not None]
            numbers = [fold.task["payload"] for fold in folds if fold.task is not None]
            texts = dict(self._file.rows(self._sql["bodies"], (dumps(numbers),)))
            for fold in folds:
                yield self._task_row(fold, texts)

    def _task_row(self, fold: TaskFold, texts: dict[int, str | None]) -> TaskRow:
        task = fold.task
        assert task is not None
        last = fold.attempts.get(task["attempts"])
        return TaskRow(
            task=write_id(task["id"]),
            queue=self.fleet.queues.get(task["queue"], {}).get("name", str(task["queue"])),
            state=task["state"],
            title=title_of(texts.get(task["payload"])),
            priority=task["priority"],
            attempts=task["attempts"],
            created_ms=task["id"] >> 20,
            available_ms=task["available_ms"],
            finished_ms=task["finished_ms"],
            agent=None if last is None else last["agent"],
            correlation=task["correlation"].hex(),
            reason=task["reason"],
            error_class=task["error_class"],
            error=task["error"],
            degraded=task["degraded"] is not None,
        )

    def instances(self) -> tuple[InstanceRow, ...]:
        """Return the instances there were, by name."""
        agents = {row["name"]: row for row in self.fleet.agents.values()}
        return tuple(
            InstanceRow(
                instance=f"{agent}/{slot}",
                agent=agent,
                mode=agents.get(agent, {}).get("mode"),
                desired=agents.get(agent, {}).get("desired", "running"),
                phase=row["phase"],
                health=row["health"],
                reason=row["reason"],
                since_ms=row["since_ms"],
                latched=bool(row["latched"]),
            )
            for (agent, slot), row in sorted(self.fleet.instances.items())
        )


def seq_at(file: ReadFile, sql: dict[str, str], moment_ms: int, first: int) -> int:
    """Return the last event at or before a moment. A wall clock set back makes this the last such run of events."""
    low, high = first, file.rows(sql["last_event"])[0][0] + 1
    while high - low > 1:
        middle = (low + high) // 2
        found = file.rows(sql["seq_before"], (middle,))
        if found and found[0][1] <= moment_ms:
            low = middle
        else:
            high = middle
    return low


def fleet_at(file: ReadFile, sql: dict[str, str], until: int) -> FleetFold:
    """Return queues, agents and instances as of an event."""
    cut_to = origin(file, sql)[2]
    fleet = fleet_base(file, sql, cut_to)
    streams = [of_kind(file, sql, kind, cut_to, until) for kind in FLEET_KINDS]
    for line in heapq.merge(*streams, key=lambda line: line[0]):
        fleet.apply(line)
    return fleet


def title_of(text: str | None) -> str:
    """Return a payload in short: its title, name or path, else how it begins."""
    if text is None:
        return ""
    short: object = text[:80]
    if len(text) <= 65_536 and text[:1] in '{"':
        try:
            value = loads(text)
        except AgentctlError:
            value = None
        if isinstance(value, str):
            short = value
        elif isinstance(value, dict):
            short = next((value[name] for name in ("title", "name", "path") if value.get(name) is not None), short)
            short = short if isinstance(short, str | int | float) else dumps(short)
    return title(short)
