"""Folding the history back into the tables: what `events verify` compares, and what time travel shows.

A fold takes events in order, as the tuples of LINE, and keeps rows as dicts of their columns.
"""

from __future__ import annotations

from ..domain.event import KINDS
from ..domain.retry import LATE
from ..jsontext import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Line = tuple[Any, ...]
    Row = dict[str, Any]

#: the fields of an event as a fold takes them; `actor` is a name
LINE = ("seq", "at_ms", "kind", "task", "attempt", "actor", "session", "body", "data", "correlation")

MAX_DATA = 1 << 26  #: bytes of one event's data; carried tasks have long ones

_TASK_DEFAULTS: Row = dict.fromkeys(
    (
        "key", "on_parent_failure", "deadline_ms", "timeout_ms", "retry", "creator", "reason", "error_class", "error",
        "result", "finished_ms", "cancel_asked", "chain", "degraded",
    )
) | {"priority": 0, "lane": 0, "attempts": 0, "burnt": 0, "throttled": 0, "open_parents": 0}  # fmt: skip
_ATTEMPT_DEFAULTS: Row = dict.fromkeys(
    (
        "slot", "session", "ended_ms", "outcome", "error_class", "error", "exit_code", "input_tokens",
        "output_tokens", "cost_microusd", "partial",
    )
)  # fmt: skip
_QUESTION_DEFAULTS: Row = dict.fromkeys(
    ("options", "deadline_ms", "fallback", "ended_ms", "how", "answer", "person")
)  # fmt: skip
#: their body is what the attempt had got to
_KEEPS = (KINDS["task.retried"], KINDS["task.buried"], KINDS["task.fell_back"])
CARRIED, PRUNED = KINDS["task.carried"], KINDS["task.pruned"]
GAP, SNAPSHOT = KINDS["clock.gap"], KINDS["store.pruned"]


def told(data: str | None) -> Row:
    """Return what an event's data says."""
    return {} if data is None else loads(data, "event", MAX_DATA)


def exit_of(session: int | None, said: Row) -> int | None:
    """Return the exit code an attempt's end tells; of a session that ended with it, 0 goes without saying."""
    code: int | None = said.get("exit", None if session is None else 0)
    return code


