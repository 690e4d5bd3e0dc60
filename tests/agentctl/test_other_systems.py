"""Where there is no epoll, no eventfd and no SO_PEERCRED there is no broker, and everything else works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

WITHOUT = """
import os, select, socket
missing = {select: ("epoll", "EPOLL"), os: ("eventfd", "EFD_", "pidfd"), socket: ("SO_PEERCRED", "SOCK_NONBLOCK")}
for module, beginnings in missing.items():
    for name in [name for name in vars(module) if name.startswith(beginnings)]:
        delattr(module, name)
"""
IMPORTS = """
import importlib, pkgutil
import agentctl, agentctl_store, agentctl_tui
for package in (agentctl, agentctl_store, agentctl_tui):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not found.name.endswith("__main__") and ".examples." not in found.name:
            importlib.import_module(found.name)
"""
SERVES = """
import sys
from agentctl.supervisor.owner import Owner
from agentctl_store.clock import Clock
from agentctl_store.store import TaskRequest, open_store
open_store(sys.argv[1], create=True).close()
owner = Owner(sys.argv[1], Clock())
owner.serve(lambda: (), print)
with open_store(sys.argv[1], stay=True) as store:
    store.add([TaskRequest("q")])
    assert len(store.claim(["q"], agent="a", wait_ms=1)) == 1
owner.close()
assert not os.path.exists(sys.argv[1] + "/broker.sock")
"""


def run_without(code: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + code, *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_every_module_can_be_imported() -> None:
    run_without(IMPORTS)


def test_callers_go_on_with_the_file(tmp_path: Path) -> None:
    run_without(SERVES, str(tmp_path / ".agentctl"))
