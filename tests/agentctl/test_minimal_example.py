"""What plain `agentctl init` writes does what its comments say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sysconfig
from pathlib import Path

AGENTCTL = os.path.join(sysconfig.get_path("scripts"), "agentctl")


def agentctl(fleet: Path, *words: str) -> str:
    return subprocess.run([AGENTCTL, *words], cwd=fleet, capture_output=True, text=True, check=True, timeout=30).stdout


def test_a_fleet_of_ten_lines_answers_tasks(tmp_path: Path) -> None:
    agentctl(tmp_path, "init")
    text = (tmp_path / "agentctl.toml").read_text()
    assert len(text.splitlines()) <= 10
    told = re.findall(r"agentctl task add '(.+)'", text)
    assert told, "the file tells how to add a task"
    task = agentctl(tmp_path, "task", "add", told[0]).strip()
    agentctl(tmp_path, "run", "--until-idle")
    shown = json.loads(agentctl(tmp_path, "task", "show", task, "-o", "json"))
    assert (shown["state"], shown["result"]) == ("done", {"hello": json.loads(told[0])})
