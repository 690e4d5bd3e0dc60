"""The supervisor's decisions: every (phase, fact) pair has its rule, and each rule does what it should."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from agentctl.config import parse_config
from agentctl.policy.outcome import SessionFacts
from agentctl.policy.restart import History
from agentctl.supervisor import actions as do
from agentctl.supervisor import facts as seen
from agentctl.supervisor.decide import CELLS, decide
from agentctl.supervisor.facts import FACTS
from agentctl.supervisor.slot import RUNNING, ProbeRun, Run, Slot, Want, claims_now, next_due_ms, signals_of
from agentctl.supervisor.snapshot import Snapshot
from agentctl_store.clock import Moment
from agentctl_store.domain.agent import PHASES

CONFIG = parse_config("""
[agent.tasker]
command = "x"
timeout = "1m"
silence_timeout = "20s"
grace = "5s"
[agent.worker]
command = "x"
mode = "worker"
restart = {base = "1s", limit = 3, window = "60s"}
watchdog = "30s"
[agent.worker.probe.liveness]
tcp = "h:1"
failures = 2
[agent.strict]
command = "x"
verify = "check"
verify_timeout = "5s"
[agent.gated]
command = "x"
[agent.gated.probe.readiness]
tcp = "h:1"
""")


def at(ms: int) -> Moment:
    return Moment(1_000_000 + ms, ms, ms, "boot")


def want(agent: str, **changes) -> Want:
    return Want(CONFIG.agent[agent], **changes)


def slot_in(phase: str, agent: str = "tasker", **changes) -> Slot:
    slot = Slot(agent, 1, want(agent), phase=phase)
    if phase in RUNNING:
        task, n = (7, 1) if agent == "tasker" else (None, None)
        slot = replace(slot, run=Run(9, "n", 0, task=task, n=n, pid=5, started_ms=0))
    return replace(slot, **changes)


SAMPLES = {
    seen.WorkSeen: seen.WorkSeen(),
    seen.Held: seen.Held("memory", 500),
    seen.Limited: seen.Limited("budget spent", 700),
    seen.Opened: seen.Opened(9, "n", 7, 1),
    seen.Started: seen.Started(5, 0),
    seen.Said: seen.Said(progress="half"),
    seen.Exited: seen.Exited(SessionFacts(code=1)),
    seen.Verified: seen.Verified(SessionFacts(code=0)),
    seen.Recorded: seen.Recorded("done"),
    seen.Probed: seen.Probed("liveness", False, "refused"),
    seen.Wanted: seen.Wanted(want("tasker")),
    seen.CancelAsked: seen.CancelAsked(7),
    seen.Outlived: seen.Outlived(7, 1),
    seen.Overspent: seen.Overspent(7, 1, "budget of the day spent: 5.00 of 5.00 USD"),
    seen.Slept: seen.Slept(5_000),
    seen.Delayed: seen.Delayed(),
    seen.Ticked: seen.Ticked(),
}


def after(slot: Slot, fact, now: int = 100) -> tuple[Slot | None, list]:
    """The slot afterwards (None: gone) and the actions."""
    found = decide(Snapshot(slot, fact), at(now))
    for action in found:
        if isinstance(action, do.Become):
            slot = action.slot
    gone = any(isinstance(action, do.Gone) for action in found)
    return (None if gone else slot), found


def kinds(found) -> set:
    return {type(action) for action in found} - {do.Become, do.Tell}


@pytest.mark.parametrize(("phase", "kind"), list(itertools.product(PHASES, FACTS)))
@pytest.mark.parametrize("agent", ["tasker", "worker"])
def test_every_cell_decides_and_keeps_the_slot_whole(phase, kind, agent):
    slot, found = after(slot_in(phase, agent), SAMPLES[kind])
    assert (phase, kind) in CELLS
    assert all(isinstance(action, do.Action.__args__) for action in found)
    if slot is not None:
        assert (slot.run is not None) == (slot.phase in RUNNING), "a session exactly in the phases that have one"
        due = next_due_ms(slot)
        assert due is None or due >= 0


def test_an_idle_slot_claims_when_work_is_seen_and_not_when_paused():
    assert kinds(after(slot_in("idle"), seen.WorkSeen())[1]) == {do.Claim}
    for changes in ({"desired": "paused"}, {"desired": "draining"}, {"shutdown": "drain"}, {"gone": True}):
        assert after(slot_in("idle", want=want("tasker", **changes)), seen.WorkSeen())[1] == []


def test_a_held_start_is_tried_again_when_its_time_has_come():
    slot, _ = after(slot_in("idle"), seen.Held("memory", 500))
    assert after(slot, seen.WorkSeen(), 499)[1] == [] and next_due_ms(slot) == 500
    slot, found = after(slot, seen.Ticked(), 500)
    assert kinds(found) == {do.Claim} and slot.held == ""


def test_a_limited_slot_is_tried_again_at_its_time_and_whenever_work_is_seen():
    slot, _ = after(slot_in("idle"), seen.Limited("budget of the day spent", 5_000))
    assert next_due_ms(slot) == 5_000 and signals_of(slot, 100).held == "budget of the day spent"
    assert kinds(after(slot, seen.WorkSeen())[1]) == {do.Claim}, "it may be another queue's"
    assert kinds(after(slot, seen.Ticked(), 4_999)[1]) == set()
    later, found = after(slot, seen.Ticked(), 5_000)
    assert kinds(found) == {do.Claim} and next_due_ms(later) is None
    assert after(slot, seen.Limited("", 0))[0].limited == ""
    assert after(slot, seen.Opened(9, "n", 7, 1))[0].limited == ""


def test_a_spent_budget_stops_the_attempt_it_is_about_once_and_says_which():
    slot, found = after(slot_in("busy"), seen.Overspent(7, 1, "budget of the day spent"))
    (stop,) = [action for action in found if isinstance(action, do.Stop)]
    assert (slot.phase, stop.reason, stop.grace_ms) == ("stopping", "budget: budget of the day spent", 5_000)
    assert kinds(after(slot, seen.Overspent(7, 1, "again"))[1]) == set()
    assert kinds(after(slot_in("busy"), seen.Overspent(7, 2, "another attempt's"))[1]) == set()


def test_a_worker_has_its_grace_to_end_each_attempt_that_overspends():
    slot = slot_in("busy", "worker")
    grace_ms = slot.want.section.grace_ms
    for number, begun_ms in enumerate((100, 9_000_000)):
        fact = seen.Overspent(7 + number, 1, "budget of the day spent")
        slot, found = after(slot, fact, begun_ms)
        assert kinds(found) == set()
        assert kinds(after(slot, fact, begun_ms + grace_ms - 1)[1]) == set()
        assert kinds(after(slot, fact, begun_ms + grace_ms)[1]) == {do.Stop}


def test_a_task_runs_through_its_life():
    slot, _ = after(slot_in("idle"), seen.Opened(9, "n", 7, 1))
    assert slot.phase == "starting"
    slot, found = after(slot, seen.Started(5, 100))
    assert slot.phase == "busy" and kinds(found) == {do.NoteStart}
    slot, found = after(slot, seen.Exited(SessionFacts(code=0)))
    assert kinds(found) == {do.Record}
    assert after(slot, seen.Exited(SessionFacts(code=1)))[1] == [], "an end is recorded once"
    slot, found = after(slot, seen.Recorded("done"))
    assert slot.phase == "idle" and slot.run is None and kinds(found) == {do.Claim}


def test_a_success_is_checked_before_it_is_recorded_and_keeps_its_task_meanwhile():
    begun = slot_in("busy", want=want("strict"))
    slot, found = after(begun, seen.Exited(SessionFacts(code=0)))
    assert kinds(found) == {do.Verify} and slot.phase == "busy" and slot.run.passed is not None
    seen_lately = replace(slot, run=replace(slot.run, look_ms=89_999))
    found = kinds(after(seen_lately, seen.Ticked(), 90_000)[1])
    assert found == {do.Extend, do.Stop}, "it took too long, and its lease goes on"
    assert kinds(after(slot, seen.CancelAsked(7))[1]) == {do.Stop}
    assert after(slot, replace(SAMPLES[seen.Overspent], task=7, n=1))[1] == [], "the work is done, whatever it cost"
    slot, found = after(slot, seen.Verified(SessionFacts(code=3)))
    assert kinds(found) == {do.Record} and slot.run.end.verify.code == 3
    assert after(slot, seen.Verified(SessionFacts(code=0)))[1] == [], "one answer counts"
    _, found = after(begun, seen.Exited(SessionFacts(code=1)))
    assert kinds(found) == {do.Record}, "a failure needs no check"
    hurried, found = after(replace(begun, want=replace(begun.want, shutdown="now")), seen.Exited(SessionFacts(code=0)))
    assert kinds(found) == {do.Record} and hurried.run.end.verify.never


def test_a_lease_is_extended_in_thirds_and_sooner_with_news():
    slot = slot_in("busy", run=replace(slot_in("busy").run, look_ms=10**9, output_ms=10**6))
    assert next_due_ms(slot) == 20_000
    slot, _ = after(slot, seen.Said(progress="half"))
    assert next_due_ms(slot) == 1_000
    slot, found = after(slot, seen.Ticked(), 1_000)
    assert kinds(found) == {do.Extend} and next_due_ms(slot) == 21_000


def test_a_task_that_runs_too_long_is_stopped_for_timeout():
    quiet = replace(slot_in("busy").run, look_ms=10**9, output_ms=10**6, extended_ms=60_000)
    slot, found = after(slot_in("busy", run=quiet), seen.Ticked(), 60_000)
    assert slot.phase == "stopping" and do.Stop(9, "timeout", 5_000) in found
    slot, found = after(slot, seen.Ticked(), 60_000 + 10_000)
    assert do.Stop(9, "timeout", 0) in found, "what does not end is killed, for the first reason"


def test_silence_is_believed_only_after_a_look_at_the_output():
    run = replace(slot_in("busy").run, extended_ms=20_000, look_ms=19_000)
    slot, found = after(slot_in("busy", run=run), seen.Ticked(), 20_000)
    assert kinds(found) == {do.Look} and slot.phase == "busy"
    spoke, _ = after(slot, seen.Said(output_ms=19_990), 20_001)
    assert do.Stop not in kinds(after(spoke, seen.Ticked(), 20_001)[1])
    silent, found = after(slot, seen.Ticked(), 20_001)
    assert do.Stop(9, "silence", 5_000) in found and silent.phase == "stopping"


def test_a_sleep_of_the_machine_is_no_silence_and_no_timeout():
    run = replace(slot_in("busy").run, output_ms=15_000, look_ms=10**9, extended_ms=10**9)
    slot, _ = after(slot_in("busy", run=run), seen.Slept(3_600_000), 3_620_000)
    assert next_due_ms(slot) == 3_600_000 + 35_000
    assert do.Stop not in kinds(after(slot, seen.Ticked(), 3_620_001)[1])


def test_cancel_and_a_lost_lease_stop_the_session_once():
    slot, found = after(slot_in("busy"), seen.CancelAsked(7))
    assert do.Stop(9, "cancel", 5_000) in found
    assert after(slot, seen.CancelAsked(7))[1] == []
    assert after(slot_in("busy"), seen.CancelAsked(8))[1] == []
    assert do.Stop(9, "lost", 5_000) in after(slot_in("busy"), seen.Outlived(7, 1))[1]
    assert after(slot_in("busy"), seen.Outlived(7, 2))[1] == []


def test_a_drain_lets_the_task_finish_within_the_fleets_grace():
    slot, found = after(slot_in("busy"), seen.Wanted(want("tasker", shutdown="drain", drain_ms=30_000)))
    assert slot.phase == "draining" and do.Stop not in kinds(found)
    ended, _ = after(slot, seen.Exited(SessionFacts(code=0)))
    assert after(ended, seen.Recorded())[0].phase == "stopped"
    late = replace(slot, run=replace(slot.run, extended_ms=30_000, look_ms=10**9, output_ms=30_000))
    slot, found = after(late, seen.Ticked(), 30_100)
    assert do.Stop(9, "drain", 5_000) in found
    assert do.Stop(9, "drain", 0) in after(slot, seen.Wanted(want("tasker", shutdown="now")))[1]


def test_a_worker_is_stopped_at_once_by_a_drain_and_started_again_by_running():
    slot, found = after(slot_in("busy", "worker"), seen.Wanted(want("worker", desired="draining")))
    assert do.Stop(9, "drain", 10_000) in found
    slot, _ = after(slot, seen.Exited(SessionFacts(code=0, stop_reason="drain")))
    slot, _ = after(slot, seen.Recorded())
    assert slot.phase == "stopped"
    assert kinds(after(slot, seen.Wanted(want("worker", reset_seq=1)))[1]) == {do.Open}


def test_a_crashing_worker_backs_off_then_latches_until_a_person_acts():
    slot, now = slot_in("stopped", "worker"), 0
    slot, found = after(slot, seen.Wanted(want("worker")), now)
    for _ in range(3):
        assert kinds(found) == {do.Open}
        slot, _ = after(slot, seen.Opened(9, "n"), now)
        slot, _ = after(slot, seen.Started(5, now), now)
        slot, _ = after(slot, seen.Exited(SessionFacts(code=1, ran_ms=10, stderr_tail="boom")), now)
        slot, _ = after(slot, seen.Recorded(), now)
        if slot.phase == "backoff":
            assert slot.due_ms >= now + 500
            assert after(slot, seen.Ticked(), slot.due_ms - 1)[1] == []
            now = slot.due_ms
            slot, found = after(slot, seen.Ticked(), now)
    assert slot.phase == "failed" and "boom" in slot.history.latched
    assert after(slot, seen.Wanted(want("worker")), now)[0].phase == "failed"
    revived = Slot("worker", 1, want("worker"), history=History.read(slot.history.write()))
    assert after(revived, seen.Wanted(want("worker")), now)[0].phase == "failed", "also in the next supervisor"
    assert kinds(after(slot, seen.Wanted(want("worker", reset_seq=1)), now)[1]) == {do.Open}


def test_a_changed_command_restarts_a_worker_and_forgives_a_latch():
    other = replace(want("worker"), section=CONFIG.agent["worker"].model_copy(update={"command": ("y",)}))
    assert do.Stop(9, "reload", 10_000) in after(slot_in("busy", "worker"), seen.Wanted(other))[1]
    latched = slot_in("failed", "worker", history=History(latched="5 starts"))
    assert kinds(after(latched, seen.Wanted(other))[1]) == {do.Open}


def test_another_timeout_alone_restarts_nothing():
    other = replace(want("worker"), section=CONFIG.agent["worker"].model_copy(update={"grace_ms": 1}))
    slot, found = after(slot_in("busy", "worker"), seen.Wanted(other))
    assert slot.phase == "busy" and kinds(found) == set()


def test_a_worker_that_was_told_to_restart_starts_again_without_a_pause():
    slot, found = after(slot_in("busy", "worker"), seen.Wanted(want("worker", restart_seq=1)))
    assert do.Stop(9, "restart", 10_000) in found
    slot, _ = after(slot, seen.Exited(SessionFacts(signal=15, stop_reason="restart")))
    slot, found = after(slot, seen.Recorded())
    assert kinds(found) == {do.Open} and slot.history.streak == 0


def test_liveness_restarts_readiness_only_stops_claims():
    slot, _ = after(slot_in("stopped", "worker"), seen.Wanted(want("worker")))
    slot, _ = after(slot, seen.Opened(9, "n"))
    slot, _ = after(slot, seen.Started(5, 100))
    slot, found = after(slot, seen.Ticked(), 200)
    assert do.Probe("liveness") in found
    slot, found = after(slot, seen.Probed("liveness", False, "refused"))
    assert do.Stop not in kinds(found)
    assert (
        do.Stop(9, "liveness: liveness probe failed: refused", 10_000)
        in after(slot, seen.Probed("liveness", False, "refused"))[1]
    )

    unready = slot_in("busy", "gated", probes=(("readiness", ProbeRun()),))
    for _ in range(5):
        unready, found = after(unready, seen.Probed("readiness", False, "refused"))
        assert do.Stop not in kinds(found)

    gated, _ = after(slot_in("stopped", "gated"), seen.Wanted(want("gated")))
    assert gated.phase == "idle" and not claims_now(gated)
    gated, found = after(gated, seen.Probed("readiness", True, ""))
    assert kinds(found) == {do.Claim} and claims_now(gated)


def test_a_missed_watchdog_stops_the_session():
    run = replace(slot_in("busy", "worker").run, look_ms=10**9, watchdog_at_ms=1_000)
    slot = slot_in("busy", "worker", run=run)
    assert next_due_ms(slot) == 31_000
    assert do.Stop(9, "watchdog", 10_000) in after(slot, seen.Ticked(), 31_000)[1]
    fed, _ = after(slot, seen.Said(watchdog=True), 30_000)
    assert next_due_ms(fed) == 60_000


def test_a_clock_that_was_set_back_does_not_lengthen_the_pause():
    history = History(due_ms=at(0).wall_ms + 86_400_000)
    slot, _ = after(slot_in("stopped", "worker", history=history), seen.Wanted(want("worker")), 0)
    assert slot.phase == "backoff" and slot.due_ms <= CONFIG.agent["worker"].restart.cap_ms


def test_a_task_agent_that_becomes_a_worker_finishes_its_task_and_starts_as_one():
    as_worker = CONFIG.agent["tasker"].model_copy(update={"mode": "worker"})
    slot, found = after(slot_in("busy"), seen.Wanted(replace(want("tasker"), section=as_worker)))
    assert slot.phase == "busy" and do.Stop not in kinds(found)
    slot, _ = after(slot, seen.Exited(SessionFacts(code=0)))
    assert kinds(after(slot, seen.Recorded())[1]) == {do.Open}


def random_fact(dice: random.Random, slot: Slot):
    kind = dice.choice(FACTS)
    if kind is seen.Opened:
        # A session comes only as the answer to a claim or an open, which other phases never ask for.
        return SAMPLES[kind] if slot.phase in ("idle", "backoff") else seen.Ticked()
    if kind is seen.Wanted:
        desired = dice.choice(["running", "running", "running", "paused", "draining", "stopped"])
        changes = {"restart_seq": dice.randrange(3), "reset_seq": dice.randrange(3)}
        return seen.Wanted(want(slot.agent, desired=desired, **changes))
    if kind is seen.Exited:
        stop = slot.run.stop if slot.run is not None else ""
        return seen.Exited(SessionFacts(code=dice.choice([0, 1, 75]), stop_reason=stop, ran_ms=dice.randrange(10**6)))
    return SAMPLES[kind]


@pytest.mark.parametrize("agent", ["tasker", "worker"])
def test_no_random_life_breaks_the_rules(agent):
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    dice, slot, now, recorded = random.Random(seed), slot_in("stopped", agent), 0, 0
    for _ in range(5_000):
        now += dice.choice([1, 50, 2_000, 40_000])
        fact = random_fact(dice, slot)
        before = slot
        slot, found = after(slot, fact, now)
        assert (slot.run is not None) == (slot.phase in RUNNING)
        assert not (slot.history.latched and slot.phase in ("idle", "backoff")), "a latch holds"
        if do.Record in kinds(found):
            assert before.run.end is None, "an end is recorded once"
            recorded += 1
        if do.Claim in kinds(found) or do.Open in kinds(found):
            assert slot.run is None and slot.want.desired == "running", "nothing starts unasked or beside another"
        if do.Stop in kinds(found):
            assert slot.phase == "stopping" and slot.run.end is None
    assert recorded > 20


def test_a_slot_that_is_not_wanted_any_more_goes_away_after_its_session():
    assert after(slot_in("idle"), seen.Wanted(want("tasker", gone=True)))[0] is None
    slot, found = after(slot_in("busy"), seen.Wanted(want("tasker", gone=True)))
    assert do.Stop(9, "stop", 5_000) in found
    slot, _ = after(slot, seen.Exited(SessionFacts(signal=15, stop_reason="stop")))
    assert after(slot, seen.Recorded())[0] is None


@pytest.mark.parametrize("kind", ["tasker", "worker"])
def test_a_start_that_can_only_fail_again_latches_at_once_until_the_configuration_changes(kind):
    slot = slot_in("starting", kind)
    slot, _ = after(slot, seen.Exited(SessionFacts(spawn_error="no Landlock", for_good=True)))
    slot, found = after(slot, seen.Recorded(), 100)
    assert slot.phase == "failed" and slot.history.latched == "no Landlock"
    assert any(isinstance(one, do.Tell) and one.kind == "latch" for one in found)
    changed = slot.want.section.model_copy(update={"sandbox": "landlock"})
    slot, _ = after(slot, seen.Wanted(replace(slot.want, section=changed)))
    assert slot.phase != "failed" and not slot.history.latched


def test_what_the_supervisor_could_not_start_is_no_failure_of_the_agent():
    slot = slot_in("starting", "worker")
    slot, _ = after(slot, seen.Exited(SessionFacts(spawn_error="disk full", never=True, hold_ms=2_000)))
    slot, _ = after(slot, seen.Recorded(), 100)
    assert slot.phase == "backoff" and slot.history.streak == 0 and slot.due_ms == 2_100
