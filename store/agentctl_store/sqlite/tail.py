"""Counts and flow, kept up to date by following the history: a million tasks are counted once, not at each glance."""

from __future__ import annotations

from ..domain.event import KINDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .readfile import ReadFile

    Slot = tuple[int, int]

BUCKET_MS = 5_000
BUCKETS = 60  #: of flow: five minutes
FOLLOW = 20_000  #: events followed one by one; after more, counting anew is cheaper
FLOW_EVENTS = 100_000  #: how far back the first look at the flow goes
DONE_SINCE_MS = 24 * 3_600_000  #: tasks done per slot are those of the last day
DONE_ATTEMPTS = 250_000  #: and of so many attempts: a look at a million would be felt

_ANEW = (KINDS["task.pruned"], KINDS["task.fell_back"])  #: a task is gone, or in another queue
#: event kind → (state left, state entered); None stands for what the event itself tells
_MOVES: dict[int, tuple[str | None, str | None]] = {
    KINDS["task.added"]: ("", None),
    KINDS["task.unblocked"]: ("blocked", "ready"),
    KINDS["task.promoted"]: ("scheduled", "ready"),
    KINDS["task.hastened"]: ("scheduled", "ready"),
    KINDS["task.claimed"]: ("ready", "active"),
    KINDS["task.completed"]: ("active", "done"),
    KINDS["task.stood_in"]: ("active", "done"),
    KINDS["task.retried"]: ("active", "scheduled"),
    KINDS["task.released"]: ("active", "ready"),
    KINDS["task.asked"]: ("active", "waiting"),
    KINDS["task.answered"]: ("waiting", "ready"),
    KINDS["task.cancelled"]: (None, "cancelled"),
    KINDS["task.buried"]: (None, "dead"),
    KINDS["task.requeued"]: ("dead", None),
    KINDS["task.discarded"]: ("dead", "cancelled"),
    KINDS["task.deferred"]: ("blocked", "scheduled"),
}
_COMPLETED = KINDS["task.completed"]


class Tail:
    """What is known up to event `seq`."""

    def __init__(self, file: ReadFile, sql: dict[str, str]) -> None:
        self._file, self._sql = file, sql
        self._seq = -1
        self._counts: dict[tuple[int, str], int] = {}  # (queue number, state) → tasks
        self._flow: dict[int, dict[Slot | None, int]] = {}  # bucket → slot (None: all) → tasks finished
        self._done: dict[Slot, int] | None = None

    def counts(self) -> dict[tuple[int, str], int]:
        """Return how many tasks each queue (by number) holds per state."""
        self._follow()
        return self._counts

    def flow(self, slot: Slot | None, now_ms: int) -> tuple[int, ...]:
        """Return tasks finished per bucket, oldest first, by all or by one (agent number, slot)."""
        first = now_ms // BUCKET_MS - BUCKETS + 1
        finished = [0] * BUCKETS
        for bucket, by_slot in self._flow.items():
            if slot in by_slot and 0 <= bucket - first < BUCKETS:
                finished[bucket - first] = by_slot[slot]
        return tuple(finished)

    def done(self, now_ms: int) -> dict[Slot, int]:
        """Return how many tasks of the day before the first look each slot finished, and since."""
        self._follow()
        if self._done is None:
            first = max(now_ms - DONE_SINCE_MS, 0) << 20
            rows = self._file.rows(self._sql["done_by_slot"], (first, DONE_ATTEMPTS))
            self._done = {(agent, slot): n for agent, slot, n in rows}
        return self._done

    def _follow(self) -> None:
        with self._file.snapshot():
            last = self._file.rows(self._sql["last_event"])[0][0] or 0
            if last == self._seq:
                return
            if self._seq < 0 or not 0 <= last - self._seq <= FOLLOW or not self._apply():
                self._count_anew(last)
            self._seq = last
        oldest = max(self._flow, default=0) - 2 * BUCKETS
        for bucket in [bucket for bucket in self._flow if bucket < oldest]:
            del self._flow[bucket]

    def _count_anew(self, last: int) -> None:
        self._counts = {(queue, state): n for queue, state, n in self._file.rows(self._sql["counts"]) if n}
        self._done = None
        self._flow = {}
        for bucket, agent, slot in self._file.rows(self._sql["finishes"], (self._flow_start(last),)):
            self._finish(bucket, agent, slot)

    def _flow_start(self, last: int) -> int:
        """Return the last event before the flow's window: time grows with the sequence, so halving finds it."""
        newest = self._file.rows(self._sql["event_at"], (last,))
        low = max(last - FLOW_EVENTS, 0)
        if not newest:
            return low
        since, high = newest[0][0] - BUCKETS * BUCKET_MS, last
        while high - low > 1:
            middle = (low + high) // 2
            found = self._file.rows(self._sql["event_time"], (middle,))
            if found and found[0][1] < since:
                low = middle
            else:
                high = middle
        return low

    def _apply(self) -> bool:
        """Follow the new events; False when only counting anew can tell."""
        counts = dict(self._counts)
        for kind, bucket, queue, told, agent, slot in self._file.rows(self._sql["moves"], (self._seq,)):
            if kind in _ANEW:
                return False
            move = _MOVES.get(kind)
            if move is None:
                continue
            left, entered = move[0] if move[0] is not None else told, move[1] or told
            if queue is None or entered is None:  # the task has been pruned meanwhile, or went back to another queue
                return False
            if left:
                counts[queue, left] = counts.get((queue, left), 0) - 1
            counts[queue, entered] = counts.get((queue, entered), 0) + 1
            if kind == _COMPLETED:
                self._finish(bucket, agent, slot)
                if self._done is not None and slot is not None:
                    self._done[agent, slot] = self._done.get((agent, slot), 0) + 1
        self._counts = {key: n for key, n in counts.items() if n}
        return True

    def _finish(self, bucket: int, agent: int | None, slot: int | None) -> None:
        finished = self._flow.setdefault(bucket, {})
        finished[None] = finished.get(None, 0) + 1
        if agent is not None and slot is not None:
            finished[agent, slot] = finished.get((agent, slot), 0) + 1
