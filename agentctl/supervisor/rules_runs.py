"""Rules for work and running sessions: claims, starts, deadlines, what a session says, stops."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agentctl.policy import restart
from agentctl.policy.health import probed as fold_probe
from agentctl.policy.outcome import BUDGET
from agentctl.quantities import show_duration
from agentctl.supervisor.actions import Action, Become, Claim, Extend, Look, NoteStart, Open, Probe, Stop, Tell
from agentctl.supervisor.facts import (
    CancelAsked,
    Held,
    Limited,
    Opened,
    Outlived,
    Overspent,
    Probed,
    Said,
    Slept,
    Started,
)
from agentctl.supervisor.slot import (
    LEASE_SHARE,
    OVERSPENT_KEPT,
    PROGRESS_MS,
    STUCK_STOP_MS,
    ProbeRun,
    Run,
    Slot,
    claims_now,
    fresh_probes,
    limits_of,
    look_every_ms,
    probe_section,
    probe_waits,
)

if TYPE_CHECKING:
    from agentctl.supervisor.snapshot import Snapshot
    from agentctl_store.clock import Moment

MOST_DETAIL = 300  #: characters of a probe's answer that are kept as the reason of an end

__all__ = [
    "cancel", "claim", "hold", "insist", "keep", "limit", "noted", "open", "outlive", "overspend",
    "probed", "retry", "said", "slept", "start", "wait", "watch",
]  # fmt: skip


def claim(snapshot: Snapshot, now: Moment) -> list[Action]:
    """Work may be there: take it, if the slot may."""
    slot = snapshot.slot
    return [Claim()] if claims_now(slot) and (not slot.held or now.boot_ms >= slot.held_until_ms) else []


def hold(snapshot: Snapshot, now: Moment) -> list[Action]:
    """A start was held back: say why, try again later."""
    fact = snapshot.fact
    assert isinstance(fact, Held)
    return [Become(replace(snapshot.slot, held=fact.why, held_until_ms=fact.until_ms))]


def limit(snapshot: Snapshot, now: Moment) -> list[Action]:
    """A limit keeps the slot from work: say why if a person should know, look again when it may be over."""
    fact = snapshot.fact
    assert isinstance(fact, Limited)
    held = replace(snapshot.slot, limited=fact.why, limited_until_ms=fact.until_ms, spent=fact.for_good)
    return [Become(held)]


def open(snapshot: Snapshot, now: Moment) -> list[Action]:
    """A session begins."""
    slot, fact = snapshot.slot, snapshot.fact
    assert isinstance(fact, Opened)
    run = Run(
        fact.session,
        fact.nonce,
        now.boot_ms,
        task=fact.task,
        n=fact.n,
        timeout_ms=fact.timeout_ms,
        restart_seq=slot.want.restart_seq,
        extended_ms=now.boot_ms,
    )
    history = replace(slot.history, restart_seq=slot.want.restart_seq)
    if not slot.takes_tasks:
        history = restart.started(history, now.wall_ms)
    slot = replace(
        slot,
        phase="starting",
        since_ms=now.boot_ms,
        run=run,
        history=history,
        held="",
        limited="",
        limited_until_ms=0,
        spent=False,
        why="" if fact.task else slot.why,
    )
    keep_readiness = slot.probe("readiness") if slot.takes_tasks else None
    slot = fresh_probes(slot, now.boot_ms)
    if keep_readiness is not None:
        slot = slot.with_probe("readiness", keep_readiness)
    return [Become(slot)]


def start(snapshot: Snapshot, now: Moment) -> list[Action]:
    """The agent's process runs."""
    slot, actions = _with_pid(snapshot)
    assert slot.run is not None
    if slot.takes_tasks:
        # What can be started is no start failure any more; how its tasks end is the tasks' own story.
        slot = replace(slot, history=replace(slot.history, streak=0, starts_ms=(), due_ms=0))
    slot = replace(slot, phase="busy", since_ms=now.boot_ms)
    return [Become(slot), *actions]


