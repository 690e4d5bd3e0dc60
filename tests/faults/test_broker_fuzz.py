"""P17: whatever bytes come over the socket, the broker serves on, keeps its memory, and the store stays whole.

Real frames are recorded, broken in every way at hand, and sent to a real broker in a process of its own, while a
well-behaved client beside them adds, claims and finishes. AGENTCTL_FUZZ_FRAMES sets how many (a million takes minutes).
"""

from __future__ import annotations

import json
import os
import random
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from faults.raw_kit import Raw, descriptors, hello_frame, new_message, new_task, rss_kib
from faults.store_kit import dice_of

from agentctl_store.broker.calls import ORDER
from agentctl_store.broker.wire import LENGTH, MAX_CALL, VERSION, text_of
from agentctl_store.domain.agent import AgentSpec, Instance, NewSession, SessionEnd
from agentctl_store.domain.breaker import Breaker
from agentctl_store.domain.budget import Budget
from agentctl_store.domain.limits import Bound
from agentctl_store.domain.message import Damping, MessageFilter
from agentctl_store.domain.question import NewQuestion
from agentctl_store.domain.retry import Failure, RetryPolicy
from agentctl_store.domain.schedule import ScheduleSpec
from agentctl_store.domain.task import Usage
from agentctl_store.replay import verify

FRAMES = int(os.environ.get("AGENTCTL_FUZZ_FRAMES", 40_000))
WARM = 0.25  #: of the frames, after which memory is measured first
AT_ONCE = 24  #: connections
EACH = 100  #: frames of one connection
IDLE_S = 0.5  #: a connection that is told nothing more for so long is closed: its last call waits, or was never whole
MOST_GROWTH = 0.05
WORST_WAIT_S = 5.0  #: of the well-behaved client; on an idle machine it is milliseconds
TESTS = str(Path(__file__).parent.parent)
TOKENS = (None, None, "a/1", "b/1")

SERVER = """
import sys
from pathlib import Path
from faults.raw_kit import World
w = World(Path(sys.argv[1]), ("a/1", "b/1"))
# SQLite keeps pages up to 2 MiB as the file grows: less, so that what leaks can be told from it.
w.broker._desk.driver.conn.db.execute("PRAGMA cache_size = -200")
w.broker.start()
print("ready", flush=True)
sys.stdin.readline()
assert w.broker._thread.is_alive()
w.broker.stop()
for line in w.told:
    print(line)
"""
NEIGHBOUR = """
import sys, time
from pathlib import Path
from faults.raw_kit import Raw, claim_words, new_message, new_task
worst = turns = 0
with Raw(Path(sys.argv[1])) as caller:
    assert caller.hello()[0] == 0
    def call(*given):
        global worst
        began = time.monotonic()
        how, value = caller.call(*given)
        worst = max(worst, time.monotonic() - began)
        assert how == 0, value
        return value
    print("ready", flush=True)
    import select
    while not select.select([sys.stdin], [], [], 0)[0]:
        [one] = call("add", (new_task("private"),), "neighbour")
        [claim] = call("claim", *claim_words("neighbour", queues=("private",), wait_ms=1000))
        call("heartbeat", one.id, claim.n, 60_000, "at it", None)
        assert call("complete", one.id, claim.n, '"done"', None, 0, None).state == "done"
        turns += 1
print(turns, worst)
"""
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 255, 1 << 31, (1 << 63) - 1, 1 << 63, -(1 << 63), 1 << 64, 10**30, 0.5, 1e308, -0.0,
    "", "a", "\0", "../../x", "-rf", "a" * 300, "q" * 5_000, "\u202e", "é", "key:", [], [[]], {}, [0] * 50, "null",
    {"Task": []}, {"NewTask": []}, {"bytes": "00"}, {"bytes": "zz"}, {"RetryPolicy": [0, 1.0, 0, 1]}, {"x": 1, "y": 2},
    {"Usage": [1, 2, 3]}, {"Failure": ["lost", "", None, None]}, {"NewSession": [5, "a", 1, "n"]},
)  # fmt: skip
SPLICES = (
    b"\\ud800", b"\\u0000", b"\0", b"\xff\xfe", b"NaN", b"Infinity", b"1e999", b"[[[[[[[[[[", b'{"a":1,"a":2}', b'"',
    b"[" * 3_000, b"9" * 5_000, b"\xed\xa0\x80", b"],[", b"//", b" ", b"\x1b[2J",
)  # fmt: skip


