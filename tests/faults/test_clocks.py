"""P13: clock jumps, suspend and reboot never give a task two owners."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from faults.store_kit import SetClock, assert_whole, clocked, dice_of, filled

from agentctl_store.domain.retry import Failure, RetryPolicy
from agentctl_store.errors import StaleAttempt
from agentctl_store.store import Store, TaskRequest, open_store

LEASE_MS = 30_000
BEAT_MS = 10_000
FAKETIME = next(
    (f"/usr/lib/{arch}-linux-gnu/faketime/libfaketime.so.1" for arch in ("x86_64", "aarch64")
     if os.path.exists(f"/usr/lib/{arch}-linux-gnu/faketime/libfaketime.so.1")), "",
)  # fmt: skip


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def two(tmp_path: Path, clock: SetClock) -> tuple[Store, Store]:
    """A worker's store and a rival's, on one machine's clock."""
    directory = tmp_path / ".agentctl"
    return clocked(directory, clock, create=True), clocked(directory, clock)


def test_whatever_clocks_do_a_worker_that_heartbeats_in_time_stays_the_only_owner(
    tmp_path: Path, clock: SetClock, request: pytest.FixtureRequest
) -> None:
    """In time: at least every third of a lease of the time in which it could run at all."""
    dice = dice_of(request)
    worker, rival = two(tmp_path, clock)
    worker.add([TaskRequest("q")])
    won = worker.claim(["q"], agent="worker", lease_ms=LEASE_MS)[0]
    since_beat = 0
    for _ in range(400):
        what = dice.random()
        if what < 0.2:
            clock.wall_ms += dice.randint(-(10**9), 10**9)
        elif what < 0.4:
            clock.sleep_ms(dice.randint(1, 10**8))
        else:
            awake = dice.randint(1, BEAT_MS)
            clock.pass_ms(awake)
            since_beat += awake
        if since_beat > BEAT_MS:
            worker.heartbeat(won.task.id, won.n, lease_ms=LEASE_MS)
            since_beat = 0
        if dice.random() < 0.5:
            assert rival.claim(["q"], agent="rival", lease_ms=LEASE_MS) == [], "two owners"
        elif dice.random() < 0.5:
            assert rival.sweep().expired == 0, "the lease was taken from a living worker"
    worker.complete(won.task.id, won.n)
    assert_whole(tmp_path / ".agentctl")


def test_a_wall_clock_set_forward_expires_no_lease_and_set_back_keeps_none_alive(
    tmp_path: Path, clock: SetClock
) -> None:
    worker, rival = two(tmp_path, clock)
    worker.add([TaskRequest("q")])
    won = worker.claim(["q"], agent="worker", lease_ms=LEASE_MS)[0]
    clock.wall_ms += 10 * 86_400_000
    assert rival.claim(["q"], agent="rival") == []
    clock.wall_ms -= 20 * 86_400_000
    clock.pass_ms(LEASE_MS + 1)
    assert rival.claim(["q"], agent="rival")[0].n == 2, "a dead worker's lease lasts by the boot clock"
    with pytest.raises(StaleAttempt):
        worker.complete(won.task.id, won.n)


def test_after_a_suspend_everybody_has_slept_and_the_worker_gets_grace(tmp_path: Path, clock: SetClock) -> None:
    worker, rival = two(tmp_path, clock)
    worker.add([TaskRequest("q")])
    won = worker.claim(["q"], agent="worker", lease_ms=LEASE_MS)[0]
    clock.sleep_ms(8 * 3_600_000)
    assert rival.claim(["q"], agent="rival") == []
    clock.pass_ms(BEAT_MS)
    worker.heartbeat(won.task.id, won.n, lease_ms=LEASE_MS)
    clock.pass_ms(LEASE_MS + 1)
    assert rival.claim(["q"], agent="rival")[0].n == 2, "grace is given once, not for ever"


