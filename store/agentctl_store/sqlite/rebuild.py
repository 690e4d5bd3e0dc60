"""Reading the history in bounded parts and folding it (agentctl_store/replay.py)."""

from __future__ import annotations

from ..errors import AgentctlError
from ..jsontext import dumps
from ..replay.fleet import FleetFold
from ..replay.tasks import SNAPSHOT, TaskFold, told
from . import sqltext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ..replay.tasks import Line, Row
    from .readfile import ReadFile

TASKS_AT_ONCE = 1_000
EVENTS_AT_ONCE = 5_000
LAST_ID = (1 << 63) - 1
TASK_COLUMNS = (
    "id", "queue", "state", "payload", "correlation", "priority", "available_ms", "attempts", "burnt", "throttled",
    "key", "on_parent_failure", "open_parents", "deadline_ms", "timeout_ms", "retry", "creator", "reason",
    "error_class", "error", "result", "finished_ms", "cancel_asked",
    "lane", "chain", "degraded",
)  # fmt: skip
ATTEMPT_COLUMNS = (
    "task", "n", "agent", "slot", "session", "claimed_ms", "ended_ms", "outcome", "error_class", "error", "exit_code",
    "input_tokens", "output_tokens", "cost_microusd", "partial",
)  # fmt: skip
QUESTION_COLUMNS = (
    "task", "n", "asked_ms", "question", "options", "deadline_ms", "fallback", "ended_ms", "how", "answer", "person",
)  # fmt: skip
SESSION_COLUMNS = (
    "id", "agent", "slot", "nonce", "task", "attempt", "pid", "started_ms", "ended_ms", "outcome",
    "exit_code", "signal", "detail",
)  # fmt: skip
#: what folding an event raises whose data was tampered with
UNREADABLE = (AgentctlError, KeyError, TypeError, ValueError, AttributeError)
NEVER = 1 << 62  #: a sequence number beyond all


class Part:
    """Some tasks: their rows, and their history folded up to `until`, as of one moment of the store."""

    def __init__(self) -> None:
        self.tasks: dict[int, Row] = {}
        self.attempts: dict[int, dict[int, Row]] = {}
        self.questions: dict[int, dict[int, Row]] = {}
        self.edges: dict[int, dict[int, bool]] = {}
        self.folds: dict[int, TaskFold] = {}
        self.unreadable: list[int] = []  #: tasks whose events cannot be folded


def parts(file: ReadFile, sql: dict[str, str], until: int = NEVER, rows: bool = True) -> Iterator[Part]:
    """Yield all tasks in order of their ids, TASKS_AT_ONCE at a time; without `rows` only what the history says."""
    low = -1
    while True:
        with file.snapshot():
            found = file.rows(sql["tasks"], (low, TASKS_AT_ONCE))
            last = len(found) < TASKS_AT_ONCE
            high = LAST_ID if last else found[-1][0]
            part = Part()
            cut_to = origin(file, sql)[2]
            gaps = [(seq, shift) for seq, shift in file.rows(sql["gaps"])]
            for task, lines in by_subject(file.rows(sql["lines"], (low, high))):
                try:
                    part.folds[task] = fold = TaskFold(gaps).fold(lines, until, cut_to)
                except UNREADABLE:
                    part.unreadable.append(task)
                else:
                    settle_parents(file, sql, fold, until)
            if rows:
                part.tasks = {row[0]: dict(zip(TASK_COLUMNS, row, strict=True)) for row in found}
                for row in file.rows(sql["attempts"], (low, high)):
                    part.attempts.setdefault(row[0], {})[row[1]] = dict(zip(ATTEMPT_COLUMNS, row, strict=True))
                for row in file.rows(sql["questions"], (low, high)):
                    part.questions.setdefault(row[0], {})[row[1]] = dict(zip(QUESTION_COLUMNS, row, strict=True))
                for child, parent, ended in file.rows(sql["edges"], (low, high)):
                    part.edges.setdefault(child, {})[parent] = bool(ended)
        yield part
        if last:
            return
        low = high


def by_subject(lines: list[Line]) -> Iterator[tuple[int, list[Line]]]:
    """Yield tasks or messages with their events, of events in that order."""
    start = 0
    for place in range(1, len(lines) + 1):
        if place == len(lines) or lines[place][3] != lines[start][3]:
            yield lines[start][3], lines[start:place]
            start = place


def settle_parents(file: ReadFile, sql: dict[str, str], fold: TaskFold, until: int) -> None:
    """Say which parents ended while the task waited, and how many it still waits for."""
    if fold.task is None:
        return
    if fold.task["state"] != "blocked":
        fold.edges = dict.fromkeys(fold.edges, True)  # it waits for nobody, whatever became of the others
        return
    waiting = [parent for parent, ended in fold.edges.items() if not ended]
    for (parent,) in file.rows(sql["parents_ended"], (dumps(waiting), fold.based, until)) if waiting else ():
        fold.edges[parent] = True
    fold.task["open_parents"] = sum(not ended for ended in fold.edges.values())


def of_kind(file: ReadFile, sql: dict[str, str], kind: int, after: int, until: int = NEVER) -> Iterator[Line]:
    """Yield the events of one kind (a rare one) after `after` and up to `until`, in order."""
    while True:
        rows = file.rows(sql["of_kind"], (kind, after, until, EVENTS_AT_ONCE))
        yield from rows
        if len(rows) < EVENTS_AT_ONCE:
            return
        after = rows[-1][0]


def fleet_base(file: ReadFile, sql: dict[str, str], cut_to: int) -> FleetFold:
    """Return queues, agents and instances as of the cut of the history, or none of them when it is whole."""
    fleet = FleetFold()
    for line in of_kind(file, sql, SNAPSHOT, cut_to) if cut_to else ():
        if (data := told(line[8])).get("at") == cut_to and "queues" in data:
            fleet.load(data)
    return fleet


def load_sql() -> dict[str, str]:
    """Return the blocks of verify.sql."""
    return sqltext.load("verify")


def origin(file: ReadFile, sql: dict[str, str]) -> tuple[int, bytes, int]:
    """Return the last event cut off (seq and hash), and the seq up to which the history is being cut."""
    from .transaction import GENESIS

    found: dict[str, Any] = dict(file.rows(sql["meta"]))
    seq = found.get("anchor_seq", 0)
    return seq, found.get("anchor_hash", GENESIS), max(seq, found.get("cut_to", 0))
