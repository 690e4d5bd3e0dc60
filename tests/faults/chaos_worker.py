"""A worker-mode agent that claims for itself and is there to be killed: it logs what it asked and what it was told."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from history import Log

from agentctl_store.errors import StaleAttempt
from agentctl_store.ids import read_id
from agentctl_store.store import open_store


def work(folder: str, work_s: float) -> None:
    """Claim and complete for ever; each attempt leaves a durable line."""
    env = os.environ
    session, agent = env["AGENTCTL_SESSION"], env["AGENTCTL_AGENT"]
    store, said = open_store(env["AGENTCTL_STORE"]), Log(folder, f"{agent}-{session}")
    slot = int(env["AGENTCTL_INSTANCE"].rpartition("/")[2])
    while True:
        said.sent("claim")
        won = store.claim([agent], agent=agent, slot=slot, session=read_id(session), lease_ms=30_000)
        if not won:
            said.refused()
            time.sleep(0.02)
            continue
        task, n = won[0].task.id, won[0].n
        said.acked(task=task, n=n)
        time.sleep(work_s)
        said.sent("complete", task=task, n=n)
        try:
            store.complete(task, n, result=str(n))
        except StaleAttempt:
            said.refused()
        else:
            said.acked()


if __name__ == "__main__":
    work(sys.argv[1], float(sys.argv[2]))
