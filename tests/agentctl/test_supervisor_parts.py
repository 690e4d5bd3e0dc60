"""The supervisor's senses: what agents say, what probes find, what a session's folder holds."""

from __future__ import annotations

import fcntl
import http.server
import json
import os
import threading
import time
from dataclasses import replace

import pytest
from faults.store_kit import until

from agentctl.config import parse_config
from agentctl.supervisor import keeping, session_dir
from agentctl.supervisor.doorbell import Bell
from agentctl.supervisor.jsonlines import read_line
from agentctl.supervisor.keeping import Keeper
from agentctl.supervisor.lock import SupervisorLock, read_holder, running
from agentctl.supervisor.notify import read_notify
from agentctl.supervisor.probes import Job, Prober, check
from agentctl_store.errors import AlreadyRunning
from agentctl_store.ids import read_id, write_id

LINES = [
    ('{"agentctl":"progress","text":"half","share":0.5}', {"progress": "50% half"}),
    ('{"agentctl":"progress","message":"x"}', {"progress": "x"}),
    ('{"agentctl":"progress","text":"\\u001b[31mred\\u202e"}', {"progress": "red<U+202E>"}),
    ('{"agentctl":"usage","input_tokens":3,"cost_usd":0.25}', {"input_tokens": 3, "cost_microusd": 250_000}),
    ('{"agentctl":"usage","input_tokens":-3,"output_tokens":true,"cost_usd":"x"}', {}),
    ('{"agentctl":"retry_after","seconds":1.5}', {"retry_after_ms": 1500}),
    ('{"agentctl":"retry_after","seconds":-1}', {}),
    ('{"agentctl":"retry_after","seconds":1e999}', {}),
    ('{"agentctl":"usage","input_tokens":99999999999999999999}', {}),
    ('{"agentctl":"log","message":"x"}', {}),
    ('{"agentctl":["progress"]}', {}),
    ('{"agentctl":"progress"', {}),
    ('{"agentctl":"progress","agentctl":"usage"}', {}),
    ("[" * 5_000, {}),
]


@pytest.mark.parametrize(("raw", "said"), LINES, ids=range(len(LINES)))
def test_json_lines_are_understood_or_passed_over(raw, said):
    assert read_line(raw) == said


def test_sd_notify_is_read_as_systemd_does():
    text = "READY=1\nSTATUS=warm \x1b[2J\nWATCHDOG_USEC=2000000\nEXTEND_TIMEOUT_USEC=5000000\nMAINPID=1\nnonsense\n"
    assert read_notify(text) == {"ready": True, "status": "warm ", "watchdog_ms": 2_000, "extend_ms": 5_000}
    assert read_notify("WATCHDOG=1\nSTOPPING=1") == {"watchdog": True, "stopping": True}
    assert read_notify("WATCHDOG=trigger") == {"watchdog_trigger": True}
    assert read_notify("WATCHDOG_USEC=-1\nREADY=0\nEXTEND_TIMEOUT_USEC=9e9") == {}


def job(folder, **probe) -> Job:
    text = "[agent.a]\ncommand='x'\n[agent.a.probe.liveness]\n"
    text += "".join(f"{key} = {json.dumps(value)}\n" for key, value in probe.items())
    section = parse_config(text).agent["a"].probe.liveness
    assert section is not None
    return Job(("a", 1), 0, "liveness", section, str(folder), {"PATH": os.environ["PATH"]}, str(folder))


def test_an_exec_probe_tells_its_exit_its_words_and_its_timeout(tmp_path):
    assert check(job(tmp_path, exec=["true"])) == ""
    assert check(job(tmp_path, exec=["sh", "-c", "echo not yet; exit 3"])) == "sh exit 3 not yet"
    assert "no-such-program" in check(job(tmp_path, exec=["no-such-program"]))
    begun = time.monotonic()
    assert "did not end within" in check(job(tmp_path, exec=["sleep", "60"], timeout="50ms"))
    assert time.monotonic() - begun < 5


