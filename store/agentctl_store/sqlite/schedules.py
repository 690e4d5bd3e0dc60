"""Schedules: declaring them, and firing what is due, each run once whoever looks."""

from __future__ import annotations

from ..clock import JUMP_MS
from ..domain.event import KINDS
from ..domain.machine import FINAL
from ..domain.schedule import BACKLOG_LOOK, LATE_MS, MAX_BACKLOG, Planned, Schedule, ScheduleSpec, plan
from ..domain.task import NewTask
from ..errors import AgentctlError, BadInput, Conflict, NotFound
from ..ids import run_key, run_keys, write_id
from ..jsontext import dumps
from ..record import as_dict
from . import adding, sqltext
from .deciding import cancel
from .transaction import digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..clock import Moment
    from .connection import Connection
    from .transaction import Transaction

_ADDED, _CHANGED, _REMOVED = KINDS["schedule.added"], KINDS["schedule.changed"], KINDS["schedule.removed"]
_PAUSED, _RESUMED, _MOVED = KINDS["schedule.paused"], KINDS["schedule.resumed"], KINDS["schedule.moved"]
_FIRED, _SKIPPED = KINDS["schedule.fired"], KINDS["schedule.skipped"]
_GOLDEN = 0.6180339887498949  # one draw spread by the golden ratio: schedules of one moment do not fire together
_SQL = sqltext.load("schedule")
AGAIN_MS = 30_000  #: a run that the store refused is tried again after this, unless the next one comes before
REMEDY = "List the schedules with: agentctl schedule list"


