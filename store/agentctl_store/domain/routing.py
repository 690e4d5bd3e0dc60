"""Which agents may take a task: those that serve its queue, can what it needs, and did not delegate it.

An attempt that adds a task delegates it. The agents that did so one after the other, on one correlation id, are the
task's chain. An agent of the chain that gets the task back waits, in the end, for itself: a circle. So all of them are
barred from it but the last: an agent that adds to its own queue decomposes its work, which only the length of the
chain bounds.

What a task of a queue asks of its claimer is its lane. Ready tasks are ordered per lane, so that a claim looks at the
edge of a few lanes and never passes over tasks it may not take.
"""

from __future__ import annotations

from ..record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_DEPTH = 16  #: tasks that may be added by tasks that were added …, unless agentctl.toml says otherwise
MAX_LANES = 1_000  #: of one queue: a claim looks at each


@record
class Lane:
    """What the tasks of a lane ask of their claimer."""

    queue: str
    needs: tuple[str, ...] = ()
    barred: tuple[str, ...] = ()

    def open_to(self, agent: str, can: Iterable[str]) -> bool:
        """Whether an agent that can so much may claim from it, if it serves the queue."""
        return agent not in self.barred and set(self.needs).issubset(can)


@record
class Server:
    """A declared agent that takes tasks."""

    agent: str
    queues: tuple[str, ...]
    can: tuple[str, ...]

    def serves(self, lane: Lane) -> bool:
        """Whether it may claim from a lane."""
        return lane.queue in self.queues and lane.open_to(self.agent, self.can)


class Routing:
    """What is known of lanes and chains by their numbers: they are few and never change."""

    __slots__ = ("chains", "lanes", "newest", "numbers", "of_queue")

    def __init__(self) -> None:
        self.chains: dict[int, tuple[str, ...]] = {}  #: agents, the first to delegate first
        self.lanes: dict[int, Lane] = {}
        self.numbers: dict[Lane, int] = {}
        self.of_queue: dict[str, list[int]] = {}
        self.newest = 0  #: the highest number of a lane that is known; all below it are too

    def keep(self, number: int, lane: Lane) -> None:
        """Know a lane, newer than all before."""
        self.lanes[number], self.newest = lane, number
        self.numbers[lane] = number
        self.of_queue.setdefault(lane.queue, []).append(number)

    def forget_lanes(self) -> None:
        """Know no lane: some were dropped, and the others are to be read again."""
        self.newest = 0
        for known in (self.lanes, self.numbers, self.of_queue):
            known.clear()

    def open_to(self, queues: Iterable[str], agent: str, can: tuple[str, ...]) -> list[int]:
        """Return the numbers of the lanes of these queues that an agent may claim from, lane 0 of each left out."""
        found: list[int] = []
        for queue in queues:
            found += [number for number in self.of_queue.get(queue, ()) if self.lanes[number].open_to(agent, can)]
        return found


def barred_by(chain: tuple[str, ...]) -> tuple[str, ...]:
    """Return the agents that must not work on what this chain delegated, sorted."""
    return tuple(sorted(set(chain) - {chain[-1]})) if chain else ()


def circle(lane: Lane, servers: Iterable[Server]) -> tuple[str, ...]:
    """Return the agents that alone serve a lane and are all barred from it; empty when it is no circle."""
    able = [one.agent for one in servers if one.serves(Lane(lane.queue, lane.needs))]
    return tuple(able) if able and set(able) <= set(lane.barred) else ()


def unroutable(lane: Lane, servers: Iterable[Server]) -> str:
    """Say why no declared agent can take the tasks of a lane; empty when one can.

    A fleet that declares no agent says nothing about who comes: its tasks are for whoever claims them.
    """
    known = list(servers)
    if not known or any(one.serves(lane) for one in known):
        return ""
    serving = [one for one in known if lane.queue in one.queues]
    if not serving:
        return f"no agent serves queue {lane.queue}"
    able = [one for one in serving if set(lane.needs).issubset(one.can)]
    if able:
        return f"all agents that could take it delegated it: {', '.join(one.agent for one in able)}"
    least = min((set(lane.needs).difference(one.can) for one in serving), key=len)
    return f"no agent of queue {lane.queue} can {' and '.join(sorted(least))}"
