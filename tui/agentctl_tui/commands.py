"""The command line that does what a key just did: shown in every toast, so that people learn to script it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from agentctl_store.read.models import Filter

NAMED = 3  #: ids written out; beyond, the command names the filter


def requeue(tasks: Sequence[str], payload: str | None = None) -> str:
    """Return the command that sends dead letters back."""
    edited = "" if payload is None else f" --payload {_brief(payload)}"
    return f"agentctl dlq requeue {_ids(tasks)}{edited}"


def discard(tasks: Sequence[str]) -> str:
    """Return the command that gives dead letters up."""
    return f"agentctl dlq discard {_ids(tasks)}"


def agent(verb: str, targets: Sequence[str]) -> str:
    """Return the command for an agent verb: start, stop, restart, drain, pause, resume."""
    return f"agentctl agent {verb} {' '.join(map(shlex.quote, targets))}"


def listing(wanted: Filter) -> str:
    """Return the command that lists the dead letters a filter shows."""
    parts = ["agentctl dlq list"]
    for flag, value in (("--queue", wanted.queue), ("--reason", wanted.reason), ("--agent", wanted.agent)):
        if value:
            parts.append(f"{flag} {shlex.quote(value)}")
    return " ".join(parts)


def _ids(tasks: Sequence[str]) -> str:
    return " ".join(tasks[:NAMED]) + (f" … ({len(tasks)} ids)" if len(tasks) > NAMED else "")


def _brief(payload: str) -> str:
    # A payload that would fill the screen is named, not printed.
    return shlex.quote(payload) if len(payload) <= 60 and "\n" not in payload else "@payload.json"
