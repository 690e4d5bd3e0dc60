"""Verbs on schedules."""

from __future__ import annotations

from agentctl_store.errors import BadInput
from agentctl_store.ids import write_id

from . import output
from .call import Call, actor
from .table import Column
from .times import iso, read_span, read_time
from .verb import arg, opt, verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentctl_store.domain.schedule import Overlap, Schedule, ScheduleSpec

NEXT_RUNS = 5
_LIST = (
    Column("schedule"),
    Column("queue"),
    Column("when"),
    Column("state"),
    Column("next_at", "time", title="next"),
    Column("last_at", "time", title="last"),
    Column("task"),
    Column("task_state", title="is"),
    Column("fired", "number"),
    Column("skipped", "number"),
    Column("overlap", wide=True),
    Column("declared", "flag", wide=True),
)
_RUN = (Column("at", "time"), Column("local"))
_SCHEDULE = (
    *_LIST[:5],
    Column("due_at", "time", title="due"),
    *_LIST[5:10],
    Column("overlap"),
    Column("jitter_ms", "span"),
    Column("catch_up", "flag"),
    Column("payload", "json"),
    Column("priority", "number"),
    Column("timeout_ms", "span"),
    Column("declared", "flag"),
    Column("paused_at", "time", title="paused"),
    Column("paused_by"),
    Column("reason"),
    Column("next_runs", "rows", title="next runs", parts=_RUN),
)
_NAME = arg("The schedule.", "NAME", complete="schedules")


@verb(
    "schedule add",
    summary="Have a task added again and again, or once at a time.",
    details="Those of agentctl.toml stand under [schedule.NAME] there. While no supervisor runs, whoever claims looks "
    "whether a run is due.",
    name=arg("A name for it.", "NAME"),
    queue=opt("-q", help="The queue its tasks go to.", complete="queues"),
    payload=opt(help="What is to be done, as JSON; @FILE reads a file, - stdin.", metavar="JSON"),
    cron=opt(help='Minute, hour, day, month, weekday: "*/5 * * * *", "0 8 * * MON-FRI".', metavar="LINE"),
    tz=opt(help="The time zone of the cron line (default: this machine's).", metavar="ZONE"),
    every=opt(help="From one run to the next: 10m, 1h.", metavar="DURATION"),
    at=opt(help="Once, at this time: 2026-03-01T08:00, or 08:00.", metavar="TIME"),
    in_=opt("--in", help="Once, this long from now: 90s, 15m, 2h.", metavar="DURATION"),
    overlap=opt(
        help="When the run before has not ended. Up to 100 runs queue; then they are skipped.",
        choices=("skip", "queue", "replace"),
    ),
    jitter=opt(help="Put each run off by a random time up to this.", metavar="DURATION"),
    no_catch_up=opt(help="Do not make up for runs that were missed, by one run."),
    priority=opt("-p", help="-100 to 100; higher is sooner."),
    timeout=opt(help="How long one attempt may take.", metavar="DURATION"),
)
def add(
    call: Call,
    *,
    name: str,
    queue: str = "default",
    payload: str = "null",
    cron: str | None = None,
    tz: str | None = None,
    every: str | None = None,
    at: str | None = None,
    in_: str | None = None,
    overlap: str = "skip",
    jitter: str | None = None,
    no_catch_up: bool = False,
    priority: int = 0,
    timeout: str | None = None,
) -> int:
    """Make a schedule."""
    from agentctl_store.domain.schedule import ScheduleSpec

    from .given import json_text

    now_ms = call.store.clock.now().wall_ms
    if sum(one is not None for one in (cron, every, at, in_)) != 1:
        raise BadInput("when?", "Give exactly one of --cron, --every, --at and --in")
    if cron is None and tz is not None:
        raise BadInput("--tz goes with --cron only", "Name the zone in --at: 2026-03-01T08:00+01:00")
    when = None if at is None else read_time(at, "--at", now_ms)
    how: Overlap = overlap  # type: ignore[assignment] # one of the choices
    spec = ScheduleSpec(
        name,
        queue,
        json_text(payload, "payload"),
        cron,
        None if cron is None else _zone(tz),
        None if every is None else read_span(every, "--every"),
        when if in_ is None else now_ms + read_span(in_, "--in"),
        how,
        0 if jitter is None else read_span(jitter, "--jitter"),
        not no_catch_up,
        priority,
        None if timeout is None else read_span(timeout, "--timeout"),
    )
    fresh = call.store.schedules.add(spec, actor=actor())
    if not fresh:
        call.note(f"{name} is there already, the same")
    made = call.store.schedules.one(name)
    output.say(f"{name} {_state(made)}" + (f", next {iso(made.due_ms)}" if made.due_ms is not None else ""))
    return 0


