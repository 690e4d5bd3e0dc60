"""A turn to write is as short as it can be: everybody else waits for its end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from store.store_kit import add, new_store  # noqa: TID251

VERBS = """
import sys
from agentctl_store.domain.retry import Failure
from agentctl_store.store import TaskRequest, open_store

store = open_store(sys.argv[1])
conn, before, late = store.driver.conn, set(), []
lock, unlock = conn.lock, conn.unlock

def locked():
    lock()
    before.update(sys.modules)

def unlocked():
    late.extend(sorted(set(sys.modules) - before))
    unlock()

conn.lock, conn.unlock = locked, unlocked
verb = sys.argv[2]
if verb == "add":
    store.add([TaskRequest("work")])
else:
    task = int(sys.argv[3])
    if verb == "claim":
        assert store.claim(["work"], agent="ann")
    elif verb == "heartbeat":
        store.heartbeat(task, 1)
    elif verb == "complete":
        store.complete(task, 1, result="1")
    elif verb == "complete_and_claim":
        assert store.complete_and_claim(task, 1, ["work"], agent="ann").claim
    elif verb == "fail":
        store.fail(task, 1, Failure("transient", "no"))
print(" ".join(late))
"""


def test_no_module_is_imported_with_the_turn_in_hand(tmp_path: Path) -> None:
    """Fifty processes that begin together would wait for each other's imports, some milliseconds each."""
    late = {}
    for verb in ("add", "claim", "heartbeat", "complete", "complete_and_claim", "fail"):
        with new_store(tmp_path / verb) as store:
            task = add(store)
            add(store)
            if verb != "claim":
                store.claim(["work"], agent="ann")
        argv = [sys.executable, "-c", VERBS, store.directory, verb, str(task)]
        late[verb] = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    assert not any(late.values()), late
