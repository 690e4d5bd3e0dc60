"""A dashboard whose terminal went away without a signal ends: nobody can see it, and nobody could end it."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from pathlib import Path

from agentctl_store.store import open_store


def test_it_ends_with_its_terminal(tmp_path: Path) -> None:
    open_store(str(tmp_path / "store"), create=True).close()
    leader, follower = pty.openpty()
    words = [sys.executable, "-m", "agentctl", "tui", "--store", str(tmp_path / "store")]
    child = subprocess.Popen(words, stdin=follower, stdout=follower, stderr=follower, cwd=tmp_path)
    os.close(follower)
    seen = b""
    while b"No agents yet" not in seen:
        assert select.select([leader], [], [], 20)[0], "nothing was painted"
        seen += os.read(leader, 1 << 16)
    os.close(leader)
    try:
        child.wait(20)
    finally:
        child.kill()
        child.wait()
