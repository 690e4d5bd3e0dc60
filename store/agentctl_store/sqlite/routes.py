"""Which waiting tasks no declared agent can take, as readers see it: asked anew each time, from few rows."""

from __future__ import annotations

from ..domain.routing import Lane, unroutable
from ..domain.task import WAITING
from ..jsontext import loads
from .routing import servers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .readfile import ReadFile

    Counts = dict[tuple[int, str], int]  #: (queue number, state) → tasks


class Routes:
    """The lanes and declared agents of one moment: made within a snapshot."""

    def __init__(self, file: ReadFile, sql: dict[str, str]) -> None:
        self._file, self._sql = file, sql
        self._servers = servers(file.rows)
        self._lanes: dict[int, Lane] = {
            number: Lane(queue, tuple(loads(needs)), tuple(loads(barred)))
            for number, queue, needs, barred in file.rows(sql["lanes"])
        }
        self._reasons: dict[Lane, str] = {}

    def lane(self, queue: str, number: int) -> Lane:
        """Return a lane by its number."""
        return self._lanes[number] if number else Lane(queue)

    def why(self, queue: str, number: int, state: str) -> str:
        """Say why nobody can take a task in that lane and state; empty when somebody can, or it does not wait."""
        if state not in WAITING:
            return ""
        lane = self.lane(queue, number)
        if lane not in self._reasons:
            self._reasons[lane] = unroutable(lane, self._servers)
        return self._reasons[lane]

    def count(self, number: int, queue: str, counts: Counts) -> tuple[int, str]:
        """Return how many tasks of a queue nobody can take, and why (of several reasons the first)."""
        nobody = self.why(queue, 0, "ready")
        if nobody:
            found = sum(counts.get((number, state), 0) for state in WAITING)
            return found, nobody if found else ""
        found, first = 0, ""
        for lane, asked in self._lanes.items():
            why = self.why(queue, lane, "ready") if asked.queue == queue else ""
            waiting = int(self._file.rows(self._sql["waiting_in"], (lane,))[0][0]) if why else 0
            found, first = found + waiting, first or (why if waiting else "")
        return found, first

    def count_all(self, counts: Counts) -> tuple[int, str]:
        """Return how many tasks of all queues nobody can take, and why (of several reasons the first)."""
        busy = {number for (number, state), n in counts.items() if n and state in WAITING}
        found, first = 0, ""
        for number, queue in self._file.rows("SELECT id, name FROM queue ORDER BY name") if busy else ():
            if number in busy:
                waiting, why = self.count(number, queue, counts)
                found, first = found + waiting, first or why
        return found, first
