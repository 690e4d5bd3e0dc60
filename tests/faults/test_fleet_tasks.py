"""Tasks through a whole supervisor: the contract of an executable, failures, stops, cancels, drains."""

from __future__ import annotations

import json
import signal
import threading
import time

import pytest
from faults.fleet_kit import fleet
from faults.store_kit import until

from agentctl.supervisor.run import down
from agentctl_store.ids import write_id
from agentctl_store.replay import verify

FAST = 'retry = {base = "10ms", cap = "20ms", max_attempts = 2}\n'


def shell(name: str, script: str, more: str = "") -> str:
    return f"[agent.{name}]\ncommand = ['/bin/sh', '-c', '''{script}''']\n{FAST}{more}\n"


def test_the_contract_of_an_executable(tmp_path):
    agents = "".join([
        shell("echo", "cat"),
        shell("text", "echo plain words; echo noise >&2"),
        shell("file", 'echo ignored; echo "[1,2]" > $AGENTCTL_RESULT_FILE'),
        shell("none", "true"),
        shell("permanent", "echo no such customer >&2; exit 65"),
        shell("config", "exit 78"),
        shell("crash", "kill -SEGV $$"),
        shell("env", 'env | grep -E "^(AGENTCTL_|TRACE|SECRET|KEPT)"', "pass_env = ['KEPT']\nenv = {OWN = '1'}"),
        shell("big", "head -c 3000000 /dev/zero | tr '\\\\0' x"),
    ])  # fmt: skip
    with fleet(tmp_path, agents) as f, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECRET", "hidden")
        patch.setenv("KEPT", "seen")
        names = ("echo", "text", "file", "none", "permanent", "config", "crash", "env", "big")
        ids = {name: f.add(name, '{"n":1}') for name in names}
        assert f.finish() == 0, f.said()
        tasks = {name: f.task(task) for name, task in ids.items()}
        assert tasks["echo"].result == '{"n":1}'
        assert tasks["text"].result == '"plain words"'
        assert tasks["file"].result == "[1,2]"
        assert (tasks["none"].state, tasks["none"].result) == ("done", None)
        assert (tasks["permanent"].state, tasks["permanent"].reason) == ("dead", "permanent")
        assert "no such customer" in (tasks["permanent"].error or "")
        assert tasks["config"].reason == "permanent" and tasks["config"].attempts == 1
        assert (tasks["crash"].reason, tasks["crash"].error_class) == ("max_attempts", "crashed")
        assert tasks["crash"].attempts == 2
        said = json.loads(tasks["env"].result or "null")
        for piece in (
            "AGENTCTL_INSTANCE=env/1",
            f"AGENTCTL_TASK={write_id(ids['env'])}",
            "KEPT=seen",
            "TRACEPARENT=00-",
        ):
            assert piece in said
        assert "hidden" not in said
        big = json.loads(tasks["big"].result or "null")
        assert big["truncated"] and big["output_bytes"] == 3_000_000


def test_a_poison_task_becomes_a_dead_letter_with_its_output_and_all_attempts(tmp_path):
    with fleet(tmp_path, shell("poison", "echo trying; echo cannot parse line 3 >&2; exit 1")) as f:
        task = f.add("poison")
        good = f.add("poison", key="other")
        assert f.finish() == 0
        for one in (task, good):
            dead = f.task(one)
            assert (dead.state, dead.reason, dead.attempts) == ("dead", "max_attempts", 2)
            assert [a.error for a in f.attempts(one)] == ["exit 1: cannot parse line 3"] * 2
            assert all(a.session and a.exit_code == 1 for a in f.attempts(one))


def test_exit_75_burns_no_attempt_and_retry_after_is_honoured(tmp_path):
    script = """
if [ -e again ]; then echo done; exit 0; fi
touch again; echo '{"agentctl":"retry_after","seconds":0.4}'; exit 75"""
    with fleet(tmp_path, shell("slow", script)) as f:
        task = f.add("slow")
        assert f.finish() == 0
        first, second = f.attempts(task)
        assert (first.error_class, f.task(task).burnt) == ("throttled", 0)
        assert second.claimed_ms - (first.ended_ms or 0) >= 390


def test_progress_and_usage_reach_the_attempt(tmp_path):
    script = """
echo '{"agentctl":"progress","text":"half way","share":0.5}'
echo '{"agentctl":"usage","input_tokens":12,"output_tokens":3,"cost_usd":0.5}'
echo result"""
    with fleet(tmp_path, shell("talk", script)) as f:
        task = f.add("talk")
        assert f.finish() == 0
        (attempt,) = f.attempts(task)
        assert f.task(task).result == '"result"'
        assert (attempt.usage.input_tokens, attempt.usage.cost_microusd) == (12, 500_000)


