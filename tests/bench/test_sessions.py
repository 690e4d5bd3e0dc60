"""N6, N8, N9: what a session costs beside the bare operating system, in one run on one machine."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faults.sandbox_kit import need_landlock
from faults.session_kit import Session, python, session, spec_for
from faults.store_kit import until

from agentctl.supervisor import sandbox, shim_sandbox, spool
from agentctl.supervisor.process import WarmPool, launch
from agentctl.supervisor.recover import Running, adopt

pytestmark = pytest.mark.bench
ROUNDS = 40
GIB = 1 << 30
AGENT = ["date", "+%s%N"]
"""Prints the moment it runs: with the moment of the launch this gives the way to its first instruction."""

FLOOD = """
import os, sys
block = (b'a line of output that an agent might print, {"n": 1}, again and again\\n' * 1000)[:65536]
left = int(sys.argv[1])
while left > 0:
    left -= os.write(1, block[:left])
"""


def _floor() -> float:
    read_end, write_end = os.pipe()
    begun = time.time_ns()
    actions = [(os.POSIX_SPAWN_DUP2, write_end, 1)]
    pid = os.posix_spawnp("date", AGENT, os.environ, file_actions=actions, setsid=True)
    os.close(write_end)
    at = int(os.read(read_end, 100))
    os.close(read_end)
    os.waitpid(pid, 0)
    return (at - begun) / 1e6


def _launched(store: Path, pool: WarmPool | None, **more: Any) -> tuple[float, float]:
    """(ms to the agent's first instruction, ms until the shim's end was seen)"""
    if pool is not None:
        pool.fill()
        time.sleep(0.05)  # the spare has time to start: that is what it is for
    spec = spec_for(store, AGENT, **more)
    begun = time.time_ns()
    one = Session(spec, launch(spec, pool))
    one.ended()
    seen = time.time_ns()
    one.shim.close()
    return (int(one.output()) - begun) / 1e6, (seen - begun) / 1e6


def _p(values: list[float]) -> str:
    ordered = sorted(values)
    return f"p50 {statistics.median(ordered):6.2f}   p95 {ordered[int(len(ordered) * 0.95)]:6.2f}"


def test_way_to_the_first_instruction(tmp_path: Path) -> None:
    pool = WarmPool(1)
    floor, cold, warm = [], [], []
    for _ in range(ROUNDS):
        floor.append(_floor())
        cold.append(_launched(tmp_path, None))
        warm.append(_launched(tmp_path, pool))
    pool.close()
    print(f"\nfirst instruction, ms: spawn floor  {_p(floor)}")
    print(f"                       warm shim    {_p([first for first, _ in warm])}")
    print(f"                       cold shim    {_p([first for first, _ in cold])}")
    print(f"end seen, ms:          warm shim    {_p([seen for _, seen in warm])}")
    print(f"                       cold shim    {_p([seen for _, seen in cold])}")
    assert statistics.median(first for first, _ in warm) <= statistics.median(floor) + 10


def test_way_to_the_first_instruction_in_a_sandbox(tmp_path: Path) -> None:
    need_landlock()
    store, work = tmp_path / "store", tmp_path / "work"
    work.mkdir()
    (tmp_path / "agentctl.toml").touch()
    env = {"PATH": os.environ["PATH"]}
    box = sandbox.Fence(str(store), str(tmp_path / "agentctl.toml")).box(None, str(work), env)
    pool = WarmPool(1)
    free, boxed = [], []
    for _ in range(ROUNDS):
        free.append(_launched(store, pool, cwd=str(work))[0])
        boxed.append(_launched(store, pool, cwd=str(work), sandbox=box)[0])
    pool.close()
    granted = len(shim_sandbox.rules(box["hide"], box["read"], box["open"]))
    print(f"\nfirst instruction, ms: warm shim     {_p(free)}")
    print(f"          in a sandbox ({granted:3} rules)  {_p(boxed)}")
    assert statistics.median(boxed) <= statistics.median(free) + 10


def _memory_kb(pid: int, field: str) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(text.split(f"\n{field}:")[1].split()[0])


def test_memory_of_idle_shims(tmp_path: Path) -> None:
    specs = [spec_for(tmp_path, ["sleep", "600"]) for _ in range(10)]
    running = [Session(spec, launch(spec)) for spec in specs]
    for one in running:
        one.started()
    each = [_memory_kb(one.shim.pid, "Pss") for one in running]
    own = [_memory_kb(one.shim.pid, "Private_Dirty") for one in running]
    for one in running:
        one.shim.send(2)
        one.ended()
        one.shim.close()
    print(f"\nidle shim, kB, median of 10: PSS {statistics.median(each)}, private {statistics.median(own)}")
    assert statistics.median(each) <= 10 * 1024


def test_hundred_sessions_adopted_and_ended_at_once(tmp_path: Path) -> None:
    specs = [spec_for(tmp_path, ["sleep", "600"]) for _ in range(100)]
    running = [Session(spec, launch(spec)) for spec in specs]
    agents = [one.started() for one in running]
    begun = time.monotonic()
    found = [adopt(spec.session_dir, spec.nonce) for spec in specs]
    adopted_s = time.monotonic() - begun
    assert all(isinstance(one, Running) for one in found)
    begun = time.monotonic()
    for pid in agents:
        os.kill(pid, signal.SIGKILL)
    for one in running:
        assert one.ended().signal == signal.SIGKILL
        one.shim.close()
    ended_s = time.monotonic() - begun
    print(f"\n100 agents: adopted in {adopted_s * 1000:.0f} ms; killed at once, recorded and reaped in ", end="")
    print(f"{ended_s * 1000:.0f} ms")
    assert adopted_s <= 2
    assert ended_s <= 1


def _timed(work: Callable[[], None]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def test_flood_into_the_spool(tmp_path: Path) -> None:
    def to_file() -> None:
        fd = os.open(tmp_path / "plain", os.O_WRONLY | os.O_CREAT)
        argv = [*python(FLOOD), str(GIB // 4)]
        pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, fd, 1)])
        os.waitpid(pid, 0)
        os.close(fd)
        os.unlink(tmp_path / "plain")

    floor_s = _timed(to_file) * 4
    with session(tmp_path, [*python(FLOOD), str(GIB)]) as one:
        pid = one.shim.pid
        peak_kb = 0
        begun = time.monotonic()

        def over() -> bool:
            nonlocal peak_kb
            try:
                peak_kb = max(peak_kb, int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]))
            except (OSError, IndexError):
                pass
            time.sleep(0.02)
            return one.shim.ended()

        until(over, "the end of the flood", 120)
        took_s = time.monotonic() - begun
        record = one.ended()
        first, end = spool.Stream(one.spec.session_dir, "out").extent()
    print(f"\n1 GiB of output: {GIB / took_s / 1e6:.0f} MB/s into the spool, {GIB / floor_s / 1e6:.0f} MB/s")
    print(f"straight into a file; shim CPU and agent share two cores; shim memory peak {peak_kb} kB")
    assert (record.code, end, record.lost_bytes) == (0, GIB, 0)
    assert end - first <= 64 << 20
    assert peak_kb <= 64 * 1024
    assert GIB / took_s >= 200e6
