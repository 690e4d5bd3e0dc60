"""What `agentctl findings` takes of a store of a million tasks and ten million events (big_store.py).

Its time is told beside that of one bare scan of the same events, in the same run; its memory is what the kernel counts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench import table
from bench.big_store import EVENTS_EACH, SPAN_MS, TASKS, big_store
from bench.replay import bare

from agentctl_store.sqlite.evidence import MOST_EVENTS

pytestmark = pytest.mark.bench
MOST_MB = 200
MOST_TIMES = 30
CHILD = """
import sys
from agentctl.main import dispatch
dispatch(sys.argv[1:])
with open("/proc/self/status") as status:  # getrusage would tell of the process that forked this one
    (most,) = [line.split()[1] for line in status if line.startswith("VmHWM")]
print(int(most) >> 10, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> str:
    return big_store(tmp_path_factory.mktemp("big") / ".agentctl")


@pytest.mark.parametrize("days", [1, 5])
def test_findings_take_bounded_time_and_memory(directory: str, days: int) -> None:
    events = min(TASKS * EVENTS_EACH * days * 86_400_000 // SPAN_MS, MOST_EVENTS)
    db = bare(str(Path(directory) / "store.db"), "OFF")
    last = db.execute("SELECT max(seq) FROM event").fetchone()[0]
    scan = "SELECT count(*), sum(at_ms) FROM event WHERE seq > ?"
    db.execute(scan, (last - events,)).fetchall()  # both read a file that the kernel has in memory
    began = time.perf_counter()
    db.execute(scan, (last - events,)).fetchall()
    floor = time.perf_counter() - began
    db.close()
    began = time.perf_counter()
    ran = subprocess.run(
        [sys.executable, "-c", CHILD, "findings", "--store", directory, "--since", f"{days}d", "-o", "jsonl"],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env={**os.environ, "AGENTCTL_TOKEN": ""},
    )
    took, memory = time.perf_counter() - began, int(ran.stderr.split()[-1])
    assert "retry_storm" in ran.stdout and "poison" in ran.stdout
    what = f"findings of {days} d, {events:,} events: {took:.1f} s, {memory} MB"
    met = took < MOST_TIMES * floor and memory < MOST_MB
    table.add("F1", what, f"{took / floor:.1f}× a bare scan", f"≤ {MOST_TIMES}×, ≤ {MOST_MB} MB", met)