def recorded() -> list[Any]:
    """A frame of each verb as a caller means it, as plain JSON."""
    usage, end = Usage(1, 2, 3), SessionEnd(7, "exited", 0)
    plain = new_task("q", '{"n":1}')
    rich = new_task(
        "r", "[1]", priority=3, key="k", after=(plain.id,), on_parent_failure="run", run_at_ms=1, deadline_ms=10**13,
        timeout_ms=1000, retry=RetryPolicy(), creator=None,
    )  # fmt: skip
    spec = AgentSpec("a", "task", ("q",), 1, '{"base_ms":1000,"max_attempts":3}', ("gpu",), '{"agent":"b"}', 9, True)
    row = Instance("a", 1, "idle", "healthy", "", None, 0, False, None, "", 0)
    plan = ScheduleSpec(
        "s", "q", '{"n":1}', every_ms=60_000, overlap="queue", jitter_ms=1_000, priority=3, timeout_ms=9
    )
    cron = ScheduleSpec("t", "q", cron="0 8 * * MON-FRI", zone="Europe/Berlin", catch_up=False)
    question = NewQuestion("Delete it?", ("yes", "no"), 60_000, "no")
    given: dict[str, Any] = {
        "add": ((plain, rich), "me"), "claim": (("q", "r"), "a", 1, None, None, 1_000, 2, ("gpu",), 20),
        "heartbeat": (plain.id, 1, 1_000, "x", usage), "complete": (plain.id, 1, '{"a":1}', usage, 0, None),
        "complete_and_claim": (plain.id, 1, None, None, ("q",), "a", 1, None, 1_000, None),
        "fail": (plain.id, 1, Failure("transient", "no", 1, 5), usage, 0.5, None),
        "release": (plain.id, 1, "", None, usage), "cancel": (plain.id, "why", "me"),
        "cancelled": (plain.id, 1, None, None), "hasten": (plain.id, "me"),
        "requeue": (plain.id, "1", None, "", "me"), "discard": (plain.id, "why", "me"), "sweep": (100, 0.5),
        "pause_queue": ("r", "", "me"), "resume_queue": ("r", "me"), "declare_agents": ((spec,), "me"),
        "set_desired": ("a", "running", "me"), "restart_agent": ("a", "me"), "scale_agent": ("a", 2, "me"),
        "save_instances": ((row,),), "drop_instances": ((("a", 1),),), "open_session": (NewSession(7, "a", 1, "n"),),
        "session_started": (7, 1), "end_session": (end, None), "note": ("supervisor.noted", "me", "{}"),
        "task": (plain.id,),
        "find_tasks": (0, 1 << 62, 10), "task_by_key": ("k",), "attempts": (plain.id,), "unfinished": (("q",), ("a",)),
        "parents": (rich.id,), "agents": (), "instances": (), "open_sessions": (), "session": (7,), "held_tasks": (7,),
        "events": (0, 20, None, ("task.added",), True), "changed": (0, None, 20), "version": (), "receipt": (1, 1),
        "schedules.add": (plan, "me", 0.5), "schedules.declare": ((plan, cron), "me", 0.5),
        "schedules.remove": ("s", "me"), "schedules.pause": ("s", "why", "me"), "schedules.resume": ("s", "me", 0.5),
        "schedules.run": ("s", "me", 0.5), "schedules.all": (), "schedules.one": ("s",),
        "questions.ask": (plain.id, 1, question, usage, 0, end), "questions.answer": (plain.id, 1, "yes", "me"),
        "questions.reject": (plain.id, None, "why", "me"), "questions.open": (10,), "questions.of_task": (plain.id,),
    }  # fmt: skip
    given |= recorded_messages() | recorded_limits()
    assert set(given) == set(ORDER), "a verb has no frame here"
    return [json.loads(text_of([index, verb, words])) for index, (verb, words) in enumerate(given.items(), 1)]


def recorded_messages() -> dict[str, Any]:
    """The same of the verbs on messages."""
    plain = new_message()
    rich = new_message(
        "a", "topic:news", conversation=plain.id, reply_to=plain.id, priority=3, expires_ms=10**13, key="k",
        max_deliveries=2, creator=None, acks=1,
    )  # fmt: skip
    return {
        "messages.send": (rich, "me"), "messages.read": ("a", "a/1", 5, 1_000, 20), "messages.ack": (plain.id, 1),
        "messages.refuse": (plain.id, 1, "why"), "messages.give_back": (plain.id, 1),
        "messages.requeue": (plain.id, "1", "", "me"), "messages.discard": (plain.id, "why", "me"),
        "messages.subscribe": ("news", "a", "me"), "messages.unsubscribe": ("news", "a", None),
        "messages.set_schema": ("QUERY", '{"type":"string"}', "me"), "messages.remove_schema": ("topic:news", "me"),
        "messages.configure": (Damping(5, 1_000), "me"), "messages.message": (plain.id,),
        "messages.find": (0, 1 << 62, 10), "messages.list": (MessageFilter(party="a", text="x", dead=True), 20),
        "messages.thread": (plain.id, "a", 20), "messages.topics": (), "messages.schemas": (), "messages.damping": (),
    }  # fmt: skip


