"""A fleet in the background: it survives its terminal, and is ended from outside."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faults.fleet_kit import fleet
from faults.store_kit import until

from agentctl.supervisor import lock
from agentctl.supervisor.run import down
from agentctl_store.broker.link import ANSWER_S, LOOK_S
from agentctl_store.errors import NoSupervisor
from agentctl_store.sqlite.writelock import NAME
from agentctl_store.store import TaskRequest, open_store

DETACH = "import sys; from agentctl.supervisor.run import run_fleet; sys.exit(run_fleet(sys.argv[1], detach=True))"
SERVICE = "[agent.s]\nmode = 'service'\ncommand = 'sleep 60'\n"


def detach(config: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", DETACH, str(config)]
    return subprocess.run(words, capture_output=True, text=True, timeout=30, start_new_session=True)


def test_detached_it_runs_until_it_is_told_to_end(tmp_path):
    with fleet(tmp_path, SERVICE) as f:
        assert detach(f.config).returncode == 0
        holder = lock.running(f.folder)
        assert holder is not None and os.getsid(holder.pid) != os.getsid(0)
        f.shows("s/1", lambda row: row.phase == "busy", "runs")
        os.kill(holder.pid, signal.SIGHUP)
        again = detach(f.config)
        assert again.returncode != 0 and f"process {holder.pid}" in again.stderr
        assert lock.running(f.folder) == holder, "a lost terminal ends nothing"
        assert down(f.folder, timeout_s=15).pid == holder.pid
        assert lock.running(f.folder) is None and not f.leftovers()
        with pytest.raises(NoSupervisor, match="agentctl run"):
            down(f.folder)
        log = (Path(f.folder) / "supervisor.log").read_text()
        assert "supervising" in log and "supervised" not in log, "who is refused leaves the log to the one that runs"


def test_one_that_is_stopped_goes_on_to_hear_that_it_is_to_end(tmp_path):
    with fleet(tmp_path, SERVICE) as f:
        pid = f.up().pid
        f.shows("s/1", lambda row: row.phase == "busy", "runs")
        os.kill(pid, signal.SIGSTOP)
        assert down(f.folder, timeout_s=15).pid == pid
        assert not f.leftovers()


@pytest.mark.parametrize("size", [1, 1_000_000], ids=["a short call", "more than a socket's buffer holds"])
def test_while_it_is_stopped_others_soon_use_the_file(tmp_path, size):
    """Ctrl-Z, say: whoever calls must not wait for as long as one that is only slow may take."""
    with fleet(tmp_path, SERVICE) as f:
        pid = f.up().pid
        f.shows("s/1", lambda row: row.phase == "busy", "runs")
        with open_store(f.folder) as mine, open(f"{f.folder}/{NAME}", "rb") as turn:
            mine.note("supervisor.noted", actor="me")
            fcntl.flock(turn, fcntl.LOCK_EX)  # it is not to be stopped with the turn to write in its hands
            os.kill(pid, signal.SIGSTOP)
            os.waitpid(pid, os.WUNTRACED)  # the signal is only sent by then: it could still be given the turn
            fcntl.flock(turn, fcntl.LOCK_UN)
            begun = time.monotonic()
            mine.add([TaskRequest("q", f'"{"x" * size}"')])
            took_s = time.monotonic() - begun
        os.kill(pid, signal.SIGCONT)
        assert LOOK_S <= took_s < ANSWER_S / 3
        assert f.end() == 0


def test_down_now_waits_for_nobody(tmp_path):
    agents = "[agent.t]\ncommand = ['/bin/sh', '-c', 'trap \"\" TERM; touch runs; sleep 60 & wait; sleep 60']\n"
    with fleet(tmp_path, agents) as f:
        task = f.add("t")
        assert detach(f.config).returncode == 0
        until((tmp_path / "runs").exists, "runs")
        begun = time.monotonic()
        down(f.folder, now=True, timeout_s=15)
        assert time.monotonic() - begun < 2
        assert f.task(task).state == "ready" and not f.leftovers()


def test_a_broken_configuration_is_told_by_the_one_who_asked(tmp_path):
    with fleet(tmp_path, "[agent.a]\ncomand = 'x'\n") as f:
        told = detach(f.config)
        assert told.returncode != 0 and "comand" in told.stderr
