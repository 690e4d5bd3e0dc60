"""kill -9 of the supervisor: every session is adopted with output and exit, or ended; never unknown or doubled."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import time
from collections import Counter

import pytest
from faults.fleet_kit import fleet, lines
from faults.store_kit import until

from agentctl.supervisor import lock
from agentctl.supervisor.run import down
from agentctl.supervisor.session_files import read_shim
from agentctl_store.ids import write_attempt

STEPS = ("open", "opened", "started", "claim", "claimed", "folder", "launched", "record", "recorded", "stop")
NOT_ALWAYS = ("started", "any")  #: steps that a short run may not come to
RANDOM_ROUNDS = int(os.environ.get("AGENTCTL_KILL_ROUNDS", "6"))  #: raised for a soak

TASK = """
[agent.t]
command = ['/bin/sh', '-c', 'echo $AGENTCTL_ATTEMPT >> ran; while [ -e wait ]; do sleep 0.02; done; cat']
instances = 2
retry = {base = "10ms", cap = "10ms"}
"""


def test_a_task_goes_on_through_kill_9_and_its_result_is_kept(tmp_path):
    with fleet(tmp_path, TASK) as f:
        (tmp_path / "wait").touch()
        task = f.add("t", '{"n":1}')
        f.up()
        until(lambda: lines(tmp_path / "ran"), "the agent runs")
        f.kill()
        f.up()
        f.says("adopted 1 running")
        (tmp_path / "wait").unlink()
        done = f.state(task, "done")
        assert (done.attempts, done.result) == (1, '{"n":1}')
        assert lines(tmp_path / "ran") == [write_attempt(task, 1)]


def test_a_restart_that_was_obeyed_long_ago_is_not_repeated_on_adoption(tmp_path):
    with fleet(tmp_path, "[agent.s]\nmode = 'service'\ncommand = ['/bin/sh', '-c', 'echo $$ >> ran; sleep 60']") as f:
        f.up()
        until(lambda: len(lines(tmp_path / "ran")) == 1, "the first life")
        f.store.restart_agent("s", actor="test")
        until(lambda: len(lines(tmp_path / "ran")) == 2, "the second life")
        session = f.store.open_sessions()[-1].id
        f.shows("s/1", lambda row: row.phase == "busy" and row.session == session, "its row is written")
        f.kill()
        f.up()
        assert f.end() == 0, f.said()
        assert "stopped: drain" in (f.store.session(session).detail or ""), f.said()
        assert len(lines(tmp_path / "ran")) == 2


def test_a_second_life_of_a_slot_does_not_keep_the_rows_of_the_others_from_being_written(tmp_path):
    agents = """
