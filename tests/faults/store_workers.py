"""Client processes of a store for the fault tests, forked by the hundred.

Run as a program, this is the parent of all clients: it has imported everything, so that a new client costs a fork.
It reads one JSON line per command on stdin and answers one on stdout. Only the parent signals a client: it has not
reaped it yet, so the pid cannot be somebody else's.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import resource
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from faults.bad_commit import BadBatch
from history import Log

from agentctl_store.broker.driver import connect
from agentctl_store.broker.server import Broker
from agentctl_store.clock import Clock
from agentctl_store.domain.retry import Failure, RetryPolicy
from agentctl_store.domain.task import Usage
from agentctl_store.errors import AgentctlError, StaleAttempt, StoreError
from agentctl_store.messageverbs import MessageRequest
from agentctl_store.sqlite.driver import SqliteDriver
from agentctl_store.store import Store, TaskRequest

PATIENT = RetryPolicy(base_ms=1, factor=1.5, cap_ms=50, max_attempts=1000)


THROUGH, PATIENCE_S = "AGENTCTL_TEST_THROUGH", "AGENTCTL_TEST_PATIENCE_S"


def opened(directory: str, synchronous: str = "FULL", clock: Clock | None = None) -> Store:
    """A store with a chosen durability; through its broker, and not needing one, where THROUGH says so."""
    clock = clock or Clock()
    if os.environ.get(THROUGH) == "broker":
        patience_s = float(os.environ.get(PATIENCE_S, "15"))
        driver = connect(directory, clock, create=False, stay=True, patience_s=patience_s)
        assert driver is not None
        return Store(driver, directory, clock)
    return Store(SqliteDriver(directory, synchronous=synchronous), directory, clock)


def serve(store: str, log: str, name: str, synchronous: str = "NORMAL", die: str = "", files: int = 0) -> None:
    """Own the store until killed, as the supervisor does; `die` by SIGKILL "before" or "after" the next commit."""
    broker = Broker(store, Clock(), synchronous=synchronous)
    if die:
        conn = broker._desk.driver.conn
        conn.use(BadBatch(conn.db, durable=die == "after", kill=True))
    if files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    broker.start()
    Path(log, f"{name}.serves").touch()
    while True:
        signal.pause()


# --- what clients do --------------------------------------------------------------------------------------------
def drain(store: str, log: str, name: str, queue: str = "q", synchronous: str = "FULL", complete: bool = True) -> None:
    """Claim, and complete, until nothing is left."""
    mine, said = opened(store, synchronous), Log(log, name)
    while True:
        said.sent("claim")
        won = mine.claim([queue], agent="drain", lease_ms=600_000)
        if not won:
            said.refused()
            swept = mine.sweep()
            # What a killed client held comes back as its lease runs out; those who only claim keep theirs for minutes.
            to_come = swept.next_due_ms or (complete and swept.next_expiry_ms)
            if not to_come and not mine.claim([queue], agent="drain"):
                return
            time.sleep(0.005)
            continue
        task, n = won[0].task.id, won[0].n
        said.acked(task=task, n=n)
        if complete:
            said.sent("complete", task=task, n=n)
            mine.complete(task, n, result="1")
            said.acked()


def churn(store: str, log: str, name: str, seed: int, lease_ms: int = 80, keys: int = 50) -> None:
    """Add, claim, work and end at random, for ever: this client is there to be killed."""
    dice, mine, said = random.Random(seed), opened(store, "NORMAL"), Log(log, name)
    count = 0
    while True:
        count += 1
        if dice.random() < 0.5:
            key = f"shared-{dice.randrange(keys)}" if dice.random() < 0.2 else f"{name}-{count}"
            said.sent("add", key=key)
            added = mine.add([TaskRequest("q", '{"n":1}', key=key, retry=PATIENT)])[0]
            said.acked(task=added.id)
            continue
        said.sent("claim")
        won = mine.claim(["q"], agent="churn", lease_ms=lease_ms)
        if not won:
            said.refused()
            time.sleep(0.002)
            continue
        task, n = won[0].task.id, won[0].n
        said.acked(task=task, n=n)
        if dice.random() < 0.1:
            time.sleep(dice.random() * lease_ms / 600)  # up to 1.7 leases
        verbs = ["heartbeat"] * (dice.random() < 0.2) + [dice.choice(["complete"] * 8 + ["fail", "release"])]
        for verb in verbs:
            said.sent(verb, task=task, n=n)
            try:
                _end(mine, verb, task, n, lease_ms)
            except StaleAttempt:
                said.refused()
            else:
                said.acked()


def mingle(store: str, log: str, name: str, seed: int, lease_ms: int = 150) -> None:
    """As `churn`, with verbs that must not be said twice, and as one who knows that an outcome may be unknown."""
    dice, mine, said = random.Random(seed), opened(store, "NORMAL"), Log(log, name)
    held: list[tuple[int, int]] = []
    for count in itertools.count():
        try:
            _mingled(dice, mine, said, f'"{name}-{count}"', held, lease_ms)
        except StaleAttempt:
            said.refused()
        except StoreError:
            held.clear()  # no line: neither acknowledged nor refused


def _mingled(
    dice: random.Random, mine: Store, said: Log, payload: str, held: list[tuple[int, int]], lease_ms: int
) -> None:
    if dice.random() < 0.4:
        key = f"shared-{dice.randrange(50)}" if dice.random() < 0.2 else None
        said.sent("add", **({"key": key} if key else {}))
        said.acked(task=mine.add([TaskRequest("q", payload, key=key, retry=PATIENT)])[0].id)
    elif not held:
        said.sent("claim")
        won = mine.claim(["q"], agent="mingle", lease_ms=lease_ms, wait_ms=dice.choice((0, 20)))
        held += [(one.task.id, one.n) for one in won]
        said.acked(task=held[0][0], n=held[0][1]) if won else said.refused()
    elif dice.random() < 0.5:
        task, n = held.pop()
        said.sent("complete", task=task, n=n)
        turn = mine.complete_and_claim(task, n, ["q"], agent="mingle", lease_ms=lease_ms, result='"done"')
        said.acked()
        if turn.claim is not None:
            held.append((turn.claim.task.id, turn.claim.n))
            said.sent("claim")
            said.acked(task=held[0][0], n=held[0][1])
    else:
        task, n = held.pop()
        verb = dice.choice(["complete", "complete", "fail", "release"])
        said.sent(verb, task=task, n=n)
        _end(mine, verb, task, n, lease_ms)
        said.acked()


def dawdle(store: str, log: str, name: str, lease_ms: int = 30) -> None:
    """Work on each task for twice as long as its lease, for ever: by then it is another's."""
    mine, said = opened(store, "NORMAL"), Log(log, name)
    while True:
        try:
            said.sent("claim")
            won = mine.claim(["q"], agent="dawdle", lease_ms=lease_ms, wait_ms=20)
            if not won:
                said.refused()
                continue
            task, n = won[0].task.id, won[0].n
            said.acked(task=task, n=n)
            time.sleep(2 * lease_ms / 1000)
            said.sent("complete", task=task, n=n)
            mine.complete(task, n, result='"late"')
            said.acked()
        except StaleAttempt:
            said.refused()
        except StoreError:
            pass  # no line: neither acknowledged nor refused


