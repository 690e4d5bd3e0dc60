"""A fleet run, watched and ended from the command line, with real agents."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from cli.command_kit import Fleet, make_fleet

AGENT = """#!/bin/sh
read -r payload
echo "got $payload"
echo "no trouble" >&2
printf '\\033]0;owned\\007\\033[31mred\\n'
"""
CONFIG = """
[agent.worker]
command = ["sh", "agent.sh"]
queues = ["default"]
"""


def soon(what: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.03)


@pytest.fixture
def working(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """A fleet of one shell script; whatever supervises it is ended."""
    fleet = make_fleet(tmp_path, monkeypatch)
    (tmp_path / "agent.sh").write_text(AGENT)
    (tmp_path / "agentctl.toml").write_text(CONFIG)
    yield fleet
    fleet.run("down", "--now")


def test_a_fleet_runs_until_idle_and_leaves_its_output_to_read(working: Fleet) -> None:
    tasks = [working.ok("task", "add", json.dumps({"n": number})) for number in range(2)]
    ran = working.spawn("run", "--until-idle")
    out, err = ran.communicate(timeout=60)
    assert ran.returncode == 0 and out == "" and "done" in err
    assert "Traceback" not in err
    working.ok("task", "wait", *tasks)
    shown = working.ok("logs", "worker")
    assert 'got {"n":0}' in shown and "! no trouble" in shown and "| red" in shown
    assert "\x1b" not in shown and "\x07" not in shown
    assert working.ok("logs", tasks[1], "-g", "^got").splitlines() == ['| got {"n":1}']
    lines = [json.loads(line) for line in working.ok("logs", "--stream", "err", "-o", "jsonl").splitlines()]
    assert {line["stream"] for line in lines} == {"err"} and {line["instance"] for line in lines} == {"worker/1"}
    assert len(working.ok("logs", "-n", "1").splitlines()) == 1
    assert working.ok("logs", "--since", "1h", tasks[0]) and not working.ok("logs", "--since", "2030-01-01", tasks[0])
    assert working.run("logs", "nobody").code == 3
    rows = working.ok("logs", tasks[1], "--stream", "out", "--json", "stream,text", "-o", "csv").splitlines()
    assert rows == ["stream,text", 'out,"got {""n"":1}"', "out,red"]
    assert working.ok("logs", tasks[1], "-g", "got", "-o", "csv").splitlines()[0] == "at,instance,session,stream,text"


def test_events_are_followed_as_csv_with_one_header(working: Fleet) -> None:
    working.ok("task", "add", "1")
    working.ok("task", "add", "2")
    follower = working.spawn("event", "follow", "--after", "0", "-k", "task.added", "--json", "kind", "-o", "csv")
    assert follower.stdout is not None
    assert [follower.stdout.readline() for _ in range(3)] == ["kind\n", "task.added\n", "task.added\n"]
    follower.send_signal(signal.SIGINT)
    assert follower.wait(10) == 130


def test_a_detached_fleet_obeys_the_agent_verbs_and_ends_with_down(working: Fleet) -> None:
    assert working.run("down").code == 6
    working.ok("run", "--detach")
    refused = working.run("run")
    assert refused.code == 4 and "supervised already" in refused.err
    assert working.run("run", "--detach") == refused
    working.ok("agent", "stop", "worker", "--wait", "20s")
    task = working.ok("task", "add", "1")
    assert working.run("task", "wait", task, "--timeout", "300ms").code == 5, "a stopped agent must not work"
    seen = working.folder / "followed"
    follower = working.spawn("logs", "worker", "-f", stdout=seen.open("w"))
    working.ok("agent", "start", "worker", "--wait", "20s")
    working.ok("task", "wait", task, "--timeout", "20s")
    soon(lambda: "got 1" in seen.read_text())
    follower.send_signal(signal.SIGINT)
    assert follower.wait(10) == 130
    row = json.loads(working.ok("ps", "-o", "jsonl").splitlines()[0])
    assert row["instance"] == "worker/1" and row["done"] == 1
    ended = working.run("down")
    assert ended.code == 0 and "has ended" in ended.err
    assert working.run("agent", "restart", "worker").code == 6
    assert working.ok("event", "verify", "--json", "intact") == '{"intact":true}'


def test_following_logs_leaves_out_no_session_however_short_while_others_run(working: Fleet) -> None:
    (working.folder / "agentctl.toml").write_text(
        CONFIG.replace('["sh", "agent.sh"]', "['sh', '-c', 'read -r n; echo got $n; printf end-$n']")
        + "[agent.stays]\ncommand = ['sh', '-c', 'echo here; exec sleep 600']\nmode = 'service'\n"
    )
    working.ok("run", "--detach")
    working.ok("task", "wait", working.ok("task", "add", "0"), "--timeout", "30s")
    files = {"all": working.folder / "all", "worker": working.folder / "one"}

    def seen(which: str) -> list[str]:
        return [line.partition("| ")[2] for line in files[which].read_text().splitlines()]

    def has(which: str, lines: set[str]) -> bool:
        return lines.issubset(seen(which))

    followers = [
        working.spawn("logs", "-f", stdout=files["all"].open("w")),
        working.spawn("logs", "worker", "-f", stdout=files["worker"].open("w")),
    ]
    try:
        soon(lambda: has("all", {"here"}) and has("worker", {"end-0"}))
        tasks = [working.ok("task", "add", str(number)) for number in range(1, 11)]
        working.ok("task", "wait", *tasks, "--timeout", "30s")
        lines = {f"{word}{number}" for number in range(1, 11) for word in ("got ", "end-")}
        for which, before in (("all", {"here"}), ("worker", {"got 0", "end-0"})):
            soon(partial(has, which, lines | before))
            assert len(seen(which)) == len(lines | before), "each line once"
    finally:
        for follower in followers:
            follower.send_signal(signal.SIGINT)
    assert [follower.wait(10) for follower in followers] == [130, 130]


TELLS_MUCH = """
read -r n
echo begin
test "$n" = 0 || yes '{"agentctl":"progress","text":"as agents tell it many times in their lives"}' | head -n 20000
echo the end
"""


def test_what_an_agent_tells_its_supervisor_hides_no_line_after_it(working: Fleet) -> None:
    (working.folder / "agent.sh").write_text(TELLS_MUCH)
    working.ok("run", "--detach")
    working.ok("task", "wait", working.ok("task", "add", "0"), "--timeout", "30s")
    seen = working.folder / "followed"
    follower = working.spawn("logs", "worker", "-f", stdout=seen.open("w"))
    soon(lambda: "the end" in seen.read_text())
    task = working.ok("task", "add", "1")
    working.ok("task", "wait", task, "--timeout", "30s")
    soon(lambda: seen.read_text().splitlines() == 2 * ["| begin", "| the end"])
    follower.send_signal(signal.SIGINT)
    assert follower.wait(10) == 130
    assert working.ok("logs", task) == "| begin\n| the end"


PRINTS_MUCH = """
echo needle
seq 200000
printf 'no end' >&2
"""


def test_what_is_asked_for_is_looked_for_in_all_that_was_kept(working: Fleet) -> None:
    (working.folder / "agent.sh").write_text(PRINTS_MUCH)
    task = working.ok("task", "add", "1")
    assert working.spawn("run", "--until-idle").wait(60) == 0
    assert working.ok("logs", task, "--grep", "needle") == "| needle"
    every = working.ok("logs", task, "-n", "1000000", "--stream", "out").splitlines()
    assert every == ["| needle", *(f"| {number}" for number in range(1, 200_001))]
    assert working.ok("logs", task, "--stream", "err") == "! no end"
    assert working.ok("logs", task, "-n", "0") == ""
    assert set(working.ok("logs", task, "-n", "3").splitlines()) > {"! no end", "| 200000"}


def test_an_agent_may_follow_an_instance_as_it_may_look_at_its_lines(working: Fleet) -> None:
    (working.folder / "agent.sh").write_text("""
echo here
: > followed  # grep must find it, or its complaint is a line of the log
"$PYTHON" -m agentctl logs worker/1 -f > followed 2>&1 &
until grep -q . followed; do sleep 0.05; done
kill $!
""")
    (working.folder / "agentctl.toml").write_text(f'{CONFIG}env = {{PYTHON = "{sys.executable}"}}\n')
    working.ok("run", "--detach")
    working.ok("task", "wait", working.ok("task", "add", "0"), "--timeout", "30s")
    assert (working.folder / "followed").read_text() == "| here\n"