def noted(snapshot: Snapshot, now: Moment) -> list[Action]:
    """The process runs, though it was asked to stop meanwhile, or is known already."""
    slot, actions = _with_pid(snapshot)
    return [Become(slot), *actions]


def _with_pid(snapshot: Snapshot) -> tuple[Slot, list[Action]]:
    slot, fact, run = snapshot.slot, snapshot.fact, snapshot.slot.run
    assert isinstance(fact, Started) and run is not None
    ready = False if slot.want.section.ready == "notify" and run.ready is None else run.ready
    at = fact.started_ms
    run = replace(run, pid=fact.pid, started_ms=at, watchdog_at_ms=max(at, run.watchdog_at_ms), ready=ready)
    told: list[Action] = [] if slot.takes_tasks else [Tell("start", f"{slot.name} runs (pid {fact.pid})")]
    return replace(slot, run=run), [NoteStart(run.session, fact.pid), *told]


def said(snapshot: Snapshot, now: Moment) -> list[Action]:
    """Fold in what the session said or showed."""
    slot, fact, run = snapshot.slot, snapshot.fact, snapshot.slot.run
    assert isinstance(fact, Said) and run is not None
    spent = (fact.input_tokens, fact.output_tokens, fact.cost_microusd)
    run = replace(
        run,
        heard_ms=max(run.heard_ms, fact.heard_ms or 0),
        output_ms=max(run.output_ms, fact.output_ms or 0),
        progress=run.progress if fact.progress is None else fact.progress,
        unsent=run.unsent or fact.progress is not None or any(value is not None for value in spent),
        input_tokens=run.input_tokens if spent[0] is None else spent[0],
        output_tokens=run.output_tokens if spent[1] is None else spent[1],
        cost_microusd=run.cost_microusd if spent[2] is None else spent[2],
        retry_after_ms=run.retry_after_ms if fact.retry_after_ms is None else fact.retry_after_ms,
        ask=run.ask if fact.ask is None else fact.ask,
        ready=True if fact.ready else run.ready,
        status=run.status if fact.status is None else fact.status,
        watchdog_ms=run.watchdog_ms if fact.watchdog_ms is None else fact.watchdog_ms,
        watchdog_at_ms=now.boot_ms if fact.watchdog or (fact.ready and run.ready is False) else run.watchdog_at_ms,
        extra_ms=run.extra_ms + (fact.extend_ms or 0),
        memory_bytes=run.memory_bytes if fact.memory_bytes is None else fact.memory_bytes,
    )
    slot = replace(slot, run=run)
    if fact.watchdog_trigger and not run.stop and run.end is None and run.passed is None:
        return stop(slot, "watchdog", slot.want.section.grace_ms, now)
    return [Become(slot)]


def probed(snapshot: Snapshot, now: Moment) -> list[Action]:
    """Fold in a probe's answer; a liveness or startup probe that failed for good stops the session."""
    slot, fact = snapshot.slot, snapshot.fact
    assert isinstance(fact, Probed)
    probe, section = slot.probe(fact.kind), probe_section(slot, fact.kind)
    if probe is None or section is None:
        return []
    state = fold_probe(probe.state, fact.ok, fact.detail, failures=section.failures, successes=section.successes)
    slot = slot.with_probe(fact.kind, ProbeRun(state, now.boot_ms + section.period_ms))
    run = slot.run
    runs = run is not None and not run.stop and run.end is None and run.passed is None
    if fact.kind != "readiness" and state.ok is False and runs:
        why = f"{fact.kind} probe failed: {fact.detail}"
        told = Tell("health", f"{slot.name}: {why}")
        return [told, *stop(slot, f"liveness: {why[:MOST_DETAIL]}", slot.want.section.grace_ms, now)]
    actions: list[Action] = [Become(slot)]
    if fact.kind == "readiness" and state.ok is True and probe.state.ok is not True and claims_now(slot):
        actions.append(Claim())
    return actions


def cancel(snapshot: Snapshot, now: Moment) -> list[Action]:
    """Somebody wants the running task to end: gracefully, then by force."""
    slot, fact, run = snapshot.slot, snapshot.fact, snapshot.slot.run
    assert isinstance(fact, CancelAsked) and run is not None
    if run.task != fact.task or run.stop or run.end is not None:
        return []
    return stop(slot, "cancel", slot.want.section.grace_ms, now)


