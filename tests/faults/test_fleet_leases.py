"""P3, P7: a supervisor that comes late, whatever kept it, takes no living work for lost; and ends what has ended."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import time
from pathlib import Path

import pytest
from faults.fleet_kit import FLEET, fleet, lines
from faults.store_kit import assert_whole, until

from agentctl_store.clock import Clock

LEASE = """
[fleet]
grace = "2s"
min_free_memory = 0
min_free_disk = 0
lease = "2s"
[agent.t]
command = ['/bin/sh', '-c', 'read gate; echo $AGENTCTL_ATTEMPT >> ran; while [ ! -e gate$gate ]; do sleep 0.02; done; echo ok']
instances = 2
retry = {base = "10ms", cap = "10ms"}
"""  # noqa: E501


def _until_leases_ran_out(f, *tasks):
    last_ms = max(f.task(task).lease_until_ms or 0 for task in tasks)
    until(lambda: Clock().now().boot_ms > last_ms + 50, "the leases are over")


def test_work_and_results_survive_a_supervisor_that_was_dead_for_longer_than_the_lease(tmp_path):
    with fleet(tmp_path, LEASE) as f:
        short, long = f.add("t", "1"), f.add("t", "2")
        f.up()
        until(lambda: len(lines(tmp_path / "ran")) == 2, "both run")
        f.kill()
        (tmp_path / "gate1").touch()
        _until_leases_ran_out(f, short, long)
        f.up()
        assert f.state(short, "done").attempts == 1
        (tmp_path / "gate2").touch()
        assert f.state(long, "done").attempts == 1, f.said()
        assert len(lines(tmp_path / "ran")) == 2


@pytest.mark.parametrize("how", ["stopped", "kept waiting by the store"])
def test_work_survives_a_supervisor_that_was(tmp_path, how):
    with fleet(tmp_path, LEASE) as f:
        short, long = f.add("t", "1"), f.add("t", "2")
        process = f.up()
        until(lambda: len(lines(tmp_path / "ran")) == 2, "both run")
        held = os.open(os.path.join(f.folder, "write.lock"), os.O_RDWR)
        if how == "stopped":
            process.send_signal(signal.SIGSTOP)
        else:
            fcntl.flock(held, fcntl.LOCK_EX)
        (tmp_path / "gate1").touch()
        _until_leases_ran_out(f, short, long)
        os.close(held)
        process.send_signal(signal.SIGCONT)
        assert f.state(short, "done").attempts == 1
        (tmp_path / "gate2").touch()
        assert f.state(long, "done").attempts == 1, f.said()


ENDS_ITSELF = """
[agent.done]
command = ['/bin/sh', '-c', 'agentctl task complete -r 7']
[agent.fail]
command = ['/bin/sh', '-c', 'agentctl task fail -c permanent -m mine; exit 1']
[agent.back]
command = ['/bin/sh', '-c', '[ -e again ] || { touch again; agentctl task release; exit 75; }']
"""


def test_an_agent_that_ends_its_own_attempt_leaves_no_open_session(tmp_path):
    with fleet(tmp_path, ENDS_ITSELF) as f:
        done, fail, back = f.add("done"), f.add("fail"), f.add("back")
        begun = time.monotonic()
        assert f.finish() == 0, f.said()
        assert (f.task(done).state, f.task(done).result) == ("done", "7")
        assert (f.task(fail).state, f.attempts(fail)[0].error) == ("dead", "mine")
        assert f.task(back).state == "done"
        assert f.store.open_sessions() == [], f"open after {time.monotonic() - begun:.1f} s"


def test_results_survive_a_store_that_took_no_writes_for_longer_than_the_lease(tmp_path):
    with fleet(tmp_path, LEASE) as f:
        tasks = [f.add("t", "1"), f.add("t", "1")]
        process = f.up()
        until(lambda: len(lines(tmp_path / "ran")) == 2, "both run")
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4_000, resource.RLIM_INFINITY))
        (tmp_path / "gate1").touch()
        f.says("(?s)takes no writes now.*takes no writes now")
        _until_leases_ran_out(f, *tasks)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        for task in tasks:
            assert f.state(task, "done").attempts == 1, f.said()


def test_a_drain_comes_to_its_end_though_the_store_takes_no_writes_and_the_next_supervisor_records(
    tmp_path: Path,
) -> None:
    """A full disk, as a limit on the size of files, in the supervisor alone."""
    agent = '[agent.a]\ncommand = ["sh", "-c", "touch began; until [ -e go ]; do sleep 0.01; done; echo 7"]\n'
    with fleet(tmp_path, FLEET.replace("2s", "300ms") + agent) as one:
        task = one.add("a")
        process = one.up()
        until((tmp_path / "began").exists, "it runs")
        before = resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        (tmp_path / "go").touch()
        one.says("takes no writes now; its result is kept")
        assert one.end() == 0
        one.says("1 of the tasks has ended, which the store does not take now")
        assert one.task(task).state == "active" and before[1] == resource.RLIM_INFINITY
        one.up()
        assert one.state(task, "done").result == "7"
        one.end()
    assert_whole(Path(one.folder))