def recorded_limits() -> dict[str, Any]:
    """The same of the verbs on limits, budgets and breakers."""
    bound = Bound("provider", "p", 5, 1_000, 2, 3)
    budget, breaker = Budget("agent", "a", "usd", "day", 10, zone="Europe/Berlin"), Breaker("agent", "a")
    return {
        "limits.set_bound": (bound, "me"), "limits.remove_bound": ("provider", "p", "me"),
        "limits.assign": ("a", "p", "me"), "limits.set_budget": (budget, "me"),
        "limits.remove_budget": ("agent", "a", "usd", "day", "me"), "limits.set_breaker": (breaker, "me"),
        "limits.remove_breaker": ("agent", "a", "me"), "limits.reset_breaker": ("agent", "a", "me"),
        "limits.configure": ((Bound("queue", "q", max_depth=9),), (("a", "p"),), (budget,), (breaker,), "me"),
        "limits.hold": (("q",), "a", 1), "limits.overspent": (1,),
    }  # fmt: skip


# --- mutations ----------------------------------------------------------------------------------------------------
def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    inside = range(len(value)) if isinstance(value, list) else list(value) if isinstance(value, dict) else ()
    for at in inside:
        yield value, at
        yield from _places(value[at])


def _swapped(frame: Any, dice: random.Random) -> bytes:
    copy = deepcopy(frame)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        places = list(_places(copy))
        room, at = dice.choice(places)
        room[at] = deepcopy(dice.choice(ODD) if dice.random() < 0.8 else dice.choice(places)[0])
    return json.dumps(copy, ensure_ascii=dice.random() < 0.5).encode(errors="surrogatepass")


