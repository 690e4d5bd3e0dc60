"""The command lines that toasts and texts show are ones the command line takes."""

from __future__ import annotations

import shlex

import pytest

from agentctl.cli.fast import match
from agentctl.cli.verb import VERBS
from agentctl.main import TABLE, split
from agentctl_store.read.models import Filter
from agentctl_tui import commands

SHOWN = [
    commands.requeue(["01k9x4m2v8qrs"]),
    commands.requeue(["01k9x4m2v8qrs", "01k9x4m2v8qrt"]),
    commands.requeue(["01k9x4m2v8qrs"], '{"path": "a b.py"}'),
    commands.discard(["01k9x4m2v8qrs"]),
    *(commands.agent(verb, ["coder"]) for verb in ("start", "stop", "restart", "drain", "pause", "resume")),
    commands.listing(Filter(queue="review", reason="permanent", agent="coder")),
    "agentctl dlq list",
    "agentctl queue resume mail",
    "agentctl init --example review",
    "agentctl run",
]


@pytest.mark.parametrize("shown", SHOWN)
def test_what_is_shown_can_be_typed(shown):
    path, rest = split(shlex.split(shown)[1:])
    __import__(f"agentctl.cli.{TABLE[path]}")
    assert match(VERBS[path], rest) is not None, f"{path} does not take {rest}"
