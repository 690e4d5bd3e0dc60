"""Whether the history is whole and says what the tables say."""

from __future__ import annotations

from ..ids import write_id
from ..jsontext import dumps
from ..record import record
from ..replay.fleet import FLEET_KINDS, FleetFold, SessionFold
from ..replay.tasks import CARRIED, PRUNED, told
from .message_parts import message_parts
from .readfile import ReadFile
from .rebuild import EVENTS_AT_ONCE, SESSION_COLUMNS, UNREADABLE, fleet_base, load_sql, of_kind, origin, parts
from .transaction import digest, link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..replay.tasks import Row
    from .rebuild import Part

FAULTS_NAMED = 100


@record
class Verified:
    """What was looked at, and what was found wrong (at most FAULTS_NAMED, in words)."""

    events: int
    tasks: int
    sessions: int
    first_seq: int  #: 1, or the first event that was not pruned
    last_seq: int
    head: str  #: hash of the last event, in hex: note it down, and a later verify can be held against it
    faults: tuple[str, ...]
    messages: int = 0

    @property
    def intact(self) -> bool:
        return not self.faults


class _Check:
    def __init__(self, file: ReadFile, progress: Callable[[int, int], None] | None) -> None:
        self.file, self.sql = file, load_sql()
        self.faults: list[str] = []
        self.progress = progress or (lambda done, total: None)
        self.anchor, self.head, self.cut_to = origin(file, self.sql)
        self.seq = self.anchor
        self.events = self.tasks = self.sessions = self.seen = 0
        self.fleet, self.open = FleetFold(), SessionFold()
        self.missing: set[int] = set()  # ended sessions without a row or a task: pruned ones, if the history says so

    def fault(self, text: str) -> None:
        if len(self.faults) < FAULTS_NAMED:
            self.faults.append(text)

    # --- in the order of the history: the chain, the fleet, sessions --------------------------------------------
    def history(self) -> None:
        total = self.file.rows(self.sql["last_event"])[0][0] - self.anchor
        self._begin()
        while True:
            with self.file.snapshot():
                anchor = origin(self.file, self.sql)
                if anchor[0] > self.seq:  # pruned while we read
                    self.anchor, self.head, self.cut_to = anchor
                    self.seq = self.anchor
                rows = self.file.rows(self.sql["chain"], (self.seq, EVENTS_AT_ONCE))
                ended: list[Row] = []
                for row in rows:
                    self._event(row, ended)
                self._compare_sessions(ended)
                if len(rows) < EVENTS_AT_ONCE:
                    self._compare_sessions(list(self.open.open.values()))
                    self._compare_fleet()
                    return
            self.progress(self.events, max(total, self.events))

    def _begin(self) -> None:
        """Begin with what was carried over the cut of the history, if it was cut."""
        self.fleet, self.open = fleet_base(self.file, self.sql, self.cut_to), SessionFold()
        for line in of_kind(self.file, self.sql, CARRIED, self.cut_to) if self.cut_to else ():
            data = told(line[8])
            if data.get("at") == self.cut_to:
                self._compare_sessions(self.open.carry(data))

    def _event(self, row: Any, ended: list[Row]) -> None:
        seq, at, kind, task, attempt, _, session, body, data, correlation, actor, known, text, kept, stored = row
        if seq != self.seq + 1:
            self.fault(f"events {self.seq + 1} to {seq - 1} are missing")
        brought = b""
        if body is not None:
            if stored is None:
                self.fault(f"event {seq}: its body {body} is gone")
            brought = kept if text is None else digest(text)
        made = link(self.head, seq, at, kind, task, attempt, actor, session, body, data, correlation, brought or b"")
        if made != known:
            self.fault(f"event {seq} is not what was written: its hash does not follow from it and the one before")
        self.seq, self.head = seq, known
        self.events += 1
        try:
            self._fold(row, ended)
        except UNREADABLE:
            self.fault(f"event {seq} cannot be replayed: it does not say what its kind must")

    def _fold(self, row: Any, ended: list[Row]) -> None:
        seq, _, kind, task, _, _, session, *_ = row
        if seq <= self.cut_to:
            return
        if kind == PRUNED and task is None:
            self.missing.discard(session)
            self.open.open.pop(session, None)
            ended[:] = [one for one in ended if one["id"] != session]
        elif session is not None:
            over = self.open.apply(row[:10])
            if over is not None:
                ended.append(over)
        if kind in FLEET_KINDS:
            self.fleet.apply(row[:10])

    def _compare_sessions(self, folded: list[Row]) -> None:
        rows = {row[0]: row for row in self.file.rows(self.sql["sessions"], (dumps([one["id"] for one in folded]),))}
        for session in folded:
            row = rows.get(session["id"])
            if row is None:
                self.missing.add(session["id"])
                if session["task"] is not None:
                    known = self.file.rows(self.sql["known_tasks"], (dumps([session["task"]]),))
                    if known:
                        self.fault(f"session {write_id(session['id'])} is in the history, not in the tables")
                    self.missing.discard(session["id"])
                continue
            self.sessions += 1
            stands = dict(zip(SESSION_COLUMNS, row, strict=False))
            if stands["ended_ms"] is None and stands["task"] is not None:
                stands.update(pid=None, started_ms=None)
            self._differs(f"session {write_id(row[0])}", stands, session)

    def _compare_fleet(self) -> None:
        fleet = self.fleet
        for name, told_rows in (("queue", fleet.queues), ("agent", fleet.agents)):
            rows = self._keyed(name, 1)
            for number in sorted(rows.keys() | told_rows.keys()):
                self._pair(f"{name} {number}", rows.get(number), told_rows.get(number))
        actors = dict(self.file.rows(self.sql["actor"]))
        if actors != fleet.actors:
            self.fault("the names of actors are not those of the history")
        instances = {(row[0], row[1]): row[2:] for row in self.file.rows(self.sql["instance"])}
        columns = ("phase", "health", "reason", "latched", "since_ms")
        for key in sorted(instances.keys() | fleet.instances.keys()):
            row = instances.get(key)
            stands = None if row is None else dict(zip(columns, row, strict=True))
            self._pair(f"instance {key[0]}/{key[1]}", stands, fleet.instances.get(key))
        for table in fleet.tables.values():
            names, kept = (*table.keys, *table.columns), type(table)()
            read = self.file.rows(f"SELECT {', '.join(names)} FROM {table.table}")  # noqa: S608 - names of our own
            kept.load(dict(zip(names, row, strict=True)) for row in read)
            for key in sorted(kept.rows.keys() | table.rows.keys(), key=str):
                self._pair(f"{table.table} {' '.join(map(str, key))}", kept.rows.get(key), table.rows.get(key))
        counted = self.file.rows(self.sql["session_count"])[0][0]
        if counted > self.sessions:
            self.fault(f"{counted - self.sessions} sessions are in the tables, not in the history")
        for session in sorted(self.missing):
            self.fault(f"session {write_id(session)} is in the history, not in the tables")

    def _keyed(self, name: str, keys: int) -> dict[Any, Row]:
        columns = {
            "queue": ("name", "paused_ms", "paused_by", "reason"),
            "agent": (
                "name", "mode", "queues", "instances", "scale", "retry", "desired", "restart_seq", "reset_seq",
                "declared", "since_ms", "can", "fallback", "max_depth", "checked",
            ),
        }[name]  # fmt: skip
        return {row[0]: dict(zip(columns, row[keys:], strict=True)) for row in self.file.rows(self.sql[name])}

    # --- in the order of tasks ------------------------------------------------------------------------------------
    def tables(self) -> None:
        for part in parts(self.file, self.sql):
            for task in part.unreadable:
                self.fault(f"task {write_id(task)}: its events cannot be replayed")
            for task in sorted((part.tasks.keys() | part.folds.keys()) - set(part.unreadable)):
                self._task(task, part)
            self.tasks += len(part.tasks)

    def messages(self) -> None:
        for part in message_parts(self.file, self.sql):
            for message in part.unreadable:
                self.fault(f"message {write_id(message)}: its events cannot be replayed")
            for message in sorted((part.rows.keys() | part.folds.keys()) - set(part.unreadable)):
                row, fold = part.rows.get(message), part.folds.get(message)
                folded = None if fold is None else fold.row
                if row is not None or folded is not None:
                    self._pair(f"message {write_id(message)}", row, folded)
            self.seen += len(part.rows)

    def _task(self, task: int, part: Part) -> None:
        name, row, fold = f"task {write_id(task)}", part.tasks.get(task), part.folds.get(task)
        attempts, questions = part.attempts.get(task, {}), part.questions.get(task, {})
        folded = None if fold is None else fold.task
        if row is None and folded is None:
            return
        if fold is None or folded is None or row is None:
            self._pair(name, row, folded)
            return
        self._differs(name, row, folded)
        for n in sorted(attempts.keys() | fold.attempts.keys()):
            stands, says = attempts.get(n), fold.attempts.get(n)
            if stands is not None and says is not None and stands["ended_ms"] is None:
                stands.update(input_tokens=None, output_tokens=None, cost_microusd=None)
            self._pair(f"attempt {write_id(task)}.{n}", stands, says)
        for n in sorted(questions.keys() | fold.questions.keys()):
            self._pair(f"question {write_id(task)}.{n}", questions.get(n), fold.questions.get(n))
        if part.edges.get(task, {}) != fold.edges:
            self.fault(f"{name}: its parents are not those of the history")

    def _pair(self, name: str, row: Row | None, folded: Row | None) -> None:
        if row is None:
            self.fault(f"{name} is in the history, not in the tables")
        elif folded is None:
            self.fault(f"{name} is in the tables, not in the history")
        else:
            self._differs(name, row, folded)

    def _differs(self, name: str, row: Row, folded: Row) -> None:
        for column, value in row.items():
            if folded.get(column) != value:
                self.fault(f"{name}: {column} is {_shown(value)}, the history says {_shown(folded.get(column))}")


def _shown(value: Any) -> str:
    text = value.hex() if isinstance(value, bytes) else repr(value)
    return text if len(text) <= 60 else text[:60] + "…"


def verify(directory: str, progress: Callable[[int, int], None] | None = None) -> Verified:
    """Check that no event was changed or lost, and that replaying all of them gives the tables.

    Reads in parts, with bounded memory, beside running work; `progress` hears (events read, events in all).
    """
    file = ReadFile(directory)
    try:
        return verify_file(file, progress)
    finally:
        file.close()


def verify_file(file: ReadFile, progress: Callable[[int, int], None] | None = None) -> Verified:
    """Do the same for an open file, such as a backup."""
    check = _Check(file, progress)
    check.history()
    check.tables()
    check.messages()
    faults = tuple(check.faults)
    return Verified(
        check.events, check.tasks, check.sessions, check.anchor + 1, check.seq, check.head.hex(), faults,
        check.seen,
    )  # fmt: skip
