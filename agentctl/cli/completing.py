"""What the shell offers after Tab: live names from the store. Silent when there is no store or it cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from agentctl_store.domain.event import KINDS
from agentctl_store.errors import AgentctlError
from agentctl_store.read.models import Filter
from agentctl_store.text import one_line

from .call import Call
from .verb import VERBS

if TYPE_CHECKING:
    from agentctl_store.read.port import Reader

MAX_OFFERED = 200
Pair = tuple[str, str]


def offer(source: str, incomplete: str, store: str | None) -> list[Pair]:
    """Return (word, description) pairs that begin with `incomplete`."""
    if source == "kinds":
        return [(kind, "") for kind in KINDS if kind.startswith(incomplete)]
    try:
        reader = Call(VERBS["completion"], {"store": store}).reader
        found: list[Pair] = []
        for word, about in _SOURCES[source](reader):
            if word.startswith(incomplete):
                found.append((word, _harmless(about)))
            if len(found) == MAX_OFFERED:
                break
    except (AgentctlError, OSError):
        return []
    return found


def _harmless(text: str) -> str:
    # zsh evaluates what it is offered, and titles are written by agents: `\\$(…)` gets past typer's escaping.
    return one_line("".join(c if c.isalnum() or c in " .,_-/+@#=" else " " for c in text[:400]), 60)


def _queues(reader: Reader) -> Iterator[Pair]:
    for row in reader.queues():
        yield row.queue, f"{row.ready} ready, {row.active} active" + (", paused" if row.paused else "")


def _agents(reader: Reader) -> Iterator[Pair]:
    seen: set[str] = set()
    for row in reader.instances(0, MAX_OFFERED * 10, "instance", Filter()):
        if row.agent not in seen:
            seen.add(row.agent)
            yield row.agent, f"{row.mode or 'agent'}, {row.desired}"


def _tasks(reader: Reader) -> Iterator[Pair]:
    for row in reader.tasks(0, MAX_OFFERED, "-id", Filter()):
        yield row.task, f"{row.state} in {row.queue}: {row.title}"


def _letters(reader: Reader) -> Iterator[Pair]:
    for row in reader.dead_letters(0, MAX_OFFERED, "-died", Filter()):
        yield row.task, f"{row.reason}: {row.error or row.title}"


def _logs(reader: Reader) -> Iterator[Pair]:
    yield from _agents(reader)
    for row in reader.instances(0, MAX_OFFERED, "instance", Filter()):
        yield row.instance, f"{row.health}, {row.phase}"


def _targets(reader: Reader) -> Iterator[Pair]:
    yield "fleet", "all agents together"
    for agent, about in _agents(reader):
        yield f"agent:{agent}", about
    for provider in sorted(set(reader.members().values())):
        yield f"provider:{provider}", "provider"
    for queue, about in _queues(reader):
        yield f"queue:{queue}", about


def _breakers(reader: Reader) -> Iterator[Pair]:
    for one in reader.breakers():
        yield f"{one.scope}:{one.name}", one.state


def _schedules(reader: Reader) -> Iterator[Pair]:
    for name in reader.schedule_names():
        yield name, ""


def _questions(reader: Reader) -> Iterator[Pair]:
    yield from reader.asked(MAX_OFFERED)


_SOURCES = {
    "queues": _queues, "agents": _agents, "tasks": _tasks, "letters": _letters, "logs": _logs, "schedules": _schedules,
    "targets": _targets, "breakers": _breakers,
    "questions": _questions,
}  # fmt: skip
