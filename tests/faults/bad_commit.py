"""A connection whose next COMMIT goes wrong, before or after it became durable."""

from __future__ import annotations

import os
import signal
from typing import Any

from agentctl_store.sqlite import gate

FSYNC_FAILED = 1034  # SQLITE_IOERR_FSYNC


class BadCommit:
    """Stands before SQLite's connection; `kill` ends the process instead of raising."""

    def __init__(self, db: Any, durable: bool, kill: bool = False) -> None:
        self.db, self.durable, self.kill, self.left = db, durable, kill, 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self.db, name)

    def cursor(self) -> Any:
        return self

    def execute(self, sql: str, *values: Any) -> Any:
        if sql != "COMMIT" or not self.left or not self.counts():
            return self.db.execute(sql, *values)
        self.left -= 1
        if self.durable:
            self.db.execute(sql)
        if self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        error = gate.load().OperationalError("disk I/O error")
        error.sqlite_errorcode = FSYNC_FAILED
        raise error

    def counts(self) -> bool:
        return True


class BadBatch(BadCommit):
    """The same for a broker: only a commit that brings events goes wrong, not its own upkeep."""

    wrote = False

    def execute(self, sql: str, *values: Any) -> Any:
        if sql.startswith("BEGIN"):
            self.wrote = False
        elif sql.startswith("INSERT INTO event"):
            self.wrote = True
        return super().execute(sql, *values)

    def executemany(self, sql: str, rows: Any) -> Any:
        self.wrote = self.wrote or sql.startswith("INSERT INTO event")
        return self.db.executemany(sql, rows)

    def counts(self) -> bool:
        return self.wrote
