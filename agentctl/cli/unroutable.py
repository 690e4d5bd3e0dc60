"""Saying at once that nobody can take what was just added."""

from __future__ import annotations

import os

from agentctl_store.domain.routing import Lane, Server, unroutable
from agentctl_store.errors import AgentctlError
from agentctl_store.ids import write_id

from .call import FLEET_FILE, Call
from .diagnostics import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agentctl_store.domain.task import Added


def say(call: Call, added: list[Added]) -> None:
    """Tell, one line for each reason, of tasks that no declared agent can take.

    Not of those that agentctl.toml has an agent for which the next supervisor will declare.
    """
    coming = _coming(call.store.directory)
    reasons: dict[str, list[Added]] = {}
    for one in added:
        if one.unroutable:
            reasons.setdefault(one.unroutable, []).append(one)
    for why, tasks in reasons.items():
        if not (coming and _taken(call, tasks[0], coming)):
            whose = write_id(tasks[0].id) + " is" if len(tasks) == 1 else counted(len(tasks), "task") + " are"
            call.note(f"{whose} unroutable: {why}. Name the queue or the capability under an agent in {FLEET_FILE}")


def _taken(call: Call, one: Added, coming: list[Server]) -> bool:
    task = call.store.task(one.id)
    return not unroutable(Lane(task.queue, task.needs), coming)


def _coming(store: str) -> list[Server]:
    """Return the agents of the fleet's own file, as far as they can be read; the supervisor tells what is wrong."""
    import tomllib

    from agentctl.config_file import read_text

    try:
        text = read_text(os.path.join(os.path.dirname(os.path.abspath(store)), FLEET_FILE))
        agents = tomllib.loads(text).get("agent", {})
        return [
            Server(name, tuple(one.get("queues") or (name,)), tuple(one.get("can") or ()))
            for name, one in agents.items()
            if one.get("mode") != "service"
        ]
    except (AgentctlError, ValueError, AttributeError, TypeError, RecursionError):
        return []
