"""Circular delegation: work that an agent handed on comes back to it, A → B → A, by a task that names who added it.

An agent that splits its own work (A → A → A) hands nothing on. Attempts that were refused are told too: somebody goes
on trying.
"""

from __future__ import annotations

from .model import Finding
from .telling import agent_of, counted, named, quoted, some, task_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .model import Delegation, Refusal
    from .port import Evidence
    from .thresholds import Thresholds

LOOKED_AT = 50_000  #: newest delegated tasks of the window
REFUSALS = 5_000  #: newest refusals of the window
DEEPEST = 64  #: steps a chain is followed upwards
MOST = 10  #: circles told, the most frequent first
SHOWN = 8  #: agents of a chain that are shown
CIRCLE_WORDS = ("circular", "circle", "cycle", "delegat")  #: of these a refusal speaks that is meant here


def circular_delegations(evidence: Evidence, limits: Thresholds) -> list[Finding]:
    """Find chains that come back, then refused ones."""
    found = _by_chain(evidence.delegations(LOOKED_AT), limits)
    return [*found, *_refused(evidence.refusals(REFUSALS))]


def circle(task: int, above: dict[int, Delegation]) -> tuple[tuple[str, ...], int] | None:
    """Return the agents from where the chain of `task` began to go round, and how often it came back; None if never.

    Only the way to the agent that holds `task` is looked at: what went round above is told for the task it came to.
    """
    last, seen = above[task], 0
    if last.agent is None:
        return None
    chain, returns, inside = [last.agent], 0, 1
    here: Delegation | None = last
    while here is not None and here.creator is not None and seen < DEEPEST:
        seen += 1
        here = above.get(here.creator)
        if here is None or here.agent is None:
            break
        if here.agent != chain[-1]:
            chain.append(here.agent)
            if here.agent == last.agent:
                returns, inside = returns + 1, len(chain)
    return (tuple(reversed(chain[:inside])), returns) if returns else None


def _by_chain(rows: tuple[Delegation, ...], limits: Thresholds) -> list[Finding]:
    above = {row.task: row for row in rows}
    circles: dict[tuple[str, ...], list[tuple[int, tuple[str, ...], int]]] = {}
    for row in rows:
        found = circle(row.task, above)
        if found is not None and found[1] >= limits.circular_returns:
            once = _once(found[0])
            circles.setdefault(_turned(once), []).append((row.task, once, found[1]))
    often = sorted(circles.values(), key=lambda came: (-len(came), min(came)))
    return [_told(sorted(came)) for came in often[:MOST]]


def _turned(once: tuple[str, ...]) -> tuple[str, ...]:
    """Return a round as it is whoever it is told from: B → A → B is A → B → A."""
    ring = once[:-1]
    return min(ring[start:] + ring[:start] for start in range(len(ring)))


def _once(chain: tuple[str, ...]) -> tuple[str, ...]:
    """Return the last round of a chain: (A, B, A) of A → B → A → B → A."""
    for start in range(len(chain) - 2, -1, -1):
        if chain[start] == chain[-1]:
            return chain[start:]
    return chain


def _told(came: list[tuple[int, tuple[str, ...], int]]) -> Finding:
    once, returns, tasks = came[0][1], max(one[2] for one in came), [one[0] for one in came]
    shown = [named(name) for name in once]
    arrows = " → ".join(shown if len(shown) <= SHOWN else [*shown[: SHOWN - 1], "…", shown[-1]])
    times = "once" if returns == 1 else f"up to {returns} times in one chain"
    return Finding(
        "circular_delegation",
        "critical" if returns > 1 else "warning",
        arrows,
        f"{counted(len(tasks), 'task')} came back to the agent that had handed the work on, {times}",
        f"See the chain: agentctl task show {task_ids(tasks[-1:])[0]}; "
        f"let {shown[-2]} return a result instead of adding a task for {shown[0]}",
        len(tasks),
        tasks[0] >> 20,
        tasks[-1] >> 20,
        task_ids(reversed(tasks)),
        evidence=(("returns", returns), ("agents", len(set(once)))),
    )


def _refused(rows: tuple[Refusal, ...]) -> list[Finding]:
    by_agent: dict[str, list[Refusal]] = {}
    for row in rows:
        if row.verb == "add" and any(word in row.reason.lower() for word in CIRCLE_WORDS):
            by_agent.setdefault(row.who, []).append(row)
    found = []
    for who, refused in by_agent.items():
        times = sum(row.times for row in refused)
        found.append(
            Finding(
                "circular_delegation",
                "warning",
                named(who),
                f"{counted(times, 'attempt')} to hand work back in a circle {'was' if times == 1 else 'were'} refused: "
                f"{quoted(refused[-1].reason)}",
                f"See them: agentctl event list -k access.refused; mend the prompt or code of {named(agent_of(who))}",
                times,
                refused[0].at_ms,
                refused[-1].at_ms,
                events=some([row.seq for row in refused]),
                evidence=(("refused", times),),
            )
        )
    found.sort(key=lambda one: -one.count)
    return found[:MOST]
