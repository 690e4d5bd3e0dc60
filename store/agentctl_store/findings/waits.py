"""Blocking waits: tasks that wait for tasks nobody takes, and agents that wait for each other in a circle.

`--after` cannot form a circle. A running attempt can: it adds a task and waits for it, while who would take that task
waits in the same way, or is itself.
"""

from __future__ import annotations

from .model import Finding
from .telling import counted, named, span, task_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .model import AgentFacts, Blocked, Held
    from .port import Evidence
    from .thresholds import Thresholds

LOOKED_AT = 20_000  #: waiting tasks and attempts, the oldest first
MOST = 10  #: of each sort told


def blocking_waits(evidence: Evidence, limits: Thresholds) -> list[Finding]:
    """Find circles of agents, then tasks that wait in vain."""
    now = evidence.window.until_ms
    before = now - limits.waits_for_ms
    circles = _circles(evidence.held(before, LOOKED_AT), evidence.agents(), now)
    return [*circles, *_in_vain(evidence.blocked(before, LOOKED_AT), now)]


def waits_for(held: tuple[Held, ...], agents: tuple[AgentFacts, ...]) -> dict[tuple[str, str], list[Held]]:
    """Return who waits for whom (A, B), and by which running attempts of A.

    A task that somebody works on is waited for at its agent; one that is ready at the only agent that serves its queue,
    if that has no free slot.
    """
    only: dict[str, list[AgentFacts]] = {}
    for agent in agents:
        for queue in agent.queues if agent.declared else ():
            only.setdefault(queue, []).append(agent)
    edges: dict[tuple[str, str], list[Held]] = {}
    for one in held:
        whom = one.by
        if whom is None:
            serving = only.get(one.queue, [])
            if one.state != "ready" or len(serving) != 1 or serving[0].busy < serving[0].capacity:
                continue
            whom = serving[0].name
        elif whom == one.agent:
            continue  # its other slot works on it
        edges.setdefault((one.agent, whom), []).append(one)
    return edges


def knots(edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return the groups of agents that all wait for each other, those that wait for themselves among them.

    Strongly connected components by two passes (S. R. Kosaraju, 1978), without recursion: chains can be long.
    """
    after: dict[str, list[str]] = {}
    before: dict[str, list[str]] = {}
    alone = set()
    for first, second in edges:
        after.setdefault(first, []).append(second)
        before.setdefault(second, []).append(first)
        if first == second:
            alone.add(first)
    seen: set[str] = set()
    finished = [name for start in sorted(after) for name in _walk(start, after, seen)]
    seen.clear()
    groups = [sorted(_walk(start, before, seen)) for start in reversed(finished)]
    return sorted(group for group in groups if len(group) > 1 or alone.intersection(group))


def _walk(start: str, along: dict[str, list[str]], seen: set[str]) -> list[str]:
    """Return what is reached from `start` and not `seen` yet, each after all that it leads to."""
    if start in seen:
        return []
    seen.add(start)
    left, finished = [(start, iter(along.get(start, ())))], []
    while left:
        name, others = left[-1]
        for other in others:
            if other not in seen:
                seen.add(other)
                left.append((other, iter(along.get(other, ()))))
                break
        else:
            finished.append(name)
            left.pop()
    return finished


def _circles(held: tuple[Held, ...], agents: tuple[AgentFacts, ...], now: int) -> list[Finding]:
    edges = waits_for(held, agents)
    found = []
    for group in knots(edges)[:MOST]:
        inside = [one for (first, second), ones in edges.items() if {first, second} <= set(group) for one in ones]
        since = max(one.since_ms for one in inside)  # since then the circle has been closed, or longer
        tasks = sorted({one.task for one in inside})
        awaited = [one.awaited for one in inside if one.awaited is not None]
        names = [named(name) for name in group]
        if len(group) == 1:
            subject = names[0]
            summary = (
                f"{counted(len(tasks), 'running attempt')} of {subject} added tasks that only {subject} could take, "
                f"and it has had no free slot for {span(now - since)}"
            )
            remedy = f"Give it a slot more: agentctl agent scale {subject} N; or end one: agentctl task cancel "
        else:
            subject = " ⇄ ".join(names[:5]) + (" …" if len(names) > 5 else "")
            summary = (
                f"{counted(len(tasks), 'running attempt')} of {len(group)} agents wait for each other "
                f"for {span(now - since)}"
            )
            remedy = "End one of them: agentctl task cancel "
        ids = task_ids(tasks)
        found.append(
            Finding(
                "blocking_waits",
                "critical",
                subject,
                summary,
                remedy + ids[0],
                len(tasks),
                min(one.since_ms for one in inside),
                now,
                ids,
                evidence=(("agents", ", ".join(names[:10])), ("awaited", ", ".join(task_ids(awaited)) or "an answer")),
            )
        )
    return found


def _in_vain(rows: tuple[Blocked, ...], now: int) -> list[Finding]:
    by_queue: dict[str, list[Blocked]] = {}
    for row in rows:
        by_queue.setdefault(row.parent_queue, []).append(row)
    found = []
    for queue, waiting in by_queue.items():
        children, parents = {row.task for row in waiting}, {row.parent for row in waiting}
        since, name = min(row.since_ms for row in waiting), named(queue)
        found.append(
            Finding(
                "blocking_waits",
                "warning",
                name,
                f"{counted(len(children), 'task')} wait{'s' if len(children) == 1 else ''} for "
                f"{counted(len(parents), 'ready task')} of {name} that nobody has taken for {span(now - since)}",
                f"See who serves it: agentctl queue list; or give one up: agentctl task cancel {task_ids(parents)[0]}",
                len(children),
                since,
                now,
                task_ids(sorted(children)),
                evidence=(
                    ("awaited", ", ".join(task_ids(sorted(parents)))),
                    ("queues", ", ".join(sorted({named(row.queue) for row in waiting})[:5])),
                ),
            )
        )
    found.sort(key=lambda one: -one.count)
    return found[:MOST]
