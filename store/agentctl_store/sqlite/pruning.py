"""One prune of a store: its steps, what they have done so far, and the cut of the history they come to."""

from __future__ import annotations

import os
import time

from ..folders import removing
from ..ids import write_id
from ..jsontext import dumps
from ..replay.tasks import SNAPSHOT
from . import sqltext
from .connection import Connection
from .past import fleet_at
from .readfile import ReadFile
from .rebuild import load_sql, origin
from .transaction import digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..clock import Clock
    from .transaction import Transaction

STEP_S = 0.002  #: a step gives the store back after this long; its commit comes on top
FOLD_STEPS = 8  #: steps between two foldings of the log
PAUSE_S = 0.001  #: and lets others in for at least this long
VACUUM_PAGES = 16


class Pruning:
    """One prune of a store, in steps."""

    def __init__(self, directory: str, clock: Clock, actor: str, progress: Callable[[str, int], None]) -> None:
        self.directory, self.clock, self.actor, self.progress = directory, clock, actor, progress
        # A step lost to a power cut is done again, so none waits for the disk while it holds other writers up; and the
        # log is folded back between steps, not inside one.
        self.conn, self.file = Connection(directory, synchronous="NORMAL"), ReadFile(directory)
        self.conn.checkpoint_apart()
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
                for _ in removing(os.path.join(self.directory, "sessions", write_id(session))):
                    pass
            self.emptied.clear()
            self._rest()

    def _rest(self) -> None:
        """Let others in, and fold the log back: readers and writers go on meanwhile."""
        self._steps += 1
        if self._steps % FOLD_STEPS == 0:
            self.conn.rows("PRAGMA wal_checkpoint(PASSIVE)")
        time.sleep(PAUSE_S)

    def digest(self, tx: Transaction, body: int) -> bytes:
        """Return the digest of a body, whether its text is still there or not."""
        text, kept = tx.execute("SELECT text, digest FROM body WHERE id = ?", (body,)).fetchone()
        return kept if text is None else digest(text)

    # --- the history before the cut -----------------------------------------------------------------------------------
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

    def cut(self) -> None:
        """Drop what is before the cut, oldest first; of the last event dropped the hash is kept."""
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
