"""Starved queues: tasks are ready and nobody comes, while the fleet works on others."""

from __future__ import annotations

from .model import Finding
from .telling import counted, named, quoted, span, task_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..domain.limits import Hold
    from .model import AgentFacts, QueueFacts, Severity, Stuck
    from .port import Evidence
    from .thresholds import Thresholds

#: what holds starts back → what to look at
SEE = {
    "budget": "See what is spent: agentctl budget list",
    "breaker": "See why: agentctl breaker list; it closes by itself, or: agentctl breaker reset TARGET",
}
LONG = 4  #: times `starved_wait`: critical


def starved_queues(evidence: Evidence, limits: Thresholds) -> list[Finding]:
    """Find them; the one that waits longest first."""
    now = evidence.window.until_ms
    recent: dict[str, int] = {}
    for one in evidence.work(now - limits.starved_wait_ms):
        recent[one.queue] = recent.get(one.queue, 0) + one.recent
    agents, found = evidence.agents(), []
    for queue in evidence.queues():
        if queue.ready and queue.oldest_ms is not None:
            finding = _told(queue, agents, recent, now, limits)
            if finding is not None:
                found.append((queue.oldest_ms, finding))
        if queue.stuck is not None and now - queue.stuck.oldest_ms >= limits.starved_wait_ms:
            found.append((queue.stuck.oldest_ms, _stuck(named(queue.name), queue.stuck, now)))
    return [finding for _, finding in sorted(found, key=lambda one: one[0])]


def _stuck(name: str, stuck: Stuck, now: int) -> Finding:
    waits, tasks = now - stuck.oldest_ms, task_ids([stuck.oldest_task])
    return Finding(
        "starved_queue",
        "critical",  # time alone will not help
        name,
        f"{counted(stuck.tasks, 'ready task')} that no agent can take, for {span(waits)}: {quoted(stuck.why)}",
        f"Set `can` or `queues` in [agent.NAME] of agentctl.toml for one that can, or: agentctl task cancel {tasks[0]}",
        stuck.tasks,
        stuck.oldest_ms,
        now,
        tasks,
        evidence=(("waits_ms", waits),),
    )


def _hold(queue: QueueFacts, servers: list[AgentFacts]) -> Hold | None:
    """Return what keeps a queue from being started from: its own limit, or one that each of its agents has."""
    if queue.hold is not None:
        return queue.hold
    able = [agent.hold for agent in servers if agent.running]
    return able[0] if able and None not in able else None


def _told(
    queue: QueueFacts, agents: tuple[AgentFacts, ...], recent: dict[str, int], now: int, limits: Thresholds
) -> Finding | None:
    assert queue.oldest_ms is not None
    name, waits = named(queue.name), now - queue.oldest_ms
    servers = [agent for agent in agents if agent.declared and queue.name in agent.queues]
    elsewhere = sum(starts for other, starts in recent.items() if other != queue.name)
    severity: Severity = "critical" if waits >= LONG * limits.starved_wait_ms else "warning"
    if queue.paused_ms is not None:
        paused = now - queue.paused_ms
        if paused < limits.paused_for_ms:
            return None
        by = f" by {quoted(queue.paused_by)}" if queue.paused_by else ""
        why, remedy = f"it was paused{by} {span(paused)} ago", f"agentctl queue resume {name}"
        severity = "warning"  # somebody meant it
    elif waits < limits.starved_wait_ms or queue.active or recent.get(queue.name):
        return None
    elif not servers:
        why, remedy = (
            "no agent serves it",
            f"Name it in `queues` of an agent in agentctl.toml, or: agentctl task list -q {name}",
        )
    elif not any(agent.running for agent in servers):
        stopped = named(servers[0].name)
        verb = "resume" if servers[0].desired == "paused" else "start"
        why, remedy = f"{stopped}, who serves it, is {servers[0].desired}", f"agentctl agent {verb} {stopped}"
        if servers[0].desired == "running":
            why = f"the instances of {stopped}, who serves it, hit their start limit"
    elif (hold := _hold(queue, servers)) is not None:
        why, remedy = f"held back: {quoted(hold.why)}", SEE.get(hold.by, "See what holds it: agentctl limit list")
    elif elsewhere >= limits.starved_starts:
        why = f"there were {counted(elsewhere, 'start')} from other queues meanwhile"
        remedy = f"Give it an agent of its own in agentctl.toml, or: agentctl agent scale {named(servers[0].name)} N"
    else:
        return None  # the whole fleet rests; `agentctl doctor` tells that
    return Finding(
        "starved_queue",
        severity,
        name,
        f"{counted(queue.ready, 'ready task')} and none started, the next one has waited for {span(waits)}: {why}",
        remedy,
        queue.ready,
        queue.oldest_ms,
        now,
        task_ids([] if queue.oldest_task is None else [queue.oldest_task]),
        evidence=(
            ("waits_ms", waits),
            ("served_by", ", ".join(named(agent.name) for agent in servers[:5]) or "nobody"),
            ("starts_elsewhere", elsewhere),
        ),
    )