class SqliteSchedules:
    """See agentctl_store.scheduledriver.ScheduleDriver, whose words these are."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def add(self, spec: ScheduleSpec, *, actor: str, jitter: float, now: Moment) -> bool:
        with self._conn.write(now) as tx:
            known = _find(self._conn, spec.name)
            if known is None:
                _save(tx, spec, _ADDED, False, actor, jitter)
                return True
            if known.declared:
                raise Conflict(
                    f"the schedule {spec.name} is declared in agentctl.toml", "Change it there, or use another name"
                )
            if known.spec != spec:
                raise Conflict(
                    f"there is another schedule {spec.name}", f"Remove it first: agentctl schedule remove {spec.name}"
                )
            return False

    def declare(self, specs: Sequence[ScheduleSpec], *, actor: str, jitter: float, now: Moment) -> None:
        with self._conn.write(now) as tx:
            known = {one.spec.name: one for one in self.all()}
            for index, spec in enumerate({spec.name: spec for spec in specs}.values()):  # each name once
                before = known.pop(spec.name, None)
                if before is None or before.spec != spec or not before.declared:
                    kind = _ADDED if before is None else _CHANGED
                    _save(tx, spec, kind, True, actor, (jitter + index * _GOLDEN) % 1.0, before)
            for name, left in known.items():
                if left.declared:
                    _remove(tx, name, actor)

    def remove(self, name: str, *, actor: str, now: Moment) -> None:
        with self._conn.write(now) as tx:
            if _one(self._conn, name).declared:
                raise Conflict(
                    f"the schedule {name} is declared in agentctl.toml",
                    f"Remove it there, or pause it: agentctl schedule pause {name}",
                )
            _remove(tx, name, actor)

    def pause(self, name: str, *, reason: str, actor: str, now: Moment) -> bool:
        with self._conn.write(now) as tx:
            if _one(self._conn, name).paused_ms is not None:
                return False
            _pause(tx, name, reason, actor)
            return True

    def resume(self, name: str, *, actor: str, jitter: float, now: Moment) -> bool:
        with self._conn.write(now) as tx:
            found = _one(self._conn, name)
            if found.paused_ms is None:
                return False
            then = plan(found.spec, now.wall_ms, jitter)
            tx.execute(_SQL["resume"], (then.at_ms, then.due_ms, now.wall_ms, name))
            tx.event(_RESUMED, actor=actor, data=dumps({"schedule": name, **_told(then)}))
            return True

    def run(self, name: str, *, actor: str, jitter: float, now: Moment) -> int:
        with self._conn.write(now) as tx:
            found = _one(self._conn, name)
            if _overlaps(found) and found.spec.overlap == "skip":
                raise Conflict(
                    f"the run of {name} before, {write_id(found.task or 0)}, is {found.task_state}",
                    "Wait until it has ended, or cancel it: agentctl task cancel",
                )
            added: int = _add(tx, self._conn, found, now.wall_ms, jitter, None)
            tx.execute(_SQL["ran"], (added, now.wall_ms, name))
            tx.event(_FIRED, added, actor=actor, data=dumps({"schedule": name, "by_hand": 1}))
            _replace(tx, self._conn, found)
            return added

    def all(self) -> list[Schedule]:
        return [_from(row) for row in self._conn.rows(_SQL["all"].replace("@which", "1"))]

    def one(self, name: str) -> Schedule:
        return _one(self._conn, name)


def _find(conn: Connection, name: str) -> Schedule | None:
    rows = conn.rows(_SQL["all"].replace("@which", "s.name = ?"), (name,))
    return _from(rows[0]) if rows else None


def _one(conn: Connection, name: str) -> Schedule:
    found = _find(conn, name)
    if found is None:
        raise NotFound(f"there is no schedule {name}", REMEDY)
    return found


def _from(row: Any) -> Schedule:
    said: list[Any] = [*row[:9], bool(row[9]), row[10], row[11]]
    spec = ScheduleSpec(*said)
    return Schedule(spec, bool(row[12]), *row[13:])


def _told(then: Planned) -> dict[str, int | None]:
    return {"planned": then.at_ms, "due": then.due_ms}


def _save(
    tx: Transaction,
    spec: ScheduleSpec,
    kind: int,
    declared: bool,
    actor: str,
    jitter: float,
    before: Schedule | None = None,
) -> None:
    now_ms, queue = tx.now.wall_ms, tx.number("queue", spec.queue)
    paused = before is not None and before.paused_ms is not None
    if before is not None and _when(before.spec) == _when(spec):
        then = Planned(before.planned_ms, before.due_ms)  # a run that was missed meanwhile is still to be caught up
    else:
        then = Planned(None, None) if paused else plan(spec, now_ms, jitter)
    columns = {**as_dict(spec), "queue": queue, "catch_up": int(spec.catch_up), "declared": int(declared)}
    tx.execute(_SQL["save"], (*columns.values(), now_ms, then.at_ms, then.due_ms, now_ms))
    tx.event(kind, actor=actor, data=dumps({"schedule": spec.name, **columns, **_told(then)}))


def _when(spec: ScheduleSpec) -> tuple[str | int | None, ...]:
    return spec.cron, spec.zone, spec.every_ms, spec.at_ms


def _remove(tx: Transaction, name: str, actor: str) -> None:
    tx.execute(_SQL["remove"], (name,))
    tx.event(_REMOVED, actor=actor, data=dumps({"schedule": name}))


def _pause(tx: Transaction, name: str, reason: str, actor: str) -> None:
    tx.execute(_SQL["pause"], (tx.now.wall_ms, actor, reason, name))
    tx.event(_PAUSED, actor=actor, data=dumps({"schedule": name, "reason": reason}))


# --- runs -----------------------------------------------------------------------------------------------------------
def fire(tx: Transaction, conn: Connection, jitter: float, limit: int) -> int:
    """Add the tasks of up to `limit` schedules that are due; return how many schedules were looked at."""
    now_ms = tx.now.wall_ms
    due = [name for (name,) in tx.execute(_SQL["due"], (now_ms, limit)).fetchall()]
    for index, name in enumerate(due):
        found, draw = _one(conn, name), (jitter + index * _GOLDEN) % 1.0
        try:
            then = plan(found.spec, now_ms, draw, found.planned_ms)
        except BadInput as error:  # the machine's time zones have changed: nobody else is to suffer from that
            _pause(tx, name, error.message, "agentctl")
            continue
        _fire(tx, conn, found, then, draw)
    return len(due)


def _fire(tx: Transaction, conn: Connection, found: Schedule, then: Planned, jitter: float) -> None:
    spec, now_ms, planned = found.spec, tx.now.wall_ms, found.planned_ms or 0
    told: dict[str, Any] = {"schedule": spec.name, "at": planned, **_told(then)}
    if not spec.catch_up and now_ms - (found.due_ms or 0) > LATE_MS:
        return _skip(tx, then, told | {"why": "missed"})
    if _overlaps(found) and spec.overlap == "skip":
        return _skip(tx, then, told | {"why": "overlap"}, found.task)
    if _overlaps(found) and spec.overlap == "queue" and (unfinished := _backlog(tx, spec)) >= MAX_BACKLOG:
        return _skip(tx, then, told | {"why": "backlog", "unfinished": unfinished}, found.task)
    before = len(tx.told)
    tx.execute("SAVEPOINT run")
    try:
        added = _add(tx, conn, found, now_ms, jitter, planned)
    except AgentctlError as error:  # a full queue, say: the other schedules, and all the sweep, go on
        tx.execute("ROLLBACK TO run")
        del tx.told[before:]
        conn.forget()
        if then.at_ms is None or then.at_ms > now_ms + AGAIN_MS:
            then = Planned(planned, now_ms + AGAIN_MS)
        return _skip(tx, then, told | _told(then) | {"why": "refused", "error": error.message})
    finally:
        tx.execute("RELEASE run")
    if added is None:
        return _skip(tx, then, told | {"why": "done before"})
    tx.execute(_SQL["fired"], (added, now_ms, then.at_ms, then.due_ms, now_ms, spec.name))
    tx.event(_FIRED, added, actor=_actor(spec), data=dumps(told))
    return _replace(tx, conn, found)


def _skip(tx: Transaction, then: Planned, told: dict[str, Any], former: int | None = None) -> None:
    tx.execute(_SQL["skipped"], (then.at_ms, then.due_ms, tx.now.wall_ms, told["schedule"]))
    tx.event(_SKIPPED, former, data=dumps(told))


def _actor(spec: ScheduleSpec) -> str:
    return f"schedule:{spec.name}"


def _overlaps(found: Schedule) -> bool:
    return found.task_state is not None and found.task_state not in FINAL


def _backlog(tx: Transaction, spec: ScheduleSpec) -> int:
    """Return how many of a schedule's newest runs have not ended."""
    return int(tx.execute(_SQL["backlog"], (*run_keys(spec.name), BACKLOG_LOOK)).fetchone()[0])


