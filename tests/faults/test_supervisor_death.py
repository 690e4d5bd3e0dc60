"""P7: whenever the supervisor or a shim is killed, each session is found again or known to be over."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from faults.session_kit import WITHIN_S, python, session, shell, spec_for, subreaper
from faults.store_kit import until

from agentctl.supervisor import process, proctree
from agentctl.supervisor.process import LaunchSpec, Spare, launch
from agentctl.supervisor.recover import Ended, NeverStarted, Running, Vanished, adopt, sweep
from agentctl.supervisor.session_files import read_exit, read_shim

STAND_IN = """
import json, os, sys, time
from agentctl.supervisor.process import LaunchSpec, launch
specs = json.load(sys.stdin)
for spec in specs:
    launch(LaunchSpec(**spec))
    print("launched", flush=True)
time.sleep(600)
"""
TREE = "setsid sleep 600 & (sleep 600 & echo deep; wait) & sleep 600 & echo ready; wait"


def _stand_in(specs: list[dict[str, object]]) -> subprocess.Popen[str]:
    """A process that launches the specs, for us to kill."""
    argv = [sys.executable, "-c", STAND_IN]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(json.dumps(specs))
    process.stdin.close()
    return process


def _spec(store: Path, argv: list[str], **more: object) -> dict[str, object]:
    spec = spec_for(store, argv, **more)
    return {name: getattr(spec, name) for name in spec.__slots__}


def _finish(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_agent_outlives_its_supervisor_and_is_adopted(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    script = f"echo before; while [ ! -e {gate} ]; do sleep 0.01; done; echo after; echo x >&2; exit 9"
    spec = _spec(tmp_path, shell(script))
    folder, nonce = str(spec["session_dir"]), str(spec["nonce"])
    supervisor = _stand_in([spec])
    until(lambda: (tmp_path / "sessions" / Path(folder).name / "out.000000").exists(), "output")
    _finish(supervisor)
    found = adopt(folder, nonce)
    assert isinstance(found, Running)
    assert found.record is not None
    assert proctree.start_of(found.record.child_pid) == found.record.child_start
    assert not found.shim.ended()
    gate.touch()
    assert found.shim.wait(WITHIN_S)
    found.shim.close()
    again = adopt(folder, nonce)
    assert isinstance(again, Ended)
    assert again.exit.code == 9
    assert Path(folder, "out.000000").read_bytes() == b"before\nafter\n"


def test_exit_while_nobody_supervises_is_read_afterwards(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    spec = _spec(tmp_path, shell(f"while [ ! -e {gate} ]; do sleep 0.01; done; echo done; exit 4"))
    folder = str(spec["session_dir"])
    supervisor = _stand_in([spec])
    until(lambda: read_shim(folder), "shim.json")
    _finish(supervisor)
    gate.touch()
    until(lambda: read_exit(folder), "exit.json")
    found = adopt(folder, str(spec["nonce"]))
    assert isinstance(found, Ended)
    assert (found.exit.code, found.exit.out_bytes) == (4, 5)


def _launch_and_die(spec: LaunchSpec, line: int) -> bool:
    """Fork a supervisor that kills itself before the given executed line of the launch.

    False: the launch had fewer lines, and the supervisor died after it.
    """
    pid = os.fork()
    if pid == 0:
        left = line

        def step(frame: FrameType, event: str, arg: object) -> Any:
            nonlocal left
            if frame.f_code.co_filename not in (process.__file__, proctree.__file__):
                return None
            left -= event == "line"
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return step

        sys.settrace(step)
        try:
            launch(spec)
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1] == signal.SIGKILL


def _recovered(spec: LaunchSpec, mark: Path) -> str:
    """Adopt the session; whatever comes of it, the agent ran at most once and nothing remains."""
    found = adopt(spec.session_dir, spec.nonce)
    if isinstance(found, Running):
        until(mark.exists, "the adopted agent runs")
        assert found.shim.send(signal.SIGINT)
        assert found.shim.wait(WITHIN_S)
        found.shim.close()
        assert mark.read_text() == "x\n"
        assert isinstance(adopt(spec.session_dir, spec.nonce), Ended)
    else:
        assert isinstance(found, NeverStarted), found
        assert not mark.exists()
    assert proctree.carriers(spec.nonce) == []
    return type(found).__name__


def _marked(store: Path, name: str) -> tuple[LaunchSpec, Path]:
    mark = store / name
    return spec_for(store, shell(f"echo x >> {mark}; exec sleep 600")), mark


def test_supervisor_killed_between_any_two_steps_of_a_launch_leaves_no_doubt(tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    lines, more = 0, True
    while more:
        spec, mark = _marked(tmp_path, f"at-once-{lines}")
        more = _launch_and_die(spec, lines)
        outcomes[_recovered(spec, mark)] += 1
        lines += 1
    assert lines > 30
    for line in range(lines - 15, lines + 1):  # about the hand-over, and the shim is given time
        spec, mark = _marked(tmp_path, f"later-{line}")
        _launch_and_die(spec, line)
        deadline = time.monotonic() + 0.1
        while not os.path.lexists(f"{spec.session_dir}/begun") and time.monotonic() < deadline:
            time.sleep(0.005)
        outcomes[_recovered(spec, mark)] += 1
    print(lines, "lines", dict(outcomes))
    assert outcomes["NeverStarted"] > 10
    assert outcomes["Running"] > 0
    # A session that was given up has not started later, behind our back.
    assert all(mark.read_text() == "x\n" for mark in tmp_path.glob("*-*"))
    assert len(list(tmp_path.glob("*-*"))) == outcomes["Running"]


def test_directory_given_up_is_never_started_later(tmp_path: Path) -> None:
    """The spec is on its way while a new supervisor already asks: only one of them wins."""
    spec = spec_for(tmp_path, shell(f"touch {tmp_path}/ran"))
    spare = Spare()
    assert isinstance(adopt(spec.session_dir, spec.nonce), NeverStarted)
    shim = spare.give(spec.line())
    assert shim.wait(WITHIN_S)
    shim.close()
    assert isinstance(adopt(spec.session_dir, spec.nonce), NeverStarted)
    assert not (tmp_path / "ran").exists()


def test_half_a_spec_starts_nothing(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, shell(f"touch {tmp_path}/ran"))
    spare = Spare()
    shim = spare.give(spec.line()[:-20])
    assert shim.wait(WITHIN_S)
    shim.close()
    assert isinstance(adopt(spec.session_dir, spec.nonce), NeverStarted)
    assert not (tmp_path / "ran").exists()


def test_killed_shim_is_noticed_and_nothing_of_its_agent_remains(tmp_path: Path) -> None:
    with subreaper(), session(tmp_path, shell(TREE)) as one:
        one.started()
        one.prints(b"ready")
        one.prints(b"deep")
        until(lambda: len(one.remains()) >= 4, "the whole tree")
        one.shim.send(signal.SIGKILL)
        assert one.shim.wait(WITHIN_S)
        found = adopt(one.spec.session_dir, one.spec.nonce)
        assert isinstance(found, Vanished)
        assert found.killed >= 4
        assert (found.survivors, found.rebooted) == (0, False)
        assert one.remains() == []
        again = adopt(one.spec.session_dir, one.spec.nonce)
        assert isinstance(again, Vanished)
        assert again.killed == 0
        assert [pid for pid in proctree.children(os.getpid()) if _is_zombie(pid)] == []


def test_shim_killed_at_any_moment_of_its_start_leaves_nothing(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    outcomes = set()
    with subreaper():
        for _ in range(25):
            spec = spec_for(tmp_path, shell("setsid sleep 600 & sleep 600"))
            shim = launch(spec)
            time.sleep(rng.random() * 0.03)
            shim.send(signal.SIGKILL)
            assert shim.wait(WITHIN_S)
            shim.close()
            found = adopt(spec.session_dir, spec.nonce)
            assert isinstance(found, NeverStarted | Vanished)
            outcomes.add(type(found).__name__)
            assert proctree.carriers(spec.nonce) == []
    print(outcomes)


def test_agent_that_cleared_its_environment_is_swept_by_its_session(tmp_path: Path) -> None:
    with session(tmp_path, shell("env -i sleep 600 & echo ready; exec env -i sleep 600")) as one:
        pid = one.started()
        one.prints(b"ready")
        until(lambda: len(proctree.session_members(pid, proctree.start_of(pid) or 0)) == 2, "two sleeps")
        one.shim.send(signal.SIGKILL)
        assert one.shim.wait(WITHIN_S)
        found = adopt(one.spec.session_dir, one.spec.nonce)
        assert isinstance(found, Vanished)
        assert found.killed == 2
        assert proctree.start_of(pid) is None


def test_record_of_another_boot_or_a_reused_pid_is_not_trusted(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, shell("exit 0"))
    folder = Path(spec.session_dir)
    with subprocess.Popen(["sleep", "600"]) as innocent:
        start = proctree.start_of(innocent.pid)
        record = {
            "pid": innocent.pid,
            "start": start,
            "boot": proctree.boot_id(),
            "nonce": spec.nonce,
            "tag": "0123456789abcdef",
            "child_pid": innocent.pid,
            "child_start": (start or 0) + 1,
            "started_ms": 1,
        }
        (folder / "shim.json").write_text(json.dumps(record))
        found = adopt(spec.session_dir, spec.nonce)
        assert isinstance(found, Vanished)
        assert (found.killed, found.rebooted) == (0, False)
        (folder / "shim.json").write_text(json.dumps({**record, "boot": "another"}))
        found = adopt(spec.session_dir, spec.nonce)
        assert isinstance(found, Vanished)
        assert found.rebooted
        assert innocent.poll() is None
        innocent.kill()


def test_sweep_touches_nobody_else(tmp_path: Path) -> None:
    with session(tmp_path, shell("sleep 600")) as mine, session(tmp_path, shell("sleep 600")) as other:
        mine.started()
        other.started()
        until(lambda: mine.remains() and other.remains(), "both agents")
        killed, survivors = sweep(mine.spec.nonce)
        assert (killed >= 1, survivors) == (True, 0)
        assert mine.ended().signal == signal.SIGKILL
        assert not other.shim.ended()


def test_orphaned_agent_is_stopped_after_the_grace(tmp_path: Path) -> None:
    spec = _spec(tmp_path, shell("trap 'echo asked; exit 3' TERM; echo up; while :; do sleep 0.02; done"))
    spec |= {"orphan_grace_s": 0.3, "grace_s": 20}
    folder = str(spec["session_dir"])
    supervisor = _stand_in([spec])
    until(lambda: read_shim(folder), "shim.json")
    _finish(supervisor)
    record = until(lambda: read_exit(folder), "the orphan's end")
    assert (record.code, record.stopped, record.orphaned) == (3, True, True)


def test_orphan_is_kept_when_the_lock_names_a_living_supervisor(tmp_path: Path) -> None:
    spec = _spec(tmp_path, shell("sleep 600")) | {"orphan_grace_s": 0.3, "grace_s": 0}
    folder = str(spec["session_dir"])
    supervisor = _stand_in([spec])
    until(lambda: read_shim(folder), "shim.json")
    with subprocess.Popen(["sleep", "600"]) as successor:
        lock = {"pid": successor.pid, "start": proctree.start_of(successor.pid), "boot": proctree.boot_id()}
        (tmp_path / "supervisor.lock").write_text(json.dumps(lock))
        _finish(supervisor)
        with pytest.raises(AssertionError, match="not within"):
            until(lambda: read_exit(folder), "an end that must not come", within_s=0.7)
        successor.kill()
    record = until(lambda: read_exit(folder), "the end after the successor's")
    assert record.orphaned


def test_supervisor_with_a_closed_log_and_pipe_does_not_matter(tmp_path: Path) -> None:
    """SIGPIPE and SIGHUP reach the shim and change nothing."""
    with session(tmp_path, shell("read line < /dev/null; sleep 0.2; echo out; exit 2")) as one:
        one.started()
        one.shim.send(signal.SIGPIPE)
        one.shim.send(signal.SIGHUP)
        assert one.ended().code == 2
        assert one.output() == b"out\n"


def _is_zombie(pid: int) -> bool:
    return proctree.start_of(pid) is None


def test_launch_from_python_returns_before_the_agent_has_run(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, python("import time; time.sleep(600)"))
    shim = launch(spec)
    assert read_exit(spec.session_dir) is None
    assert shim.fileno() >= 0
    shim.send(signal.SIGKILL)
    assert shim.wait(WITHIN_S)
    shim.close()
    assert isinstance(adopt(spec.session_dir, spec.nonce), NeverStarted | Vanished)
    assert proctree.carriers(spec.nonce) == []
