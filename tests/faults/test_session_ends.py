"""P8: a session ends with its whole tree, and its end is always written down truthfully."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from faults.session_kit import python, session, shell
from faults.store_kit import until

from agentctl.supervisor import proctree
from agentctl.supervisor.recover import stop

IGNORES_TERM = "trap '' TERM; echo ready; while :; do sleep 1; done"
DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.close(1); os.close(2)
        time.sleep(600)
    os._exit(0)
os.wait()
print('ready', flush=True)
"""


def test_exit_code_and_output_are_recorded(tmp_path: Path) -> None:
    with session(tmp_path, shell("echo out; echo err >&2; exit 3")) as one:
        record = one.ended()
        assert (record.code, record.signal, record.spawn_error) == (3, None, None)
        assert (one.output("out"), one.output("err")) == (b"out\n", b"err\n")
        assert (record.out_bytes, record.err_bytes, record.stopped) == (4, 4, False)
        assert record.nonce == one.spec.nonce
        assert record.ended_ms >= record.started_ms


def test_death_by_signal_is_recorded(tmp_path: Path) -> None:
    with session(tmp_path, shell("kill -SEGV $$")) as one:
        record = one.ended()
        assert (record.code, record.signal) == (None, signal.SIGSEGV)


def test_agent_gets_stdin_file_environment_and_folder(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text('{"n": 1}')
    env = {"PATH": os.environ["PATH"], "GREETING": "grüß dich \udcff"}
    script = 'cat; echo "|$GREETING|$AGENTCTL_SESSION|$(pwd)|$HOME"'
    with session(tmp_path, shell(script), stdin=str(tmp_path / "in.json"), env=env) as one:
        assert one.ended().code == 0
        expected = f'{{"n": 1}}|grüß dich \udcff|{one.dir.name}|{tmp_path}|\n'
        assert one.output() == os.fsencode(expected)


def test_agent_starts_with_default_signals_in_its_own_session(tmp_path: Path) -> None:
    code = """
import os
status = open('/proc/self/status').read()
fields = dict(line.split(':\\t', 1) for line in status.splitlines() if ':\\t' in line)
print(int(fields['SigBlk'], 16), int(fields['SigIgn'], 16) & 0x7fffffff & ~(1 << 12 | 1 << 24))
print(os.getsid(0) == os.getpid(), sorted(os.listdir('/proc/self/fd'))[:4])
"""
    with session(tmp_path, python(code)) as one:
        assert one.ended().code == 0
        # Not counted: what glibc (32, 33) and Python (PIPE, XFSZ) ignore. 3 is the folder being listed.
        assert one.output() == b"0 0\nTrue ['0', '1', '2', '3']\n"


@pytest.mark.parametrize("grace_s", [0.0, 0.2])
def test_agent_that_ignores_term_is_killed_after_the_grace(tmp_path: Path, grace_s: float) -> None:
    with session(tmp_path, shell(IGNORES_TERM)) as one:
        one.prints(b"ready")
        begun = time.monotonic()
        assert stop(one.spec.session_dir, grace_s, "test")
        record = one.ended()
        assert time.monotonic() - begun >= grace_s
        assert (record.signal, record.stopped) == (signal.SIGKILL, True)
        assert one.remains() == []


def test_agent_that_heeds_term_ends_by_itself(tmp_path: Path) -> None:
    with session(tmp_path, shell("trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.02; done")) as one:
        one.prints(b"ready")
        assert stop(one.spec.session_dir, 30, "test")
        record = one.ended()
        assert (record.code, record.stopped) == (7, True)
        assert one.output() == b"ready\nbye\n"


def test_each_process_of_the_tree_is_asked_exactly_once(tmp_path: Path) -> None:
    code = """
import os, signal, sys, time
signal.signal(15, lambda *_: os.write(1, (name + ' asked\\n').encode()))
name = 'agent'
for name in ('child', 'session'):
    if os.fork() == 0:
        if name == 'session':
            os.setsid()
        break
else:
    name = 'agent'
os.write(1, (name + ' up\\n').encode())
while True:
    time.sleep(60)
"""
    with session(tmp_path, python(code)) as one:
        until(lambda: one.output().count(b" up\n") == 3, "three processes")
        assert stop(one.spec.session_dir, 0.3, "test")
        one.ended()
        asked = sorted(line for line in one.output().splitlines() if line.endswith(b"asked"))
        assert asked == [b"agent asked", b"child asked", b"session asked"]


def test_orphans_that_end_early_are_reaped_by_the_shim(tmp_path: Path) -> None:
    script = "for n in 1 2 3 4 5 6 7 8 9; do (sleep 0.02 & :); done; echo ready; exec sleep 600"
    with session(tmp_path, shell(script)) as one:
        agent = one.started()
        one.prints(b"ready")
        until(lambda: proctree.children(one.shim.pid) == [agent], "the shim has no child but the agent")


def test_second_stop_may_shorten_the_grace(tmp_path: Path) -> None:
    with session(tmp_path, shell(IGNORES_TERM)) as one:
        one.prints(b"ready")
        assert stop(one.spec.session_dir, 600, "drain")
        assert stop(one.spec.session_dir, 0, "now")
        assert one.ended().signal == signal.SIGKILL


def test_stopped_agent_takes_term_when_continued(tmp_path: Path) -> None:
    with session(tmp_path, shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.02; done")) as one:
        pid = one.started()
        one.prints(b"ready")
        os.kill(pid, signal.SIGSTOP)
        assert stop(one.spec.session_dir, 30, "test")
        assert one.ended().code == 7


def test_daemon_in_its_own_session_is_killed_with_its_agent(tmp_path: Path) -> None:
    with session(tmp_path, python(DAEMON)) as one:
        record = one.ended()
        assert (record.code, record.swept, record.survivors) == (0, 1, 0)
        assert one.remains() == []


@pytest.mark.parametrize(
    ("resist", "swept"),
    [
        ("signal.signal(15, signal.SIG_IGN); deaf()", 1),
        ("deaf(); os.kill(os.getpid(), 19)", 0),  # TERM and CONT end it without KILL
        ("signal.signal(15, signal.SIG_IGN); deaf(); os.kill(os.getpid(), 19)", 1),
    ],
)
def test_stop_ends_daemons_that_resist(tmp_path: Path, resist: str, swept: int) -> None:
    deaf = tmp_path / "deaf"
    code = f"import os, signal, time\ndef deaf(): open({str(deaf)!r}, 'w').close()\n"
    code += DAEMON.replace("time.sleep(600)", resist + "; time.sleep(600)")
    code += "signal.signal(15, signal.SIG_IGN)\nprint('deaf too', flush=True)\ntime.sleep(600)"
    with session(tmp_path, python(code)) as one:
        one.prints(b"deaf too")
        until(deaf.exists, "the daemon resists")
        until(lambda: len(one.remains()) == 2, "agent and daemon")
        assert stop(one.spec.session_dir, 0.05, "test")
        record = one.ended()
        assert (record.signal, record.swept) == (signal.SIGKILL, swept)
        assert one.remains() == []


def test_pipe_held_after_the_exit_is_drained_for_a_second_only(tmp_path: Path) -> None:
    with session(tmp_path, shell("(sleep 0.2; echo late; sleep 600) & echo early; exit 0")) as one:
        pid = one.started()
        until(lambda: proctree.start_of(pid) is None, "the agent's own exit")
        begun = time.monotonic()
        record = one.ended()
        assert time.monotonic() - begun < 5
        assert record.code == 0
        assert record.swept >= 1
        assert one.output() == b"early\nlate\n"
        assert one.remains() == []


def test_fork_storm_is_ended(tmp_path: Path) -> None:
    code = """
import os, signal, time
signal.signal(15, signal.SIG_IGN)
print('ready', flush=True)
for _ in range(40):
    if os.fork() == 0:
        os.setsid()
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if os.fork() == 0:
                time.sleep(0.02)
                os._exit(0)
            time.sleep(0.02)
            try:
                os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                pass
time.sleep(600)
"""
    with session(tmp_path, python(code)) as one:
        one.prints(b"ready")
        until(lambda: len(one.remains()) > 10, "forks")
        assert stop(one.spec.session_dir, 0, "test")
        assert one.ended().survivors == 0
        assert one.remains() == []


def test_stop_before_the_start_starts_nothing(tmp_path: Path) -> None:
    with session(tmp_path, shell(f"touch {tmp_path}/ran; sleep 600")) as one:
        stop(one.spec.session_dir, 0, "at once", one.shim)
        assert one.shim.wait(10)
        assert one.remains() == []


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["no-such-agent"], "command not found: 'no-such-agent'"),
        (["./missing"], "No such file or directory"),
        (["./plain"], "chmod +x"),
        (["./bare"], "#!"),
        (["./orphan"], "interpreter '/no/such/python' is missing"),
        (["."], "not found"),
        (["./"], "is a folder"),
        ([], "command is empty"),
        ([""], "command is empty"),
        (["/bin/sh", "nul\0byte"], "null"),
        (["/bin/echo", "x" * 200_000], "more than the system takes"),
    ],
)
def test_command_that_cannot_start_says_why(tmp_path: Path, argv: list[str], says: str) -> None:
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    (tmp_path / "bare").write_text("echo no interpreter line\n")
    (tmp_path / "orphan").write_text("#!/no/such/python -u\n")
    for name in ("bare", "orphan"):
        (tmp_path / name).chmod(0o755)
    with session(tmp_path, argv) as one:
        record = one.ended()
        assert record.spawn_error is not None
        assert says in record.spawn_error
        assert (record.code, record.signal) == (None, None)
        assert sorted(p.name for p in one.dir.iterdir()) == ["begun", "exit.json"]


def test_missing_working_directory_says_so(tmp_path: Path) -> None:
    with session(tmp_path, shell("true"), cwd=str(tmp_path / "gone")) as one:
        assert "working directory" in str(one.ended().spawn_error)


def test_wake_socket_hears_of_the_start_and_the_end(tmp_path: Path) -> None:
    import socket

    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    folder = os.open(deep, os.O_RDONLY)
    listener.bind(f"/proc/self/fd/{folder}/wake.sock")
    listener.settimeout(10)
    with listener, session(tmp_path, shell("true"), wake=str(deep / "wake.sock")) as one:
        expected = f"s {one.dir.name}".encode()
        assert [listener.recv(100), listener.recv(100)] == [expected, expected]
        one.ended()
    os.close(folder)


def test_facts_are_lines_for_the_supervisor(tmp_path: Path) -> None:
    line = json.dumps({"agentctl": "progress", "text": "hälfte"}, ensure_ascii=False)
    with session(tmp_path, shell(f"echo one; echo '{line}'; printf '%s' '{line}'")) as one:
        one.ended()
        facts = [json.loads(text) for text in (one.dir / "facts.jsonl").read_text().splitlines()]
        assert [(fact["k"], fact["raw"]) for fact in facts] == [("line", line), ("line", line)]
