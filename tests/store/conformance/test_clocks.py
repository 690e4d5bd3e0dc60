"""Suspend, reboot and clock jumps never cause two owners, and never end work that lives (P13)."""

from __future__ import annotations

import pytest
from store.conformance.test_tasks import claim  # noqa: TID251
from store.store_kit import SetClock, add  # noqa: TID251

from agentctl_store.domain.retry import Failure
from agentctl_store.errors import StaleAttempt
from agentctl_store.store import Store

HOUR = 3_600_000


def test_leases_outlive_a_suspend_with_grace_and_expire_after_it(store: Store, clock: SetClock) -> None:
    task = add(store)
    claim(store, lease_ms=30_000)
    clock.pass_ms(10_000)
    clock.sleep_ms(8 * HOUR)
    swept = store.sweep()
    assert (swept.expired, swept.grace_ms) == (0, 8 * HOUR + 10_000)
    assert store.heartbeat(task, 1, lease_ms=1_000).until_ms >= clock.boot_ms + 20_000
    clock.pass_ms(30_001)
    assert store.sweep().expired == 1
    with pytest.raises(StaleAttempt):
        store.complete(task, 1)


def test_a_claim_that_comes_before_any_sweep_gives_the_same_grace(store: Store, clock: SetClock) -> None:
    add(store)
    claim(store, lease_ms=30_000)
    clock.sleep_ms(HOUR)
    assert store.claim(["work"], agent="bob") == []
    assert store.sweep().grace_ms == 0


def test_a_suspend_noticed_by_a_write_that_failed_is_noticed_by_the_next(store: Store, clock: SetClock) -> None:
    task = add(store)
    claim(store, lease_ms=30_000)
    clock.sleep_ms(HOUR)
    with pytest.raises(StaleAttempt):
        store.complete_and_claim(task, 7, ["work"], agent="bob")
    assert store.claim(["work"], agent="bob") == []


@pytest.mark.parametrize("jump", [365 * 24 * HOUR, -365 * 24 * HOUR, 3 * HOUR])
def test_a_wall_clock_jump_touches_no_lease_and_takes_backoffs_with_it(
    store: Store, clock: SetClock, jump: int
) -> None:
    running = add(store, "run")
    claim(store, "run", lease_ms=30_000)
    failed = add(store, "fail")
    store.fail(*claim(store, "fail"), Failure("throttled", "429", retry_after_ms=60_000))
    due = store.task(failed).available_ms
    planned = add(store, "plan", delay_ms=60_000)
    at = store.task(planned).available_ms
    clock.set_wall_by(jump)
    assert store.sweep().expired == 0
    assert store.task(running).state == "active"
    assert store.task(failed).available_ms == due + jump
    assert store.task(planned).available_ms == at, "what a person scheduled is on the wall clock"


def test_a_small_correction_of_the_wall_clock_is_no_jump(store: Store, clock: SetClock) -> None:
    add(store)
    claim(store)
    store.sweep()
    clock.set_wall_by(500)
    store.sweep()
    assert not [event for event in store.events(limit=1_000) if event.kind == "clock.gap"]


def test_after_a_reboot_every_lease_is_void_at_once(store: Store, clock: SetClock) -> None:
    task = add(store)
    claim(store, lease_ms=24 * HOUR)
    clock.reboot()
    assert claim(store) == (task, 2)
    with pytest.raises(StaleAttempt):
        store.heartbeat(task, 1)


def test_a_heartbeat_extends_and_never_shortens(store: Store, clock: SetClock) -> None:
    task = add(store)
    claim(store, lease_ms=60_000)
    until = store.heartbeat(task, 1, lease_ms=1_000).until_ms
    assert until == clock.boot_ms + 60_000
    assert store.heartbeat(task, 1, lease_ms=90_000).until_ms == clock.boot_ms + 90_000


def test_a_sweep_is_bounded_and_says_that_there_is_more(store: Store, clock: SetClock) -> None:
    for _ in range(25):
        add(store, delay_ms=10)
    clock.pass_ms(10)
    swept = store.sweep(limit=10)
    assert (swept.promoted, swept.more) == (10, True)
    assert store.sweep(limit=100).promoted == 15
