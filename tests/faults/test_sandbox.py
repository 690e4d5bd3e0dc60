"""P15: a sandboxed agent cannot reach the store, signal the supervisor or pose as a sibling, and can do its work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults.fleet_kit import RUN, Fleet, environ_of, fleet, lines
from faults.sandbox_kit import TRY, need_landlock, place, prlimit_reads, without_landlock
from faults.store_kit import until

from agentctl.supervisor import proctree, shim_sandbox
from agentctl.supervisor.session_files import read_shim
from agentctl_store.store import sessions_folder

SECRET = "not for agents, whoever they are"  # as long as a key must be
ANSWER = "larger than the limit"  #: what the broker says to `hello`, which is no frame
AGENTS = f"""
[agent.t]
sandbox = "landlock"
cwd = "work"
command = ['{sys.executable}', 'try.py']

[agent.s]
sandbox = "landlock"
cwd = "work"
mode = "service"
command = ['/bin/sh', '-c', 'echo a sibling; while :; do sleep 0.1; done']
"""
EVERYTHING = """
sibling, own = given["sibling"], os.path.dirname(os.environ["AGENTCTL_RESULT_FILE"])
os.symlink(store, "link")

for name in ("store.db", "store.db-wal", "write.lock", "supervisor.lock", "token.key"):
    attempt("read " + name, lambda: read(store + "/" + name))
    attempt("write " + name, lambda: write(store + "/" + name, mode="r+"))
    attempt("empty " + name, lambda: os.truncate(store + "/" + name, 0))
    attempt("remove " + name, lambda: os.unlink(store + "/" + name))
    attempt("link " + name, lambda: os.link(store + "/" + name, "linked"))
    attempt("take " + name, lambda: os.rename(store + "/" + name, "taken"))
attempt("list store", lambda: os.listdir(store))
attempt("list sessions", lambda: os.listdir(store + "/sessions"))
attempt("list sibling", lambda: os.listdir(sibling))
attempt("read sibling", lambda: read(sibling + "/out.000000"))
attempt("stop sibling", lambda: write(sibling + "/stop.json"))
attempt("end own session", lambda: write(own + "/../exit.json"))
attempt("list own session", lambda: os.listdir(own + "/.."))
attempt("new in store", lambda: write(store + "/new"))
attempt("move store", lambda: os.rename(store, store + "2"))
attempt("read by link", lambda: read("link/token.key"))
attempt("read by /proc", lambda: read("/proc/self/root" + store + "/token.key"))
attempt("read by supervisor", lambda: read("/proc/%d/root%s/token.key" % (given["supervisor"], store)))

attempt("read config", lambda: read(given["config"]) and "ok")
attempt("write config", lambda: write(given["config"], mode="a"))
attempt("remove config", lambda: os.unlink(given["config"]))
attempt("replace config", lambda: (write("toml"), os.rename("toml", given["config"])))

for who in ("supervisor", "shim", "sibling_pid", "sibling_shim", "outsider"):
    pid = given[who] if who != "shim" else os.getppid()
    for number in (0, 9, 15, 19):
        attempt("signal %d %s" % (number, who), lambda: os.kill(pid, number))
    attempt("pidfd " + who, lambda: __import__("signal").pidfd_send_signal(os.pidfd_open(pid), 9))
    attempt("environment of " + who, lambda: "read" if read("/proc/%d/environ" % pid) else "empty")
attempt("speak as sibling", lambda: datagram(given["sibling_notify"]))

attempt("broker", lambda: stream(store + "/broker.sock"))
attempt("status", lambda: datagram(os.environ["NOTIFY_SOCKET"]))
attempt("payload", lambda: read(os.environ["AGENTCTL_PAYLOAD_FILE"]))
attempt("stdin", lambda: sys.stdin.read())
attempt("parents", lambda: read(os.environ["AGENTCTL_PARENTS_FILE"]))
checkpoint = os.environ["AGENTCTL_CHECKPOINT_FILE"]
attempt("checkpoint", lambda: (write(checkpoint + ".tmp", "{}"), os.rename(checkpoint + ".tmp", checkpoint)) and "ok")
attempt("list own", lambda: sorted(os.listdir(own)))
attempt("work", lambda: (os.mkdir("deep"), write("deep/file"), os.rename("deep/file", "moved")) and os.listdir("deep"))
import tempfile
attempt("temporary", lambda: write(tempfile.mkstemp()[1]))
attempt("temporary folder", tempfile.gettempdir)
attempt("/tmp", lambda: write("/tmp/agentctl-%d" % os.getpid()) or os.unlink("/tmp/agentctl-%d" % os.getpid()))
attempt("/dev/null", lambda: write("/dev/null"))
import subprocess
for words in (["sh", "-c", "echo ok"], [sys.executable, "-c", "print('ok')"], ["git", "init", "-q", "repository"]):
    attempt(os.path.basename(words[0]).rstrip("3.0129"), lambda: subprocess.run(words, capture_output=True, text=True,
        check=True).stdout.strip() or "ok")