def _zone(given: str | None) -> str:
    if given is not None:
        return given
    from agentctl.zones import local_zone

    return local_zone()


@verb("schedule list", summary="List schedules with their next runs.", reads=True)
def list_schedules(call: Call) -> int:
    """List schedules."""
    return call.show(_LIST, lambda: [_row(one) for one in call.store.schedules.all()], empty="No schedules.")


@verb("schedule show", summary="Show a schedule and its next five runs.", reads=True, name=_NAME)
def show(call: Call, *, name: str) -> int:
    """Show one schedule."""

    def fetch() -> dict[str, Any]:
        found = call.store.schedules.one(name)
        spec = found.spec
        return {
            **_row(found),
            "due_at": found.due_ms if found.due_ms != found.planned_ms else None,
            "jitter_ms": spec.jitter_ms or None,
            "catch_up": spec.catch_up,
            "payload": spec.payload,
            "priority": spec.priority,
            "timeout_ms": spec.timeout_ms,
            "paused_at": found.paused_ms,
            "paused_by": found.paused_by,
            "reason": found.reason,
            "next_runs": _next_runs(found),
        }

    return call.show_one(_SCHEDULE, fetch)


def _row(found: Schedule) -> dict[str, Any]:
    spec = found.spec
    return {
        "schedule": spec.name,
        "queue": spec.queue,
        "when": _when(spec),
        "state": _state(found),
        "next_at": found.planned_ms,
        "last_at": found.last_ms,
        "task": None if found.task is None else write_id(found.task),
        "task_state": found.task_state,
        "fired": found.fired,
        "skipped": found.skipped,
        "overlap": spec.overlap,
        "declared": found.declared,
    }


def _state(found: Schedule) -> str:
    if found.paused_ms is not None:
        return "paused"
    return "over" if found.planned_ms is None else "planned"


def _when(spec: ScheduleSpec) -> str:
    if spec.cron is not None:
        return f"{spec.cron} {spec.zone}"
    if spec.every_ms is not None:
        from agentctl.quantities import write_duration

        return f"every {write_duration(spec.every_ms)}"
    return f"at {iso(spec.at_ms or 0)}"


def _next_runs(found: Schedule) -> list[dict[str, Any]]:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from agentctl_store.domain.schedule import next_run

    zone = None if found.spec.zone is None else ZoneInfo(found.spec.zone)
    moment = found.planned_ms
    rows: list[dict[str, Any]] = []
    while moment is not None and len(rows) < NEXT_RUNS:
        local = datetime.fromtimestamp(moment / 1000, zone).astimezone(zone)
        rows.append({"at": moment, "local": f"{local:%a %Y-%m-%d %H:%M:%S %Z}"})
        moment = next_run(found.spec, moment, moment)
    return rows


@verb(
    "schedule pause",
    summary="Fire no more runs of a schedule.",
    name=_NAME,
    reason=opt(help="Why, shown to everybody who looks.", metavar="TEXT"),
)
def pause(call: Call, *, name: str, reason: str = "") -> int:
    """Pause a schedule."""
    changed = call.store.schedules.pause(name, reason=reason, actor=actor())
    output.say(f"{name} paused" if changed else f"{name} was paused already")
    return 0


@verb(
    "schedule resume",
    summary="Go on with a schedule; what came meanwhile is not made up for.",
    name=_NAME,
)
def resume(call: Call, *, name: str) -> int:
    """Resume a schedule."""
    changed = call.store.schedules.resume(name, actor=actor())
    output.say(f"{name} resumed" if changed else f"{name} was not paused")
    return 0


@verb("schedule remove", summary="Forget a schedule; its tasks stay.", name=_NAME)
def remove(call: Call, *, name: str) -> int:
    """Remove a schedule."""
    call.store.schedules.remove(name, actor=actor())
    output.say(f"{name} removed")
    return 0


@verb(
    "schedule run",
    summary="Add the task of a run now and print its id; what is planned stays.",
    details="Exit code 4 when the run before has not ended and overlap is skip.",
    name=_NAME,
)
def run(call: Call, *, name: str) -> int:
    """Run a schedule by hand."""
    output.say(write_id(call.store.schedules.run(name, actor=actor())))
    return 0