def test_tcp_and_http_probes(tmp_path):
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/ok" else 503)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    port = server.server_address[1]
    assert check(job(tmp_path, tcp=f"127.0.0.1:{port}")) == ""
    assert check(job(tmp_path, http=f"http://127.0.0.1:{port}/ok")) == ""
    assert "status 503" in check(job(tmp_path, http=f"http://127.0.0.1:{port}/bad"))
    server.shutdown()
    server.server_close()
    assert str(port) in check(job(tmp_path, tcp=f"127.0.0.1:{port}"))
    assert check(job(tmp_path, http=f"http://127.0.0.1:{port}/ok"))


def test_a_log_probe_waits_for_a_line(tmp_path):
    assert "no line" in check(job(tmp_path, log="^listening on \\d+"))
    (tmp_path / "err.000000").write_text("starting\nlistening on 80\n")
    assert check(job(tmp_path, log="^listening on \\d+")) == ""


def test_a_log_probe_for_liveness_believes_no_line_of_long_ago(tmp_path):
    looked, out = {}, tmp_path / "out.000000"
    alive = job(tmp_path, log="^tick$")
    out.write_text("tick\nti")
    assert check(alive, looked) == "" and "no new line" in check(alive, looked)
    out.write_text("tick\ntick")
    assert check(alive, looked) == "", "a line that came in two parts"
    assert "no new line" in check(alive, looked), "nor half a line that has been seen"
    out.write_text("tick\ntick\nother\ntick\n")
    assert check(alive, looked) == ""


def test_what_a_liveness_probe_has_looked_through_is_kept_for_one_life(tmp_path):
    bell = Bell()
    prober = Prober(bell)
    (tmp_path / "out.000000").write_text("tick\n")
    lives = ((1, "liveness", True), (1, "liveness", False), (1, "readiness", True), (2, "liveness", True))
    for session, kind, good in lives:
        prober.run(replace(job(tmp_path, log="tick"), session=session, kind=kind))
        ((_, answer),) = until(prober.answers, "the answer")
        assert answer.ok is good, (session, kind)
    prober.close()
    bell.close()


def test_probes_answer_by_the_bell_and_never_in_the_callers_time(tmp_path):
    bell = Bell()
    prober = Prober(bell)
    begun = time.monotonic()
    prober.run(job(tmp_path, exec=["sleep", "0.1"]))
    assert time.monotonic() - begun < 0.09 and prober.busy
    ((_, answer),) = until(prober.answers, "the answer")
    assert answer.ok and not prober.busy
    prober.close()
    bell.close()


def test_the_environment_is_an_allow_list():
    section = parse_config("[agent.a]\ncommand='x'\npass_env=['KEY']\nenv={PATH='/own', A='1'}").agent["a"]
    outside = {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "KEY": "k", "AWS_SECRET_ACCESS_KEY": "s", "LD_PRELOAD": "x"}
    who = session_dir.Identity("/store", "a", 2, 7)
    env = session_dir.environment(who, "/folder", section, outside, "/venv/bin", None)
    assert env["PATH"] == "/own" and env["KEY"] == "k" and env["A"] == "1" and env["LC_ALL"] == "C"
    assert not {"AWS_SECRET_ACCESS_KEY", "LD_PRELOAD", "AGENTCTL_TASK"} & set(env)
    assert (env["AGENTCTL_INSTANCE"], env["AGENTCTL_SESSION"]) == ("a/2", write_id(7))


@pytest.mark.parametrize(
    ("written", "result"),
    [
        (b'{"a": 1}\n', '{"a":1}'),
        (b"plain\n", '"plain"'),
        (b"NaN", '"NaN"'),
        (b'{"a":1,"a":2}', '"{\\"a\\":1,\\"a\\":2}"'),
        (b"\xff\x00\xfe", '"�\\u0000�"'),
        (b" \n", None),
        (b'{"agentctl":"progress","text":"x"}\n42\n', "42"),
    ],
)
def test_stdout_becomes_the_result(tmp_path, written, result):
    (tmp_path / "out.000000").write_bytes(written)
    assert session_dir.result(str(tmp_path)) == result


def test_a_result_file_goes_before_stdout_and_has_a_limit(tmp_path):
    (tmp_path / "out.000000").write_text("output")
    (tmp_path / session_dir.RESULT).write_text("")
    assert session_dir.result(str(tmp_path)) == '"output"', "an empty file is no result"
    (tmp_path / session_dir.RESULT).write_text("[1]")
    assert session_dir.result(str(tmp_path)) == "[1]"
    (tmp_path / session_dir.RESULT).write_bytes(b"x" * (session_dir.MAX_RESULT_BYTES + 1))
    with pytest.raises(session_dir.BadResult, match="limit"):
        session_dir.result(str(tmp_path))