def _end(store: Store, verb: str, task: int, n: int, lease_ms: int) -> None:
    if verb == "heartbeat":
        store.heartbeat(task, n, lease_ms=lease_ms)
    elif verb == "complete":
        store.complete(task, n, result='"done"')
    elif verb == "fail":
        store.fail(task, n, Failure("transient", "on purpose"))
    else:
        store.release(task, n)


def add_many(store: str, log: str, name: str, prefix: str, count: int, die: bool = False) -> None:
    """Add `count` tasks, one transaction each, under keys that a retry would use again; `die` without closing."""
    mine, said = opened(store), Log(log, name)
    for index in range(count):
        said.sent("add", key=f"{prefix}{index}")
        added = mine.add([TaskRequest("q", str(index), key=f"{prefix}{index}")])[0]
        said.acked(task=added.id)
    if die:
        os._exit(0)


def add_stubborn(store: str, log: str, name: str, prefix: str, count: int) -> None:
    """Add each task again, under its key, for as long as the answer is an error: the outcome is not known."""
    mine, said = opened(store), Log(log, name)
    for index in range(count):
        while True:
            said.sent("add", key=f"{prefix}{index}")
            try:
                added = mine.add([TaskRequest("q", str(index), key=f"{prefix}{index}")])[0]
            except StoreError:
                continue  # no line: neither acknowledged nor refused
            said.acked(task=added.id)
            break


def wait_for_work(store: str, log: str, name: str) -> None:
    """Wait for a task until killed."""
    while not opened(store).claim(["q"], agent=name, wait_ms=60_000):
        pass