class TaskFold:
    """One task, its attempts and its parents.

    `gaps` are the (seq, shift in ms) of wall clock jumps, in order: backoffs move with the clock.
    """

    def __init__(self, gaps: Sequence[tuple[int, int]] = ()) -> None:
        self.task: Row | None = None
        self.attempts: dict[int, Row] = {}
        self.questions: dict[int, Row] = {}  #: by the attempt that asked
        self.edges: dict[int, bool] = {}  #: parent → whether it had ended by `based`
        self.based = 0  #: seq since which `edges` may have changed
        self.pruned = False
        self._gaps, self._next_gap = gaps, 0

    def fold(self, lines: Sequence[Line], until: int, cut_to: int = 0) -> TaskFold:
        """Apply a task's events up to seq `until`; those up to `cut_to` are what was carried over that cut."""
        for line in lines if cut_to else ():
            if line[2] == CARRIED and line[8] is not None and (base := told(line[8]))["at"] == cut_to:
                self._carry(base)
        for line in lines:
            if line[0] > until:
                break
            if line[0] > cut_to and line[2] != CARRIED:
                self._jump(line[0])
                step = _STEPS.get(line[2])
                if step is not None and (self.task is not None or line[2] in _FIRST):
                    step(self, line)
        self._jump(until + 1)
        return self

    def _carry(self, base: Row) -> None:
        self.task = _TASK_DEFAULTS | base["task"]
        self.task["correlation"] = bytes.fromhex(self.task["correlation"])
        self.attempts = {row["n"]: _ATTEMPT_DEFAULTS | row for row in base.get("attempts", ())}
        self.questions = {row["n"]: _QUESTION_DEFAULTS | row for row in base.get("questions", ())}
        self.edges = {parent: bool(ended) for parent, ended in base.get("parents", ())}
        self.based = base["at"]
        while self._next_gap < len(self._gaps) and self._gaps[self._next_gap][0] <= self.based:
            self._next_gap += 1

    def carried(self, at: int) -> Row:
        """Return this fold as the data of a `task.carried` event: the task as of seq `at`. Needs a task."""
        assert self.task is not None
        task = {name: value for name, value in self.task.items() if value != _TASK_DEFAULTS.get(name, ())}
        task["correlation"] = self.task["correlation"].hex()
        attempts = [{name: value for name, value in row.items() if value is not None} for row in self.attempts.values()]
        carried = {"at": at, "task": task, "attempts": attempts}
        if self.questions:
            kept = [
                {name: value for name, value in row.items() if value is not None} for row in self.questions.values()
            ]
            carried["questions"] = kept
        return carried | {"parents": [[p, int(e)] for p, e in self.edges.items()]}

    def _jump(self, seq: int) -> None:
        """Apply the clock jumps before `seq`."""
        while self._next_gap < len(self._gaps) and self._gaps[self._next_gap][0] < seq:
            task = self.task
            if task is not None and task["state"] == "scheduled" and task["attempts"]:
                task["available_ms"] += self._gaps[self._next_gap][1]
            self._next_gap += 1

    def _leave(self, line: Line, state: str, **changes: Any) -> None:
        task = self.task
        assert task is not None
        task["open_parents"] = 0
        task["state"] = state
        task.update(changes)

    def _end_attempt(self, line: Line, outcome: str, said: Row, error_class: Any = None, error: Any = None) -> None:
        attempt = self.attempts.get(line[4])
        if attempt is None or attempt["ended_ms"] is not None:
            return
        used = said.get("usage", (None, None, None))
        attempt.update(ended_ms=line[1], outcome=outcome, error_class=error_class, error=error)
        attempt.update(exit_code=exit_of(line[6], said))
        attempt.update(input_tokens=used[0], output_tokens=used[1], cost_microusd=used[2])
        if line[2] in _KEEPS:
            attempt.update(partial=line[7])

    # --- one step per kind of event ---------------------------------------------------------------------------
    def _added(self, line: Line) -> None:
        seq, at, _, number, queue, _, _, body, data, correlation = line
        said = told(data)
        waiting = said.get("open", 0)
        ended = set(said.get("ended", ()))
        self.edges = {parent: parent in ended for parent in said.get("after", ())}
        self.based = seq
        self.task = _TASK_DEFAULTS | {
            "id": number,
            "queue": queue,
            "state": "blocked" if waiting else "scheduled" if "run_at" in said else "ready",
            "payload": body,
            "correlation": correlation if len(correlation) == 16 else number.to_bytes(8, "big") + correlation,
            "priority": said.get("priority", 0),
            "available_ms": said.get("run_at", at),
            "key": said.get("key"),
            "on_parent_failure": said.get("on_parent_failure"),
            "open_parents": waiting,
            "deadline_ms": said.get("deadline"),
            "timeout_ms": said.get("timeout"),
            "retry": dumps(said["retry"]) if "retry" in said else None,
            "creator": said.get("creator"),
            "lane": said.get("lane", 0),
            "chain": said.get("chain"),
        }

    def _claimed(self, line: Line) -> None:
        _, at, _, number, n, actor, session, _, _, _ = line
        agent, _, slot = (actor or "").partition("/")
        self._leave(line, "active", attempts=n, reason=None)
        self.attempts[n] = _ATTEMPT_DEFAULTS | {
            "task": number, "n": n, "agent": agent, "slot": int(slot) if slot else None, "session": session,
            "claimed_ms": at,
        }  # fmt: skip

    def _completed(self, line: Line) -> None:
        self._end_attempt(line, "done", told(line[8]))
        self._leave(
            line, "done", result=line[7], finished_ms=line[1], cancel_asked=None, reason=None, error_class=None,
            error=None,
        )  # fmt: skip

    def _retried(self, line: Line) -> None:
        said, task = told(line[8]), self.task
        assert task is not None
        kind = said["class"]
        self._end_attempt(line, "failed", said, kind, said["error"])
        self._leave(
            line, "scheduled", available_ms=said["run_at"], burnt=task["burnt"] + said["burns"],
            throttled=task["throttled"] + (kind == "throttled"), reason=kind, error_class=kind, error=said["error"],
            cancel_asked=None,
        )  # fmt: skip

    def _released(self, line: Line) -> None:
        said = told(line[8])
        self._end_attempt(line, "released", said)
        self._leave(line, "ready", reason=said["reason"])

    def _asked(self, line: Line) -> None:
        said = told(line[8])
        self._end_attempt(line, "asked", said)
        self._leave(line, "waiting", reason=None)
        self.questions[line[4]] = _QUESTION_DEFAULTS | {
            "task": line[3], "n": line[4], "asked_ms": line[1], "question": said["question"],
            "options": dumps(said["options"]) if "options" in said else None, "deadline_ms": said.get("deadline"),
            "fallback": said.get("default"),
        }  # fmt: skip

    def _answered(self, line: Line) -> None:
        said = told(line[8])
        self._end_question(line, said["how"], said["answer"], line[5])
        self._leave(line, "ready")

    def _end_question(self, line: Line, how: str, answer: str | None = None, person: str | None = None) -> None:
        for row in self.questions.values():
            if row["ended_ms"] is None:
                row.update(ended_ms=line[1], how=how, answer=answer, person=person)

    def _cancel_asked(self, line: Line) -> None:
        assert self.task is not None
        self.task.update(cancel_asked=1, reason=told(line[8])["reason"])

    def _cancelled(self, line: Line) -> None:
        said = told(line[8])
        self._end_attempt(line, "cancelled", said)
        self._end_question(line, "dropped")
        self._leave(line, "cancelled", finished_ms=line[1], reason=said["reason"], cancel_asked=None)

    def _buried(self, line: Line) -> None:
        said, task = told(line[8]), self.task
        assert task is not None
        late = said["reason"] == "deadline"
        why = (LATE.kind, LATE.message) if late else (said.get("class"), said.get("error"))
        self._end_attempt(line, "failed", said, *why)
        how = said["reason"] if said["reason"] in ("rejected", "unanswered") else "dropped"
        self._end_question(line, how, person=line[5] if how == "rejected" else None)
        self._leave(
            line, "dead", finished_ms=line[1], burnt=task["burnt"] + said.get("burns", 0), reason=said["reason"],
            error_class=said.get("class"), error=said.get("error"), cancel_asked=None,
        )  # fmt: skip

    def _fell_back(self, line: Line) -> None:
        said, task = told(line[8]), self.task
        assert task is not None
        self._end_attempt(line, "failed", said, said["class"], said["error"])
        self._leave(
            line, "ready", available_ms=line[1], burnt=0, throttled=0, degraded=task["queue"], queue=said["queue"],
            lane=said.get("lane", 0), reason=said["reason"], error_class=said["class"], error=said["error"],
            cancel_asked=None,
        )  # fmt: skip

    def _used(self, line: Line) -> None:
        inp, out, cost = told(line[8])["usage"]
        self.attempts[line[4]].update(input_tokens=inp, output_tokens=out, cost_microusd=cost)

    def _stood_in(self, line: Line) -> None:
        said, task = told(line[8]), self.task
        assert task is not None
        self._end_attempt(line, "failed", said, said["class"], said["error"])
        self._leave(
            line, "done", result=line[7], finished_ms=line[1], burnt=task["burnt"] + said["burns"],
            degraded=task["queue"] if task["degraded"] is None else task["degraded"], reason=said["reason"],
            error_class=said["class"], error=said["error"], cancel_asked=None,
        )  # fmt: skip

    def _requeued(self, line: Line) -> None:
        said, task = told(line[8]), self.task
        assert task is not None
        self._leave(
            line, "scheduled" if said.get("later") else "ready", available_ms=said["at"], finished_ms=None, burnt=0,
            throttled=0, deadline_ms=None, reason=said.get("note"),
            payload=task["payload"] if line[7] is None else line[7], degraded=None,
            queue=task["queue"] if task["degraded"] is None else task["degraded"], lane=said.get("lane", task["lane"]),
        )  # fmt: skip

    def _discarded(self, line: Line) -> None:
        self._leave(line, "cancelled", finished_ms=line[1], reason=told(line[8])["reason"])

    def _gone(self, line: Line) -> None:
        self.task, self.attempts, self.questions, self.edges, self.pruned = None, {}, {}, {}, True


