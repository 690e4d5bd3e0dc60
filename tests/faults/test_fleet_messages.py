"""Agents of a real fleet speak to each other: as themselves, through the broker, and across a killed supervisor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from faults.fleet_kit import fleet
from faults.store_kit import until

from agentctl_store.domain.message import OPERATOR, Damping, MessageFilter
from agentctl_store.messageverbs import MessageRequest
from agentctl_store.replay import verify

#: answers every QUERY with twice its number; what it is not meant to do it tries once
HELPER = f"""
import json, os, subprocess
def run(*words):
    done = subprocess.run([{sys.executable!r}, "-m", "agentctl", *words], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr
while True:
    code, out, err = run("msg", "read", "--wait", "30s")
    if code == 0:
        message = json.loads(out)
        if message["payload"] == 4:
            tried = [run("msg", "read", "--agent", "asker"), run("msg", "send", "asker", "1", "--agent", "asker"),
                     run("schema", "set", "PING", "true")]
            with open("forbidden.json", "w") as file:
                json.dump(tried, file)
        run("msg", "reply", message["delivery"], str(2 * message["payload"]))
"""
#: asks for each task, and completes it with the answer
ASKER = f"""
import json, os, subprocess, sys
number = sys.stdin.read()
def run(*words):
    done = subprocess.run([{sys.executable!r}, "-m", "agentctl", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
run("msg", "send", "helper", number, "-t", "QUERY", "--key", os.environ["AGENTCTL_IDEMPOTENCY_KEY"])
answer = json.loads(run("msg", "read", "--wait", "30s", "--ack"))
print(json.dumps([int(number), answer["payload"], answer["source"], answer["type"]]))
"""
AGENTS = f"""
[messages]
loop_limit = 7
loop_window = "30s"

[agent.helper]
mode = "service"
command = [{sys.executable!r}, "helper.py"]

[agent.asker]
command = [{sys.executable!r}, "asker.py"]
"""


def cli(folder: str, *words: str) -> tuple[int, str, str]:
    """Run agentctl outside of every agent."""
    command = (sys.executable, "-m", "agentctl", *words, "--store", folder)
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    return done.returncode, done.stdout, done.stderr


def test_a_question_and_its_answer_go_round_and_the_supervisor_may_die_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "asker.py").write_text(ASKER)
    with fleet(tmp_path, AGENTS) as f:
        f.up()
        assert f.store.messages.damping() == Damping(7, 30_000)
        first = f.add("asker", "21")
        result: Any = json.loads(f.state(first, "done").result or "null")
        assert result == [21, 42, "helper", "RESULT"]
        question, answer = reversed(f.store.messages.list(MessageFilter(party="asker")))
        assert (question.correlation, answer.correlation) == (f.task(first).correlation,) * 2
        assert (question.reader, question.state, answer.state) == ("helper/1", "acked", "acked")
        assert answer.reply_to == answer.conversation == question.id
        f.kill()
        sent = f.store.messages.send(MessageRequest(OPERATOR, "helper", "3", "QUERY")).id
        until(lambda: f.store.messages.message(sent).state == "acked", "it answers without a supervisor")
        f.up()
        for payload in (6, 8):
            code, out, _ = cli(f.folder, "msg", "read", "--wait", "20s", "--ack")
            assert code == 0 and json.loads(out)["payload"] == payload
            assert payload == 8 or cli(f.folder, "msg", "send", "helper", "4", "-t", "QUERY")[0] == 0
        forbidden = json.loads((tmp_path / "forbidden.json").read_text())
        assert [code for code, _, _ in forbidden] == [4, 4, 4], forbidden
        assert "may not read the inbox of asker" in forbidden[0][2]
        refused = f.store.events(kinds=["access.refused"])
        assert [event.actor for event in refused] == ["helper/1"] * 3
        f.end()
        assert f.leftovers() == []
    assert verify(f.folder).faults == ()
