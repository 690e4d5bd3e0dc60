"""What of an agent's table must fit together for its tasks: what stands in for it, and what its results must pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agentctl_store.errors import BadJson
from agentctl_store.jsontext import dumps, loads

_OF_TASKS = ("verify", "verify_timeout", "result")
_OF_WORK = ("can", "fallback", "fallback_result")


def workflow_errors(agents: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what does not fit, each with the place of its key: what it is, a full stop, what to write instead."""
    for name, section in agents.items():
        if isinstance(section, dict):
            for key, message in _of(name, section, agents):
                yield {"type": "value", "loc": ("agent", name, key), "msg": message}


def _of(name: str, section: Mapping[str, Any], agents: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    mode = section.get("mode", "task")
    if mode != "task":
        for key in _OF_TASKS:
            if key in section:
                yield key, 'is for mode = "task": others end their tasks themselves. Leave it out, or change the mode'
    if mode == "service":
        for key in _OF_WORK:
            if key in section:
                yield key, "is for agents that take tasks, and a service takes none. Leave it out"
    if "verify_timeout" in section and "verify" not in section:
        yield "verify_timeout", "has no verify to bound. Add the command, or leave this out"
    if "fallback" in section and "fallback_result" in section:
        yield "fallback_result", "stands beside fallback, and only one can take over. Leave one of them out"
    if "fallback_result" in section:
        try:
            loads(dumps(section["fallback_result"]), "fallback_result")
        except BadJson as error:
            yield "fallback_result", f"is no result: {error.message}. Write what JSON can hold"
    if isinstance(section.get("fallback"), str):
        yield from _fallback(name, section["fallback"], agents)


def _fallback(name: str, fallback: str, agents: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    others = [one for one, section in agents.items() if one != name and _takes_tasks(section)]
    choice = f"Name one of {', '.join(others[:10])}" if others else "Leave it out: there is no other agent"
    if fallback == name:
        yield "fallback", f"is the agent itself. {choice}"
    elif fallback not in agents:
        yield "fallback", f"= {fallback!r} names no agent of this file. {choice}"
    elif not _takes_tasks(agents[fallback]):
        yield "fallback", f"= {fallback!r} takes no tasks: it is a service. {choice}"


def _takes_tasks(section: Any) -> bool:
    return isinstance(section, dict) and section.get("mode") != "service"
