"""The process whose power is cut: it runs store verbs and says after each, by one write, what the store then holds.

power_worker.py work  FOLDER SAID SEED SYNCHRONOUS
power_worker.py restore FOLDER SAID
"""

from __future__ import annotations

import json
import os
import random
import sys
from typing import Any

from agentctl_store.clock import Clock
from agentctl_store.domain.retry import Failure, RetryPolicy
from agentctl_store.sqlite.driver import SqliteDriver
from agentctl_store.store import Store, TaskRequest
from agentctl_store.upkeep import backup, restore

OPERATIONS = 150
ONCE = RetryPolicy(max_attempts=1)


class Worker:
    """A store and the file of what was acknowledged."""

    def __init__(self, folder: str, said: str, synchronous: str = "FULL") -> None:
        self.directory, self.synchronous = os.path.join(folder, "home", ".agentctl"), synchronous
        self.said = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.store = self.opened()
        self.keys = 0

    def opened(self) -> Store:
        driver = SqliteDriver(self.directory, create=True, synchronous=self.synchronous)
        return Store(driver, self.directory, Clock())

    def say(self, verb: str) -> None:
        """Acknowledge: whatever the store holds now was promised."""
        rows = self.rows("SELECT id, state, attempts, key FROM task ORDER BY id")
        head, hashed = self.rows("SELECT seq, hash FROM event ORDER BY seq DESC LIMIT 1")[0]
        line = {"verb": verb, "head": head, "hash": hashed.hex(), "tasks": rows}
        os.write(self.said, json.dumps(line).encode() + b"\n")

    def rows(self, sql: str) -> list[Any]:
        return self.store.driver.conn.rows(sql)  # type: ignore[attr-defined,no-any-return]

    def add(self, dice: random.Random) -> None:
        """Add one task or three, all with keys; some fill pages of their own."""
        more = []
        for _ in range(dice.choice((1, 1, 3))):
            self.keys += 1
            payload = json.dumps("x" * dice.choice((10, 900, 9000)))
            more.append(TaskRequest("q", payload, key=f"key-{self.keys}", retry=ONCE))
        self.store.add(more)

    def step(self, dice: random.Random) -> str:
        """Do something that can be done now; its name."""
        held = self.rows("SELECT id, attempts FROM task WHERE state = 'active'")
        dead = self.rows("SELECT id FROM task WHERE state = 'dead'")
        ready = self.rows("SELECT id FROM task WHERE state = 'ready'")
        can = (
            ["add"]
            + ["claim"] * bool(ready)
            + ["complete", "fail", "heartbeat"] * bool(held)
            + ["requeue"] * bool(dead)
        )
        verb = dice.choice(can)
        task, n = dice.choice(held) if held else (0, 0)
        if verb == "add":
            self.add(dice)
        elif verb == "claim":
            self.store.claim(["q"], agent="a", limit=dice.choice((1, 2)), lease_ms=600_000)
        elif verb == "complete":
            self.store.complete(task, n, result=json.dumps("r" * dice.choice((5, 3000))))
        elif verb == "fail":
            self.store.fail(task, n, Failure("permanent", "no"))
        elif verb == "heartbeat":
            self.store.heartbeat(task, n, lease_ms=600_000, progress="half")
        else:
            self.store.requeue(dice.choice(dead)[0], actor="me")
        return verb

    def again(self) -> None:
        """Close and open: the last one out folds the WAL back and removes it."""
        self.store.close()
        self.store = self.opened()


def work(worker: Worker, dice: random.Random) -> None:
    """Verbs over a log that is folded back at its own pace, every few pages, by hand and at closing."""
    for count in range(OPERATIONS):
        if count == OPERATIONS // 4:
            worker.rows("PRAGMA wal_autocheckpoint=25")  # from here on the log wraps
        elif count == OPERATIONS * 6 // 10:
            worker.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        elif count == OPERATIONS * 8 // 10:
            worker.again()
        worker.say(worker.step(dice))
    worker.store.close()


def back(worker: Worker, folder: str) -> None:
    """A backup, more work, and the older store put back: its history ends earlier than the mark says."""
    dice = random.Random(1)
    worker.add(dice)
    worker.say("add")
    kept = os.path.join(folder, "kept.db")
    backup(worker.directory, kept, Clock(), "me")
    worker.say("backup")
    worker.add(dice)
    worker.say("add")
    worker.store.close()
    child = os.fork()
    if not child:  # one that is killed leaves its log behind
        worker.store = worker.opened()
        for _ in range(10):
            worker.add(dice)
            worker.say("add")
        os._exit(0)
    os.waitpid(child, 0)
    worker.keys = 100
    restore(worker.directory, kept, Clock(), "me")
    worker.store = worker.opened()
    worker.say("restore")
    worker.add(dice)
    worker.say("add")


if __name__ == "__main__":
    what, folder, said, *more = sys.argv[1:]
    if what == "work":
        work(Worker(folder, said, more[1]), random.Random(int(more[0])))
    else:
        back(Worker(folder, said), folder)