def _ready(fold: TaskFold, line: Line) -> None:
    fold._leave(line, "ready")


def _ready_now(fold: TaskFold, line: Line) -> None:
    fold._leave(line, "ready", available_ms=line[1])


def _deferred(fold: TaskFold, line: Line) -> None:
    fold._leave(line, "scheduled")


_STEPS: dict[int, Callable[[TaskFold, Line], None]] = {
    KINDS["task.added"]: TaskFold._added,
    KINDS["task.unblocked"]: _ready_now,
    KINDS["task.deferred"]: _deferred,
    KINDS["task.promoted"]: _ready,
    KINDS["task.hastened"]: _ready_now,
    KINDS["task.claimed"]: TaskFold._claimed,
    KINDS["task.completed"]: TaskFold._completed,
    KINDS["task.retried"]: TaskFold._retried,
    KINDS["task.released"]: TaskFold._released,
    KINDS["task.asked"]: TaskFold._asked,
    KINDS["task.answered"]: TaskFold._answered,
    KINDS["task.fell_back"]: TaskFold._fell_back,
    KINDS["task.stood_in"]: TaskFold._stood_in,
    KINDS["task.used"]: TaskFold._used,
    KINDS["task.cancel_asked"]: TaskFold._cancel_asked,
    KINDS["task.cancelled"]: TaskFold._cancelled,
    KINDS["task.buried"]: TaskFold._buried,
    KINDS["task.requeued"]: TaskFold._requeued,
    KINDS["task.discarded"]: TaskFold._discarded,
    PRUNED: TaskFold._gone,
}
_FIRST = frozenset((KINDS["task.added"], PRUNED))
