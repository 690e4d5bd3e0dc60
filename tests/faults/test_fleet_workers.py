"""Workers and services through a whole supervisor: restarts, latches, probes, what a dead worker held."""

from __future__ import annotations

import os
import signal
import sys
import time

from faults.fleet_kit import environ_of, fleet, lines
from faults.store_kit import until

from agentctl_store.clock import Clock
from agentctl_store.ids import write_id
from agentctl_store.read.vitals import read_vitals

PYTHON = sys.executable
CLAIMER = """
import os, sys, time
from agentctl_store.store import open_store
from agentctl_store.ids import read_id
store = open_store(os.environ["AGENTCTL_STORE"])
agent, slot = os.environ["AGENTCTL_INSTANCE"].split("/")
while not store.claim([agent], agent=agent, slot=int(slot), session=read_id(os.environ["AGENTCTL_SESSION"])):
    time.sleep(0.01)
open("held", "w").close()
time.sleep(60)
"""


def worker(name: str, script: str, more: str = "") -> str:
    return f"[agent.{name}]\nmode = 'worker'\ncommand = ['/bin/sh', '-c', '''{script}''']\n{more}\n"


def python(name: str, code: str, more: str = "") -> str:
    return f"[agent.{name}]\nmode = 'worker'\ncommand = ['{PYTHON}', '-c', '''{code}''']\n{more}\n"


def pid_of(f, name: str) -> int:
    """The pid of the agent process an instance lives in."""

    def look() -> int:
        row = f.instance(name)
        if row is None or row.session is None or row.phase != "busy":
            return 0
        return f.store.session(row.session).pid or 0

    return int(until(look, f"{name} runs"))


def test_a_dead_workers_task_is_claimable_within_250_ms(tmp_path):
    with fleet(tmp_path, python("taker", CLAIMER, 'retry = {base = "0s", cap = "0s"}\nrestart = {base = "30s"}')) as f:
        task = f.add("taker")
        f.up()
        until((tmp_path / "held").exists, "the worker holds its task")
        assert f.task(task).state == "active"
        pid = pid_of(f, "taker/1")
        begun = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        until(lambda: f.task(task).state in ("ready", "scheduled"), "claimable")
        took_s = time.monotonic() - begun
        assert f.store.claim(["taker"], agent="other"), "another can claim it now"
        assert took_s < 0.25, f"{took_s * 1000:.0f} ms"
        assert f.attempts(task)[0].error_class == "crashed"


def test_a_crash_loop_latches_and_leaves_its_siblings_alone(tmp_path):
    agents = worker("bad", "echo no config >&2; exit 3", 'restart = {base = "5ms", cap = "20ms", limit = 4}')
    agents += worker("good", "echo $$ >> good; sleep 60")
    with fleet(tmp_path, agents) as f:
        f.up()
        row = f.shows("bad/1", lambda row: row.phase == "failed", "latched")
        assert row.latched and row.health == "unhealthy" and "no config" in row.reason and "agent start" in row.reason
        starts = len([s for s in f.sessions() if s.agent == "bad"])
        assert starts == 4
        f.kill()
        f.up()
        assert f.instance("bad/1").latched and len([s for s in f.sessions() if s.agent == "bad"]) == starts
        assert len(lines(tmp_path / "good")) == 1, "the sibling was never restarted, and adopted"
        f.store.set_desired("bad", "running", actor="test")
        until(lambda: len([s for s in f.sessions() if s.agent == "bad"]) > starts, "a person's start is obeyed")


def test_a_crash_loop_is_counted_across_supervisors_that_are_killed(tmp_path):
    more = 'restart = {base = "300ms", cap = "300ms", limit = 4}'
    with fleet(tmp_path, worker("bad", "exit 3", more)) as f:
        for wanted in (1, 2, 3):
            f.up()
            until(lambda n=wanted: f.instance("bad/1") and f.instance("bad/1").restarts >= n, "another crash seen")
            f.kill()
        f.up()
        f.shows("bad/1", lambda row: row.latched, "latched")
        # A kill in the instant between a crash and its note loses that one count, never the limit.
        assert len([s for s in f.sessions() if s.agent == "bad"]) in (4, 5)


def test_a_clean_end_rests_under_on_failure(tmp_path):
    with fleet(tmp_path, worker("once", "exit 0")) as f:
        f.up()
        row = f.shows("once/1", lambda row: row.phase == "stopped", "stopped")
        assert "restart policy is on-failure" in row.reason
        assert len(f.sessions()) == 1


def test_stop_start_restart_scale_and_pause_are_obeyed_within_a_second(tmp_path):
    with fleet(tmp_path, worker("w", "echo $$ >> pids; sleep 60", 'restart = {base = "10ms"}')) as f:
        f.up()
        first = pid_of(f, "w/1")
        begun = time.monotonic()
        f.store.restart_agent("w", actor="test")
        until(lambda: pid_of(f, "w/1") != first, "restarted")
        f.store.scale_agent("w", 3, actor="test")
        until(lambda: f.instance("w/3") and f.instance("w/3").phase == "busy", "scaled up")
        f.store.scale_agent("w", 1, actor="test")
        until(lambda: f.instance("w/2") is None and f.instance("w/3") is None, "scaled down")
        f.store.set_desired("w", "stopped", actor="test")
        f.shows("w/1", lambda row: row.phase == "stopped", "stopped")
        f.store.set_desired("w", "running", actor="test")
        f.shows("w/1", lambda row: row.phase == "busy", "started")
        assert time.monotonic() - begun < 5
        assert len(f.leftovers()) >= 1 and f.end() == 0 and not f.leftovers()


