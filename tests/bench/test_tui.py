"""N10: how soon the dashboard is there, how fast it answers and what it costs to watch, beside Textual's DataTable.

The dashboard is `agentctl tui` on a store of 100 instances, a million tasks and ten million events (big_store.py, built
anew in about a minute, 2 GB); the table holds 100 rows in memory. Each is a process in a pseudo-terminal of 120×40:
CPU and memory are as the kernel counts them, times from the bytes it writes. AGENTCTL_BENCH_TASKS=20000 makes the store
smaller, to try changes of this file; figures for N10 are those of the full size.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import psutil
import pytest
from bench import table
from bench.big_store import EVENTS_EACH, TASKS, big_store

pytestmark = pytest.mark.bench
HERE = os.path.dirname(os.path.abspath(__file__))
SECONDS = 10.0
STARTS = 7
KEYS = 60
QUIET_S = 0.06  #: after so long without a byte the screen is taken to be finished
BEAT_S = 0.25
CURSOR = "▌".encode()  #: written with the selected row, and only when its values are there
UP, DOWN, PAGE_UP, PAGE_DOWN, HOME, END = b"\x1b[A", b"\x1b[B", b"\x1b[5~", b"\x1b[6~", b"\x1b[H", b"\x1b[F"
ESCAPE = b"\x1b[27u"  #: as terminals with the kitty keyboard protocol send it: a bare one has to be waited for
#: what a person does again and again on a screen: name → (key, what its answer shows)
WAYS: dict[str, list[tuple[bytes, bytes]]] = {
    "move": [(DOWN, CURSOR)] * 15 + [(UP, CURSOR)] * 5,
    "page": [(PAGE_DOWN, CURSOR), (PAGE_DOWN, CURSOR), (PAGE_UP, CURSOR), (PAGE_UP, CURSOR)],
    "end, home": [(END, CURSOR), (HOME, CURSOR)],
    "sort": [(b"o", CURSOR), (b"O", CURSOR)],
    "filter": [(b"/", b"any text of a row"), (b"k", b"k"), (b"w", b"w"), (b"y", b"y"), (ESCAPE, CURSOR)],
}
TABS = [(b"3", b"Dead letters"), (b"1", b"Instances")]


class Terminal:
    """A child in a pseudo-terminal, whose output is read as a terminal would."""

    def __init__(self, *words: str) -> None:
        self.leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        env = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "PYTHONPATH": os.path.dirname(HERE)}
        self.began = time.monotonic()
        self.child = subprocess.Popen(
            [sys.executable, *words], stdin=follower, stdout=follower, stderr=follower, env=env
        )  # fmt: skip
        os.close(follower)
        self.process = psutil.Process(self.child.pid)

    def read(self, seconds: float, until: bytes | None = None) -> float | None:
        """Drain the output for `seconds`; with `until`, return the time it came."""
        seen, deadline = b"", time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self.leader], [], [], left)[0]:
                break
            seen = seen[-64:] + os.read(self.leader, 1 << 16)
            if until is not None and until in seen:
                return time.monotonic()
        return None

    def settle(self) -> float:
        """Drain until the screen is finished; return when it was."""
        last = time.monotonic()
        while select.select([self.leader], [], [], QUIET_S)[0] and time.monotonic() < last + 10:
            os.read(self.leader, 1 << 16)
            last = time.monotonic()
        return last

    def press(self, key: bytes, sign: bytes) -> tuple[float, float]:
        """Milliseconds from a key to its sign on the screen, and to the finished screen."""
        sent = time.monotonic()
        os.write(self.leader, key)
        answered = self.read(5.0, sign)
        assert answered is not None, f"{key!r} had no answer"
        return 1000 * (answered - sent), 1000 * (max(self.settle(), answered) - sent)

    def cpu(self, seconds: float = SECONDS) -> float:
        """Share of one core used, in percent."""
        before, began = self.process.cpu_times(), time.monotonic()
        self.read(seconds)
        after = self.process.cpu_times()
        used = after.user + after.system - before.user - before.system
        return 100 * used / (time.monotonic() - began)

    def megabytes(self) -> float:
        """Memory, what is shared with others counted in part."""
        return self.process.memory_full_info().pss / 1e6

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.wait()
        os.close(self.leader)


def first_paint(words: list[str], sign: bytes) -> tuple[float, float]:
    """Milliseconds from the start of the process to the rows on screen, and of CPU until then: medians."""
    times, cpu = [], []
    for _ in range(STARTS):
        with Terminal(*words) as terminal:
            painted = terminal.read(20, sign)
            assert painted is not None, "nothing was painted"
            used = terminal.process.cpu_times()
            times.append(1000 * (painted - terminal.began))
            cpu.append(1000 * (used.user + used.system))
    return median(times), median(cpu)


@contextmanager
def watched(words: list[str], sign: bytes) -> Iterator[Terminal]:
    """Start it and wait until it has been still for a while."""
    with Terminal(*words) as terminal:
        assert terminal.read(20, sign) is not None, "nothing was painted"
        terminal.read(2)
        yield terminal


def p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("big") / ".agentctl"
    folder.mkdir()
    yield big_store(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def ours(store: str) -> list[str]:
    return [str(Path(sys.executable).parent / "agentctl"), "tui", "--store", store]


@pytest.fixture(scope="module")
def theirs() -> list[str]:
    return [os.path.join(HERE, "tui_child.py")]


def note(what: str, value: float, unit: str, goal: float | None = None) -> None:
    size = f"{TASKS:,} tasks, {TASKS * EVENTS_EACH:,} events"
    if goal is not None:
        table.add("N10", f"{what} ({size})", f"{value:.1f} {unit}", f"≤ {goal:g} {unit}", value <= goal)
    print(f"{what:<50}{value:>9.1f} {unit}")


def test_the_first_paint_comes_at_once(ours: list[str], theirs: list[str]) -> None:
    painted, cpu = first_paint(ours, b"coder/1 ")
    beside, beside_cpu = first_paint(theirs, b"worker-001")
    note("first paint of the fleet, from process start", painted, "ms", 400)
    note("  CPU until then", cpu, "ms")
    note("  DataTable of 100 rows in memory", beside, "ms")
    note("  CPU until then", beside_cpu, "ms")
    assert cpu < 3 * beside_cpu


def press_all(terminal: Terminal, what: str, way: list[tuple[bytes, bytes]]) -> list[float]:
    """Press the keys of a way in turn; return the times to their signs."""
    pressed = [terminal.press(*way[number % len(way)]) for number in range(KEYS)]
    answered = [first for first, _ in pressed]
    note(f"key → screen p95, {what}", p95(answered), "ms", 50)
    note("  p50", median(answered), "ms")
    note("  until the screen is finished p50", median(last for _, last in pressed), "ms")
    return answered


def test_keys_are_answered_at_once(ours: list[str], theirs: list[str]) -> None:
    every: list[float] = []
    with watched(ours, b"coder/1 ") as terminal:
        for name, way in WAYS.items():
            every += press_all(terminal, f"Fleet: {name}", way)
        terminal.press(*TABS[0])
        for name, way in WAYS.items():
            every += press_all(terminal, f"Dead letters: {name}", way)
        terminal.press(*TABS[1])
        every += press_all(terminal, "3 and 1 in turn", TABS)
        note("memory after all keys", terminal.megabytes(), "MB", 60)
    with watched(theirs, b"worker-001") as terminal:
        beside = median(terminal.press(key, b"worker-")[0] for key, _ in WAYS["move"] * 3)
    note("  DataTable p50: move", beside, "ms")
    # Times on the wall are those of a quiet machine; on a busy one they are held to what DataTable gets.
    assert median(every) < max(50, 3 * beside)


def test_watching_costs_little(ours: list[str], theirs: list[str], store: str) -> None:
    with watched(ours, b"coder/1 ") as terminal:
        idle = terminal.cpu()
        note("CPU while nothing changes", idle, "%", 1)
        note("memory at first", terminal.megabytes(), "MB", 60)
        with changing(store):
            assert terminal.read(10, b"throttled") is not None, "no change was seen"
            terminal.read(2)
            live = terminal.cpu()
            note("CPU while 100 instances change at 4 Hz", live, "%", 5)
            press_all(terminal, "Fleet: move, while all change", WAYS["move"])
            os.write(terminal.leader, b"3")
            terminal.read(2)
            note("CPU on the dead letters while 100 instances change", terminal.cpu(), "%", 5)
            note("memory after watching", terminal.megabytes(), "MB", 60)
    with watched([*theirs, "live"], b"worker-001") as terminal:
        beside = terminal.cpu()
    note("  DataTable of 100 rows in memory changed at 4 Hz", beside, "%")
    assert live < 0.6 * beside
    assert idle <= 2


@contextmanager
def changing(store: str) -> Iterator[None]:
    """Have another process change every instance at each beat."""
    env = {**os.environ, "PYTHONPATH": os.path.dirname(HERE)}
    writer = subprocess.Popen([sys.executable, os.path.join(HERE, "big_store.py"), store, str(BEAT_S)], env=env)
    try:
        yield
    finally:
        writer.kill()
        writer.wait()