def test_after_a_reboot_every_lease_is_void_at_once(tmp_path: Path, clock: SetClock) -> None:
    """No process of before lives; the boot clock began again, so a lease's number means nothing."""
    worker, rival = two(tmp_path, clock)
    worker.add([TaskRequest("q")])
    won = worker.claim(["q"], agent="worker", lease_ms=24 * 3_600_000)[0]
    clock.boot, clock.boot_ms, clock.awake_ms = "boot-2", 5_000, 5_000
    clock.wall_ms += 60_000
    assert rival.claim(["q"], agent="rival")[0].n == 2
    with pytest.raises(StaleAttempt):
        worker.heartbeat(won.task.id, won.n)


def test_what_is_kept_first_after_a_reboot_is_kept(tmp_path: Path, clock: SetClock) -> None:
    """A supervisor keeps the tasks whose results wait on disk before it or anybody claims."""
    before, after = two(tmp_path, clock)
    before.add([TaskRequest("q"), TaskRequest("q"), TaskRequest("q")])
    first, second, gone = before.claim(["q"], agent="before", lease_ms=24 * 3_600_000, limit=3)
    clock.boot, clock.boot_ms, clock.awake_ms = "boot-2", 20_000, 20_000
    for won in (first, second):
        lease = after.heartbeat(won.task.id, won.n, lease_ms=LEASE_MS)
        assert lease.until_ms == clock.boot_ms + LEASE_MS, "a lease of the boot before says nothing"
    after.complete(first.task.id, first.n, result='"one"')
    assert [(won.task.id, won.n) for won in after.claim(["q"], agent="after", limit=3)] == [(gone.task.id, 2)]
    assert after.complete(second.task.id, second.n, result='"two"').state == "done"
    assert_whole(tmp_path / ".agentctl")


def test_a_backoff_lasts_as_long_as_it_should_whatever_the_wall_clock_does(tmp_path: Path, clock: SetClock) -> None:
    worker, _ = two(tmp_path, clock)
    worker.add([TaskRequest("q", retry=RetryPolicy(60_000, 1.0, 60_000, 5))])
    won = worker.claim(["q"], agent="worker")[0]
    ended = worker.fail(won.task.id, won.n, Failure("throttled", retry_after_ms=60_000))
    assert ended.run_at_ms is not None
    left = ended.run_at_ms - clock.wall_ms
    clock.wall_ms -= 7 * 86_400_000
    worker.sweep()
    clock.pass_ms(left - 10)
    assert worker.claim(["q"], agent="worker") == []
    clock.pass_ms(20)
    assert len(worker.claim(["q"], agent="worker")) == 1, "a clock set back a week held the task up"


PROCESS = """
import sys
from agentctl_store.store import open_store
from agentctl_store.clock import Clock
with open_store(sys.argv[1]) as store:
    swept, won = store.sweep(), store.claim(["q"], agent="rival")
    print(swept.expired, len(won), Clock().now().wall_ms)
"""


@pytest.mark.parametrize("jump", ["+10d", "-10d", "+3000d"])
def test_a_real_process_with_another_wall_clock_takes_nothing_from_its_owner(tmp_path: Path, jump: str) -> None:
    if not FAKETIME:
        pytest.skip("NOT PROVED HERE: a process with another clock needs libfaketime")
    directory = filled(tmp_path, 1)
    with open_store(str(directory)) as store:
        won = store.claim(["q"], agent="owner", lease_ms=60_000)[0]
        fake = {
            "LD_PRELOAD": FAKETIME,
            "FAKETIME": jump,
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        for _ in range(2):
            said = subprocess.run(
                [sys.executable, "-c", PROCESS, str(directory)],
                env={**os.environ, **fake}, capture_output=True, text=True, check=True, timeout=30,
            ).stdout.split()  # fmt: skip
            assert abs(int(said[2]) - store.clock.now().wall_ms) > 9 * 86_400_000, "the fake clock did not work"
            assert said[:2] == ["0", "0"]
            store.heartbeat(won.task.id, won.n)
        store.complete(won.task.id, won.n)