def _add(tx: Transaction, conn: Connection, found: Schedule, now_ms: int, jitter: float, planned_ms: int | None) -> Any:
    """Add the task of a run; None when there is one of that moment already. By hand there is no moment."""
    spec = found.spec
    # Unlike any other and the same wherever it is worked out again: nothing here throws dice of its own.
    seed = digest(f"{spec.name}/{now_ms}/{found.fired}/{jitter}")
    number = now_ms << 20 | int.from_bytes(seed[:3], "big") >> 4
    waits = _waits(tx, found)
    new = NewTask(
        number,
        spec.queue,
        spec.payload,
        f"{number:016x}{seed[8:].hex()}",
        spec.priority,
        None if planned_ms is None else run_key(spec.name, planned_ms),
        waits,
        "run" if waits else "fail",
        timeout_ms=spec.timeout_ms,
    )
    (added,) = adding.add(tx, conn.sql, [new], _actor(spec))
    return added.id if added.created else None


def _waits(tx: Transaction, found: Schedule) -> tuple[int, ...]:
    """Return what a run must wait for that replaces another: that one, or what it waits for itself."""
    if not _overlaps(found) or found.spec.overlap != "replace" or found.task is None:
        return ()
    if found.task_state != "blocked":
        return (found.task,)
    return tuple([row[0] for row in tx.execute(_SQL["waits"], (found.task,)).fetchall()])


def _replace(tx: Transaction, conn: Connection, found: Schedule) -> None:
    """Cancel the run before; the new one waits until that has ended, so no two run side by side."""
    if _overlaps(found) and found.spec.overlap == "replace" and found.task is not None:
        cancel(tx, conn, found.task, f"replaced by the next run of {found.spec.name}", _actor(found.spec))


def move(tx: Transaction, conn: Connection, jitter: float, limit: int) -> int:
    """Plan anew what was planned by a clock that has been set back since: it would wait until that time comes again."""
    back = [name for (name,) in tx.execute(_SQL["set_back"], (tx.now.wall_ms + JUMP_MS, limit)).fetchall()]
    for index, name in enumerate(back):
        try:
            then = plan(_one(conn, name).spec, tx.now.wall_ms, (jitter + index * _GOLDEN) % 1.0)
        except BadInput as error:
            _pause(tx, name, error.message, "agentctl")
            continue
        tx.execute(_SQL["moved"], (then.at_ms, then.due_ms, tx.now.wall_ms, name))
        tx.event(_MOVED, data=dumps({"schedule": name, **_told(then)}))
    return len(back)
