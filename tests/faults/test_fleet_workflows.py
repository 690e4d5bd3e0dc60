"""Workflows through a whole supervisor: verified results, fallbacks, routing, delegation, deadlines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from faults.fleet_kit import FLEET, Fleet, fleet, lines
from faults.sandbox_kit import need_landlock, place
from faults.store_kit import until

from agentctl_store.ids import write_id
from agentctl_store.replay import verify
from agentctl_store.store import sessions_folder

FAST = 'retry = {base = "10ms", cap = "20ms", max_attempts = 2}\n'


def shell(name: str, script: str, more: str = "", retry: str = FAST) -> str:
    return f"[agent.{name}]\ncommand = ['/bin/sh', '-c', '''{script}''']\n{retry}{more}\n"


def checking(script: str) -> str:
    return f"verify = ['/bin/sh', '-c', '''{script}''']\n"


def log_of(f: Fleet, task: int, *words: str) -> str:
    command = [sys.executable, "-m", "agentctl", "logs", write_id(task), *words]
    return subprocess.run(command, cwd=f.root, capture_output=True, text=True, check=True).stdout


# --- verify and result ------------------------------------------------------------------------------------------------
def test_a_success_is_believed_only_when_its_verify_passes(tmp_path: Path) -> None:
    check = """
read result; echo "checks $result of $(cat $AGENTCTL_PAYLOAD_FILE)"
[ "$result" = "$(cat $AGENTCTL_RESULT_FILE)" ] || exit 9
env | grep -q ^AGENTCTL_TASK= || exit 8
case $result in *good*) exit 0;; esac
echo "it lacks what was asked for" >&2; exit 3"""
    agents = shell("printed", "cat", checking(check)) + shell("written", "cat > $AGENTCTL_RESULT_FILE", checking(check))
    with fleet(tmp_path, agents) as f:
        good = [f.add(name, '"good work"') for name in ("printed", "written")]
        bad = [f.add(name, '"poor work"') for name in ("printed", "written")]
        assert f.finish() == 0, f.said()
        for task in good:
            assert (f.task(task).state, f.task(task).result) == ("done", '"good work"'), f.task(task)
        for task in bad:
            dead = f.task(task)
            assert (dead.state, dead.reason, dead.error_class, dead.attempts) == ("dead", "verify", "verify", 2)
            assert "verify exit 3: it lacks what was asked for" in (dead.error or "") and dead.result is None
            assert [(a.exit_code, a.outcome) for a in f.attempts(task)] == [(0, "failed")] * 2
        assert "2 tasks done" in f.said() and not f.leftovers()
        assert verify(f.folder).intact


def test_what_verify_says_is_in_the_log(tmp_path: Path) -> None:
    with fleet(tmp_path, shell("work", "echo working >&2; echo 1", checking("echo looks right"))) as f:
        task = f.add("work")
        assert f.finish() == 0
        log = log_of(f, task)
        assert "! working" in log and "v looks right" in log
        assert log_of(f, task, "--stream", "verify").splitlines() == ["v looks right"]


def test_a_verify_that_takes_too_long_or_cannot_run_fails_the_attempt_and_leaves_nothing(tmp_path: Path) -> None:
    agents = shell(
        "slow", "echo 1", checking("setsid sleep 77 & sleep 77") + 'verify_timeout = "300ms"\ngrace = "100ms"'
    )
    agents += shell("none", "echo 1", 'verify = "/no/such/check"')
    with fleet(tmp_path, agents) as f:
        slow, none = f.add("slow"), f.add("none")
        assert f.finish() == 0
        assert f.task(slow).error_class == f.task(none).error_class == "verify"
        assert "verify did not end within" in (f.task(slow).error or "")
        assert "verify could not be run" in (f.task(none).error or "") and "/no/such/check" in (
            f.task(none).error or ""
        )
        assert not f.leftovers()


def test_exit_0_without_a_result_is_no_success_where_one_is_required(tmp_path: Path) -> None:
    agents = shell("must", "[ -e again ] && echo 5; touch again", 'result = "required"') + shell("may", "true")
    agents += shell("never", "true", 'result = "required"\n' + checking("touch verified"))
    with fleet(tmp_path, agents) as f:
        must, may, never = f.add("must"), f.add("may"), f.add("never")
        assert f.finish() == 0
        assert (f.task(must).state, f.task(must).result, f.task(must).burnt) == ("done", "5", 1)
        assert f.attempts(must)[0].error_class == "verify" and f.task(may).state == "done"
        assert (f.task(never).state, f.task(never).reason) == ("dead", "verify")
        assert "without a result" in (f.task(never).error or "") and not (tmp_path / "verified").exists()


def test_a_supervisor_killed_while_a_result_is_verified_loses_neither(tmp_path: Path) -> None:
    check = "echo $$ >> checks; while [ ! -e go ]; do sleep 0.02; done; cat >/dev/null"
    with fleet(tmp_path, shell("work", "echo run >> runs; echo 7", checking(check))) as f:
        task = f.add("work")
        f.up()
        until(lambda: lines(tmp_path / "checks"), "it is verified")
        f.kill()
        f.up()
        time.sleep(0.1)
        (tmp_path / "go").touch()
        assert f.state(task, "done").result == "7"
        assert lines(tmp_path / "runs") == ["run"] and len(lines(tmp_path / "checks")) == 1
        f.end()
        assert len(f.attempts(task)) == 1 and not f.leftovers()


def test_a_verify_that_is_not_asked_for_any_more_is_ended_by_the_next_supervisor(tmp_path: Path) -> None:
    with fleet(tmp_path, shell("work", "echo 7", checking("touch checking; setsid sleep 88 & sleep 88"))) as f:
        task = f.add("work")
        f.up()
        until((tmp_path / "checking").exists, "it is verified")
        f.kill()
        f.configure(shell("work", "echo 7"))
        f.up()
        assert f.state(task, "done").result == "7"
        until(lambda: not f.leftovers(), "nothing of the check is left", 5)


def test_a_verify_that_died_with_its_supervisor_is_run_again(tmp_path: Path) -> None:
    check = "echo $$ >> checks; [ -e go ] || sleep 60"
    with fleet(tmp_path, shell("work", "echo run >> runs; echo 7", checking(check))) as f:
        task = f.add("work")
        f.up()
        until(lambda: lines(tmp_path / "checks"), "it is verified")
        f.kill()
        (shim,) = Path(f.folder).glob("sessions/*/verify/shim.json")
        os.kill(json.loads(shim.read_text())["pid"], signal.SIGKILL)
        for pid, _ in f.leftovers():
            os.kill(pid, signal.SIGKILL)
        until(lambda: not f.leftovers(), "nothing is left")
        (tmp_path / "go").touch()
        f.up()
        assert f.state(task, "done").result == "7"
        assert lines(tmp_path / "runs") == ["run"] and len(lines(tmp_path / "checks")) == 2


def test_a_supervisor_killed_at_every_step_of_a_verify_loses_and_doubles_nothing(tmp_path: Path) -> None:
    agents = shell(
        "work", "echo $AGENTCTL_ATTEMPT >> runs; cat", checking("echo $AGENTCTL_ATTEMPT >> checks; sleep 0.05")
    )
    with fleet(tmp_path, agents) as f:
        tasks = []
        for step in ("verify", "verify folder", "verifying", "record", "recorded", "any:3", "any:6"):
            tasks.append(f.add("work", json.dumps(step)))
            f.start(until_idle=True, kill_at=step).wait(20)
        assert f.finish() == 0, f.said()
        for step, task in enumerate(tasks):
            assert f.task(task).state == "done" and f.task(task).burnt == 0, (step, f.attempts(task))
        ran = [line.partition(".")[0] for line in lines(tmp_path / "runs")]
        assert sorted(ran) == sorted(map(write_id, tasks)), "each ran once"
        assert set(lines(tmp_path / "checks")) == set(lines(tmp_path / "runs")), "and was checked"
        assert not f.leftovers() and verify(f.folder).intact


def test_a_verify_shares_the_sandbox_of_its_agent(tmp_path: Path) -> None:
    """What the agent may write, its verify may run; and a link it left as its result leads nowhere."""
    need_landlock()
    script = 'ln -sf "$AGENTCTL_STORE/store.db" "$AGENTCTL_RESULT_FILE.tmp"; [ $(cat) = 2 ] && ln -s /etc/passwd '
    script += '"$AGENTCTL_RESULT_FILE"; echo 5'
    check = (
        'cat "$AGENTCTL_STORE/store.db" >/dev/null 2>&1 && exit 7; [ "$(cat)" = 5 ] && [ -r "$AGENTCTL_PAYLOAD_FILE" ]'
    )
    more = 'sandbox = "landlock"\ncwd = "work"\n' + checking(check)
    with place() as root, fleet(root, shell("boxed", script, more)) as f:
        good, linked = f.add("boxed", "1"), f.add("boxed", "2")
        assert f.finish() == 0, f.said()
        assert (f.task(good).state, f.task(good).result) == ("done", "5"), f.task(good).error
        assert f.task(linked).state == "dead" and "cannot be read" in (f.task(linked).error or "")


def test_a_cancel_and_an_end_reach_a_verify_too(tmp_path: Path) -> None:
    agents = shell("work", "echo 7", checking("touch checking; sleep 60") + 'grace = "100ms"')
    with fleet(tmp_path, agents) as f:
        task = f.add("work")
        f.up()
        until((tmp_path / "checking").exists, "it is verified")
        row = f.shows("work/1", lambda row: row.phase == "busy", "busy")
        assert row.health == "healthy"
        f.store.cancel(task, reason="enough", actor="t")
        f.state(task, "cancelled")
        (tmp_path / "checking").unlink()
        other = f.add("work")
        until((tmp_path / "checking").exists, "the other one is verified")
        begun = time.monotonic()
        f.end()
        assert time.monotonic() - begun < 6
        assert (f.task(other).state, f.task(other).burnt) == ("ready", 0) and not f.leftovers()
        assert "before its result was verified" in (f.task(other).reason or "")


# --- fallback ---------------------------------------------------------------------------------------------------------
def test_a_fallback_agent_takes_over_and_its_children_see_it(tmp_path: Path) -> None:
    agents = shell("first", "echo no key >&2; exit 1", 'fallback = "second"')
    agents += shell("second", "echo second best") + shell("quiet", "exit 65", "fallback_result = {words = 0}")
    agents += shell("sum", 'cat "$AGENTCTL_PARENTS_FILE"')
    with fleet(tmp_path, agents) as f:
        first, quiet = f.add("first"), f.add("quiet")
        child = f.add("sum", after=(first, quiet))
        assert f.finish() == 0
        assert (f.task(first).state, f.task(first).result, f.task(first).degraded) == ("done", '"second best"', True)
        assert [a.agent for a in f.attempts(first)] == ["first", "first", "second"]
        assert (f.task(quiet).state, f.task(quiet).result) == ("done", '{"words":0}')
        told = [json.loads(line) for line in json.loads(f.task(child).result or "''").splitlines()]
        assert [(one["result"], one["degraded"]) for one in told] == [("second best", True), ({"words": 0}, True)]
        assert "a fallback takes over" in f.said() and "a fallback's result stands in" in f.said()
        assert verify(f.folder).intact


# --- routing and delegation -------------------------------------------------------------------------------------------
def test_tasks_go_by_what_agents_can_and_one_that_nobody_can_is_told(tmp_path: Path) -> None:
    say = "echo $AGENTCTL_AGENT"
    agents = shell("plain", say, 'queues = ["work"]') + shell(
        "eyes", say, 'queues = ["work"]\ncan = ["browser", "ocr"]'
    )
    with fleet(tmp_path, agents) as f:
        f.up()
        needy = [f.add("work", needs=("browser",)) for _ in range(5)]
        stuck = f.add("work", needs=("gpu",))
        for task in needy:
            assert f.state(task, "done").result == '"eyes"'
        assert f.task(stuck).state == "ready" and "can gpu" in f.task(stuck).unroutable
        f.configure(agents + shell("fast", say, 'queues = ["work"]\ncan = ["gpu"]'))
        assert f.state(stuck, "done").result == '"fast"'
        last = f.add("work", needs=("wings",))
        f.end()
        assert f.finish(10) == 0, "a task that nobody can take keeps no fleet from being idle"
        f.says("no agent of queue work can wings")
        assert f.task(last).state == "ready"


def test_agents_that_delegate_in_a_circle_are_told_so(tmp_path: Path) -> None:
    add = "agentctl task add -q {} 1 || {{ echo refused $? >&2; exit 65; }}"
    agents = "".join(shell(name, add.format(to)) for name, to in (("ann", "bob"), ("bob", "eve"), ("eve", "ann")))
    with fleet(tmp_path, agents) as f:
        root = f.add("ann")
        assert f.finish() == 0
        eve = next(a for a in (f.store.driver.find_tasks(0, (1 << 63) - 1, 9)) if f.task(a).queue == "eve")
        dead = f.task(eve)
        assert dead.state == "dead" and "refused 4" in (dead.error or "")
        assert "ann → bob → eve → ann" in (dead.error or "") and f.task(root).correlation in (dead.error or "")
        told = [event.data or "" for event in f.store.events(kinds=["access.refused"])]
        assert any("circular delegation" in one for one in told)


def test_a_recursion_ends_at_the_depth_that_is_allowed(tmp_path: Path) -> None:
    agents = FLEET.replace("\n", "\nmax_delegation_depth = 3\n", 1)
    agents += shell("deep", "agentctl task add -q deep 1 || exit 65")
    with fleet(tmp_path, agents) as f:
        f.add("deep")
        assert f.finish() == 0
        tasks = [f.task(task) for task in f.store.driver.find_tasks(0, (1 << 63) - 1, 99)]
        assert [one.state for one in tasks] == ["done"] * 3 + ["dead"]
        assert "raise fleet.max_delegation_depth" in (tasks[-1].error or "")


# --- time -------------------------------------------------------------------------------------------------------------
def test_a_running_attempt_is_ended_as_its_tasks_deadline_passes(tmp_path: Path) -> None:
    with fleet(tmp_path, shell("long", "touch running; sleep 60 & wait; sleep 60", 'grace = "100ms"')) as f:
        f.up()
        begun = time.monotonic()
        task = f.add("long", deadline_ms=f.store.clock.now().wall_ms + 1_000)
        waits = f.add("none", deadline_ms=f.store.clock.now().wall_ms + 1_200)
        until((tmp_path / "running").exists, "running")
        assert f.state(task, "dead").reason == "deadline" and f.state(waits, "dead").reason == "deadline"
        until(lambda: not f.leftovers(), "its processes have ended", 5)
        assert time.monotonic() - begun < 4
        f.shows("long/1", lambda row: row.phase == "idle", "idle")


def test_a_task_that_neither_prints_nor_reports_is_ended_with_all_it_started(tmp_path: Path) -> None:
    loud = """for n in 1 2 3 4 5 6 7 8; do echo '{"agentctl":"heartbeat"}'; sleep 0.1; done; echo done"""
    agents = shell("mute", "echo begun; setsid sleep 66 & sleep 66", 'silence_timeout = "400ms"\ngrace = "0s"')
    agents += shell("loud", loud, 'silence_timeout = "400ms"')
    with fleet(tmp_path, agents) as f:
        mute, spoke = f.add("mute"), f.add("loud")
        assert f.finish() == 0
        assert (f.task(mute).state, f.task(mute).error_class) == ("dead", "timeout")
        assert "silence" in (f.task(mute).error or "") and f.task(spoke).state == "done"
        assert not f.leftovers() and Path(sessions_folder(f.folder, f.attempts(mute)[0].session or 0)).is_dir()