def _flipped(data: bytes, dice: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(dice.randint(1, 6)):
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _spliced(data: bytes, dice: random.Random) -> bytes:
    at, to = sorted(dice.randrange(len(data)) for _ in range(2))
    return data[:at] + dice.choice(SPLICES) + data[at if dice.random() < 0.5 else to :]


def _nested(data: bytes, dice: random.Random) -> bytes:
    depth = dice.choice((5, 70, 900, 5_000))
    return b"[" * depth + data + b"]" * dice.choice((depth, depth, 0))


def framed(frame: Any, dice: random.Random) -> bytes:
    """One frame, broken in some way or, seldom, whole."""
    how = dice.random()
    data = json.dumps(frame, separators=(",", ":")).encode()
    if how < 0.05:
        pass
    elif how < 0.50:
        data = _swapped(frame, dice)
    elif how < 0.70:
        data = _flipped(data, dice)
    elif how < 0.85:
        data = _spliced(data, dice)
    elif how < 0.90:
        data = data[: dice.randrange(len(data))]
    elif how < 0.93:
        data = _nested(data, dice)
    elif how < 0.96:
        data = dice.randbytes(dice.choice((0, 1, 5, 200)))
    elif how < 0.962:  # what follows is read as something else
        wrong = dice.choice((0, 1, len(data) - 1, len(data) + 1, MAX_CALL, MAX_CALL + 1, (1 << 32) - 1))
        return wrong.to_bytes(LENGTH, "big") + data
    return len(data).to_bytes(LENGTH, "big") + data


def greeting(dice: random.Random) -> bytes:
    """A hello as it should be, or not quite."""
    if dice.random() < 0.96:
        return hello_frame(dice.randrange(1 << 40), dice.choice(TOKENS))
    odd = [dice.choice((VERSION, *ODD)), dice.choice(ODD), dice.choice((*TOKENS, *ODD))]
    return framed([0, "hello", odd], dice)


# --- the run ------------------------------------------------------------------------------------------------------
class Fuzzer:
    """Keeps AT_ONCE connections busy with broken frames."""

    def __init__(self, directory: Path, dice: random.Random) -> None:
        self.path, self.dice = f"{directory}/broker.sock", dice
        self.frames = recorded()
        self.sent = self.answered = self.connections = 0
        self.selector = selectors.DefaultSelector()
        self.open: dict[socket.socket, list[Any]] = {}  #: → what is to be sent, when it was last told something, what

    def run(self, frames: int) -> None:
        """Send so many more."""
        until = self.sent + frames
        while self.sent < until or self.open:
            while self.sent < until and len(self.open) < AT_ONCE:
                self._begin()
            for key, mask in self.selector.select(0.1):
                self._turn(key.fileobj, mask)  # type: ignore[arg-type]
            now = time.monotonic()
            for channel in [one for one, state in self.open.items() if now - state[1] > IDLE_S]:
                self._end(channel)

    def _begin(self) -> None:
        channel = socket.socket(socket.AF_UNIX)
        channel.connect(self.path)
        channel.setblocking(False)
        frames = [framed(self.dice.choice(self.frames), self.dice) for _ in range(EACH)]
        data = b"".join([greeting(self.dice), *frames])
        if self.dice.random() < 0.2:
            data = data[: -self.dice.randint(1, 40)]  # half a frame, and then no more
        self.open[channel] = [memoryview(data), time.monotonic(), b""]
        self.selector.register(channel, selectors.EVENT_READ | selectors.EVENT_WRITE)
        self.sent, self.connections = self.sent + EACH + 1, self.connections + 1

    def _turn(self, channel: socket.socket, mask: int) -> None:
        state = self.open[channel]
        try:
            if mask & selectors.EVENT_WRITE:
                state[0] = state[0][channel.send(state[0]) :]
                if not state[0]:
                    self.selector.modify(channel, selectors.EVENT_READ)
            if mask & selectors.EVENT_READ:
                said = channel.recv(1 << 18)
                if not said:
                    raise ConnectionResetError
                state[1], state[2] = time.monotonic(), self._counted(state[2] + said)
                if not state[0] and self.dice.random() < 0.005:
                    raise ConnectionResetError  # away, with its answers under way
        except BlockingIOError:
            pass
        except OSError:
            self._end(channel)

    def _counted(self, said: bytes) -> bytes:
        """Count the answers in what was said; the part of one that is left."""
        at = 0
        while len(said) >= at + LENGTH and len(said) >= (end := at + LENGTH + int.from_bytes(said[at : at + 4], "big")):
            self.answered, at = self.answered + 1, end
        return said[at:]

    def _end(self, channel: socket.socket) -> None:
        self.selector.unregister(channel)
        del self.open[channel]
        channel.close()


@contextmanager
def beside(code: str, directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that runs until a line comes; what it says after that, is for its caller."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": TESTS},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()


def finish(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate("end\n", timeout=60)
    assert process.returncode == 0, said
    return said


def settled(process: subprocess.Popen[str], measure: Callable[[int], int]) -> int:
    """The least of some measurements: connections just closed are let go a moment later."""
    found = [measure(process.pid)]
    for _ in range(20):
        time.sleep(0.02)
        found.append(measure(process.pid))
    return min(found)


def test_no_bytes_stop_slow_or_swell_the_broker(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    dice, directory = dice_of(request), tmp_path / ".agentctl"
    began = time.monotonic()
    with beside(SERVER, directory) as server, beside(NEIGHBOUR, directory) as neighbour:
        fuzzer = Fuzzer(directory, dice)
        fuzzer.run(int(FRAMES * WARM))
        rss, files = settled(server, rss_kib), settled(server, descriptors)
        fuzzer.run(FRAMES - fuzzer.sent)
        grown = settled(server, rss_kib) / rss - 1
        turns, worst = finish(neighbour).split()
        assert settled(server, descriptors) <= files, "descriptors are left open"
        with Raw(directory) as last:
            assert last.hello()[0] == 0 and last.call("version")[0] == 0
        told = finish(server)
    found = verify(str(directory))
    print(
        f"{fuzzer.sent:,} frames, {fuzzer.answered:,} answered, {fuzzer.connections:,} connections, "
        f"{time.monotonic() - began:.1f} s; memory {rss:,} KiB {grown:+.1%}; beside it {turns} turns, the worst wait "
        f"{float(worst) * 1000:.0f} ms; {found.events:,} events"
    )
    assert fuzzer.answered > fuzzer.sent // 2, "most of it was read"
    assert told == "", "errors of the broker's own"
    assert found.intact, found.faults[:5]
    assert grown < MOST_GROWTH
    assert int(turns) > 20 and float(worst) < WORST_WAIT_S
