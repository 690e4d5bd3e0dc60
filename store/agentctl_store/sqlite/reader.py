"""Windowed reads for screens and reading verbs (agentctl_store/read/port.py), over a connection of their own."""

from __future__ import annotations

import os
import time

from ..domain.event import KINDS
from ..domain.machine import STATES
from ..ids import read_id, write_id
from ..jsontext import dumps, loads
from ..later import later
from ..read.models import (
    HEALTH_ORDER,
    INSTANCE_SORTS,
    DeadLetter,
    DeadLetterGroup,
    Filter,
    FleetSummary,
    QueueRow,
    TaskRow,
)
from ..read.presence import supervisor_row
from ..read.vitals import written_ns
from ..text import title
from . import history, sessions, sqltext
from .narrow import DEAD_KEYS, TASK_KEYS, before, order_by, sort_key, where
from .readfile import ReadFile
from .readrows import attempt_row, dead_row
from .routes import Routes
from .slots import Slots
from .tail import BUCKET_MS, Tail
from .tree import tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..domain.breaker import Breaker
    from ..domain.event import Event
    from ..domain.limits import Bound, Hold
    from ..read.models import AttemptRow, DeadLetterRow, EventRow, InstanceRow, SessionRow, Spending, TreeRow
    from . import limitreads
else:
    later(globals(), __package__, "limitreads")

KEPT = 8  #: orders, and groupings, of the dead letters kept between calls
DETAILS_AT_ONCE = 500
LOOK_BACK = 4_000  #: newest sessions looked through for a slot's: twice as many as have a folder
FEW = 8  #: one task in so many is few
_AMONG = "t.id IN (SELECT value FROM json_each(?))"
_DEAD_MOVES = tuple(KINDS[kind] for kind in ("task.buried", "task.requeued", "task.discarded", "task.pruned"))


def load_sql() -> dict[str, str]:
    """Return the blocks of read.sql with their shared parts put in."""
    blocks = sqltext.load("read")
    parts = {"@title": blocks.pop("title"), "@session": blocks.pop("session")}
    parts |= {"@bucket": str(BUCKET_MS), "@look_back": str(LOOK_BACK)}
    for name, part in parts.items():
        blocks = {block: text.replace(name, part) for block, text in blocks.items()}
    return blocks