child = subprocess.Popen(["sleep", "60"])
attempt("signal child", lambda: child.kill() or child.wait())
server = socket.create_server(("127.0.0.1", 0))
attempt("network", lambda: socket.create_connection(server.getsockname()).close())

with open(os.environ["AGENTCTL_RESULT_FILE"] + ".tmp", "w") as file:
    json.dump(found, file)
os.rename(file.name, os.environ["AGENTCTL_RESULT_FILE"])
"""


def plant(f: Fleet) -> None:
    """Put a key into the store that a test can recognize."""
    key = Path(f.folder) / "token.key"
    key.touch(0o600)
    key.write_text(SECRET)


def prepare(f: Fleet, code: str, **given: Any) -> None:
    """Put the agent's program and what it may know into its folder, and a key into the store."""
    work = f.root / "work"
    (work / "try.py").write_text(TRY + code)
    plant(f)
    (work / "given.json").write_text(json.dumps({"store": f.folder, "config": str(f.config), **given}))


@pytest.fixture(scope="module")
def tried() -> Iterator[dict[str, Any]]:
    """What an agent found that tried everything, with a supervisor and a sandboxed sibling that run."""
    need_landlock()
    with place() as root, fleet(root, AGENTS) as f:
        supervisor = f.up()
        f.shows("s/1", lambda row: row.phase == "busy" and row.session is not None, "the sibling runs")
        sibling = sessions_folder(f.folder, f.store.open_sessions()[0].id)
        record = until(lambda: read_shim(sibling), "the sibling's record")
        prepare(
            f, EVERYTHING, sibling=sibling, sibling_pid=record.child_pid, sibling_shim=record.pid,
            sibling_notify=environ_of(record.child_pid)["NOTIFY_SOCKET"], supervisor=supervisor.pid,
            outsider=os.getpid(),
        )  # fmt: skip
        task = f.state(f.add("t", '"do all"'), "done", "dead")
        assert task.state == "done" and task.result, f.said()
        found = json.loads(task.result)
        found["after"] = {
            "sibling": proctree.start_of(record.child_pid) == record.child_start,
            "sibling's status": (row := f.instance("s/1")) is not None and row.health,
            "supervisor": supervisor.poll(),
            "files": sorted(path.name for path in (root / "work").iterdir()),
            "config": f.config.read_text().count("sandbox"),
        }
        assert f.end() == 0
        found["leftovers"] = f.leftovers()
        yield found


def test_it_reads_and_writes_nothing_of_the_store(tried):
    files = ("store.db", "store.db-wal", "write.lock", "supervisor.lock", "token.key")
    denied = {name: tried[name] for name in tried if name.split(" ")[-1] in files and not name.startswith("link")}
    assert len(denied) == 25 and set(denied.values()) == {"PermissionError"}, denied
    # EXDEV: a file may not go where it would have more rights (LANDLOCK_ACCESS_FS_REFER).
    assert {tried["link " + name] for name in files} <= {"PermissionError", "OSError"}
    for name in ("list store", "list sessions", "list sibling", "read sibling", "stop sibling", "new in store"):
        assert tried[name] == "PermissionError", name
    for name in ("move store", "read by link", "read by /proc", "read by supervisor"):
        assert tried[name] == "PermissionError", name
    assert not {"linked", "taken"} & set(tried["after"]["files"])


def test_it_cannot_write_what_its_keeper_writes(tried):
    assert tried["end own session"] == tried["list own session"] == "PermissionError"


def test_it_reads_the_configuration_and_cannot_change_it(tried):
    assert tried["read config"] == "ok"
    for name in ("write config", "remove config"):
        assert tried[name] == "PermissionError", name
    assert tried["replace config"] in ("PermissionError", "OSError")
    assert tried["after"]["config"] == 2


