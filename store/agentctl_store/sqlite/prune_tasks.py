"""Forgetting tasks that are done or cancelled, and sessions; and carrying what lives over the cut of the history."""

from __future__ import annotations

import heapq

from ..domain.event import KINDS
from ..errors import StoreCorrupt
from ..ids import write_id
from ..jsontext import dumps
from ..replay.fleet import SessionFold, packed
from ..replay.tasks import CARRIED, PRUNED, told
from .rebuild import of_kind, parts
from .transaction import digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..replay.tasks import Line, Row, TaskFold
    from .pruning import Pruning
    from .transaction import Transaction

LOOK_AHEAD = 500
_SESSIONS = (KINDS["session.opened"], KINDS["session.started"], KINDS["session.ended"])


def forget_tasks(pruning: Pruning, cutoff_ms: int) -> None:
    """Forget tasks that ended before the cutoff, but no parent of one that stays; `pruning.tasks` counts them."""
    queues = [row[0] for row in pruning.file.rows("SELECT id FROM queue")]
    before = -1
    while pruning.tasks != before:  # once more as long as a parent became free by what went
        before = pruning.tasks
        for state in ("done", "cancelled"):
            for queue in queues:
                _forget_queue(pruning, state, queue, cutoff_ms)


def _forget_queue(pruning: Pruning, state: str, queue: int, cutoff_ms: int) -> None:
    query = pruning.sql["finished"].replace("@state", f"'{state}'")
    last = (cutoff_ms, 0)
    while rows := pruning.file.rows(query, (queue, *last, LOOK_AHEAD)):
        last = (rows[-1][1], rows[-1][0])
        pruning.steps([row[0] for row in rows], lambda tx, task: _forget_task(pruning, tx, task, cutoff_ms))
        pruning.progress("tasks", pruning.tasks)


def _forget_task(pruning: Pruning, tx: Transaction, task: int, cutoff_ms: int) -> None:
    if tx.execute(pruning.sql["prunable"], (task, cutoff_ms)).fetchone() is None:
        return
    sessions = tx.execute(pruning.sql["task_sessions"], (task,)).fetchall()
    if any(ended is None for _, ended in sessions):
        return
    for body, text in tx.execute(pruning.sql["task_bodies"], (task,)).fetchall():
        tx.execute(pruning.sql["empty_body"], (digest(text), body))
    for session, _ in sessions:
        tx.execute("DELETE FROM session WHERE id = ?", (session,))
        pruning.emptied.append(session)
    tx.execute("DELETE FROM attempt WHERE task = ?", (task,))
    tx.execute("DELETE FROM edge WHERE child = ?", (task,))
    tx.execute("DELETE FROM task WHERE id = ?", (task,))
    tx.event(PRUNED, task)
    pruning.tasks += 1
    pruning.sessions += len(sessions)


def forget_sessions(pruning: Pruning, cutoff_ms: int) -> None:
    """Forget ended sessions that had no task of their own (of workers and services)."""
    last = -1
    while rows := pruning.file.rows(pruning.sql["old_sessions"], (last, cutoff_ms, LOOK_AHEAD)):
        last = rows[-1][0]
        pruning.steps([row[0] for row in rows], lambda tx, one: _forget_session(pruning, tx, one))


def _forget_session(pruning: Pruning, tx: Transaction, session: int) -> None:
    tx.execute("DELETE FROM session WHERE id = ?", (session,))
    tx.event(PRUNED, session=session)
    pruning.emptied.append(session)
    pruning.sessions += 1


def carry_tasks(pruning: Pruning, cut_to: int, since: int) -> None:
    """Write how every task and session that still is stood at `cut_to`. `since` is where the history was cut before."""
    for part in parts(pruning.file, pruning.read, cut_to):
        kept = [fold for task, fold in sorted(part.folds.items()) if fold.task is not None and task in part.tasks]
        if part.unreadable:
            raise StoreCorrupt(
                f"the history of task {write_id(part.unreadable[0])} cannot be read, so nothing can be pruned",
                "Look what is wrong with: agentctl store check",
            )
        found = [(fold, _sessions_of(pruning, fold, since, cut_to)) for fold in kept]
        pruning.steps(found, lambda tx, item: _carry(pruning, tx, item[0], item[1], cut_to))
    _carry_sessions(pruning, since, cut_to)


def _carry(pruning: Pruning, tx: Transaction, fold: TaskFold, sessions: list[Row], cut_to: int) -> None:
    task = fold.task
    assert task is not None
    # One that was pruned since it was looked at is carried all the same: its `task.pruned` comes later.
    if task["result"] is not None:
        tx.event(CARRIED, task["id"], body=task["result"], body_digest=pruning.digest(tx, task["result"]))
    for attempt in fold.attempts.values():
        if attempt["partial"] is not None:
            body = attempt["partial"]
            tx.event(CARRIED, task["id"], body=body, body_digest=pruning.digest(tx, body))
    data = fold.carried(cut_to)
    if sessions:
        data["sessions"] = [packed(session) for session in sessions]
    payload = task["payload"]
    tx.event(CARRIED, task["id"], data=dumps(data), body=payload, body_digest=pruning.digest(tx, payload))


def _sessions_of(pruning: Pruning, fold: TaskFold, since: int, cut_to: int) -> list[Row]:
    assert fold.task is not None
    task, sessions = fold.task["id"], SessionFold()
    ended: list[Row] = []
    for (data,) in pruning.file.rows(pruning.sql["carried_sessions"], (task, since)) if since else ():
        ended += sessions.carry(told(data))
    for line in pruning.file.rows(pruning.sql["session_lines"], (task, since, cut_to)):
        over = sessions.apply(line)
        if over is not None:
            ended.append(over)
    return [*ended, *sessions.open.values()]


def _carry_sessions(pruning: Pruning, since: int, cut_to: int) -> None:
    kept = {row[0] for row in pruning.file.rows(pruning.sql["taskless_sessions"])}
    sessions = SessionFold()
    over: dict[int, Row] = {}
    for line in of_kind(pruning.file, pruning.read, CARRIED, since) if since else ():
        if line[3] is None and (data := told(line[8])).get("at") == since:
            over.update((row["id"], row) for row in sessions.carry(data))
    lines: list[Iterator[Line]] = [of_kind(pruning.file, pruning.read, kind, since, cut_to) for kind in _SESSIONS]
    for line in heapq.merge(*lines, key=lambda line: line[0]):
        ended = sessions.apply(line) if line[3] is None and line[6] in kept else None
        if ended is not None:
            over[ended["id"]] = ended
    rows = [row for row in (*over.values(), *sessions.open.values()) if row["id"] in kept]

    def act(tx: Transaction, row: Row) -> None:
        tx.event(CARRIED, session=row["id"], data=dumps({"at": cut_to, "sessions": [packed(row)]}))

    pruning.steps(rows, act)