class SqliteReader:
    """See agentctl_store.read.port.Reader, whose words these are."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.file = ReadFile(directory).current()
        self.sql = load_sql()
        self._tail = Tail(self.file, self.sql)
        self._slots = Slots(self.file, self.sql, self._tail)
        self._orders: dict[tuple[str, Filter], list[int]] = {}
        self._groups: dict[Filter, tuple[DeadLetterGroup, ...]] = {}
        self._orders_at: tuple[Any, ...] = ()

    def close(self) -> None:
        self.file.close()

    def __enter__(self) -> SqliteReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def interrupt(self) -> None:
        self.file.interrupt()

    def version(self) -> int:
        """Changes with each commit of another process, with the vitals, and as the supervisor comes, stops or goes."""
        supervisor = supervisor_row(self.directory)
        return (self.file.version() * 3 + supervisor.running + supervisor.stopped) << 64 | written_ns(self.directory)

    # --- the fleet --------------------------------------------------------------------------------------------
    def summary(self, now_ms: int) -> FleetSummary:
        with self.file.snapshot():
            healths = dict(self.file.rows(self.sql["healths"]))
            counts = self._tail.counts()
            states: dict[str, int] = {}
            for (_, state), n in counts.items():
                states[state] = states.get(state, 0) + n
            unroutable, why = Routes(self.file, self.sql).count_all(counts)
            paused = tuple(row[0] for row in self.file.rows(self.sql["paused"]))
            budget, since_ms = limitreads.today(self.file, now_ms) or (None, _midnight_ms(now_ms))
            cost = self.file.rows(self.sql["cost_since"], (since_ms,))[0][0]
            supervisor = supervisor_row(self.directory, self._last_seen())
        return FleetSummary(
            now_ms,
            supervisor.fleet or os.path.basename(os.path.dirname(os.path.abspath(self.directory))),
            supervisor,
            tuple((health, healths[health]) for health in HEALTH_ORDER if healths.get(health)),
            tuple((state, states[state]) for state in STATES if states.get(state)),
            BUCKET_MS,
            self._tail.flow(None, now_ms),
            cost,
            budget,
            paused_queues=paused,
            unroutable=unroutable,
            why=why,
        )

    def _last_seen(self) -> int | None:
        """Return when the supervisor last wrote anything of its own."""
        kinds = ("supervisor.started", "supervisor.stopped", "instance.changed", "session.ended")
        seqs = [self.file.rows(self.sql["newest_of_kind"], (KINDS[kind],))[0][0] for kind in kinds]
        newest = max((seq for seq in seqs if seq), default=None)
        if newest is None:
            return None
        # Tasks that go well are no event of the supervisor's own; the vitals it writes all the time.
        return max(int(self.file.rows(self.sql["event_at"], (newest,))[0][0]), written_ns(self.directory) // 1_000_000)

    def instances(self, offset: int, limit: int, sort: str, filter: Filter) -> tuple[InstanceRow, ...]:
        sort_key(sort, dict.fromkeys(INSTANCE_SORTS))
        return self._slots.window(offset, limit, sort, filter)

    def instance_count(self, filter: Filter) -> int:
        return self._slots.count(filter)

    def instance_position(self, instance: str, sort: str, filter: Filter) -> int | None:
        sort_key(sort, dict.fromkeys(INSTANCE_SORTS))
        return self._slots.position(instance, sort, filter)

    def instance(self, instance: str) -> InstanceRow | None:
        return self._slots.one(instance)

    def sessions(self, instance: str, limit: int) -> tuple[SessionRow, ...]:
        return sessions.of_instance(self.file, self.sql, instance, limit)

    def sessions_now(self, since_ms: int, known: Sequence[str] = ()) -> tuple[SessionRow, ...]:
        return sessions.of_now(self.file, self.sql, since_ms, known)

    def queues(self) -> tuple[QueueRow, ...]:
        with self.file.snapshot():
            counts = self._tail.counts()
            takers: dict[str, list[str]] = {}
            for agent, queues in self.file.rows(self.sql["declared"]):
                for queue in loads(queues, "queues"):
                    takers.setdefault(queue, []).append(agent)
            rows = self.file.rows(self.sql["queues"])
            routes = Routes(self.file, self.sql)
            unrouted = {number: routes.count(number, name, counts) for number, name, *_ in rows}
        return tuple(
            QueueRow(
                queue=name,
                paused=bool(paused),
                oldest_ready_ms=oldest,
                agents=tuple(takers.get(name, ())),
                unroutable=unrouted[number][0],
                why=unrouted[number][1],
                **{state: counts.get((number, state), 0) for state in STATES},
            )
            for number, name, paused, oldest in rows
        )

    def schedule_names(self) -> tuple[str, ...]:
        return tuple([row[0] for row in self.file.rows("SELECT name FROM schedule ORDER BY name")])

    def asked(self, limit: int) -> tuple[tuple[str, str], ...]:
        query = "SELECT task, question FROM question WHERE ended_ms IS NULL ORDER BY asked_ms, task LIMIT ?"
        return tuple([(write_id(task), question) for task, question in self.file.rows(query, (limit,))])

    # --- tasks ------------------------------------------------------------------------------------------------
    def tasks(self, offset: int, limit: int, sort: str, filter: Filter) -> tuple[TaskRow, ...]:
        with self.file.snapshot():
            return tuple(self._task_rows(self._ordered(offset, limit, sort, filter)))

    def task_ids(self, limit: int, sort: str, filter: Filter) -> tuple[str, ...]:
        with self.file.snapshot():
            return tuple([write_id(number) for number in self._ordered(0, limit, sort, filter)])

    def tasks_of(self, tasks: Sequence[str], filter: Filter) -> tuple[TaskRow, ...]:
        ids = [read_id(task) for task in tasks]
        condition, values = where(filter)
        query = self._list("t.id", f"{_AMONG} AND {condition}")
        with self.file.snapshot():
            matching = {row[0] for row in self.file.rows(query, (dumps(ids), *values))}
            return tuple(self._task_rows([number for number in ids if number in matching]))

    def _ordered(self, offset: int, limit: int, sort: str, filter: Filter) -> list[int]:
        condition, values = where(filter)
        few = filter.state is not None and self._few(filter.state)
        query = self._list("t.id", condition) + f" ORDER BY {order_by(sort, TASK_KEYS, few=few)} LIMIT ? OFFSET ?"
        return [row[0] for row in self.file.rows(query, (*values, limit, offset))]

    def _few(self, state: str) -> bool:
        counts = self._tail.counts()
        matching = sum(n for (_, held), n in counts.items() if held == state)
        return matching * FEW < sum(counts.values())

    def task_count(self, filter: Filter) -> int:
        if filter.agent is None and filter.reason is None and not filter.text:
            with self.file.snapshot():
                names = {row[0]: row[1] for row in self.file.rows(self.sql["queues"])} if filter.queue else {}
                return sum(
                    n
                    for (queue, state), n in self._tail.counts().items()
                    if filter.state in (None, state) and filter.queue in (None, names.get(queue))
                )
        condition, values = where(filter)
        return int(self.file.rows(self._list("count(*)", condition), values)[0][0])

    def task_position(self, task: str, sort: str, filter: Filter) -> int | None:
        number = read_id(task)
        key, descending = sort_key(sort, TASK_KEYS)
        condition, values = where(filter)
        with self.file.snapshot():
            found = self.file.rows(self._list(key, f"t.id = ? AND {condition}"), (number, *values))
            if not found:
                return None
            earlier, bounds = before(key, descending, found[0][0], number)
            query = self._list("count(*)", f"{earlier} AND {condition}")
            return int(self.file.rows(query, (*bounds, *values))[0][0])

    def _list(self, columns: str, condition: str) -> str:
        return self.sql["list"].replace("@columns", columns).replace("@where", condition)

    def _details(self, ids: list[int]) -> list[Any]:
        rows: dict[int, Any] = {}
        for start in range(0, len(ids), DETAILS_AT_ONCE):
            part = dumps(ids[start : start + DETAILS_AT_ONCE])
            rows.update((row[0], row) for row in self.file.rows(self.sql["tasks_by_id"], (part,)))
        return [rows[number] for number in ids if number in rows]

    def _task_rows(self, ids: list[int]) -> list[TaskRow]:
        routes = Routes(self.file, self.sql)
        return [
            TaskRow(
                write_id(row[0]), row[1], row[2], title(row[3]), row[4], row[5], row[0] >> 20, row[6], row[7], row[8],
                row[9], row[10], row[11], row[12], row[14] is not None, routes.lane(row[1], row[13]).needs,
                routes.why(row[1], row[13], row[2]),
            )
            for row in self._details(ids)
        ]  # fmt: skip

    def tree(self, task: str, limit: int) -> tuple[TreeRow, ...]:
        with self.file.snapshot():
            return tree(self.file, self.sql, read_id(task), limit, self._task_rows)

    def attempts(self, task: str) -> tuple[AttemptRow, ...]:
        rows = self.file.rows(self.sql["attempts"], (read_id(task),))
        return tuple(attempt_row(row) for row in reversed(rows))

    # --- dead letters -----------------------------------------------------------------------------------------
    def dead_letters(self, offset: int, limit: int, sort: str, filter: Filter) -> tuple[DeadLetterRow, ...]:
        with self.file.snapshot():
            ids = self._dead_order(sort, filter)[offset : offset + limit]
            return tuple(dead_row(row) for row in self._details(ids))

    def dead_letter_count(self, filter: Filter) -> int:
        with self.file.snapshot():
            return len(self._dead_order("-died", filter))

    def dead_letter_position(self, task: str, sort: str, filter: Filter) -> int | None:
        number = read_id(task)
        with self.file.snapshot():
            try:
                return self._dead_order(sort, filter).index(number)
            except ValueError:
                return None

    def dead_letter_groups(self, filter: Filter) -> tuple[DeadLetterGroup, ...]:
        from ..record import replace

        every = replace(filter, reason=None)
        with self.file.snapshot():
            self._forget_orders()
            known = self._groups.pop(every, None)
            if known is None:
                condition, values = where(every, dead=True)
                rows = self.file.rows(self.sql["dead_groups"].replace("@where", condition), values)
                known = tuple(DeadLetterGroup(row[0] or "", *row[1:]) for row in rows)
            _keep(self._groups, every, known)
        return known

    def dead_letter_ids(self, filter: Filter, limit: int) -> tuple[str, ...]:
        with self.file.snapshot():
            return tuple(write_id(number) for number in self._dead_order("-died", filter)[:limit])

    def dead_letter(self, task: str) -> DeadLetter | None:
        number = read_id(task)
        with self.file.snapshot():
            whole = self.file.rows(self.sql["dead"], (number,))
            if not whole:
                return None
            row = dead_row(self._details([number])[0])
            attempts = self.attempts(task)
        payload, error, correlation = whole[0]
        last = attempts[-1] if attempts else None
        times = (None, None, None) if last is None else (last.session, last.claimed_ms, last.ended_ms)
        return DeadLetter(row, payload, error or "", correlation, number >> 20, attempts, *times)

    def _dead_order(self, sort: str, filter: Filter) -> list[int]:
        """Return the ids of all dead letters that match, in order; kept until a task dies or comes back."""
        order = order_by(sort, DEAD_KEYS)
        self._forget_orders()
        known = self._orders.pop((sort, filter), None)
        if known is None:
            condition, values = where(filter, dead=True)
            rows = self.file.rows(self._list("t.id", condition) + f" ORDER BY {order}", values)
            known = [row[0] for row in rows]
        _keep(self._orders, (sort, filter), known)
        return known

    def _forget_orders(self) -> None:
        at = tuple(self.file.rows(self.sql["newest_of_kind"], (kind,))[0][0] for kind in _DEAD_MOVES)
        if at != self._orders_at:
            self._orders.clear()
            self._groups.clear()
            self._orders_at = at

    # --- limits -----------------------------------------------------------------------------------------------
    def holds(self, now_ms: int) -> tuple[Hold, ...]:
        return limitreads.holds_of(self.file, now_ms)

    def bounds(self) -> tuple[Bound, ...]:
        limits = limitreads.limits_of(self.file)
        return () if limits is None else tuple(limits.bounds.values())

    def members(self) -> dict[str, str]:
        limits = limitreads.limits_of(self.file)
        return {} if limits is None else limits.members

    def budgets(self, now_ms: int) -> tuple[Spending, ...]:
        return limitreads.spendings(self.file, now_ms)

    def breakers(self) -> tuple[Breaker, ...]:
        limits = limitreads.limits_of(self.file)
        return () if limits is None else tuple(limits.breakers.values())

    # --- history ----------------------------------------------------------------------------------------------
    def history(
        self,
        *,
        after: int = 0,
        limit: int = 100,
        task: int | None = None,
        kinds: Sequence[str] = (),
        newest_first: bool = False,
    ) -> list[Event]:
        return history.events(self.file, after, limit, task, kinds, newest_first)

    def events(self, after: int, limit: int) -> tuple[EventRow, ...]:
        with self.file.snapshot():
            if after < 0:
                last = self.file.rows(self.sql["last_event"])[0][0] or 0
                after = max(last + after, 0)
            rows = self.file.rows(self.sql["events"], (after, limit))
        return tuple(history.row_from(row) for row in rows)


def _keep(kept: dict[Any, Any], key: Any, value: Any) -> None:
    """Keep an answer as the newest; the one that was not asked for longest gives way."""
    kept[key] = value
    if len(kept) > KEPT:
        del kept[next(iter(kept))]


def _midnight_ms(now_ms: int) -> int:
    day = time.localtime(now_ms / 1000)
    return int(time.mktime((day.tm_year, day.tm_mon, day.tm_mday, 0, 0, 0, 0, 0, -1)) * 1000)
