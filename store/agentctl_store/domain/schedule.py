"""Schedules: work that is added again and again, and when the next of it is due."""

from __future__ import annotations

from ..errors import BadInput
from ..record import record
from .task import PRIORITY_MAX, PRIORITY_MIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime
    from typing import Literal

    from .machine import State

    Overlap = Literal["skip", "queue", "replace"]

OVERLAPS: tuple[Overlap, ...] = ("skip", "queue", "replace")
LEAST_EVERY_MS = 1_000
MOST_MS = 366 * 86_400_000  #: of an interval
MOST_JITTER_MS = 86_400_000
MAX_SCHEDULES = 1_000  #: that one file declares
MAX_BACKLOG = 100  #: unfinished runs of one schedule, when they queue; further ones are skipped
BACKLOG_LOOK = 1_000  #: newest runs among which those are looked for
LATE_MS = 60_000  #: a run that comes later than this after its time has been missed
MOST_LOOKS = 1_000  #: moments of a cron line that are passed over for the first one after another
GAPS = 10  #: between runs of a cron line that its jitter is held against
CRON_REMEDY = 'Write five fields, minute hour day month weekday, like "*/5 * * * *" or "0 8 * * MON-FRI"'


@record
class ScheduleSpec:
    """What is to be added, and when: by exactly one of `cron` (with `zone`), `every_ms` and `at_ms` (wall)."""

    name: str
    queue: str
    payload: str = "null"  #: JSON text, checked and compact
    cron: str | None = None
    zone: str | None = None  #: IANA name of the time zone the cron line is read in
    every_ms: int | None = None
    at_ms: int | None = None
    overlap: Overlap = "skip"  #: what happens when the run before has not ended; `queue` lets MAX_BACKLOG wait
    jitter_ms: int = 0  #: each run is put off by a random time up to this
    catch_up: bool = True  #: whether runs that were missed are made up for, by one
    priority: int = 0
    timeout_ms: int | None = None

    def check(self) -> ScheduleSpec:
        """Return self if it makes sense. Raises BadInput. Names and payload are the store's to look at."""
        if (self.cron is not None) + (self.every_ms is not None) + (self.at_ms is not None) != 1:
            raise BadInput("a schedule says when in exactly one way", "Give one of cron, every and at")
        if (self.cron is None) != (self.zone is None):
            raise BadInput("a time zone belongs to a cron line", "Leave it out, or give a cron line")
        if self.cron is not None and after_cron(self.cron, self.zone or "", 0) is None:
            raise BadInput(f"the cron line {self.cron!r} never comes", CRON_REMEDY)
        if self.every_ms is not None and not LEAST_EVERY_MS <= self.every_ms <= MOST_MS:
            raise BadInput("every is out of range", "Use 1s to 366d")
        if not 0 <= self.jitter_ms <= min(MOST_JITTER_MS, self.every_ms or MOST_JITTER_MS):
            raise BadInput("jitter is out of range", "Use at most a day, and no more than `every`")
        if self.cron is not None and self.jitter_ms and self.jitter_ms > _gap_ms(self.cron, self.zone or ""):
            raise BadInput(
                f"jitter is longer than from one run of {self.cron!r} to the next: runs would be left out",
                "Use less jitter, or have it run less often",
            )
        if self.overlap not in OVERLAPS:
            raise BadInput(f"overlap {str(self.overlap)[:40]!a} is unknown", f"Use one of {', '.join(OVERLAPS)}")
        if not PRIORITY_MIN <= self.priority <= PRIORITY_MAX:
            raise BadInput(f"priority {self.priority} is out of range", "Use -100 to 100; higher is sooner")
        if self.timeout_ms is not None and not 1 <= self.timeout_ms <= MOST_MS:
            raise BadInput("the timeout is out of range", "Use 1ms to 366d")
        return self


@record
class Schedule:
    """A schedule as it stands. `planned_ms` is the moment of its next run, `due_ms` the same with jitter."""

    spec: ScheduleSpec
    declared: bool  #: named by the current agentctl.toml
    since_ms: int
    paused_ms: int | None
    paused_by: str | None
    reason: str | None  #: why it is paused
    planned_ms: int | None  #: None: paused, or there is no run to come
    due_ms: int | None
    task: int | None  #: of its newest run
    task_state: State | None  #: None when that one has been pruned
    last_ms: int | None  #: when the newest run was added
    fired: int
    skipped: int


@record
class Planned:
    """The next run: its moment, and when it is due with jitter."""

    at_ms: int | None
    due_ms: int | None


def plan(spec: ScheduleSpec, now_ms: int, jitter: float, planned_ms: int | None = None) -> Planned:
    """Return the first run after `now_ms`; that of an interval counts from `planned_ms`, the run before, or from now.

    `jitter` is a fraction in [0, 1). BadInput when the time zone is unknown here.
    """
    at = next_run(spec, now_ms, planned_ms)
    return Planned(at, None if at is None else at + int(spec.jitter_ms * jitter))


def next_run(spec: ScheduleSpec, after_ms: int, planned_ms: int | None = None) -> int | None:
    """Return the first moment after `after_ms` at which a run is planned. Others as for `plan`."""
    if spec.at_ms is not None:
        return spec.at_ms if spec.at_ms > after_ms else None
    if spec.every_ms is not None:
        begin = after_ms if planned_ms is None or planned_ms > after_ms else planned_ms
        return begin + ((after_ms - begin) // spec.every_ms + 1) * spec.every_ms
    return after_cron(spec.cron or "", spec.zone or "", after_ms)


def after_cron(line: str, zone: str, after_ms: int) -> int | None:
    """Return the first moment of a cron line after another; None when there is none within 50 years.

    Where clocks are set forward, a time that does not exist is run right after the gap; where they are set back, a
    time that comes twice is run the first time (cronsim's rules, which are Debian cron's). BadInput says what is wrong.
    """
    from cronsim import CronSim, CronSimError

    if len(line) > 200 or len(line.split()) != 5:
        raise BadInput(f"the cron line {line[:60]!a} does not have five fields", CRON_REMEDY)
    begin = _local(zone, after_ms)
    try:
        moments = CronSim(line, begin)
        for _ in range(MOST_LOOKS):
            found = int(next(moments).timestamp() * 1000)
            if found > after_ms:  # in the hour that comes twice, those of the first time are named again
                return found
    except (CronSimError, AssertionError, TypeError) as error:  # the latter for the likes of MON#2/3
        why = str(error).lower() if isinstance(error, CronSimError) else "its fields do not go together"
        raise BadInput(f"the cron line {line[:60]!a} is wrong: {why}", CRON_REMEDY) from None
    except (StopIteration, OverflowError, ValueError):
        pass
    return None


def _gap_ms(line: str, zone: str) -> int:
    """Return the shortest time between the first runs there are of a cron line."""
    gap, before = MOST_MS, after_cron(line, zone, 0)
    for _ in range(GAPS):
        after = None if before is None else after_cron(line, zone, before)
        if before is None or after is None:
            break
        gap, before = min(gap, after - before), after
    return gap


def _local(zone: str, wall_ms: int) -> datetime:
    from datetime import datetime
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return datetime.fromtimestamp(wall_ms / 1000, ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadInput(
            f"the time zone {zone[:60]!a} is not known here",
            "Use a name like Europe/Berlin or UTC; if it is one, install tzdata",
        ) from None
