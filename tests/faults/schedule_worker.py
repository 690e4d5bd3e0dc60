"""A process that keeps to the schedules of a store for as long as it lives: sweeps and claims, as fast as it can."""

from __future__ import annotations

import sys

from agentctl_store.errors import StoreBusy
from agentctl_store.store import open_store

with open_store(sys.argv[1], own=True) as store:
    print("ready", flush=True)
    while True:
        try:
            if sys.argv[2] == "sweep":
                store.sweep()
            else:
                store.claim(["nothing"], agent="ann")
        except StoreBusy:
            pass
