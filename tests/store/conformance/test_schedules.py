"""What every driver promises of schedules: each run once, overlap, catching up, clocks that are set, pause and file."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from store.store_kit import SetClock, add  # noqa: TID251

from agentctl_store.broker.driver import BrokerDriver
from agentctl_store.domain.limits import Bound
from agentctl_store.domain.schedule import LATE_MS, MAX_BACKLOG, Schedule, ScheduleSpec
from agentctl_store.errors import AgentctlError, BadInput, BadName, Conflict, NotFound
from agentctl_store.record import replace
from agentctl_store.replay import verify
from agentctl_store.store import Store, TaskRequest

MINUTE = 60_000
EVERY = ScheduleSpec("tidy", "work", '{"a":1}', every_ms=10 * MINUTE)


def runs(store: Store) -> list[int]:
    """The tasks of all runs so far, the oldest first."""
    return [event.task or 0 for event in store.events(kinds=["schedule.fired"])]


def why(store: Store) -> list[str]:
    """Why runs were skipped."""
    told = (event.data or "" for event in store.events(kinds=["schedule.skipped"]))
    return [text.split('"why":"')[1].split('"')[0] for text in told]


def done(store: Store) -> None:
    """Do all that is ready."""
    while won := store.claim(["work"], agent="ann"):
        store.complete(won[0].task.id, won[0].n)


def made(store: Store, spec: ScheduleSpec) -> Schedule:
    assert store.schedules.add(spec, actor="t") is True
    return store.schedules.one(spec.name)


def at(zone: str, *when: int, fold: int = 0) -> int:
    """Wall milliseconds of a local time."""
    return int(datetime(*when, tzinfo=ZoneInfo(zone), fold=fold).timestamp() * 1000)  # type: ignore[misc, arg-type]


# --- when -------------------------------------------------------------------------------------------------------------
def test_a_run_is_added_when_it_is_due_and_the_next_one_is_planned(store: Store, clock: SetClock) -> None:
    first = made(store, replace(EVERY, priority=3, timeout_ms=5_000))
    assert (first.planned_ms, first.due_ms) == (clock.wall_ms + 10 * MINUTE,) * 2
    assert store.sweep().next_due_ms == first.due_ms
    clock.pass_ms(10 * MINUTE - 1)
    assert store.sweep().kept == 0 and runs(store) == []
    clock.pass_ms(1)
    assert store.sweep().kept == 1
    (task,) = runs(store)
    found, after = store.task(task), store.schedules.one("tidy")
    assert (found.queue, found.payload, found.state) == ("work", '{"a":1}', "ready")
    assert (found.priority, found.timeout_ms) == (3, 5_000)
    assert (after.fired, after.task, after.task_state, after.last_ms) == (1, task, "ready", clock.wall_ms)
    assert after.planned_ms == clock.wall_ms + 10 * MINUTE == store.sweep().next_due_ms


def test_a_claim_fires_what_is_due_without_any_sweep(store: Store, clock: SetClock) -> None:
    made(store, EVERY)
    assert store.claim(["work"], agent="ann") == []
    clock.pass_ms(10 * MINUTE)
    (won,) = store.claim(["work"], agent="ann")
    assert runs(store) == [won.task.id]


def test_a_cron_line_follows_its_time_zone_over_both_changes_of_the_clocks(store: Store, clock: SetClock) -> None:
    zone = "Europe/Berlin"
    clock.wall_ms = at(zone, 2026, 3, 28, 12, 0)
    made(store, ScheduleSpec("night", "work", cron="30 2 * * *", zone=zone))
    seen = []
    for until in (at(zone, 2026, 3, 31), at(zone, 2026, 10, 24, 12, 0), at(zone, 2026, 10, 27)):
        clock.wall_ms = max(clock.wall_ms, until - 3 * 86_400_000)
        store.sweep()
        done(store)
        while clock.wall_ms < until:
            clock.pass_ms(30 * MINUTE)
            if store.sweep().kept:
                seen.append(clock.wall_ms)
                done(store)
    local = [datetime.fromtimestamp(ms / 1000, ZoneInfo(zone)) for ms in seen]
    assert [f"{one:%m-%d %H:%M}/{one.fold}" for one in local] == [
        "03-29 03:00/0",  # 02:30 does not exist: run right after the gap
        "03-30 02:30/0",
        "10-22 02:30/0",
        "10-23 02:30/0",
        "10-24 02:30/0",
        "10-25 02:30/0",  # comes twice: run the first time
        "10-26 02:30/0",
    ]


def test_in_the_hour_that_comes_twice_what_has_run_is_not_planned_again(store: Store, clock: SetClock) -> None:
    zone = "Europe/Berlin"
    clock.wall_ms = at(zone, 2026, 10, 25, 2, 15, fold=1)
    assert made(store, ScheduleSpec("night", "work", cron="30 2 * * *", zone=zone)).planned_ms == at(
        zone, 2026, 10, 26, 2, 30
    )
    often = made(store, ScheduleSpec("often", "work", cron="*/30 * * * *", zone=zone))
    assert often.planned_ms == at(zone, 2026, 10, 25, 2, 30, fold=1)


def test_a_single_run_comes_once_and_is_over(store: Store, clock: SetClock) -> None:
    made(store, ScheduleSpec("once", "work", at_ms=clock.wall_ms + 5_000))
    clock.pass_ms(5_000)
    store.sweep()
    after = store.schedules.one("once")
    assert (after.planned_ms, after.due_ms, after.fired) == (None, None, 1)
    clock.pass_ms(50_000)
    assert store.sweep().kept == 0 and len(runs(store)) == 1
    with pytest.raises(BadInput, match="has passed"):
        made(store, ScheduleSpec("late", "work", at_ms=clock.wall_ms))


def test_jitter_puts_a_run_off_by_what_came_in_and_moves_no_other(store: Store, clock: SetClock) -> None:
    first = made(store, replace(EVERY, jitter_ms=MINUTE))
    assert first.planned_ms == clock.wall_ms + 10 * MINUTE
    assert first.due_ms is not None and 0 <= first.due_ms - first.planned_ms < MINUTE
    draws = set()
    for _ in range(20):
        clock.pass_ms(11 * MINUTE)
        store.sweep()
        done(store)
        now = store.schedules.one("tidy")
        assert now.planned_ms is not None and now.due_ms is not None
        assert (now.planned_ms - first.planned_ms) % (10 * MINUTE) == 0
        draws.add(now.due_ms - now.planned_ms)
    assert len(draws) > 15 and max(draws) < MINUTE


# --- once -------------------------------------------------------------------------------------------------------------
def test_a_moment_that_was_run_is_not_run_again_when_the_clock_is_set_back(store: Store, clock: SetClock) -> None:
    clock.wall_ms = at("UTC", 2027, 1, 1, 0, 0)
    made(store, ScheduleSpec("often", "work", cron="*/10 * * * *", zone="UTC", overlap="queue"))
    for _ in range(3):
        clock.pass_ms(10 * MINUTE)
        store.sweep()
    assert len(runs(store)) == 3
    clock.set_wall_by(-30 * MINUTE)
    assert store.sweep().next_due_ms == clock.wall_ms + 10 * MINUTE  # else a supervisor would sleep until the old time
    assert store.schedules.one("often").planned_ms == clock.wall_ms + 10 * MINUTE
    for _ in range(4):
        clock.pass_ms(10 * MINUTE)
        store.sweep()
    assert why(store) == ["done before"] * 3 and len(runs(store)) == 4
    clock.set_wall_by(-365 * 86_400_000)  # it had been a year ahead: nobody waits for that year to pass
    clock.pass_ms(11 * MINUTE)
    store.sweep()
    clock.pass_ms(11 * MINUTE)
    store.sweep()
    assert len(runs(store)) == 5


def test_nobody_else_may_take_the_key_of_a_run(store: Store, clock: SetClock) -> None:
    first = made(store, EVERY)
    with pytest.raises(BadName, match="schedule's run"):
        store.add([TaskRequest("work", key=f"schedule/tidy/{first.planned_ms}")])
    request = replace(store._new(TaskRequest("work"), 1 << 40, clock.wall_ms), key="schedule/x")
    if isinstance(store.driver, BrokerDriver):  # nor may a caller who leaves the store's checks out
        with pytest.raises(BadName, match="schedule's run"):
            store.driver.add([request], actor=None, now=clock.now())


def test_after_a_long_sleep_there_is_one_run_and_the_beat_stays(store: Store, clock: SetClock) -> None:
    first = made(store, replace(EVERY, overlap="queue"))
    clock.sleep_ms(3 * 3_600_000 + 4 * MINUTE)
    store.sweep()
    store.sweep()
    after = store.schedules.one("tidy")
    assert len(runs(store)) == 1
    assert after.planned_ms == (first.planned_ms or 0) + 18 * 10 * MINUTE == clock.wall_ms + 6 * MINUTE


def test_without_catching_up_what_was_missed_is_skipped_and_told(store: Store, clock: SetClock) -> None:
    made(store, replace(EVERY, catch_up=False))
    clock.sleep_ms(10 * MINUTE + LATE_MS)
    store.sweep()
    assert len(runs(store)) == 1  # a minute late is on time
    done(store)
    clock.sleep_ms(10 * MINUTE + 1)
    store.sweep()
    assert why(store) == ["missed"] and len(runs(store)) == 1
    assert store.schedules.one("tidy").skipped == 1


def test_a_run_that_its_queue_has_no_room_for_is_skipped_and_the_others_go_on(store: Store, clock: SetClock) -> None:
    store.limits.set_bound(Bound("queue", "work", max_depth=1), actor="t")
    for name in ("a", "b"):
        made(store, replace(EVERY, name=name))
    made(store, replace(EVERY, name="c", queue="other"))
    clock.pass_ms(10 * MINUTE)
    assert store.sweep().kept == 3
    assert why(store) == ["refused"] and len(runs(store)) == 2
    refused = store.schedules.one("b")
    assert (refused.skipped, refused.fired, refused.planned_ms) == (1, 0, clock.wall_ms)
    assert store.sweep().next_due_ms == refused.due_ms == clock.wall_ms + 30_000
    done(store)
    clock.pass_ms(30_000)
    store.sweep()
    tried = store.schedules.one("b")
    assert (tried.fired, tried.planned_ms) == (
        1,
        (refused.planned_ms or 0) + 10 * MINUTE,
    )  # and in its beat again
    assert verify(store.directory).intact
    with pytest.raises(AgentctlError, match="work"):
        store.schedules.run("a", actor="t")


# --- overlap ----------------------------------------------------------------------------------------------------------
def tick(store: Store, clock: SetClock, times: int = 1) -> None:
    for _ in range(times):
        clock.pass_ms(10 * MINUTE)
        store.sweep()


def test_skip_leaves_out_what_would_run_beside_the_run_before(store: Store, clock: SetClock) -> None:
    made(store, EVERY)
    tick(store, clock)
    (won,) = store.claim(["work"], agent="ann", lease_ms=3_600_000)
    tick(store, clock, 2)
    assert why(store) == ["overlap"] * 2 and runs(store) == [won.task.id]
    (skipped, _) = store.events(kinds=["schedule.skipped"])
    assert skipped.task == won.task.id
    store.complete(won.task.id, won.n)
    tick(store, clock)
    assert len(runs(store)) == 2 and store.schedules.one("tidy").skipped == 2


def test_queue_lets_runs_wait_one_after_another(store: Store, clock: SetClock) -> None:
    made(store, replace(EVERY, overlap="queue"))
    tick(store, clock, 3)
    assert [store.task(task).state for task in runs(store)] == ["ready"] * 3 and why(store) == []


def test_runs_that_nobody_takes_queue_up_to_a_bound_and_go_on_as_they_end(store: Store, clock: SetClock) -> None:
    made(store, replace(EVERY, overlap="queue"))
    made(store, replace(EVERY, name="tidy2", overlap="queue", queue="other"))
    tick(store, clock, MAX_BACKLOG)
    done(store)
    tick(store, clock, MAX_BACKLOG + 2)
    one, two = store.schedules.one("tidy"), store.schedules.one("tidy2")
    assert (one.fired, one.skipped, two.fired, two.skipped) == (2 * MAX_BACKLOG, 2, MAX_BACKLOG, MAX_BACKLOG + 2)
    assert set(why(store)) == {"backlog"}
    (won,) = store.claim(["work"], agent="ann", lease_ms=3_600_000)
    tick(store, clock)
    store.complete(won.task.id, won.n)
    tick(store, clock, 2)
    assert store.schedules.one("tidy").skipped == 4, "one that runs has not ended either"


def test_replace_cancels_the_run_before_and_never_runs_beside_it(store: Store, clock: SetClock) -> None:
    made(store, replace(EVERY, overlap="replace"))
    tick(store, clock, 2)
    first, second = runs(store)
    assert (store.task(first).state, store.task(second).state) == ("cancelled", "ready")
    (won,) = store.claim(["work"], agent="ann", lease_ms=3_600_000)
    tick(store, clock, 3)
    *_, fourth, fifth = runs(store)
    assert store.task(second).cancel_asked and store.task(second).state == "active"
    assert (store.task(fourth).state, store.task(fifth).state) == ("cancelled", "blocked")
    assert store.claim(["work"], agent="ann") == []
    store.cancelled(won.task.id, won.n)
    assert store.claim(["work"], agent="ann")[0].task.id == fifth


# --- by hand ----------------------------------------------------------------------------------------------------------
def test_a_run_by_hand_comes_now_and_changes_no_plan(store: Store, clock: SetClock) -> None:
    before = made(store, EVERY)
    task = store.schedules.run("tidy", actor="cli:ann")
    assert store.task(task).state == "ready" and runs(store) == [task]
    after = store.schedules.one("tidy")
    assert (after.planned_ms, after.task, after.fired) == (before.planned_ms, task, 1)
    with pytest.raises(Conflict, match="is ready"):
        store.schedules.run("tidy", actor="cli:ann")
    done(store)
    store.schedules.pause("tidy", actor="cli:ann")
    assert store.task(store.schedules.run("tidy", actor="cli:ann")).state == "ready"


def test_a_paused_schedule_fires_nothing_and_makes_up_for_nothing(store: Store, clock: SetClock) -> None:
    made(store, EVERY)
    assert store.schedules.pause("tidy", reason="holiday", actor="cli:ann") is True
    assert store.schedules.pause("tidy", actor="cli:bob") is False
    paused = store.schedules.one("tidy")
    assert (paused.paused_by, paused.reason, paused.due_ms) == ("cli:ann", "holiday", None)
    tick(store, clock, 3)
    assert store.schedules.resume("tidy", actor="cli:ann") is True
    assert store.schedules.resume("tidy", actor="cli:ann") is False
    assert runs(store) == [] and store.schedules.one("tidy").planned_ms == clock.wall_ms + 10 * MINUTE
    tick(store, clock)
    assert len(runs(store)) == 1


def test_the_same_schedule_may_be_added_again_another_one_may_not(store: Store, clock: SetClock) -> None:
    made(store, EVERY)
    assert store.schedules.add(EVERY, actor="t") is False
    with pytest.raises(Conflict, match="another schedule tidy"):
        store.schedules.add(replace(EVERY, every_ms=5 * MINUTE), actor="t")
    store.schedules.remove("tidy", actor="t")
    assert store.schedules.all() == []
    for act in (store.schedules.remove, store.schedules.pause, store.schedules.resume, store.schedules.run):
        with pytest.raises(NotFound, match="no schedule tidy"):
            act("tidy", actor="t")


def test_the_file_declares_changes_and_withdraws_its_own_and_leaves_the_others(store: Store, clock: SetClock) -> None:
    made(store, EVERY)
    hourly = ScheduleSpec("hourly", "work", cron="0 * * * *", zone="UTC")
    old = ScheduleSpec("old", "work", at_ms=clock.wall_ms - 1)
    store.schedules.declare([hourly, old], actor="supervisor")
    assert store.schedules.one("old").planned_ms is None  # its time had passed when it was first seen
    before = store.schedules.one("hourly")
    clock.pass_ms(90 * MINUTE)
    store.schedules.declare([hourly, old], actor="supervisor")  # the supervisor was away: the run is caught up
    assert store.schedules.one("hourly") == before
    assert [one.spec.name for one in store.schedules.all()] == ["hourly", "old", "tidy"]
    with pytest.raises(Conflict, match=r"declared in agentctl\.toml"):
        store.schedules.remove("hourly", actor="t")
    with pytest.raises(Conflict, match=r"declared in agentctl\.toml"):
        store.schedules.add(hourly, actor="t")
    store.schedules.declare([replace(hourly, payload="1")], actor="supervisor")  # what, not when: still to be caught up
    assert store.schedules.one("hourly").due_ms == before.due_ms and store.sweep().kept == 2
    store.schedules.pause("hourly", actor="t")
    store.schedules.declare([replace(hourly, cron="5 * * * *")], actor="supervisor")
    changed = store.schedules.one("hourly")
    assert changed.paused_ms is not None and changed.due_ms is None and changed.spec.cron == "5 * * * *"
    assert [one.spec.name for one in store.schedules.all()] == ["hourly", "tidy"]
    store.schedules.declare([replace(EVERY, payload="2")], actor="supervisor")  # the file takes a name over
    assert store.schedules.one("tidy").declared and [one.spec.name for one in store.schedules.all()] == ["tidy"]
    store.schedules.declare([], actor="supervisor")
    assert store.schedules.all() == []


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (ScheduleSpec("../x", "work", every_ms=MINUTE), "schedule '../x'"),
        (ScheduleSpec("x", "A B", every_ms=MINUTE), "queue 'A B'"),
        (ScheduleSpec("x", "work"), "exactly one way"),
        (ScheduleSpec("x", "work", every_ms=MINUTE, at_ms=1_900_000_000_000), "exactly one way"),
        (ScheduleSpec("x", "work", cron="* * * * *"), "time zone"),
        (ScheduleSpec("x", "work", every_ms=MINUTE, zone="UTC"), "time zone"),
        (ScheduleSpec("x", "work", cron="* * * * *", zone="Mars/Olympus"), "'Mars/Olympus' is not known"),
        (ScheduleSpec("x", "work", cron="* * * * *", zone="../../etc/passwd"), "is not known"),
        (ScheduleSpec("x", "work", cron="61 * * * *", zone="UTC"), "bad minute"),
        (ScheduleSpec("x", "work", cron="0 0 30 2 *", zone="UTC"), "bad day-of-month"),
        (ScheduleSpec("x", "work", cron="0 0 1 1 MON#2/3", zone="UTC"), "cron line"),
        (ScheduleSpec("x", "work", cron="* * * * * *", zone="UTC"), "five fields"),
        (ScheduleSpec("x", "work", cron="@daily", zone="UTC"), "five fields"),
        (ScheduleSpec("x", "work", every_ms=999), "every is out of range"),
        (ScheduleSpec("x", "work", every_ms=MINUTE, jitter_ms=MINUTE + 1), "jitter"),
        (ScheduleSpec("x", "work", cron="*/10 * * * *", zone="UTC", jitter_ms=11 * MINUTE), "runs would be left out"),
        (ScheduleSpec("x", "work", cron="0,1 8 * * *", zone="UTC", jitter_ms=2 * MINUTE), "runs would be left out"),
        (ScheduleSpec("x", "work", every_ms=MINUTE, overlap="twice"), "overlap"),  # type: ignore[arg-type]
        (ScheduleSpec("x", "work", every_ms=MINUTE, priority=101), "priority"),
        (ScheduleSpec("x", "work", every_ms=MINUTE, timeout_ms=0), "timeout"),
        (ScheduleSpec("x", "work", "{", every_ms=MINUTE), "JSON"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_is_made(store: Store, spec: ScheduleSpec, said: str) -> None:
    with pytest.raises(BadInput, match=said.replace(".", r"\.")):
        store.schedules.add(spec, actor="t")
    assert store.schedules.all() == []


def test_a_schedule_whose_zone_is_gone_is_paused_with_the_reason_and_holds_up_no_other(
    store: Store, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agentctl_store.domain import schedule

    made(store, ScheduleSpec("a", "work", cron="* * * * *", zone="Europe/Berlin"))
    made(store, ScheduleSpec("b", "work", cron="* * * * *", zone="UTC"))
    local = schedule._local

    def without_berlin(zone: str, wall_ms: int) -> datetime:
        return local("Nowhere" if zone == "Europe/Berlin" else zone, wall_ms)

    monkeypatch.setattr(schedule, "_local", without_berlin)
    clock.pass_ms(MINUTE)
    store.sweep()
    assert len(runs(store)) == 1
    paused = store.schedules.one("a")
    assert paused.paused_ms is not None and "'Nowhere' is not known" in (paused.reason or "")


def test_many_that_are_due_are_fired_in_bounded_steps(store: Store, clock: SetClock) -> None:
    for number in range(7):
        made(store, replace(EVERY, name=f"s{number}"))
    add(store)
    clock.pass_ms(10 * MINUTE)
    assert [store.sweep(limit=3).more for _ in range(3)] == [True, True, False]
    assert len(runs(store)) == 7


def test_a_name_declared_twice_is_declared_once_as_it_was_said_last(store: Store, clock: SetClock) -> None:
    store.schedules.declare([EVERY], actor="supervisor")
    clock.pass_ms(1_000)
    store.schedules.declare([EVERY, replace(EVERY, payload="2")], actor="supervisor")
    assert [one.spec.payload for one in store.schedules.all()] == ["2"]
    assert verify(store.directory).faults == ()
