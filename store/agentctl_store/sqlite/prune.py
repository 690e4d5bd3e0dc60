"""Forgetting finished work, in steps so short that no writer waits for more than a few milliseconds.

1. Done and cancelled tasks that ended before the cutoff go, with their attempts, edges, sessions and the texts of
   their payloads and results; so do messages that were acked, expired or discarded. Dead letters stay: they wait for a
   person. A parent stays as long as a child of it does, for a child can ask for its parents' results. Lanes that no
   task is left of go too.
2. What still lives is carried over the cut: a `task.carried` event says how it stood at the cut, worked out from the
   events that are about to go, never from the tables. So replaying what is left gives the tables as before.
3. The history before the cut goes, oldest first. The last hash cut off is kept as the anchor of the chain.

A step that was interrupted is taken up by the next prune.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import shutil
import time

from ..domain.event import KINDS
from ..domain.upkeep import Pruned
from ..errors import BadInput, Conflict, StoreCorrupt
from ..ids import write_id
from ..jsontext import dumps
from ..replay.fleet import SessionFold, packed
from ..replay.tasks import CARRIED, PRUNED, SNAPSHOT, told
from . import sqltext
from .connection import Connection
from .past import fleet_at, seq_at
from .place import PRIVATE_FILE
from .prune_lanes import forget_lanes
from .prune_messages import carry_messages, forget_messages
from .readfile import ReadFile
from .rebuild import load_sql, of_kind, origin, parts
from .transaction import digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from ..clock import Clock
    from ..replay.tasks import Line, Row, TaskFold
    from .transaction import Transaction

STEP_S = 0.002  #: a step gives the store back after this long; its commit comes on top
FOLD_STEPS = 8  #: steps between two foldings of the log
PAUSE_S = 0.001  #: and lets others in for at least this long
LOOK_AHEAD = 500
VACUUM_PAGES = 16
_SESSIONS = (KINDS["session.opened"], KINDS["session.started"], KINDS["session.ended"])


class Pruning:
    """One prune of a store, in steps."""

    def __init__(self, directory: str, clock: Clock, actor: str, progress: Callable[[str, int], None]) -> None:
        self.directory, self.clock, self.actor, self.progress = directory, clock, actor, progress
        # A step lost to a power cut is done again, so none waits for the disk while it holds other writers up; and the
        # log is folded back between steps, not inside one.
        self.conn, self.file = Connection(directory, synchronous="NORMAL"), ReadFile(directory)
        self.conn.rows("PRAGMA wal_autocheckpoint=0")
        self._steps = 0
        self.sql, self.read = sqltext.load("prune"), load_sql()
        self.tasks = self.sessions = self.messages = self.lanes = self.events = 0
        self.longest_s = 0.0
        self.emptied: list[int] = []  # sessions whose files go once their step is committed

    def close(self) -> None:
        self.file.close()
        self.conn.close()

    def steps(self, items: list[Any], act: Callable[[Transaction, Any], None]) -> None:
        """Do `act` for each item, in transactions that end after STEP_S."""
        place = 0
        while place < len(items):
            with self.conn.write(self.clock.now()) as tx:
                began = time.perf_counter()
                while place < len(items) and time.perf_counter() - began < STEP_S:
                    act(tx, items[place])
                    place += 1
            self.longest_s = max(self.longest_s, time.perf_counter() - began)
            for session in self.emptied:
                shutil.rmtree(os.path.join(self.directory, "sessions", write_id(session)), ignore_errors=True)
            self.emptied.clear()
            self._rest()

    def _rest(self) -> None:
        """Let others in, and fold the log back: readers and writers go on meanwhile."""
        self._steps += 1
        if self._steps % FOLD_STEPS == 0:
            self.conn.rows("PRAGMA wal_checkpoint(PASSIVE)")
        time.sleep(PAUSE_S)

    # --- 1. finished tasks ----------------------------------------------------------------------------------------
    def finished(self, cutoff_ms: int) -> None:
        queues = [row[0] for row in self.file.rows("SELECT id FROM queue")]
        before = -1
        while self.tasks != before:  # once more as long as a parent became free by what went
            before = self.tasks
            for state in ("done", "cancelled"):
                for queue in queues:
                    self._queue(state, queue, cutoff_ms)

    def _queue(self, state: str, queue: int, cutoff_ms: int) -> None:
        query = self.sql["finished"].replace("@state", f"'{state}'")
        last = (cutoff_ms, 0)
        while rows := self.file.rows(query, (queue, *last, LOOK_AHEAD)):
            last = (rows[-1][1], rows[-1][0])
            self.steps([row[0] for row in rows], lambda tx, task: self._task(tx, task, cutoff_ms))
            self.progress("tasks", self.tasks)

    def _task(self, tx: Transaction, task: int, cutoff_ms: int) -> None:
        if tx.execute(self.sql["prunable"], (task, cutoff_ms)).fetchone() is None:
            return
        sessions = tx.execute(self.sql["task_sessions"], (task,)).fetchall()
        if any(ended is None for _, ended in sessions):
            return
        for body, text in tx.execute(self.sql["task_bodies"], (task,)).fetchall():
            tx.execute(self.sql["empty_body"], (digest(text), body))
        for session, _ in sessions:
            tx.execute("DELETE FROM session WHERE id = ?", (session,))
            self.emptied.append(session)
        tx.execute("DELETE FROM attempt WHERE task = ?", (task,))
        tx.execute("DELETE FROM edge WHERE child = ?", (task,))
        tx.execute("DELETE FROM task WHERE id = ?", (task,))
        tx.event(PRUNED, task)
        self.tasks += 1
        self.sessions += len(sessions)

    def old_sessions(self, cutoff_ms: int) -> None:
        """Forget ended sessions that had no task of their own (of workers and services)."""
        last = -1
        while rows := self.file.rows(self.sql["old_sessions"], (last, cutoff_ms, LOOK_AHEAD)):
            last = rows[-1][0]
            self.steps([row[0] for row in rows], self._session)

    def _session(self, tx: Transaction, session: int) -> None:
        tx.execute("DELETE FROM session WHERE id = ?", (session,))
        tx.event(PRUNED, session=session)
        self.emptied.append(session)
        self.sessions += 1

    # --- 2. carrying what lives over the cut ------------------------------------------------------------------------
    def carry(self, cut_to: int, since: int) -> None:
        """Write how everything that still is stood at `cut_to`. `since` is where the history was cut before."""
        for part in parts(self.file, self.read, cut_to):
            kept = [fold for task, fold in sorted(part.folds.items()) if fold.task is not None and task in part.tasks]
            if part.unreadable:
                raise StoreCorrupt(
                    f"the history of task {write_id(part.unreadable[0])} cannot be read, so nothing can be pruned",
                    "Look what is wrong with: agentctl store check",
                )
            self.steps([(fold, self._sessions_of(fold, since, cut_to)) for fold in kept], self._carry(cut_to))
        self._carry_sessions(since, cut_to)

    def _carry(self, cut_to: int) -> Callable[[Transaction, tuple[TaskFold, list[Row]]], None]:
        def act(tx: Transaction, item: tuple[TaskFold, list[Row]]) -> None:
            fold, sessions = item
            task = fold.task
            assert task is not None
            # One that was pruned since it was looked at is carried all the same: its `task.pruned` comes later.
            if task["result"] is not None:
                tx.event(CARRIED, task["id"], body=task["result"], body_digest=self.digest(tx, task["result"]))
            for attempt in fold.attempts.values():
                if attempt["partial"] is not None:
                    body = attempt["partial"]
                    tx.event(CARRIED, task["id"], body=body, body_digest=self.digest(tx, body))
            data = fold.carried(cut_to)
            if sessions:
                data["sessions"] = [packed(session) for session in sessions]
            payload = task["payload"]
            tx.event(CARRIED, task["id"], data=dumps(data), body=payload, body_digest=self.digest(tx, payload))

        return act

    def digest(self, tx: Transaction, body: int) -> bytes:
        """Return the digest of a body, whether its text is still there or not."""
        text, kept = tx.execute("SELECT text, digest FROM body WHERE id = ?", (body,)).fetchone()
        return kept if text is None else digest(text)

    def _sessions_of(self, fold: TaskFold, since: int, cut_to: int) -> list[Row]:
        assert fold.task is not None
        task, sessions = fold.task["id"], SessionFold()
        ended: list[Row] = []
        for (data,) in self.file.rows(self.sql["carried_sessions"], (task, since)) if since else ():
            ended += sessions.carry(told(data))
        for line in self.file.rows(self.sql["session_lines"], (task, since, cut_to)):
            over = sessions.apply(line)
            if over is not None:
                ended.append(over)
        return [*ended, *sessions.open.values()]

    def _carry_sessions(self, since: int, cut_to: int) -> None:
        kept = {row[0] for row in self.file.rows(self.sql["taskless_sessions"])}
        sessions = SessionFold()
        over: dict[int, Row] = {}
        for line in of_kind(self.file, self.read, CARRIED, since) if since else ():
            if line[3] is None and (data := told(line[8])).get("at") == since:
                over.update((row["id"], row) for row in sessions.carry(data))
        lines: list[Iterator[Line]] = [of_kind(self.file, self.read, kind, since, cut_to) for kind in _SESSIONS]
        for line in heapq.merge(*lines, key=lambda line: line[0]):
            ended = sessions.apply(line) if line[3] is None and line[6] in kept else None
            if ended is not None:
                over[ended["id"]] = ended
        rows = [row for row in (*over.values(), *sessions.open.values()) if row["id"] in kept]

        def act(tx: Transaction, row: Row) -> None:
            tx.event(CARRIED, session=row["id"], data=dumps({"at": cut_to, "sessions": [packed(row)]}))

        self.steps(rows, act)

    def begin_cut(self, cut_to: int, cutoff_ms: int) -> None:
        """From here on the history begins after `cut_to`, whether or not what is before has gone already."""
        said = fleet_at(self.file, self.read, cut_to).snapshot()
        said.update(at=cut_to, before=cutoff_ms, tasks=self.tasks, sessions=self.sessions, messages=self.messages)
        said.update(lanes=self.lanes)
        at_ms = self.file.rows(self.sql["event_time"], (cut_to,))[0][0]
        with self.conn.write(self.clock.now()) as tx:
            tx.event(SNAPSHOT, actor=self.actor, data=dumps(said))
            tx.execute(self.sql["set_meta"], ("cut_to", cut_to))
            tx.execute(self.sql["set_meta"], ("cut_at_ms", at_ms))

    # --- 3. the history before the cut --------------------------------------------------------------------------------
    def cut(self) -> None:
        anchor, _, cut_to = origin(self.file, self.read)
        count = 50
        while anchor < cut_to:
            rows = self.file.rows(self.sql["oldest_events"], (anchor, cut_to, count))
            with self.conn.write(self.clock.now()) as tx:
                began = time.perf_counter()
                for _, _, task, body in rows:
                    if body is not None:
                        tx.execute(self.sql["drop_body"], (body, task, rows[-1][0]))
                tx.execute(self.sql["drop_events"], (anchor, rows[-1][0]))
                tx.execute(self.sql["set_meta"], ("anchor_seq", rows[-1][0]))
                tx.execute(self.sql["set_meta"], ("anchor_hash", rows[-1][1]))
                worked = time.perf_counter() - began
            self.longest_s = max(self.longest_s, time.perf_counter() - began)
            anchor = rows[-1][0]
            self.events += len(rows)
            # So many that a step takes about STEP_S, changing slowly.
            count = max(10, min(2 * count, 1_000, int(count * STEP_S / max(worked, 1e-6))))
            self.progress("events", self.events)
            self._rest()

    def give_back(self) -> None:
        """Hand free pages back to the file system."""
        pages = VACUUM_PAGES
        while self.conn.rows("PRAGMA freelist_count")[0][0]:
            with self.conn.write(self.clock.now()) as tx:
                began = time.perf_counter()
                tx.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
                worked = time.perf_counter() - began
            self.longest_s = max(self.longest_s, time.perf_counter() - began)
            pages = max(4, min(512, int(pages * STEP_S / max(worked, 1e-6))))
            self._rest()


class one_pruner:
    """The lock that keeps two prunes apart, as a context. Conflict when another one runs."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, "prune.lock")

    def __enter__(self) -> None:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise Conflict("another prune of this store is running", "Wait until it ends") from None

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def prune(
    directory: str, older_than_ms: int, clock: Clock, actor: str, progress: Callable[[str, int], None] | None = None
) -> Pruned:
    """Forget what ended more than `older_than_ms` ago. BadInput for a negative span; StoreError and its kinds."""
    if older_than_ms < 0:
        raise BadInput("work that has not ended yet cannot be pruned", "Give a span of time, like 30d")
    with one_pruner(directory):
        pruning = Pruning(directory, clock, actor, progress or (lambda what, count: None))
        try:
            return _prune(pruning, clock.now().wall_ms - older_than_ms)
        finally:
            pruning.close()


def _prune(pruning: Pruning, cutoff_ms: int) -> Pruned:
    size = os.path.getsize(pruning.conn.path)
    pruning.cut()  # what an interrupted prune has left
    pruning.finished(cutoff_ms)
    pruning.old_sessions(cutoff_ms)
    forget_messages(pruning, cutoff_ms)
    forget_lanes(pruning)
    anchor = origin(pruning.file, pruning.read)[0]
    cut_to = seq_at(pruning.file, pruning.read, cutoff_ms - 1, anchor)
    if cut_to > anchor:
        pruning.carry(cut_to, anchor)
        carry_messages(pruning, cut_to)
        pruning.begin_cut(cut_to, cutoff_ms)
        pruning.cut()
    pruning.give_back()
    freed = max(size - os.path.getsize(pruning.conn.path), 0)
    return Pruned(
        pruning.tasks, pruning.sessions, pruning.events, freed, pruning.longest_s * 1000, pruning.messages,
        pruning.lanes,
    )  # fmt: skip