def test_a_task_is_stopped_at_its_timeout_and_when_it_falls_silent(tmp_path):
    agents = shell("long", "while :; do echo x; sleep 0.05; done", 'timeout = "400ms"\ngrace = "0s"')
    agents += shell("mute", "echo begun; sleep 60", 'silence_timeout = "400ms"\ngrace = "0s"')
    with fleet(tmp_path, agents) as f:
        long, mute, own = f.add("long"), f.add("mute"), f.add("long", timeout_ms=150)
        assert f.finish() == 0
        for task, word in ((long, "timeout"), (mute, "silence"), (own, "timeout")):
            found = f.task(task)
            assert (found.state, found.error_class) == ("dead", "timeout"), f.said()
            assert word in (found.error or "")
        assert not f.leftovers()


def test_a_running_task_is_cancelled_within_two_seconds_by_force_if_need_be(tmp_path):
    with fleet(
        tmp_path, shell("deaf", "trap '' TERM; touch running; sleep 60 & wait; sleep 60", 'grace = "200ms"')
    ) as f:
        task = f.add("deaf")
        f.up()
        until((tmp_path / "running").exists, "running")
        begun = time.monotonic()
        f.store.cancel(task, reason="not needed", actor="test")
        f.state(task, "cancelled")
        assert time.monotonic() - begun < 2.5
        assert not f.leftovers()


def test_a_drain_lets_work_finish_and_gives_back_the_rest_unburnt(tmp_path):
    agents = shell("quick", "touch quick; sleep 0.5; echo ok")
    agents += shell("endless", "touch endless; sleep 60", 'grace = "100ms"')
    with fleet(tmp_path, '[fleet]\ngrace = "1s"\nmin_free_memory = 0\nmin_free_disk = 0\n' + agents) as f:
        quick, endless = f.add("quick"), f.add("endless")
        f.up()
        until(lambda: (tmp_path / "quick").exists() and (tmp_path / "endless").exists(), "both run")
        f.add("quick")
        assert f.end() == 0
        assert f.task(quick).state == "done"
        back = f.task(endless)
        assert (back.state, back.burnt, f.attempts(endless)[0].outcome) == ("ready", 0, "released")
        assert not f.leftovers()


def test_a_second_interrupt_ends_at_once(tmp_path):
    with fleet(tmp_path, shell("deaf", "trap '' TERM; touch running; sleep 60 & wait; sleep 60")) as f:
        task = f.add("deaf")
        process = f.up()
        until((tmp_path / "running").exists, "running")
        process.send_signal(signal.SIGINT)
        f.says("draining")
        begun = time.monotonic()
        assert f.end(signal.SIGINT) == 0
        assert time.monotonic() - begun < 1.5
        assert f.task(task).state == "ready" and not f.leftovers()


def test_down_now_ends_at_once_also_where_both_its_signals_arrive_as_one(tmp_path):
    """A process that is stopped, or in a long write to the disk, keeps only one signal of a kind."""
    with fleet(tmp_path, shell("deaf", "trap '' TERM; touch running; sleep 60 & wait; sleep 60")) as f:
        task = f.add("deaf")
        process = f.up()
        until((tmp_path / "running").exists, "running")
        process.send_signal(signal.SIGSTOP)
        wake = threading.Timer(0.2, process.send_signal, (signal.SIGCONT,))
        wake.start()
        begun = time.monotonic()
        down(f.folder, now=True, timeout_s=10)
        assert time.monotonic() - begun < 1.9, "the drain of two seconds was not waited for"
        assert process.wait(5) == 0, f.said()
        assert f.task(task).state == "ready" and not f.leftovers()


def test_a_child_sees_what_its_parents_found(tmp_path):
    agents = shell("part", "cat") + shell("sum", 'cat "$AGENTCTL_PARENTS_FILE"')
    with fleet(tmp_path, agents) as f:
        parents = [f.add("part", str(n)) for n in (1, 2)]
        child = f.add("sum", after=tuple(parents))
        assert f.finish() == 0
        told = [json.loads(line) for line in json.loads(f.task(child).result or "''").splitlines()]
        # Oldest first: of those of one millisecond chance decides.
        assert sorted((one["result"], one["state"]) for one in told) == [(1, "done"), (2, "done")]


def test_work_that_is_added_later_is_taken_at_once(tmp_path):
    with fleet(tmp_path, shell("echo", "cat", "instances = 2")) as f:
        f.up()
        begun = time.monotonic()
        for n in range(5):
            f.state(f.add("echo", str(n)), "done")
        assert time.monotonic() - begun < 2.0


