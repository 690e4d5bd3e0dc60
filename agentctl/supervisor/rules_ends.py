"""Rules for the end of a session: record it, then decide what the slot does next."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agentctl.policy import restart
from agentctl.policy.outcome import BUDGET, Done, SessionFacts, describe_end, judge_exit
from agentctl.quantities import show_duration
from agentctl.supervisor.actions import Action, Become, Record, Tell, Verify
from agentctl.supervisor.facts import Exited, Recorded, Verified
from agentctl.supervisor.rules_wants import place

if TYPE_CHECKING:
    from agentctl.config import RestartSection
    from agentctl.supervisor.slot import Slot
    from agentctl.supervisor.snapshot import Snapshot
    from agentctl_store.clock import Moment

__all__ = ["after", "checked", "end"]

ORDERED = ("stop", "drain", "restart", "reload", "cancel", "lost")  #: stops that are no failure of the process


def for_budget(reason: str) -> bool:
    """Whether a session was stopped because a budget is spent."""
    return reason.partition(": ")[0] == BUDGET


def end(snapshot: Snapshot, now: Moment) -> list[Action]:
    """The process has ended: what it left is written to the store before anything else starts here."""
    slot, fact, run = snapshot.slot, snapshot.fact, snapshot.slot.run
    assert isinstance(fact, Exited) and run is not None
    if run.end is not None or run.passed is not None:
        return []
    section = slot.want.section
    end = replace(fact.end, needs_result=section.result == "required")
    unchecked = section.verify is None or run.task is None or run.ask is not None
    if unchecked or not isinstance(judge_exit(end), Done):
        return [Become(replace(slot, run=replace(run, end=end))), Record(run.session, end)]
    if slot.want.shutdown == "now":
        end = replace(end, verify=SessionFacts(spawn_error="the supervisor ends", never=True))
        return [Become(replace(slot, run=replace(run, end=end))), Record(run.session, end)]
    drains = bool(slot.want.shutdown) or slot.want.desired == "draining"
    until_ms = run.drain_until_ms or now.boot_ms + slot.want.drain_ms
    run = replace(
        run, passed=end, passed_ms=now.boot_ms, started_ms=run.started_ms or now.boot_ms, stop="",
        drain_until_ms=until_ms if drains else 0, progress="its result is verified", unsent=True,
    )  # fmt: skip
    return [Become(replace(slot, phase="draining" if drains else "busy", since_ms=now.boot_ms, run=run)), Verify()]


def checked(snapshot: Snapshot, now: Moment) -> list[Action]:
    """The check of a success has ended: now the end is written, as a success or as none."""
    slot, fact, run = snapshot.slot, snapshot.fact, snapshot.slot.run
    assert isinstance(fact, Verified) and run is not None
    if run.end is not None or run.passed is None:
        return []
    end = replace(run.passed, verify=fact.end)
    return [Become(replace(slot, run=replace(run, end=end))), Record(run.session, end)]


def after(snapshot: Snapshot, now: Moment) -> list[Action]:
    """The end is recorded: idle, stopped, in backoff, failed or gone."""
    slot, fact, run = snapshot.slot, snapshot.fact, snapshot.slot.run
    assert isinstance(fact, Recorded) and run is not None
    if run.end is None:
        return []
    ended = run.end
    told: list[Action] = []
    if fact.text and (ended.spawn_error is None or ended.never):  # a failed start is told below, once
        kind = "ask" if fact.asked else "task" if slot.takes_tasks and fact.good else "failure"
        told.append(Tell(kind, f"{slot.name}: {fact.text}"))
    why = describe_end(ended)
    slot = replace(slot, run=None, phase="stopped", since_ms=now.boot_ms, why="")
    if ended.never and ended.hold_ms:
        slot = replace(slot, phase="backoff", why=why, due_ms=now.boot_ms + ended.hold_ms)
        return [*told, Become(slot)] if slot.welcome else [*told, *place(slot, now)]
    failed_start = ended.spawn_error is not None and not ended.never
    if slot.takes_tasks or run.task is not None:  # its mode may have been changed while it ran
        if not failed_start:
            if not ended.never:
                slot = replace(slot, history=replace(slot.history, streak=0, starts_ms=(), due_ms=0))
            return [*told, *place(slot, now)]
        history = restart.started(slot.history, now.wall_ms)
        return told + _again(replace(slot, history=history), ended, why, now, snapshot.jitter, failed=True)
    if ended.stop_reason in ORDERED or for_budget(ended.stop_reason) or ended.orphaned or ended.never:
        calm = replace(slot.history, due_ms=0)
        return [*told, *place(replace(slot, history=calm), now)]
    failed = failed_start or ended.code != 0 or bool(ended.stop_reason)
    return told + _again(slot, ended, why, now, snapshot.jitter, failed=failed)


def _again(slot: Slot, ended: SessionFacts, why: str, now: Moment, jitter: float, *, failed: bool) -> list[Action]:
    rules: RestartSection = slot.want.section.restart
    if slot.takes_tasks and rules.policy != "on-failure":
        rules = rules.model_copy(update={"policy": "on-failure"})
    if ended.for_good:
        verdict = restart.latch(slot.history, why)
    else:
        verdict = restart.ended(
            slot.history, rules, failed=failed, ran_ms=ended.ran_ms, wall_ms=now.wall_ms, jitter=jitter, why=why
        )
    slot = replace(slot, history=verdict.history, why=why)
    told: list[Action] = []
    if verdict.latched:
        text = f"{slot.name} failed: {verdict.reason}. Fix the cause, then: agentctl agent start {slot.agent}"
        told.append(Tell("latch", text))
    elif verdict.again:
        told.append(Tell("failure", f"{slot.name} ended ({why}); it starts again in {show_duration(verdict.delay_ms)}"))
    else:
        told.append(Tell("exit", f"{slot.name} {verdict.reason}"))
    return [*told, *place(slot, now)]
