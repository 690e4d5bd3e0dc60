"""P1-P7 together: a whole fleet works while SIGKILL hits its supervisor, its keepers, its agents and its workers."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from faults.store_kit import assert_honest, assert_whole, dice_of, raw, until

from agentctl.supervisor import proctree
from agentctl.supervisor.session_files import read_exit, read_shim
from agentctl_store.domain.task import Attempt
from agentctl_store.ids import read_attempt, write_attempt, write_id
from agentctl_store.store import Store, TaskRequest, open_store, sessions_folder

SUPERVISOR_KILLS, OTHER_KILLS = 60, 220
BATCH = {"quick": 25, "flaky": 3, "own": 12}  #: added whenever none is left: the kills are to hit work
WAL_MOST_BYTES = 64 << 20
WORKER = str(Path(__file__).with_name("chaos_worker.py"))
# One line before the work and one after, on disk before the attempt goes on: what ran, whoever is killed.
SCRIPT = """
note() { echo "$AGENTCTL_ATTEMPT $AGENTCTL_IDEMPOTENCY_KEY $1" >> trace.$AGENTCTL_AGENT; sync trace.$AGENTCTL_AGENT; }
note began
read payload
sleep 0.0$((RANDOM_DIGIT % 10))
note ended
echo "$AGENTCTL_ATTEMPT"
[ "$payload" != 1 ] || exit 1
"""
FLEET = f"""
[fleet]
grace = "5s"
min_free_memory = 0
min_free_disk = 0
lease = "30s"

[agent.quick]
command = ["sh", "agent.sh"]
instances = 5
retry = {{base = "10ms", cap = "50ms", max_attempts = 200}}

[agent.flaky]
command = ["sh", "agent.sh"]
instances = 2
retry = {{base = "10ms", cap = "50ms", max_attempts = 3}}