def toil(
    store: str, log: str, name: str, agent: str, seconds: float, work_s: float = 0.0, wait_ms: int = 200,
    tokens: int = 0, kind: str = "", lease_ms: int = 60_000, dry: bool = False,
) -> None:  # fmt: skip
    """Claim as `agent` for some seconds, waiting while something holds it back; use tokens, and end well or badly.

    With `dry` the first claim that waited in vain is the last.
    """
    mine, until = opened(store, "NORMAL"), time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            won = mine.claim(["q"], agent=agent, wait_ms=wait_ms, lease_ms=lease_ms)
            if dry and not won:
                return
            for one in won:
                _toiled(mine, one.task.id, one.n, work_s, tokens, kind, lease_ms)
        except (StaleAttempt, StoreError):
            pass  # it was slow, or the owner of the store was killed: its lease runs out


def _toiled(mine: Store, task: int, n: int, work_s: float, tokens: int, kind: str, lease_ms: int) -> None:
    stop, used = None, 0
    while stop is None and used < tokens:
        used += 10
        stop = mine.heartbeat(task, n, lease_ms=lease_ms, usage=Usage(used, 0)).stop
    time.sleep(work_s)
    if stop is not None:
        mine.fail(task, n, Failure("policy", stop))
    elif kind:
        mine.fail(task, n, Failure(kind, "on purpose"))  # type: ignore[arg-type]
    else:
        mine.complete(task, n)


def hold_lock(store: str, log: str, name: str) -> None:
    """Hold the writers' lock until stopped or killed."""
    mine = Store(SqliteDriver(store), store, Clock())
    mine.driver.conn.lock()  # type: ignore[attr-defined]
    Path(log, f"{name}.holds").touch()
    signal.pause()


def late(store: str, log: str, name: str, verb: str, lease_ms: int, extra_ms: int) -> None:
    """Claim, say so, work for longer than the lease, then try `verb`."""
    mine, said = opened(store), Log(log, name)
    said.sent("claim")
    won = mine.claim(["q"], agent=name, lease_ms=lease_ms)[0]
    said.acked(task=won.task.id, n=won.n)
    time.sleep((lease_ms + extra_ms) / 1000)
    while not Path(log, "go").exists():
        time.sleep(0.002)
    said.sent(verb, task=won.task.id, n=won.n)
    try:
        _end(mine, verb, won.task.id, won.n, lease_ms)
    except StaleAttempt:
        said.refused()
    else:
        said.acked()


# --- messages ---------------------------------------------------------------------------------------------------
def drain_inbox(store: str, log: str, name: str, agent: str) -> None:
    """Read and ack an inbox until it is empty."""
    mine, said = opened(store, "NORMAL"), Log(log, name)
    while True:
        said.sent("read")
        taken = mine.messages.read(agent, reader=name, ack_ms=600_000)
        if not taken:
            said.refused()
            return
        said.acked(task=taken[0].message.id, n=taken[0].n)
        mine.messages.ack(taken[0].message.id, taken[0].n)


def late_reader(store: str, log: str, name: str, agent: str, verb: str, ack_ms: int) -> None:
    """Read a message, say so, and once told to go on, try `verb`."""
    mine, said = opened(store), Log(log, name)
    said.sent("read")
    (taken,) = mine.messages.read(agent, reader=name, ack_ms=ack_ms)
    message, n = taken.message.id, taken.n
    said.acked(task=message, n=n)
    while not Path(log, "go").exists():
        time.sleep(0.002)
    said.sent(verb, task=message, n=n)
    try:
        if verb == "reply":
            mine.messages.send(MessageRequest(agent, None, "1", "RESULT", reply_to=message, acks=n))
        else:
            getattr(mine.messages, verb)(message, n)
    except StaleAttempt:
        said.refused()
    else:
        said.acked()


def converse(
    store: str, log: str, name: str, agent: str, number: int, agents: int, count: int, seed: int, ack_ms: int
) -> None:
    """Send what is left of `count` messages under their keys, and deal with what comes; there to be killed.

    Dealing with a message adds a task under its key. How many were sent is noted after each, in a file that the next
    process of this agent goes on from: the one sent last is said again.
    """
    dice, mine, note = random.Random(seed), opened(store, "NORMAL"), Path(log, f"{agent}.sent")
    index = int(note.read_text() or 0) if note.exists() else 0
    while True:
        for _ in range(10):
            if index < count:
                mine.messages.send(spoken(agent, number, agents, index), actor=agent)
                index += 1
                note.write_text(str(index))
        taken = mine.messages.read(agent, reader=name, limit=20, ack_ms=ack_ms)
        keys = [f"{one.message.source}:{one.message.key}" for one in taken]
        mine.add([TaskRequest("effects", "1", key=key) for key in keys])
        for one in taken:
            try:
                if dice.random() < 0.02:
                    mine.messages.refuse(one.message.id, one.n, error="on purpose")
                else:
                    mine.messages.ack(one.message.id, one.n)
            except StaleAttempt:
                pass  # it took too long, and another process of this agent has it
        if not taken and index >= count:
            if Path(log, "stop").exists():
                return
            time.sleep(0.01)


