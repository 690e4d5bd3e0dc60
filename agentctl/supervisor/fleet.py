"""The slots of a fleet: which there are, what is wanted of each, and how they look from outside."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from agentctl.config import AgentSection
from agentctl.policy.admission import STAGGERED
from agentctl.policy.health import assess
from agentctl.policy.restart import History
from agentctl.supervisor.facts import Overspent
from agentctl.supervisor.slot import Slot, Want, signals_of
from agentctl_store.domain.agent import Instance
from agentctl_store.errors import NotFound, StoreError
from agentctl_store.read import open_reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agentctl.config import Config
    from agentctl.supervisor.sessions import Key
    from agentctl_store.clock import Moment
    from agentctl_store.domain.agent import Agent
    from agentctl_store.domain.task import Swept
    from agentctl_store.read.models import QueueRow
    from agentctl_store.store import Store

BESIDE = 10_000  #: added to the number of a slot for a second life of it; the store has no row for such a slot

SWEEP_MS = 3_600_000  #: between two sweeps where nothing is due
PATIENCE_MS = 2_000  #: between two looks at what is waited for
BEGUN_MS = 1_000  #: a task's process that takes longer to start is shown as starting; until then its slot is busy


def wants(config: Config, agents: dict[str, Agent], shutdown: str, drain_ms: int) -> dict[Key, Want]:
    """Return what is wanted of every slot there should be."""
    found: dict[Key, Want] = {}
    for name, section in config.agent.items():
        row = agents.get(name)
        count = section.instances if row is None or row.scale is None else row.scale
        want = Want(
            section,
            desired="running" if row is None else row.desired,
            restart_seq=0 if row is None else row.restart_seq,
            reset_seq=0 if row is None else row.reset_seq,
            lease_ms=config.lease_ms_of(name),
            drain_ms=drain_ms,
            shutdown=shutdown,
        )
        for number in range(1, count + 1):
            found[name, number] = want
    return found


def gone(slot: Slot, shutdown: str) -> Want:
    """Return the want of a slot that should not be there any more."""
    return replace(slot.want, gone=True, shutdown=shutdown)


def new_slot(key: Key, want: Want, before: Instance | None) -> Slot:
    """Make a slot that goes on with what an earlier supervisor remembered of it."""
    if before is not None and before.memo:
        history = History.read(before.memo)
    else:
        history = History(reset_seq=want.reset_seq, restart_seq=want.restart_seq)
    return Slot(*key, want, history=history)


def stray_want(config: Config) -> Want:
    """Return the want of a session whose agent the configuration does not know: it is to end."""
    section = AgentSection.model_validate({"command": ["true"]})
    return Want(section, gone=True, lease_ms=config.fleet.lease_ms)


def just_begun(slot: Slot, now: Moment) -> bool:
    """Whether the slot took a task a moment ago and its process is still being started."""
    return slot.takes_tasks and slot.phase == "starting" and now.boot_ms - slot.since_ms < BEGUN_MS


def held_back(slot: Slot) -> str:
    """Say for want of what the machine lets nothing start here; a start that is staggered is only a moment late."""
    return slot.held if slot.phase in ("idle", "backoff") and slot.held != STAGGERED else ""


def instance_of(slot: Slot, now: Moment) -> Instance:
    """Return the slot's row as others see it."""
    if just_begun(slot, now):
        slot = replace(slot, phase="busy")
    health, reason = assess(signals_of(slot, now.boot_ms))
    waiting = slot.phase == "backoff"
    return Instance(
        slot.agent,
        slot.number,
        slot.phase,
        health,
        reason,
        session=None if slot.run is None else slot.run.session,
        restarts=slot.history.restarts,
        latched=bool(slot.history.latched),
        next_start_ms=slot.history.due_ms if waiting and slot.history.due_ms else None,
        memo=slot.history.write(),
        since_ms=0,
    )


def same_row(one: Instance, other: Instance | None) -> bool:
    """Whether writing `one` over `other` would change nothing."""
    if other is None:
        return False
    return replace_since(one) == replace_since(other)


def replace_since(row: Instance) -> Instance:
    """Return the row without the time of its last change, which is the store's to set."""
    from agentctl_store.record import replace as replaced

    return replaced(row, since_ms=0)


def next_sweep_ms(swept: Swept, now: Moment) -> int:
    """Return the boot time at which time asks for something again."""
    due = [now.boot_ms + SWEEP_MS]
    if swept.next_due_ms is not None:
        due.append(now.boot_ms + max(0, swept.next_due_ms - now.wall_ms))
    if swept.next_expiry_ms is not None:
        due.append(swept.next_expiry_ms + 1)
    if swept.more:
        due.append(now.boot_ms)
    return max(min(due), now.boot_ms + 10)


def unfinished(store: Store, config: Config, slots: Iterable[Slot]) -> bool:
    """Whether agents that run could still find work; a store in trouble says nothing of an end."""
    able = [slot for slot in slots if slot.phase not in ("failed", "stopped") and not slot.spent]
    serving = {slot.agent for slot in able}.intersection(config.agent)
    queues = {queue for name in serving for queue in config.queues_of(name)}
    try:
        return bool(queues) and store.unfinished(sorted(queues), sorted(serving))
    except StoreError:
        return True