def test_it_signals_nobody_outside(tried):
    signals = {
        name: said for name, said in tried.items() if name.startswith(("signal ", "pidfd ")) and "child" not in name
    }
    assert len(signals) == 25 and set(signals.values()) == {"PermissionError"}, signals
    assert tried["after"]["sibling"] and tried["after"]["supervisor"] is None


def test_it_cannot_pose_as_a_sibling(tried):
    spied = {name: said for name, said in tried.items() if name.startswith("environment of ")}
    assert len(spied) == 5 and set(spied.values()) == {"PermissionError"}, "a token is in the environment"
    assert tried["speak as sibling"] == "PermissionError"


def test_it_reaches_the_broker_and_its_own_keeper(tried):
    assert ANSWER in tried["broker"] and tried["status"] == "ok"


def test_it_does_its_work(tried):
    assert (tried["payload"], tried["stdin"], tried["parents"]) == ('"do all"', '"do all"', "")
    assert (tried["checkpoint"], tried["work"]) == ("ok", [])
    assert tried["list own"] == ["answers.jsonl", "checkpoint.json", "parents.jsonl", "payload.json"]
    for name in ("temporary", "/tmp", "/dev/null", "sh", "python", "git", "network"):
        assert tried[name] == "ok", (name, tried[name])
    assert tried["signal child"] == -signal.SIGKILL
    assert tried["leftovers"] == []


SPREAD = """
def tries(who):
    attempt(who + " reads", lambda: read(store + "/token.key"))
    attempt(who + " signals", lambda: os.kill(given["supervisor"], 0))
    attempt(who + " broker", lambda: stream(store + "/broker.sock"))
    with open("found." + who + ".tmp", "w") as file:
        json.dump(found, file)
    os.rename(file.name, "found." + who)

tries("self")
if os.fork() == 0:
    tries("child")
    if os.fork() == 0:
        tries("grandchild")
        os.setsid()
        if os.fork() == 0:
            os.setsid()
            tries("away")
            import time
            time.sleep(60)
        os._exit(0)
    os._exit(0)
import time
while not os.path.exists("found.away"):
    time.sleep(0.01)
attempt("last", lambda: os.execv("/bin/sh", ["sh", "-c", "cat %s/token.key 2>&1; exit 0" % store]))
"""


def test_children_of_all_kinds_are_inside_too_and_end_with_it():
    need_landlock()
    with place() as root, fleet(root, AGENTS.partition("[agent.s]")[0]) as f:
        supervisor = f.up()
        prepare(f, SPREAD, supervisor=supervisor.pid)
        task = f.state(f.add("t"), "done", "dead")
        for who in ("self", "child", "grandchild", "away"):
            found = json.loads((root / "work" / f"found.{who}").read_text())
            said = [found[f"{who} {what}"] for what in ("reads", "signals")]
            assert said == ["PermissionError", "PermissionError"], who
            assert ANSWER in found[f"{who} broker"], who
        assert "Permission denied" in (task.result or ""), "a program it turned into is inside too"
        assert f.leftovers() == []
        assert f.end() == 0


def test_a_result_that_is_a_link_is_not_read_by_those_who_could():
    need_landlock()
    with place() as root, fleet(root, AGENTS.partition("[agent.s]")[0]) as f:
        prepare(f, 'os.symlink(store + "/token.key", os.environ["AGENTCTL_RESULT_FILE"])')
        task = f.add("t")
        f.finish()
        assert f.task(task).state == "dead"
        [attempt] = f.attempts(task)
        assert "the result file cannot be read" in (attempt.error or "")
        assert SECRET not in repr(f.task(task)) + repr(attempt) + f.said()


def test_a_killed_supervisor_leaves_it_running_and_its_successor_adopts_it():
    need_landlock()
    with place() as root, fleet(root, AGENTS.partition("[agent.s]")[0]) as f:
        prepare(f, """
import subprocess, time
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
write("ran", str(child.pid))
while os.path.exists("wait"):
    time.sleep(0.01)
attempt("key", lambda: read(store + "/token.key"))
write(os.environ["AGENTCTL_RESULT_FILE"], json.dumps(found))
""")  # fmt: skip
        work = root / "work"
        (work / "wait").touch()
        task = f.add("t")
        f.up()
        until(lambda: lines(work / "ran"), "the agent runs")
        f.kill()
        f.up()
        f.says("adopted 1 running")
        (work / "wait").unlink()
        done = f.state(task, "done", "dead")
        assert (done.state, done.attempts, done.result) == ("done", 1, '{"key":"PermissionError"}')
        until(lambda: proctree.start_of(int(lines(work / "ran")[0])) is None, "its child in another session has ended")
        assert f.end() == 0