def spoken(agent: str, number: int, agents: int, index: int) -> MessageRequest:
    """The message `index` of an agent: the same whoever of its processes sends it."""
    others = (number + 1 + index * 7 % (agents - 1)) % agents
    target = "nobody" if index % 97 == 5 else f"agent-{others}"
    return MessageRequest(agent, target, str(index), key=str(index), ttl_ms=1 if index % 31 == 3 else None)


JOBS = {
    job.__name__: job
    for job in (
        drain, churn, mingle, dawdle, add_many, add_stubborn, wait_for_work, hold_lock, late, serve, drain_inbox,
        late_reader, converse, toil,
    )
}  # fmt: skip


# --- the parent -------------------------------------------------------------------------------------------------
def _start(job: str, about: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        JOBS[job](**about)
        code = 0
    except AgentctlError as error:
        print(f"{about['name']}: {type(error).__name__}: {error}", file=sys.stderr)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _serve() -> None:
    living: set[int] = set()
    for line in sys.stdin:
        command = json.loads(line)
        answer: Any = None
        if command["do"] == "start":
            answer = _start(command["job"], command["about"])
            living.add(answer)
        elif command["do"] == "signal":
            answer = command["pid"] in living
            if answer:
                os.kill(command["pid"], command["signal"])
                if command["signal"] == signal.SIGKILL:
                    os.waitpid(command["pid"], 0)
                    living.discard(command["pid"])
        elif command["do"] == "ended":
            done, status = os.waitpid(command["pid"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if done else None
            if done:
                living.discard(done)
        print(json.dumps(answer), flush=True)
    for pid in living:
        os.kill(pid, signal.SIGKILL)


# --- for tests --------------------------------------------------------------------------------------------------
class Clients:
    """Client processes of one store, as a context; all are gone at its end."""

    def __init__(self, store: Path, logs: Path, **environment: str) -> None:
        self.store, self.logs = store, logs
        self.count = 0
        logs.mkdir(exist_ok=True)
        self._parent = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def _ask(self, **command: Any) -> Any:
        assert self._parent.stdin is not None and self._parent.stdout is not None
        self._parent.stdin.write(json.dumps(command) + "\n")
        self._parent.stdin.flush()
        heard = select.poll()  # select() knows no descriptor beyond 1,023
        heard.register(self._parent.stdout, select.POLLIN)
        assert heard.poll(30_000), "the parent of the clients is stuck"
        return json.loads(self._parent.stdout.readline())

    def start(self, job: str, **about: Any) -> int:
        """Fork a client that runs `job`; its pid."""
        self.count += 1
        about = {"store": str(self.store), "log": str(self.logs), "name": f"{job}-{self.count}", **about}
        return int(self._ask(do="start", job=job, about=about))

    def signal(self, pid: int, what: signal.Signals) -> bool:
        """False when the client had ended by itself."""
        return bool(self._ask(do="signal", pid=pid, signal=int(what)))

    def kill(self, pid: int) -> None:
        assert self.signal(pid, signal.SIGKILL), "it had ended by itself: see stderr"

    def ended(self, pid: int) -> int | None:
        """The exit code of a client, None while it runs; asked once it is no client any more."""
        code: int | None = self._ask(do="ended", pid=pid)
        return code

    def wait(self, *pids: int, within_s: float = 60) -> None:
        """Wait until all have ended well."""
        deadline = time.monotonic() + within_s
        for pid in pids:
            while (code := self._ask(do="ended", pid=pid)) is None:
                assert time.monotonic() < deadline, f"client {pid} still runs after {within_s} s"
                time.sleep(0.005)
            assert code == 0, f"client {pid} ended with {code}; what it said is on stderr"

    def __enter__(self) -> Clients:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._parent.stdin is not None and self._parent.stdout is not None
        self._parent.stdin.close()
        self._parent.wait(30)
        self._parent.stdout.close()


if __name__ == "__main__":
    if len(sys.argv) == 3:
        JOBS[sys.argv[1]](**json.loads(sys.argv[2]))
    else:
        _serve()