def test_tasks_that_go_well_leave_no_history_of_slots_and_sessions_and_a_long_one_is_seen(tmp_path):
    with fleet(tmp_path, shell("echo", 'read n; while [ "$n" = 9 ] && [ ! -e go ]; do sleep 0.02; done')) as f:
        f.up()
        for n in range(30):
            f.add("echo", str(n % 9))
        long = f.add("echo", "9")
        f.state(long, "active")
        row = f.shows("echo/1", lambda one: one.session == f.attempts(long)[0].session, "busy")
        assert (row.phase, row.health) == ("busy", "healthy")
        until(lambda: f.store.session(row.session or 0).pid is not None, "its process is known")
        (tmp_path / "go").touch()
        f.state(long, "done")
        f.shows("echo/1", lambda one: one.phase == "idle" and one.session is None, "idle")
        assert f.end() == 0
        told = f.store.events(kinds=("instance.changed", "session.opened", "session.started", "session.ended"))
        assert {event.kind for event in told} == {"instance.changed"}
        assert len(told) <= 3, "first seen (idle or at work), idle, stopped"
        assert verify(f.folder).intact


def test_a_command_that_cannot_start_latches_and_loses_no_task(tmp_path):
    agents = "[agent.gone]\ncommand = '/no/such/program'\nrestart = {base = '10ms', limit = 3}\n"
    with fleet(tmp_path, agents) as f:
        task = f.add("gone")
        assert f.finish() == 1
        row = f.instance("gone/1")
        assert row is not None and row.latched and "/no/such/program" in row.reason
        assert (f.task(task).state, f.task(task).burnt) == ("ready", 0)
        assert "idle, but tasks wait for agents that do not run: 1 in queue gone (gone/1: start limit: 3 st" in f.said()


def test_a_run_until_idle_says_which_tasks_wait_for_agents_that_do_not_run(tmp_path):
    agents = shell("here", "cat") + shell("halted", "cat") + shell("later", "cat", "instances = 0")
    with fleet(tmp_path, agents) as f:
        assert f.finish() == 0 and "idle: no task is left to do" in f.said()
        f.store.set_desired("halted", "stopped", actor="test")
        tasks = [f.add("here"), f.add("halted"), f.add("later", delay_ms=60_000)]
        assert f.finish() == 0
        assert [f.task(task).state for task in tasks] == ["done", "ready", "scheduled"]
        f.says(r"1 in queue halted \(halted/1: was asked to stop; `agentctl agent start` starts it\)")
        f.says(r"1 in queue later \(later has no instance\)")
        assert f.said().count("no task is left") == 1


def test_a_run_until_idle_says_for_whose_pause_it_waits(tmp_path):
    with fleet(tmp_path, shell("held", "cat") + shell("resting", "cat")) as f:
        assert f.finish() == 0
        tasks = [f.add("held"), f.add("resting")]
        f.store.pause_queue("held", actor="test")
        f.store.set_desired("resting", "paused", actor="test")
        running = f.start(until_idle=True)
        f.says(r"tasks wait: queue held is paused \(agentctl queue resume held\), agent resting is paused \(")
        f.store.resume_queue("held", actor="test")
        f.state(tasks[0], "done")
        f.store.set_desired("resting", "running", actor="test")
        assert running.wait(20) == 0 and f.task(tasks[1]).state == "done"
        assert f.said().count("is paused") == 2, "each is told once"


@pytest.mark.parametrize("floor", ["min_free_memory", "min_free_disk"])
def test_no_task_starts_below_the_floor_of_memory_or_disk_and_the_reason_is_shown(tmp_path, floor):
    agents, floors = shell("echo", "cat"), "[fleet]\nmin_free_memory = 0\nmin_free_disk = 0\n"
    agents += "[agent.served]\nmode = 'service'\ncommand = ['sleep', '60']\ngrace = '1s'\n"
    with fleet(tmp_path, floors.replace(f"{floor} = 0", f"{floor} = '900TB'") + agents) as f:
        task = f.add("echo")
        f.up()
        f.says(rf"echo/1 (is|and 1 more are) degraded: waits for .*{floor}")
        waits = f.shows("served/1", lambda row: row.health == "degraded", "held as well")
        assert floor in waits.reason and waits.phase == "backoff"
        row = f.shows("echo/1", lambda row: row.health == "degraded", "held for want of it")
        assert floor in row.reason and (f.task(task).state, f.task(task).attempts) == ("ready", 0)
        f.configure(floors + agents)
        f.state(task, "done")