def outlive(snapshot: Snapshot, now: Moment) -> list[Action]:
    """The task belongs to another attempt by now, or to none: what runs here is of no use any more."""
    slot, fact, run = snapshot.slot, snapshot.fact, snapshot.slot.run
    assert isinstance(fact, Outlived) and run is not None
    if (run.task, run.n) != (fact.task, fact.n) or run.stop or run.end is not None:
        return []
    told = Tell("failure", f"{slot.name}: the task is not its own any more (lease or deadline passed); it is stopped")
    return [told, *stop(slot, "lost", slot.want.section.grace_ms, now)]


def overspend(snapshot: Snapshot, now: Moment) -> list[Action]:
    """A budget is spent: the attempt ends gracefully, what it has got to is kept."""
    slot, fact, run = snapshot.slot, snapshot.fact, snapshot.slot.run
    assert isinstance(fact, Overspent) and run is not None
    if run.stop or run.end is not None or (run.task is not None and (run.task, run.n) != (fact.task, fact.n)):
        return []
    if run.passed is not None:
        return []  # it has spent what it could: to check what it left costs nothing more
    if run.task is None:
        # A worker is told by its heartbeats and may end its attempt itself: within its grace.
        since = next((at for task, n, at in run.overspent if (task, n) == (fact.task, fact.n)), None)
        if since is None:
            kept = (*run.overspent, (fact.task, fact.n, now.boot_ms))[-OVERSPENT_KEPT:]
            return [Become(replace(slot, run=replace(run, overspent=kept)))]
        if now.boot_ms < since + slot.want.section.grace_ms:
            return []
    told = Tell("failure", f"{slot.name}: {fact.why}; it is stopped")
    return [told, *stop(slot, f"{BUDGET}: {fact.why}", slot.want.section.grace_ms, now)]


def stop(slot: Slot, reason: str, grace_ms: int, now: Moment) -> list[Action]:
    """Ask the session to end; the first reason stays the reason."""
    run = slot.run
    assert run is not None
    reason = run.stop or reason
    run = replace(run, stop=reason, kill_ms=now.boot_ms + grace_ms + STUCK_STOP_MS)
    slot = replace(slot, phase="stopping", since_ms=now.boot_ms, run=run, why=reason.partition(": ")[2] or reason)
    return [Become(slot), Stop(run.session, reason, grace_ms)]


def slept(snapshot: Snapshot, now: Moment) -> list[Action]:
    """The machine slept: every time that a deadline counts from moves on by the gap."""
    slot, fact, run = snapshot.slot, snapshot.fact, snapshot.slot.run
    assert isinstance(fact, Slept) and run is not None
    names = ("output_ms", "heard_ms", "watchdog_at_ms", "kill_ms", "drain_until_ms", "passed_ms")
    moved = {name: getattr(run, name) + fact.gap_ms for name in names if getattr(run, name)}
    if run.started_ms is not None:
        moved["started_ms"] = run.started_ms + fact.gap_ms
    return [Become(replace(slot, run=replace(run, **moved)))]


def keep(snapshot: Snapshot, now: Moment) -> list[Action]:
    """Extend the lease if that is due; also of a run whose end was not taken in yet: its result must not be lost."""
    slot, run = snapshot.slot, snapshot.slot.run
    assert run is not None
    leases = _leases_due(slot, run, now) if run.end is None else []
    return [Become(replace(slot, run=replace(run, extended_ms=now.boot_ms, unsent=False))), *leases] if leases else []


def wait(snapshot: Snapshot, now: Moment) -> list[Action]:
    """Idle: what was held may be tried again, probes are due."""
    slot, actions = _probes_due(snapshot.slot, now)
    if slot.held and now.boot_ms >= slot.held_until_ms:
        slot = replace(slot, held="")
        if claims_now(slot):
            actions.append(Claim())
    elif slot.limited_until_ms and now.boot_ms >= slot.limited_until_ms:
        slot = replace(slot, limited_until_ms=0)
        if claims_now(slot):
            actions.append(Claim())
    return [Become(slot), *actions]