@pytest.mark.parametrize("how", ["stop", "shim killed"])
def test_it_is_stopped_from_outside_with_all_its_processes(how):
    need_landlock()
    agents = AGENTS.partition("[agent.s]")[2].replace(
        "echo a sibling", "trap '' TERM; setsid sleep 600 & echo $$ $! >ran"
    )
    agents = "[agent.s]" + agents.replace("'/bin/sh', '-c', '", '"/bin/sh", "-c", "').replace("done'", 'done"')
    with place() as root, fleet(root, agents + 'grace = "200ms"\n') as f:
        f.up()
        pids = [int(pid) for pid in until(lambda: lines(root / "work" / "ran"), "the agent runs")]
        session = f.store.open_sessions()[0]
        record = until(lambda: read_shim(sessions_folder(f.folder, session.id)), "its record")
        if how == "stop":
            assert f.end() == 0
        else:
            os.kill(record.pid, signal.SIGKILL)
            f.says("its keeper process was killed")
        until(lambda: not any(proctree.start_of(pid) for pid in pids), "both have ended")
        assert not proctree.carriers(session.nonce)


def test_a_probe_runs_inside_too():
    need_landlock()
    probe = """
probe.readiness = { exec = ["sh", "check.sh"], period = "100ms" }
"""
    with place() as root, fleet(root, AGENTS.partition("[agent.s]")[0] + probe) as f:
        prepare(f, "print(1)")
        (root / "work" / "check.sh").write_text("cat ../.agentctl/token.key >leaked 2>denied; touch checked; exit 0\n")
        assert f.state(f.add("t"), "ready") and f.up()
        until((root / "work" / "checked").exists, "the probe ran")
        assert (root / "work" / "leaked").read_text() == ""
        assert "denied" in (root / "work" / "denied").read_text()
        assert f.end() == 0


def test_turning_it_on_restarts_the_agent():
    need_landlock()
    agent = """
[agent.s]
cwd = "work"
mode = "service"
command = ['/bin/sh', '-c', 'cat ../.agentctl/token.key >>said 2>&1; echo >>said; sleep 60']
"""
    with place() as root, fleet(root, agent) as f:
        prepare(f, "")
        said = root / "work" / "said"
        f.up()
        until(lambda: said.exists() and said.read_text() == SECRET + "\n", "it reads the key")
        f.configure(agent + 'sandbox = "landlock"\n')
        until(lambda: "denied" in said.read_text(), "it does not any more")
        assert f.end() == 0


def test_a_store_among_temporary_files_gives_it_a_temporary_folder_of_its_own(tmp_path):
    need_landlock()
    (tmp_path / "work").mkdir()
    with fleet(tmp_path, AGENTS.partition("[agent.s]")[0]) as f:
        prepare(f, """
import tempfile
attempt("temporary", lambda: write(tempfile.mkstemp()[1]))
attempt("folder", tempfile.gettempdir)
write(os.environ["AGENTCTL_RESULT_FILE"], json.dumps(found))
""")  # fmt: skip
        task = f.add("t")
        assert f.finish() == 0, f.said()
        result = json.loads(f.task(task).result or "")
        assert result["temporary"] == "ok" and result["folder"].startswith(f.folder + "/sessions/")


# --- where there can be no sandbox --------------------------------------------------------------------------------
LATCHED = "t/1 failed: .*Fix the cause, then: agentctl agent start t"


def latched(f: Fleet, task: int) -> str:
    """Wait until the agent is latched; the reason. Nothing ran, and no try of the task was burnt."""
    row = f.shows("t/1", lambda row: row.latched, "latched")
    f.says(LATCHED)
    assert f.said().count("t/1") == 1, "told once, not tried again and again"
    assert not (f.root / "ran").exists() and not (f.root / "work" / "ran").exists()
    after = f.state(task, "ready")
    assert after.burnt == 0
    assert f.end() == 0
    return row.reason


