"""A run of a schedule comes once, whoever looks, whoever is killed meanwhile, and whatever becomes of the clock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from faults.fleet_kit import Fleet, fleet, until
from faults.store_kit import assert_whole, dice_of, raw

from agentctl_store.domain.schedule import ScheduleSpec
from agentctl_store.store import Store, open_store

WORKER = str(Path(__file__).parent / "schedule_worker.py")
MANY = 150


def worker(directory: str, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, WORKER, directory, how], stdout=subprocess.PIPE, text=True)


def planned(store: Store, begin_ms: int, gap_ms: int) -> None:
    """MANY single runs, one after another."""
    for number in range(MANY):
        spec = ScheduleSpec(f"s{number:03}", "work", at_ms=begin_ms + number * gap_ms, overlap="queue")
        store.schedules.add(spec, actor="t")


def runs(directory: str) -> dict[str, int]:
    """How many tasks there are of each run."""
    db = raw(Path(directory))
    found = dict(db.execute("SELECT key, count(*) FROM task GROUP BY key").fetchall())
    db.close()
    return found


def test_processes_that_race_for_every_moment_and_are_killed_at_random_run_each_once(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    dice, directory = dice_of(request), str(tmp_path / ".agentctl")
    with open_store(directory, create=True) as store:
        planned(store, store.clock.now().wall_ms + 1_500, 10)
        ways = ("sweep", "sweep", "claim")
        workers = [worker(directory, how) for how in ways]
        killed = 0
        try:
            for one in workers:
                assert one.stdout is not None and one.stdout.readline() == "ready\n"
            deadline = time.monotonic() + 30
            while any(row.due_ms is not None for row in store.schedules.all()):
                assert time.monotonic() < deadline, "not all were run"
                time.sleep(dice.uniform(0.02, 0.08))
                victim = dice.randrange(len(workers))
                workers[victim].kill()
                workers[victim].communicate()
                workers[victim] = worker(directory, ways[victim])
                killed += 1
        finally:
            for one in workers:
                one.kill()
                one.communicate()
        rows = store.schedules.all()
        assert killed
        assert [row.fired for row in rows] == [1] * MANY
        assert len(store.events(kinds=["schedule.fired"], limit=1_000)) == MANY
    assert list(runs(directory).values()) == [1] * MANY
    assert_whole(Path(directory))


# --- a supervisor whose clock is set ----------------------------------------------------------------------------------
SET_CLOCK = """
import sys
from agentctl.supervisor.run import run_fleet
from agentctl_store.clock import Clock, Moment
class FileClock(Clock):
    def now(self):
        real = super().now()
        with open(sys.argv[3]) as file:
            return Moment(real.wall_ms + int(file.read() or 0), real.boot_ms, real.awake_ms, real.boot_id)
sys.exit(run_fleet(sys.argv[1], store=sys.argv[2], clock=FileClock()))
"""
DAY = 86_400_000
DAILY = """
[agent.work]
command = ["cat"]
[schedule.daily]
queue = "work"
cron = "0 3 * * *"
tz = "UTC"
"""


def set_clock(root: Path, offset_ms: int) -> None:
    fresh = root / "offset.new"
    fresh.write_text(str(offset_ms))
    fresh.rename(root / "offset")


def start(one: Fleet) -> None:
    words = [sys.executable, "-c", SET_CLOCK, str(one.config), one.folder, str(one.root / "offset")]
    with open(one.log, "ab") as log:
        before = one.said().count("supervising")
        one.process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    until(lambda: one.said().count("supervising") > before, "supervising")


def fired(one: Fleet, count: int) -> None:
    until(lambda: one.store.schedules.one("daily").fired == count, f"{count} runs: {one.said()}")


def test_a_clock_that_is_set_under_a_supervisor_brings_one_run_and_no_moment_twice(tmp_path: Path) -> None:
    now_ms = time.time_ns() // 1_000_000
    before_three = 3 * 3_600_000 - 600_000 - now_ms % DAY + DAY  # ten minutes before
    set_clock(tmp_path, before_three)
    with fleet(tmp_path, DAILY) as one:
        start(one)
        set_clock(tmp_path, before_three + 1_200_000)  # 03:00 is passed in a jump
        fired(one, 1)
        first = one.store.schedules.one("daily")
        assert first.planned_ms is not None and first.planned_ms % DAY == 3 * 3_600_000
        one.state(first.task or 0, "done")
        set_clock(tmp_path, before_three)  # and once more
        until(lambda: one.store.schedules.one("daily").planned_ms == first.planned_ms - DAY, "planned anew")
        set_clock(tmp_path, before_three + 1_200_000)
        until(lambda: one.store.schedules.one("daily").skipped == 1, "the same moment")
        assert one.store.schedules.one("daily").fired == 1
        set_clock(tmp_path, before_three + 5 * DAY)  # five mornings in one
        fired(one, 2)
        one.state(one.store.schedules.one("daily").task or 0, "done")  # else the next run is one too many beside it
        one.kill()
        set_clock(tmp_path, before_three + 9 * DAY)  # and three while nobody supervised
        start(one)
        fired(one, 3)
        one.store.sweep()
        assert one.store.schedules.one("daily").fired == 3
        assert one.end(signal.SIGTERM) == 0
    assert_whole(Path(one.folder))


def test_a_parked_claim_gets_the_task_of_a_run_at_once(tmp_path: Path) -> None:
    """The run is due far from any poll: whoever waits for it is woken by it."""
    with fleet(tmp_path, '[agent.other]\ncommand = ["cat"]\n') as one:
        one.up()
        words = [sys.executable, "-m", "agentctl", "task", "claim", "timed", "--wait", "20s", "--agent", "ann"]
        env = {**os.environ, "AGENTCTL_STORE": one.folder}
        claimer = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=env)
        with open_store(one.folder) as store:
            at_ms = store.clock.now().wall_ms + 1_234
            store.schedules.add(ScheduleSpec("soon", "timed", at_ms=at_ms), actor="t")
            said, _ = claimer.communicate(timeout=20)
            (event,) = store.events(kinds=["schedule.fired"])
            (claimed,) = store.events(kinds=["task.claimed"])
        assert '"queue":"timed"' in said
        assert 0 <= event.at_ms - at_ms < 500 and claimed.at_ms - event.at_ms < 250
        one.end()


def test_the_file_declares_schedules_and_a_saved_change_counts_at_once(tmp_path: Path) -> None:
    beat = '[agent.work]\ncommand = ["cat"]\n[schedule.beat]\nqueue = "work"\nevery = "1s"\n'
    with fleet(tmp_path, beat) as one:
        one.up()
        until(lambda: one.store.schedules.one("beat").fired >= 2, "beats")
        one.store.schedules.add(ScheduleSpec("mine", "work", every_ms=3_600_000), actor="t")
        one.configure(beat.replace("beat", "pulse"))
        until(lambda: {row.spec.name for row in one.store.schedules.all()} == {"mine", "pulse"}, "the new one alone")
        until(lambda: one.store.schedules.one("pulse").fired >= 1, "a pulse")
        one.end()