def spent(slots: Iterable[Slot]) -> str:
    """Say that tasks wait for a budget which does not come back by itself; empty when none do."""
    return next((f"idle, but tasks wait: {slot.limited}" for slot in slots if slot.spent), "")


def overspent(store: Store) -> list[tuple[int, Overspent]]:
    """Return, by session, the running attempts that a spent budget is to end; a store in trouble says none."""
    try:
        return [(session, Overspent(task, n, why)) for session, task, n, why in store.limits.overspent()]
    except StoreError:
        return []


def forgotten(store: Store, config: Config, slots: Iterable[Slot]) -> str:
    """Say which tasks no agent takes now, or wait for a person; empty when there are none, or none can tell."""
    try:
        with closing(open_reader(store.directory)) as reader:
            queues = reader.queues()
            return unserved(queues, config) or left(queues, config, slots) or unanswered(queues)
    except StoreError:
        return ""


def unanswered(queues: Iterable[QueueRow]) -> str:
    """Say how many tasks wait for a person's answer; empty when there are none."""
    waiting = sum(row.waiting for row in queues)
    if not waiting:
        return ""
    wait = "1 task waits" if waiting == 1 else f"{waiting:,} tasks wait"
    return f"idle, but {wait} for a person's answer. See what is asked: agentctl inbox"


def unserved(queues: Sequence[QueueRow], config: Config) -> str:
    """Say which ready tasks no agent of the configuration will ever take; empty when there are none."""
    found = stranded(queues)
    if found:
        return f"idle, but tasks wait that no agent can take: {found}"
    served = {queue for name in config.agent for queue in config.queues_of(name)}
    left = [(row.ready, row.queue) for row in queues if row.ready and row.queue not in served]
    if not left:
        return ""
    told = ", ".join(f"{ready:,} in queue {queue}" for ready, queue in left[:5])
    return f"idle, but tasks wait that no agent serves: {told}. Name the queue under an agent's queues"


def left(queues: Iterable[QueueRow], config: Config, slots: Iterable[Slot]) -> str:
    """Say which tasks wait for agents none of whose instances runs, and why; empty when there are none."""
    states: dict[str, list[Slot]] = {}
    for slot in slots:
        states.setdefault(slot.agent, []).append(slot)
    told = []
    for row in queues:
        serving = [name for name in config.agent if row.queue in config.queues_of(name)]
        found = [slot for name in serving for slot in states.get(name, ())]
        if not (row.ready or row.scheduled) or any(slot.phase not in ("failed", "stopped") for slot in found):
            continue
        why = f"{serving[0]} has no instance" if serving else "no agent serves it"
        if found:
            why = f"{found[0].name}: {assess(signals_of(found[0], 0))[1]}"
        told.append(f"{row.ready + row.scheduled:,} in queue {row.queue} ({why})")
    return f"idle, but tasks wait for agents that do not run: {', '.join(told[:5])}" if told else ""


class Patience:
    """What a run that ends when idle waits for though nothing runs: a person who paused something. Told once each."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._due_ms = 0

    def news(self, store: Store, slots: Iterable[Slot], now_ms: int) -> str:
        """Say what was not told before; empty when there is nothing, or it is not time to look."""
        if now_ms < self._due_ms:
            return ""
        self._due_ms = now_ms + PATIENCE_MS
        try:
            with closing(open_reader(store.directory)) as reader:
                queues = [row for row in reader.queues() if row.ready]
            agents = store.agents()
        except (NotFound, StoreError):
            return ""
        ready = {row.queue for row in queues}
        found = [f"queue {row.queue} is paused (agentctl queue resume {row.queue})" for row in queues if row.paused]
        paused = {slot.agent for slot in slots if slot.takes_tasks and slot.want.desired == "paused"}
        for agent in agents:
            if agent.name in paused and ready.intersection(agent.queues):
                found.append(f"agent {agent.name} is paused (agentctl agent resume {agent.name})")
        fresh = [text for text in found if text not in self._told]
        self._told = set(found)
        return f"tasks wait: {', '.join(fresh[:5])}" if fresh else ""


def stranded(queues: Iterable[QueueRow]) -> str:
    """Say which waiting tasks no declared agent can take, and why; empty when there are none."""
    left = [f"{row.unroutable:,} in queue {row.queue} ({row.why})" for row in queues if row.unroutable]
    return ", ".join(left[:5]) + (f" and {len(left) - 5:,} queues more" if len(left) > 5 else "")


def unroutable(store: Store) -> str:
    """Say so of a store; one in trouble, or one that has gone, says nothing: the next look at it tells."""
    try:
        with closing(open_reader(store.directory)) as reader:
            found = stranded(reader.queues())
    except (NotFound, StoreError):
        return ""
    return f"tasks wait that no agent can take: {found}" if found else ""
