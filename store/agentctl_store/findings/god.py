"""God agents: one agent does, or hands out, nearly everything, and the others are there for show.

A specialist does all of its own queue and is none. What counts is work that others could have taken too, or that one
agent alone serves many queues.
"""

from __future__ import annotations

from .model import Finding
from .telling import counted, named, ratio, share, some, tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .model import Adds, AgentFacts, Work
    from .port import Evidence
    from .thresholds import Thresholds

LEAST_AGENTS = 3  #: of two, one always does more than half


def god_agents(evidence: Evidence, limits: Thresholds) -> list[Finding]:
    """Find who does, and who adds, far more than its share."""
    agents, window = evidence.agents(), evidence.window
    work = evidence.work(window.until_ms - limits.starved_wait_ms)
    found = [*_doing(work, agents, limits), *_adding(evidence.adds(), limits)]
    return [_dated(one, window.since_ms, window.until_ms) for one in found]


def _dated(finding: Finding, first_ms: int, last_ms: int) -> Finding:
    from ..record import replace

    return replace(finding, first_ms=first_ms, last_ms=last_ms)


def expected(work: tuple[Work, ...], agents: tuple[AgentFacts, ...]) -> dict[str, float]:
    """Return the starts that would fall to each agent if those who serve a queue took as many as they have slots."""
    slots = {agent.name: max(agent.capacity, 1) for agent in agents}
    serving: dict[str, set[str]] = {}
    for agent in agents:
        for queue in agent.queues if agent.declared else ():
            serving.setdefault(queue, set()).add(agent.name)
    for one in work:
        serving.setdefault(one.queue, set()).add(one.agent)
    fair: dict[str, float] = {}
    for one in work:
        servers = serving[one.queue]
        whole = sum(slots.get(name, 1) for name in servers)
        for name in servers:
            fair[name] = fair.get(name, 0.0) + one.starts * slots.get(name, 1) / whole
    return fair


def _doing(work: tuple[Work, ...], agents: tuple[AgentFacts, ...], limits: Thresholds) -> list[Finding]:
    done: dict[str, int] = {}
    queues: dict[str, dict[str, int]] = {}
    for one in work:
        done[one.agent] = done.get(one.agent, 0) + one.starts
        queues.setdefault(one.queue, {})[one.agent] = one.starts
    whole = sum(done.values())
    there = {*done, *(agent.name for agent in agents if agent.declared and agent.queues)}
    if not done or len(there) < LEAST_AGENTS:
        return []
    name = max(done, key=lambda agent: (done[agent], agent))
    if done[name] < limits.god_starts or done[name] < limits.god_share * whole:
        return []
    fair = expected(work, agents)[name]
    alone = [queue for queue, by in queues.items() if by.get(name, 0) >= limits.god_share * sum(by.values())]
    if done[name] < limits.god_times * fair and len(alone) < limits.god_queues:
        return []
    shown = named(name)
    others = sorted(there - {name})
    remedy = (
        f"Let others take theirs: fewer `queues` in [agent.{shown}] of agentctl.toml"
        if len(alone) >= limits.god_queues
        else f"Give the others slots: agentctl agent scale {named(others[0])} N, or fewer with: "
        f"agentctl agent scale {shown} N"
    )
    figures = (
        ("starts_of_all", whole),
        ("share_of_starts", ratio(done[name], whole)),
        ("share_by_slots", ratio(fair, whole)),
        ("queues", tally({queue: by[name] for queue, by in queues.items() if name in by})),
        ("others", tally({other: done.get(other, 0) for other in others})),
    )
    of_all = share(done[name], whole)
    summary = f"{counted(done[name], 'start')}, {of_all} of all; {len(there)} agents are there to share the work"
    return [Finding("god_agent", "warning", shown, summary, remedy, done[name], evidence=figures)]


def _adding(adds: tuple[Adds, ...], limits: Thresholds) -> list[Finding]:
    whole = sum(one.tasks for one in adds)
    if len(adds) < LEAST_AGENTS:  # a planner that hands out all there is does what it is for
        return []
    most = max(adds, key=lambda one: (one.tasks, one.agent))
    fair = whole / len(adds)
    if most.tasks < limits.god_starts or most.tasks < limits.god_share * whole or most.tasks < limits.god_times * fair:
        return []
    name = named(most.agent)
    summary = f"it added {counted(most.tasks, 'task')}, {share(most.tasks, whole)} of what {len(adds)} agents added"
    return [
        Finding(
            "god_agent",
            "info",
            name,
            summary,
            f"See what it hands out: agentctl event list -k task.added --after {most.first_seq - 1}",
            most.tasks,
            events=some((most.first_seq, most.last_seq)),
            evidence=(
                ("added_by_all", whole),
                ("share_of_added", ratio(most.tasks, whole)),
                ("others", tally({one.agent: one.tasks for one in adds if one is not most})),
            ),
        )
    ]