def test_a_folder_that_holds_the_store_is_refused_with_what_to_do():
    need_landlock()
    with place() as root, fleet(root, "[agent.t]\nsandbox = 'landlock'\ncommand = ['sh', '-c', 'touch ran']\n") as f:
        task = f.add("t")
        f.up()
        reason = latched(f, task)
        assert "holds agentctl.toml" in reason and 'cwd = "work"' in reason


def test_a_kernel_without_landlock_starts_nothing_and_says_why():
    with place() as root, fleet(root, AGENTS.partition("[agent.s]")[0]) as f:
        prepare(f, 'write("ran")')
        task = f.add("t")
        run = f"import sys; sys.argv[1:] = [{str(f.config)!r}, {f.folder!r}, '', '0']\n" + RUN
        with open(f.log, "ab") as log:
            f.process = subprocess.Popen([sys.executable, "-c", without_landlock(run)], stdout=log, stderr=log)
        assert "has no Landlock; Linux 6.12 or newer has" in latched(f, task)


def test_the_keeper_itself_starts_nothing_unsandboxed():
    code = without_landlock("""
from agentctl.supervisor.shim_sandbox import SandboxError, inside
try:
    inside({"hide": ["/nowhere"], "read": [], "open": []}, lambda: print("started"))
except SandboxError as error:
    print(error)
""")
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("this kernel has Landlock ABI 0, the sandbox needs 6"), said


def test_a_keeper_that_cannot_make_it_latches_at_once():
    need_landlock()
    with place() as root, fleet(root, AGENTS.partition("[agent.s]")[0]) as f:
        prepare(f, 'write("ran")')
        for number in range(shim_sandbox.MOST_ENTRIES + 1):
            os.mknod(root / str(number))
        task = f.add("t")
        f.up()
        assert "has more than 20,000; keep agentctl.toml and its store in another folder" in latched(f, task)


# --- other ways to the same place ---------------------------------------------------------------------------------
MOUNTS = [
    ("8:1", "/", "/"),
    ("8:2", "/", "/data"),
    ("8:2", "/homes", "/home"),
    ("8:2", "/homes/ann/f/s/sessions", "/x"),
]


def test_bind_mounts_of_the_place_are_known():
    assert shim_sandbox.names_of("/home/ann/f/s", MOUNTS) == ["/home/ann/f/s", "/data/homes/ann/f/s", "/x"]
    assert shim_sandbox.names_of("/etc/f", MOUNTS) == ["/etc/f"]
    covered = [("8:1", "/", "/"), ("9:1", "/", "/home"), ("8:1", "/", "/home")]
    assert shim_sandbox.names_of("/home/ann/f", covered) == ["/home/ann/f", "/ann/f"]


def test_the_store_is_closed_through_a_bind_mount_too():
    need_landlock()
    with place() as root, place() as other:
        made = subprocess.run(["mount", "--bind", str(root), str(other)], capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"NOT PROVED HERE: a second way to a store needs the right to mount: {made.stderr.strip()}")
        try:
            with fleet(root, AGENTS.partition("[agent.s]")[0]) as f:
                prepare(f, """
attempt("key", lambda: read(given["other"] + "/.agentctl/token.key"))
attempt("config", lambda: write(given["other"] + "/agentctl.toml", mode="a"))
attempt("work", lambda: write(os.path.join(given["other"], "work", "file")))
write(os.environ["AGENTCTL_RESULT_FILE"], json.dumps(found))
""", other=str(other))  # fmt: skip
                task = f.add("t")
                assert f.finish() == 0, f.said()
                result = json.loads(f.task(task).result or "")
                assert result == {"key": "PermissionError", "config": "PermissionError", "work": "ok"}
        finally:
            subprocess.run(["umount", str(other)], check=True)


def test_what_it_does_not_close_is_known():
    """Landlock does not restrict limits and modes: the README says so, and this fails when a kernel begins to."""
    need_landlock()
    with place() as root:
        (root / "store").mkdir()
        box = {"hide": [str(root / "store")], "read": [], "open": []}
        assert shim_sandbox.inside(box, lambda: prlimit_reads(os.getppid())) is True
        shim_sandbox.inside(box, lambda: (root / "store").chmod(0o700))


def test_an_unsandboxed_agent_is_started_as_ever(tmp_path):
    with fleet(tmp_path, "[agent.t]\ncommand = ['sh', '-c', 'cat .agentctl/token.key']\n") as f:
        plant(f)
        task = f.add("t")
        assert f.finish() == 0
        assert f.task(task).result == f'"{SECRET}"'
