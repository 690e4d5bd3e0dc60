"""Rules for what is wanted of a slot: start, stop, drain, pause, restart, reset, a changed configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agentctl.policy import restart
from agentctl.supervisor.actions import Action, Become, Claim, Gone, Open, Stop
from agentctl.supervisor.facts import Wanted
from agentctl.supervisor.rules_runs import stop
from agentctl.supervisor.slot import STUCK_STOP_MS, Slot, claims_now, fresh_probes

if TYPE_CHECKING:
    from agentctl.config import AgentSection
    from agentctl.supervisor.snapshot import Snapshot
    from agentctl_store.clock import Moment

__all__ = ["hasten", "press", "reconsider", "rouse", "rule", "settle", "unlatch"]


def rouse(snapshot: Snapshot, now: Moment) -> list[Action]:
    """Stopped: start if that is wanted."""
    return place(_wanted(snapshot), now)


def place(slot: Slot, now: Moment) -> list[Action]:
    """Say where a slot without a session belongs: gone, stopped, failed, waiting, or starting."""
    if slot.want.gone:
        return [Become(_move(slot, "stopped", now, "not in the configuration any more")), Gone()]
    if slot.want.shutdown:
        return [Become(slot if slot.phase == "failed" else _move(slot, "stopped", now, "the supervisor ends"))]
    if slot.want.desired in ("stopped", "draining"):
        word = {"stopped": "was asked to stop", "draining": "was drained"}[slot.want.desired]
        return [Become(_move(slot, "stopped", now, f"{word}; `agentctl agent start` starts it"))]
    history = slot.history
    if history.latched:
        return [Become(_move(slot, "failed", now, history.latched))]
    if slot.want.desired == "paused" and not slot.takes_tasks:
        return [Become(_move(slot, "stopped", now, "paused; `agentctl agent resume` starts it"))]
    if history.due_ms > now.wall_ms:
        # A wall clock that was set back must not make the pause longer than any pause can be.
        pause_ms = min(history.due_ms - now.wall_ms, slot.want.section.restart.cap_ms)
        return [Become(replace(_move(slot, "backoff", now, slot.why), due_ms=now.boot_ms + pause_ms))]
    if slot.takes_tasks:
        slot = slot if slot.phase == "idle" else fresh_probes(_move(slot, "idle", now, ""), now.boot_ms)
        return [Become(slot), Claim()] if claims_now(slot) else [Become(slot)]
    if history.rested and slot.want.restart_seq <= history.restart_seq:
        return [Become(_move(slot, "stopped", now, history.rested))]
    return [Become(replace(_move(slot, "backoff", now, slot.why), due_ms=now.boot_ms)), Open()]


def settle(snapshot: Snapshot, now: Moment) -> list[Action]:
    """Idle: stop if that is wanted, else go on, perhaps with other probes."""
    old, slot = snapshot.slot, _wanted(snapshot)
    if slot.want.section.probe != old.want.section.probe:
        slot = fresh_probes(slot, now.boot_ms)
    if slot.want.section.mode != "task":
        slot = replace(slot, phase="stopped")
    return place(slot, now)


def rule(snapshot: Snapshot, now: Moment) -> list[Action]:
    """A session runs: leave it, let it finish, or stop it."""
    old, slot = snapshot.slot, _wanted(snapshot)
    want, run = slot.want, slot.run
    assert run is not None
    if run.end is not None:
        return [Become(slot)]
    grace_ms = want.section.grace_ms
    if want.shutdown == "now":
        return stop(slot, "stop", 0, now)
    if want.gone or want.desired == "stopped":
        return stop(slot, "stop", grace_ms, now)
    if want.shutdown or want.desired == "draining":
        if run.task is None:
            return stop(slot, "drain", grace_ms, now)
        run = replace(run, drain_until_ms=now.boot_ms + want.drain_ms)
        return [Become(replace(slot, phase="draining", since_ms=now.boot_ms, run=run, why="finishes its task"))]
    if want.restart_seq > run.restart_seq:
        return stop(slot, "restart", grace_ms, now)
    if needs_restart(old.want.section, want.section) and run.task is None:
        return stop(slot, "reload", grace_ms, now)
    if want.section.probe != old.want.section.probe:
        slot = fresh_probes(slot, now.boot_ms)
    return [Become(slot)]


def hasten(snapshot: Snapshot, now: Moment) -> list[Action]:
    """Draining: go on waiting, stop at once, or back to work."""
    slot = _wanted(snapshot)
    want, run = slot.want, slot.run
    assert run is not None
    if run.end is not None:
        return [Become(slot)]
    if want.shutdown == "now":
        return stop(slot, "stop", 0, now)
    if want.gone or want.desired == "stopped":
        return stop(slot, "stop", want.section.grace_ms, now)
    if not want.shutdown and want.desired != "draining":
        back = replace(slot, phase="busy", why="", run=replace(run, drain_until_ms=0))
        return rule(replace(snapshot, slot=back), now)
    return [Become(slot)]


def press(snapshot: Snapshot, now: Moment) -> list[Action]:
    """Stopping: only an order to end now makes it faster."""
    old, slot = snapshot.slot, _wanted(snapshot)
    run = slot.run
    assert run is not None
    if slot.want.shutdown == "now" and old.want.shutdown != "now" and run.end is None:
        run = replace(run, kill_ms=now.boot_ms + STUCK_STOP_MS)
        return [Become(replace(slot, run=run)), Stop(run.session, run.stop, 0)]
    return [Become(slot)]


def reconsider(snapshot: Snapshot, now: Moment) -> list[Action]:
    """In backoff: a person, or another configuration, may end the pause."""
    slot = _wanted(snapshot)
    if slot.welcome and slot.want.restart_seq <= slot.history.restart_seq and slot.history.due_ms > now.wall_ms:
        return [Become(slot)]
    if slot.welcome and slot.held and now.boot_ms < slot.held_until_ms:
        return [Become(slot)]
    if slot.welcome and slot.want.restart_seq > slot.history.restart_seq:
        slot = replace(slot, history=replace(slot.history, due_ms=0, restart_seq=slot.want.restart_seq))
    return place(slot, now)


def unlatch(snapshot: Snapshot, now: Moment) -> list[Action]:
    """Failed: only a person's start or another configuration lets it begin again."""
    return place(_wanted(snapshot), now)


def needs_restart(old: AgentSection, new: AgentSection) -> bool:
    """Whether a running session must be replaced for the new configuration to hold."""
    names = ["command", "mode", "cwd", "env", "pass_env", "limits", "ready", "queues", "can", "sandbox"]
    if new.mode == "worker":
        names.append("lease_ms")  # its claims take it from the environment
    return any(getattr(old, name) != getattr(new, name) for name in names)


def _wanted(snapshot: Snapshot) -> Slot:
    """Return the slot with its new wants; a new start order or configuration forgives old failures."""
    slot, fact = snapshot.slot, snapshot.fact
    assert isinstance(fact, Wanted)
    history, want = slot.history, fact.want
    if want.reset_seq > history.reset_seq:
        history = restart.reset(history, want.reset_seq)
    elif needs_restart(slot.want.section, want.section):
        history = restart.reset(history, history.reset_seq)
    return replace(slot, want=want, history=history)


def _move(slot: Slot, phase: str, now: Moment, why: str) -> Slot:
    if slot.phase == phase:
        return replace(slot, why=why)
    return replace(slot, phase=phase, since_ms=now.boot_ms, why=why, held="", limited="", spent=False, run=None)  # type: ignore[arg-type]