def test_a_failing_liveness_probe_restarts_and_says_why(tmp_path):
    probe = '[agent.w.probe.liveness]\nexec = ["test", "!", "-e", "sick"]\nperiod = "100ms"\nfailures = 2\n'
    with fleet(tmp_path, worker("w", "sleep 60", 'restart = {base = "10ms", limit = 2}') + probe) as f:
        f.up()
        first = pid_of(f, "w/1")
        (tmp_path / "sick").touch()
        f.says("liveness probe failed")
        (tmp_path / "sick").unlink()
        until(lambda: pid_of(f, "w/1") != first, "restarted")
        (tmp_path / "sick").touch()
        row = f.shows("w/1", lambda row: row.latched, "at its start limit")
        assert "signal 15, stopped: liveness probe failed: test exit 1" in row.reason


def test_a_readiness_probe_holds_claims_until_it_answers(tmp_path):
    agents = "[agent.t]\ncommand = 'cat'\n[agent.t.probe.readiness]\nexec = ['test', '-e', 'open']\nperiod = '100ms'\n"
    with fleet(tmp_path, agents) as f:
        task = f.add("t")
        f.up()
        f.shows("t/1", lambda row: row.health == "degraded", "not ready")
        assert f.task(task).state == "ready"
        (tmp_path / "open").touch()
        f.state(task, "done")


def test_ready_and_watchdog_by_sd_notify(tmp_path):
    code = """
import os, socket, time
def say(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(text, os.environ["NOTIFY_SOCKET"].replace("@", chr(0)))
while not os.path.exists("go"): time.sleep(0.01)
say(b"READY=1" + bytes([10]) + b"STATUS=warm")
time.sleep(60)
"""
    more = 'ready = "notify"\nwatchdog = "500ms"\nrestart = {base = "10ms"}\ngrace = "100ms"'
    with fleet(tmp_path, python("n", code, more)) as f:
        f.up()
        f.shows("n/1", lambda row: row.health == "starting" and "READY" in row.reason, "waits for READY")
        (tmp_path / "go").touch()
        f.shows("n/1", lambda row: row.health == "healthy", "ready")
        f.says("WATCHDOG=1 did not come in time")


def test_only_what_changed_is_restarted_and_a_broken_file_changes_nothing(tmp_path):
    def agents(sleep: int) -> str:
        return worker("a", f"sleep {sleep}", 'restart = {base = "10ms"}') + worker("b", "sleep 60")

    with fleet(tmp_path, agents(60)) as f:
        f.up()
        a, b = pid_of(f, "a/1"), pid_of(f, "b/1")
        f.configure("[agent.a]\ncomand = 'x'\n")
        f.says("the changed configuration is refused.*comand")
        assert (pid_of(f, "a/1"), pid_of(f, "b/1")) == (a, b)
        f.configure(agents(61))
        f.says("restarted: a")
        until(lambda: pid_of(f, "a/1") != a, "a restarted")
        assert pid_of(f, "b/1") == b
        f.configure(worker("b", "sleep 60"))
        until(lambda: f.instance("a/1") is None, "a is gone")
        assert pid_of(f, "b/1") == b


def test_a_stop_leaves_nothing_of_an_agent_that_hides_and_ignores(tmp_path):
    script = (
        "trap '' TERM; (setsid sh -c 'trap \"\" TERM; sleep 61 & sleep 61' &) ; touch up; sleep 61 & wait; sleep 61"
    )
    with fleet(tmp_path, worker("w", script, 'grace = "200ms"')) as f:
        f.up()
        until((tmp_path / "up").exists, "up")
        until(lambda: len(f.leftovers()) >= 4, "the tree stands")
        assert f.end() == 0
        assert not f.leftovers()


def test_screens_see_memory_output_and_probes_of_what_runs(tmp_path):
    probe = "[agent.w.probe.readiness]\nexec = ['true']\nperiod = '100ms'\n"
    with fleet(tmp_path, worker("w", "while :; do echo x; sleep 0.1; done") + probe) as f:
        f.up()

        def seen() -> bool:
            one = read_vitals(f.folder, time.time_ns() // 1_000_000).get("w/1")
            return one is not None and bool(one.memory_bytes and one.output_ms) and one.probe == "ready"

        until(seen, "vitals")


def test_a_service_has_no_queue_and_knows_who_it_is(tmp_path):
    with fleet(tmp_path, "[agent.s]\nmode = 'service'\ncommand = 'sleep 60'\n") as f:
        f.up()
        env = environ_of(pid_of(f, "s/1"))
        row = f.instance("s/1")
        assert env["AGENTCTL_INSTANCE"] == "s/1" and env["AGENTCTL_SESSION"] == write_id(row.session)
        assert "AGENTCTL_TASK" not in env and f.store.agents()[0].queues == ()


def test_a_workers_claims_and_heartbeats_last_as_long_as_its_lease_says(tmp_path):
    script = """
agentctl task claim w --wait 20s
attempt=$(agentctl task claim w --lease 5s --json attempt -o csv | tail -1)
touch both
while [ ! -e go ]; do sleep 0.02; done
agentctl task heartbeat $attempt
sleep 60"""
    with fleet(tmp_path, worker("w", script, 'lease = "1h"')) as f:
        first, second = f.add("w"), f.add("w")
        f.up()
        until((tmp_path / "both").exists, "both are claimed")
        now_ms = Clock().now().boot_ms
        assert f.task(first).lease_until_ms > now_ms + 3_500_000
        assert f.task(second).lease_until_ms < now_ms + 10_000, "what the command line says goes before"
        (tmp_path / "go").touch()
        until(lambda: f.task(second).lease_until_ms > now_ms + 3_500_000, "the heartbeat")
