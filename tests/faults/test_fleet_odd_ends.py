"""What agents leave at their end that is no result: it costs them their task, never the supervisor its life."""

from __future__ import annotations

import sys

from faults.fleet_kit import fleet

AGENTS = f"""
[agent.folder]
command = ['/bin/sh', '-c', 'mkdir "$AGENTCTL_RESULT_FILE"']
[agent.way]
command = ['/bin/sh', '-c', 'mkdir "${{AGENTCTL_RESULT_FILE%/*}}/exit.json"']
retry = {{max_attempts = 1}}
[agent.twice]
command = ['{sys.executable}', '-c', '''
import os, subprocess
words = ["{sys.executable}", "-m", "agentctl", "task", "complete", "-r", '"its own word"']
subprocess.run(words, check=True)
with open(os.environ["AGENTCTL_RESULT_FILE"], "w") as file:
    file.write(chr(10) * 1_000 + "x" + chr(34) * 1_000_000)
''']
pass_env = ["PYTHONPATH"]
"""


def test_a_folder_in_place_of_the_result_ends_its_task_and_nothing_else(tmp_path):
    with fleet(tmp_path, AGENTS) as f:
        task = f.add("folder")
        assert f.finish() == 0, f.said()
        dead = f.state(task, "dead")
        assert dead.error is not None and "cannot be read: Is a directory" in dead.error


def test_a_refused_result_of_a_task_that_has_ended_already_changes_nothing(tmp_path):
    with fleet(tmp_path, AGENTS) as f:
        task = f.add("twice")
        assert f.finish() == 0, f.said()
        assert (f.task(task).state, f.task(task).result) == ("done", '"its own word"'), f.said()
        assert f.store.open_sessions() == []


def test_a_folder_in_the_way_of_the_exit_record_holds_no_slot_for_ever(tmp_path):
    with fleet(tmp_path, AGENTS) as f:
        task = f.add("way")
        assert f.finish(within_s=10) == 0, f.said()
        dead = f.state(task, "dead")
        assert dead.error_class == "lost" and f.store.open_sessions() == []


def test_an_agent_that_removes_its_own_folder_is_told_as_such(tmp_path):
    agents = "[agent.tidy]\nretry = {max_attempts = 1}\n"
    agents += """command = ['sh', '-c', 'rm -rf "$(dirname "$AGENTCTL_RESULT_FILE")"']\n"""
    with fleet(tmp_path, agents) as f:
        task = f.add("tidy")
        assert f.finish() == 0, f.said()
        dead = f.state(task, "dead")
        assert dead.error_class == "lost" and "folder was removed while it ran" in (dead.error or "")