def sessions(store, sizes):
    for number, size in enumerate(sizes):
        folder = store / "sessions" / write_id(number)
        (folder / "own").mkdir(parents=True)
        (folder / "own" / "out.000000").write_bytes(bytes([1]) * size)
    return lambda: [read_id(path.name, "session id") for path in sorted((store / "sessions").iterdir())]


def test_old_session_folders_go_and_open_ones_stay(tmp_path):
    left = sessions(tmp_path, [0] * 10)
    assert not Keeper(str(tmp_path), pytest.fail).tidy([0], 1 << 30, most_sessions=4)
    assert left() == [0, 6, 7, 8, 9]


def test_the_oldest_output_goes_when_all_of_it_takes_too_much(tmp_path):
    left = sessions(tmp_path, [100_000] * 6)
    keeper = Keeper(str(tmp_path), pytest.fail)
    keeper.tidy([1], 250_000)
    assert left() == [1, 4, 5]
    keeper.tidy([], 250_000)  # the first has ended meanwhile
    assert left() == [4, 5]
    keeper.tidy([], 250_000)
    assert left() == [4, 5]
    keeper.tidy([], 0)
    assert left() == []


def test_thousands_of_folders_are_looked_at_some_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "AT_ONCE", 4)
    left = sessions(tmp_path, [100_000] * 10)
    keeper = Keeper(str(tmp_path), pytest.fail)
    assert keeper.tidy([], 350_000) and left() == list(range(4, 10)), "the four newest alone are too much already"
    while keeper.tidy([], 350_000):
        pass
    assert left() == [7, 8, 9]


def test_the_lock_names_its_holder_and_is_not_inherited(tmp_path):
    lock = SupervisorLock(str(tmp_path), root="/fleet", since_ms=5)
    with pytest.raises(AlreadyRunning, match=str(os.getpid())):
        SupervisorLock(str(tmp_path), root="/fleet", since_ms=6)
    holder = running(str(tmp_path))
    assert holder is not None and (holder.pid, holder.since_ms, holder.root) == (os.getpid(), 5, "/fleet")
    assert not os.get_inheritable(lock._fd)
    lock.release()
    assert running(str(tmp_path)) is None and read_holder(str(tmp_path)) is None
    SupervisorLock(str(tmp_path), root="/", since_ms=7).release()


def test_asking_who_supervises_never_keeps_a_supervisor_out(tmp_path):
    SupervisorLock(str(tmp_path), root="/", since_ms=1).release()
    asking = os.open(tmp_path / "supervisor.lock", os.O_RDWR)
    fcntl.flock(asking, fcntl.LOCK_SH)
    timer = threading.Timer(0.05, os.close, [asking])
    timer.start()
    SupervisorLock(str(tmp_path), root="/", since_ms=2).release()
    timer.join()


def test_the_doorbell_rings_through_a_path_longer_than_a_socket_address(tmp_path):
    from agentctl.supervisor.doorbell import Doorbell
    from agentctl_store.wake import poke

    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    assert not poke(str(deep)), "nobody listens"
    bell = Doorbell(str(deep))
    assert poke(str(deep)) and poke(str(deep), b"agent") and poke(str(deep))
    assert bell.words() == {"task", "agent"} and bell.words() == set()
    bell.close()
    assert not poke(str(deep))


def test_the_doorbell_still_rings_when_somebody_who_waited_has_gone(tmp_path):
    """Where there is no broker, which waits for as long as the supervisor runs, he may be the last one."""
    from agentctl.supervisor.doorbell import Doorbell
    from agentctl_store.store import TaskRequest, open_store
    from agentctl_store.wake import Waiter

    with open_store(str(tmp_path), create=True) as store:
        bell = Doorbell(str(tmp_path))
        Waiter(str(tmp_path)).close()
        store.add([TaskRequest("q")])
        assert bell.words() == {"task"}
        bell.close()
    assert not (tmp_path / "waiters").exists()