[agent.own]
mode = "worker"
command = ['{sys.executable}', '{WORKER}', 'logs', '0.1']
instances = 2
retry = {{base = "10ms", cap = "50ms", max_attempts = 200}}
restart = {{base = "10ms", cap = "50ms", limit = 1000}}
"""


class Chaos:
    """A fleet whose supervisor is the real command, and the dice that say who is killed next."""

    def __init__(self, root: Path, dice: random.Random) -> None:
        self.root, self.dice = root, dice
        self.folder = root / ".agentctl"
        self.narration = root / "narration.txt"
        self.env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        self.kills: Counter[str] = Counter()
        self.tasks: list[int] = []
        self.process: subprocess.Popen[bytes] | None = None
        (root / "agent.sh").write_text(SCRIPT.replace("RANDOM_DIGIT", "$$"))
        (root / "agentctl.toml").write_text(FLEET)
        (root / "logs").mkdir()

    def agentctl(self, *words: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "agentctl", *words]
        with open(self.narration, "ab") as log:
            return subprocess.Popen(argv, cwd=self.root, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def said(self) -> str:
        return self.narration.read_text(errors="replace")[-6000:]

    def supervise(self) -> None:
        self.process = self.agentctl("run")

    def kill_supervisor(self) -> None:
        assert self.process is not None
        assert self.process.poll() is None, f"the supervisor ended by itself with {self.process.poll()}\n{self.said()}"
        self.process.kill()
        self.process.wait()
        self.kills["supervisor"] += 1
        self.supervise()

    def kill_other(self) -> bool:
        """Kill a keeper, an agent, or both at once; False when none runs."""
        folder = self.folder / "sessions"
        names = sorted(os.listdir(folder))[-12:] if folder.exists() else []
        self.dice.shuffle(names)
        for name in names:
            path = str(folder / name)
            record = read_shim(path)
            if record is None or read_exit(path) is not None:
                continue
            keeper, agent = (record.pid, record.start), (record.child_pid, record.child_start or 0)
            how = self.dice.choice(("keeper", "agent", "agent", "both"))
            victims = {"keeper": [keeper], "agent": [agent], "both": [keeper, agent]}[how]
            struck = [proctree.signal_exact(one, signal.SIGKILL) for one in victims]
            if all(struck):
                self.kills[how] += 1
                return True
        return False

    @property
    def others(self) -> int:
        return self.kills.total() - self.kills["supervisor"]

    def feed(self, store: Store) -> None:
        """Add work where none is left."""
        for queue, count in BATCH.items():
            if not store.unfinished([queue]):
                place = len(self.tasks)
                payloads = [str(n % 2) for n in range(count)] if queue == "flaky" else ["0"] * count
                asked = [TaskRequest(queue, text, key=f"{queue}-{place + n}") for n, text in enumerate(payloads)]
                self.tasks += [one.id for one in store.add(asked)]

    def storm(self, store: Store) -> None:
        """Kill until there were enough of each."""
        next_supervisor = next_other = next_meal = time.monotonic()
        while self.kills["supervisor"] < SUPERVISOR_KILLS or self.others < OTHER_KILLS:
            now = time.monotonic()
            if now >= next_supervisor and self.kills["supervisor"] < SUPERVISOR_KILLS:
                self.kill_supervisor()
                # Most live long enough to adopt and work; a few die while they start.
                next_supervisor = time.monotonic() + self.dice.choice((0.2, 0.8, 1.0)) * self.dice.random()
            if now >= next_meal:
                self.feed(store)
                next_meal = now + 0.1
            if now >= next_other:
                self.kill_other()
                next_other = now + self.dice.random() * 0.12
            time.sleep(0.005)

    def leftovers(self, nonces: set[str]) -> list[str]:
        """Living processes of any session there ever was."""
        found = []
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            try:
                environ = Path("/proc", pid, "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            own = {pair[15:].decode() for pair in environ if pair.startswith(b"AGENTCTL_NONCE=")}
            if own & nonces:
                found.append(f"{pid}: {Path('/proc', pid, 'cmdline').read_bytes()[:80]!r}")
        return found


def _trace(root: Path) -> dict[str, Counter[str]]:
    """What each attempt of a task-mode agent did: attempt → began, ended."""
    did: dict[str, Counter[str]] = defaultdict(Counter)
    for file in root.glob("trace.*"):
        for line in file.read_text().splitlines():
            attempt, key, what = line.split()
            did[attempt][what] += 1
            did[attempt][key] += 1
    return did


def _assert_each_task_ended_once(store: Store, tasks: list[int], did: dict[str, Counter[str]]) -> Counter[str]:
    states: Counter[str] = Counter()
    for number in tasks:
        task, attempts, name = store.task(number), store.attempts(number), write_id(number)
        states[f"{task.queue} {task.state}"] += 1
        assert [one.n for one in attempts] == list(range(1, task.attempts + 1)), f"{name}: attempts are missing"
        assert all(one.outcome for one in attempts), f"{name}: an attempt never ended"
        done = [one.n for one in attempts if one.outcome == "done"]
        if task.state == "done":
            assert done == [task.attempts], f"{name}: done by attempts {done}"
            own = write_attempt(number, done[0])
            assert task.result == (str(done[0]) if task.queue == "own" else json.dumps(own)), f"{name}: {task.result}"
        else:
            assert task.state == "dead" and task.queue == "flaky", f"{name}: {task}"
            assert (task.reason, task.burnt, done) == ("max_attempts", 3, []), f"{name}: {task}"
        for one in attempts:
            ran = did.get(write_attempt(number, one.n), Counter())
            assert max(ran.values(), default=0) <= 2 and ran["began"] <= 1, f"{name}.{one.n} ran twice"
            assert set(ran) <= {"began", "ended", str(task.key)}, f"{name}.{one.n}: another key: {ran}"
            assert one.outcome != "done" or task.queue == "own" or ran["ended"] == 1, f"{name}.{one.n} never ran"
    return states


def _unused_results(store: Store, tasks: list[int]) -> list[str]:
    """Attempts that left a good exit record on disk, of tasks that were tried again all the same."""
    found = []
    for number in tasks:
        task = store.task(number)
        for one in store.attempts(number) if task.queue != "own" else []:
            if one.outcome != "done" and one.session is not None:
                record = read_exit(sessions_folder(store.directory, one.session))
                if record is not None and record.code == 0 and not record.stopped:
                    found.append(_told(number, one))
    return found


def _told(task: int, one: Attempt) -> str:
    return f"{write_attempt(task, one.n)} left exit 0 and is {one.outcome}: {one.error}"


def test_a_fleet_under_sigkill_finishes_every_task_once(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    dice = dice_of(request)
    chaos = Chaos(tmp_path, dice)
    with open_store(str(chaos.folder), create=True) as store:
        begun = time.monotonic()
        chaos.supervise()
        try:
            chaos.storm(store)
            wal_bytes = os.path.getsize(chaos.folder / "store.db-wal")
            assert chaos.process is not None
            chaos.process.kill()
            chaos.process.wait()
            stormed_s = time.monotonic() - begun
            last = chaos.agentctl("run", "--until-idle")
            assert last.wait(60) == 0, chaos.said()
            _judge(chaos, store, f"{stormed_s:.1f} s of storm, {time.monotonic() - begun:.1f} s in all")
        finally:
            _tidy(chaos, store)
    assert wal_bytes < WAL_MOST_BYTES
    assert_whole(chaos.folder)


def _judge(chaos: Chaos, store: Store, took: str) -> None:
    tasks = chaos.tasks
    states = _assert_each_task_ended_once(store, tasks, _trace(chaos.root))
    unused = _unused_results(store, tasks)
    outcomes = Counter(one.outcome for task in tasks for one in store.attempts(task))
    print(f"{dict(chaos.kills)}; tasks {dict(states)}; attempts {dict(outcomes)}; {took}")
    assert not unused, "\n".join(unused)
    poison = [task for task in tasks if store.task(task).payload == "1"]
    assert poison and all(store.task(task).state == "dead" for task in poison), "a poison task is a dead letter"
    assert outcomes["failed"] > OTHER_KILLS / 4, "the kills hardly ever hit an attempt"
    db = raw(chaos.folder)
    completed = Counter(row[0] for row in db.execute("SELECT task FROM event WHERE kind = 6").fetchall())
    nonces = {store.session(row[0]).nonce for row in db.execute("SELECT id FROM session").fetchall()}
    db.close()
    assert max(completed.values()) == 1, "a task was completed twice"
    assert store.open_sessions() == []
    until(lambda: not chaos.leftovers(nonces), f"no process is left: {chaos.leftovers(nonces)}", 5)
    assert chaos.agentctl("event", "verify").wait(60) == 0, chaos.said()
    assert_honest(chaos.folder, chaos.root / "logs")
    for attempt in _trace(chaos.root):
        assert read_attempt(attempt)[0] in tasks
    assert "please report this" not in chaos.narration.read_text(errors="replace")
    assert "Traceback" not in chaos.narration.read_text(errors="replace")


def _tidy(chaos: Chaos, store: Store) -> None:
    from agentctl.supervisor.recover import sweep

    if chaos.process is not None and chaos.process.poll() is None:
        chaos.process.kill()
        chaos.process.wait()
    for session in store.open_sessions():
        sweep(session.nonce)