[agent.s]
mode = "service"
instances = 2
grace = "20s"
command = ['/bin/sh', '-c', 'trap "" TERM; echo $$ >> ran; while :; do sleep 0.1; done']
"""
    with fleet(tmp_path, agents) as f:
        f.up()
        until(lambda: len(lines(tmp_path / "ran")) == 2, "both run")
        f.kill()
        beside = f.store.open_sessions()[-1]
        f.store.driver.conn.rows("UPDATE session SET slot = 1 WHERE slot = 2")  # as no supervisor of ours leaves it
        f.up()
        f.shows("s/2", lambda row: row.phase == "busy" and row.session != beside.id, "its row is written", within_s=8)
        assert beside.id in [one.id for one in f.store.open_sessions()], "the other was still being stopped"


def test_a_result_that_came_while_nobody_supervised_is_taken(tmp_path):
    with fleet(tmp_path, TASK) as f:
        (tmp_path / "wait").touch()
        task = f.add("t", '"late"')
        f.up()
        until(lambda: lines(tmp_path / "ran"), "the agent runs")
        f.kill()
        (tmp_path / "wait").unlink()
        until(lambda: not f.leftovers(), "the agent has ended")
        assert f.task(task).state == "active"
        f.up()
        assert f.state(task, "done").result == '"late"'
        assert f.task(task).attempts == 1


def test_the_supervisor_killed_before_every_step_loses_and_doubles_nothing(tmp_path):
    worker = "[agent.w]\nmode = 'worker'\ncommand = ['/bin/sh', '-c', 'echo $AGENTCTL_SESSION >> workers; sleep 60']\n"
    with fleet(tmp_path, TASK + worker) as f:
        seed = random.randrange(1 << 30)
        print(f"seed {seed}")
        dice = random.Random(seed)
        tasks = []
        for kill_at in (*STEPS, *(f"any:{dice.randint(1, 25)}" for _ in range(RANDOM_ROUNDS))):
            tasks += [f.add("t", json.dumps(len(tasks) + n)) for n in range(2)]
            code = f.start(until_idle=True, kill_at=kill_at).wait(20)
            assert code == -signal.SIGKILL or kill_at.startswith(NOT_ALWAYS), f"{kill_at}: {f.said()}"
        assert f.finish() == 0, f.said()
        for number, task in enumerate(tasks):
            found = f.task(task)
            assert (found.state, found.result) == ("done", json.dumps(number)), f.said()
            assert found.burnt <= 1, "only a vanished session may burn a try"
        runs = Counter(lines(tmp_path / "ran"))
        assert max(runs.values()) == 1, f"an attempt ran twice: {runs}"
        assert set(runs) >= {write_attempt(task, f.task(task).attempts) for task in tasks}
        assert max(Counter(lines(tmp_path / "workers")).values()) == 1
        assert f.store.open_sessions() == [] and not f.leftovers()


def test_a_session_whose_folder_and_keeper_are_gone_gives_its_task_back(tmp_path):
    with fleet(tmp_path, TASK) as f:
        task = f.add("t")
        (claim,) = f.store.claim(["t"], agent="t", slot=1, open_session=True, lease_ms=60_000)
        f.up()
        assert f.state(task, "done").attempts == 2
        assert f.store.session(claim.session or 0).outcome == "never_started"


def test_a_killed_keeper_is_noticed_and_its_agent_ended(tmp_path):
    with fleet(tmp_path, TASK) as f:
        (tmp_path / "wait").touch()
        task = f.add("t")
        f.up()
        until(lambda: lines(tmp_path / "ran"), "the agent runs")
        (session,) = f.store.open_sessions()
        folder = os.path.join(f.folder, "sessions")
        (name,) = os.listdir(folder)
        record = until(lambda: read_shim(os.path.join(folder, name)), "shim.json")
        os.kill(record.pid, signal.SIGKILL)
        until(lambda: f.store.session(session.id).outcome == "lost", "seen")
        (tmp_path / "wait").unlink()
        f.state(task, "done")
        assert f.attempts(task)[0].error_class == "lost" and f.task(task).attempts == 2


def test_an_agent_that_was_removed_while_nobody_supervised_is_ended(tmp_path):
    with fleet(tmp_path, TASK) as f:
        (tmp_path / "wait").touch()
        task = f.add("t")
        f.up()
        until(lambda: lines(tmp_path / "ran"), "the agent runs")
        f.kill()
        f.configure("[agent.other]\ncommand = 'cat'\n")
        f.up()
        until(lambda: f.store.open_sessions() == [], "ended")
        assert (f.task(task).state, f.task(task).burnt) == ("ready", 0)
        until(lambda: f.instance("t/1") is None, "its row is gone")


def test_a_second_supervisor_refuses_and_names_the_first(tmp_path):
    with fleet(tmp_path, TASK) as f:
        first = f.up()
        holder = lock.running(f.folder)
        assert holder is not None and holder.pid == first.pid
        second = f.start()
        assert second.wait(10) != 0
        assert f"process {first.pid}" in f.said() and "agentctl down" in f.said()
        f.process = first
        f.kill()
        assert lock.running(f.folder) is None, "SIGKILL frees the lock, whatever runs on"
        third = f.up()
        down(f.folder, timeout_s=10)
        assert third.wait(5) == 0 and lock.running(f.folder) is None


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
def test_a_hundred_agents_ending_at_once_are_reaped_within_a_second(tmp_path):
    agents = """
[agent.w]
mode = 'worker'
command = ['/bin/sh', '-c', 'read x < gate']
instances = 100
restart = {policy = "never"}
"""
    with fleet(tmp_path, agents) as f:
        os.mkfifo(tmp_path / "gate")
        process = f.up()
        folder = f"/proc/{process.pid}/fd"
        idle = None
        until(lambda: sum(r.phase == "busy" for r in f.store.instances()) == 100, "all run", 60)
        idle = len(os.listdir(folder))
        begun = time.monotonic()
        gate = os.open(tmp_path / "gate", os.O_RDWR)
        os.write(gate, b"\n" * 100)
        os.close(gate)
        until(lambda: f.store.open_sessions() == [], "all ended", 30)
        took_s = time.monotonic() - begun
        assert took_s < 1.0, f"{took_s:.2f} s"
        until(lambda: len(os.listdir(folder)) <= idle - 100, "every pidfd is closed")
        children = [p for p in os.listdir("/proc") if p.isdecimal() and _is_zombie_of(p, process.pid)]
        assert children == []
        print(f"100 sessions reaped and recorded in {took_s:.2f} s")


def _is_zombie_of(pid: str, parent: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] == "Z" and int(fields[1]) == parent


def test_a_store_that_takes_no_writes_loses_no_result(tmp_path):
    with fleet(tmp_path, TASK) as f:
        (tmp_path / "wait").touch()
        task = f.add("t", '"kept"')
        process = f.up()
        until(lambda: lines(tmp_path / "ran"), "the agent runs")
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4_000, resource.RLIM_INFINITY))
        (tmp_path / "wait").unlink()
        f.says("takes no writes now")
        assert f.task(task).state == "active"
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert f.state(task, "done").result == '"kept"'
        assert f.end() == 0
