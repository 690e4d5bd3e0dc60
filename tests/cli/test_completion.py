"""Completion offers verbs, options, choices and live names, and nothing a shell would evaluate."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from cli.command_kit import AGENTCTL, Fleet

from agentctl.cli.completing import offer


def bash(fleet: Fleet, line: str) -> list[str]:
    """Return what bash would offer at the end of `line`."""
    words = line.split(" ")
    ran = subprocess.run(
        AGENTCTL,
        cwd=fleet.folder,
        env={"_AGENTCTL_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stderr == ""
    return ran.stdout.split()


def test_verbs_choices_and_live_names_are_offered(fleet: Fleet) -> None:
    task = fleet.ok("task", "add", "1", "-q", "review")
    fleet.ok("task", "add", "1", "-q", "release")
    assert {"task", "dlq", "ps", "run"} <= set(bash(fleet, "agentctl "))
    assert "claim" in bash(fleet, "agentctl task c")
    assert bash(fleet, "agentctl task list --state do") == ["done"]
    assert sorted(bash(fleet, "agentctl queue pause re")) == ["release", "review"]
    assert bash(fleet, f"agentctl task show {task[:6]}")[-1:] and task in bash(fleet, "agentctl task show ")
    assert "task.completed" in bash(fleet, "agentctl event list --kind task.")


def test_nothing_is_said_where_there_is_no_fleet(fleet: Fleet, tmp_path: Path) -> None:
    (fleet.folder / "agentctl.toml").unlink()
    assert bash(fleet, "agentctl queue pause ") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_reads_the_script(shell: str, fleet: Fleet) -> None:
    script = fleet.ok("completion", shell)
    assert "_AGENTCTL_COMPLETE" in script
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=script, text=True, capture_output=True)
        assert checked.returncode == 0, checked.stderr


def test_what_agents_wrote_cannot_reach_a_shell(fleet: Fleet) -> None:
    for spite in (
        "$(touch owned)",
        "`touch owned`",
        "\\$(touch owned)",
        "'; touch owned; '",
        '"]):x',
        "a\n$(x)",
        "%2$s",
    ):
        fleet.ok("task", "add", json.dumps({"title": spite}))
    offered = offer("tasks", "", None)
    assert len(offered) == 7
    for word, about in offered:
        assert word.isalnum()
        assert not set(about) & set("$`\\'\"();&|<>{}[]*?!~\n%"), about