def retry(snapshot: Snapshot, now: Moment) -> list[Action]:
    """In backoff: the pause is over."""
    slot = snapshot.slot
    if now.boot_ms < max(slot.due_ms, slot.held_until_ms):
        return []
    if slot.takes_tasks:
        slot = replace(slot, phase="idle", since_ms=now.boot_ms, held="")
        return [Become(slot), Claim()] if claims_now(slot) else [Become(slot)]
    return [Open()]


def insist(snapshot: Snapshot, now: Moment) -> list[Action]:
    """Stopping: what has not ended when it should have is asked again, at once."""
    slot, run = snapshot.slot, snapshot.slot.run
    assert run is not None
    if run.end is not None:
        return []
    actions: list[Action] = _leases_due(slot, run, now)
    if actions:
        slot = replace(slot, run=replace(run, extended_ms=now.boot_ms, unsent=False))
        run = slot.run
        assert run is not None
    if now.boot_ms >= run.kill_ms:
        slot = replace(slot, run=replace(run, kill_ms=now.boot_ms + STUCK_STOP_MS))
        actions.append(Stop(run.session, run.stop, 0))
    if run.pid is not None and now.boot_ms >= run.look_ms + look_every_ms(slot) and slot.run is not None:
        slot = replace(slot, run=replace(slot.run, look_ms=now.boot_ms))
        actions.append(Look(run.session))
    return [Become(slot), *actions]


def watch(snapshot: Snapshot, now: Moment) -> list[Action]:
    """A session runs: probes, leases, looks and deadlines that are due."""
    slot, actions = _probes_due(snapshot.slot, now)
    run = slot.run
    assert run is not None
    if run.end is not None:
        return []
    leases = _leases_due(slot, run, now)
    if leases:
        run = replace(run, extended_ms=now.boot_ms, unsent=False)
        actions += leases
    due = sorted((at, why) for at, why in limits_of(slot, run) if at <= now.boot_ms)
    if run.pid is not None and (
        now.boot_ms >= run.look_ms + look_every_ms(slot) or any(run.look_ms < at for at, _ in due)
    ):
        # Output wakes nobody: before a silence is believed, the files are looked at.
        run = replace(run, look_ms=now.boot_ms)
        return [Become(replace(slot, run=run)), *actions, Look(run.session)]
    slot = replace(slot, run=run)
    if not due:
        return [Become(slot), *actions]
    why = due[0][1]
    ran = show_duration(now.boot_ms - (run.started_ms or now.boot_ms))
    text = {
        "timeout": f"{slot.name}: timeout after {ran}; it is stopped",
        "silence": f"{slot.name}: no output for too long; it is stopped",
        "heartbeat": f"{slot.name}: no heartbeat for too long; it is stopped",
        "watchdog": f"{slot.name}: WATCHDOG=1 did not come in time; it is stopped",
        "verify": f"{slot.name}: its verify did not end in time; it is stopped",
        "drain": f"{slot.name}: did not finish within the grace of the drain; it is stopped",
    }[why]
    return [*actions, Tell("health", text), *stop(slot, why, slot.want.section.grace_ms, now)]


def _leases_due(slot: Slot, run: Run, now: Moment) -> list[Action]:
    if run.task is None or run.n is None:
        return []
    share_ms = slot.want.lease_ms // LEASE_SHARE
    every_ms = min(PROGRESS_MS, share_ms) if run.unsent else share_ms
    if now.boot_ms < run.extended_ms + every_ms:
        return []
    return [Extend(run.task, run.n, slot.want.lease_ms)]


def _probes_due(slot: Slot, now: Moment) -> tuple[Slot, list[Action]]:
    actions: list[Action] = []
    for kind, probe in slot.probes:
        if not probe.running and now.boot_ms >= probe.due_ms and not probe_waits(slot, kind):
            slot = slot.with_probe(kind, replace(probe, running=True))
            actions.append(Probe(kind))
    return slot, actions
