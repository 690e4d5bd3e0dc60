"""Rows → cells. Pure functions without widgets; what every table cell shows is decided here."""

from __future__ import annotations

from collections.abc import Sequence

from agentctl_store.read.models import AttemptRow, DeadLetterGroup, DeadLetterRow, InstanceRow
from agentctl_tui import units
from agentctl_tui.cells import EMPTY, Line, piece, raw
from agentctl_tui.columns import Column, Context
from agentctl_tui.glyphs import HEALTH_ROLES, Glyphs, bar, sparkline

MAX_CELL = 400  #: characters of a text looked at for one cell: a megabyte is never folded to show forty
WORK_LATE_MS = 60_000  #: an attempt that runs longer than this shows for how long
LANE = 12  #: cells of a sparkline


def health(name: str, glyphs: Glyphs) -> Line:
    """Glyph, word and colour, always together."""
    role = HEALTH_ROLES.get(name, "text")
    return (raw(f"{glyphs.health.get(name, '?')} ", role), piece(name, role))


def short(text: str) -> str:
    """Return a text from outside as one line worth cutting."""
    return " ".join(text[:MAX_CELL].split())


def tail_id(task: str, glyphs: Glyphs) -> str:
    """Return the end of an id, where ids of one batch differ."""
    return f"{glyphs.more}{task[-4:]}" if len(task) > 6 else task


def _instance(row: InstanceRow, at: Context) -> Line:
    role = "dim" if row.health == "stopped" else "strong"
    return (piece(row.instance, role),)


def _health(row: InstanceRow, at: Context) -> Line:
    return health(row.health, at.glyphs)


def _task(row: InstanceRow, at: Context) -> Line:
    if row.task is None:
        return (raw(at.glyphs.none, "dim"),)
    title = short(row.title)
    return (piece(title),) if title else (piece(tail_id(row.task, at.glyphs), "dim"),)


def _doing(row: InstanceRow, at: Context) -> Line:
    return doing(row, at.now_ms)


def doing(row: InstanceRow, now_ms: int) -> Line:
    """What an instance is doing, or what keeps it from doing anything."""
    if row.latched or row.phase == "failed":
        return (piece(short(row.reason) or "start limit", "red"),)
    if row.phase == "backoff":
        left = units.age((row.next_start_ms or now_ms) - now_ms)
        why = f": {short(row.reason)}" if row.reason else ""
        return (raw(f"starts again in {left}", "amber"), piece(why, "amber"))
    if row.health in ("unhealthy", "degraded") and row.reason:
        return (piece(short(row.reason), HEALTH_ROLES[row.health]),)
    if row.task is not None:
        lasted = now_ms - (row.claimed_ms if row.claimed_ms is not None else now_ms)
        progress = piece(short(row.progress)) if row.progress else raw("working")
        return (progress, raw(f" {units.age(lasted)}", "dim")) if lasted >= 1000 else (progress,)
    if row.phase == "stopped":
        return (piece(short(row.reason), "dim"),) if row.reason else EMPTY
    if row.phase in ("starting", "stopping", "draining"):
        return (raw(row.phase, "blue"),)
    if row.mode == "service":
        return (raw("running", "dim"),)
    return (piece(short(row.held) or "waiting for a task", "dim"),)


def _flow(row: InstanceRow, at: Context) -> Line:
    return (raw(sparkline(row.flow, LANE, at.top, at.glyphs), "dim"),)


def _memory(row: InstanceRow, at: Context) -> Line:
    return _number(units.size(row.memory_bytes))


def _context(row: InstanceRow, at: Context) -> Line:
    if row.context is None:
        return (raw(at.glyphs.none, "dim"),)
    full, rest = bar(row.context, 6, at.glyphs)
    role = "red" if row.context >= 0.9 else "amber" if row.context >= 0.7 else "text"
    return (raw(full, role), raw(rest, "rule"), raw(f" {units.percent(row.context):>4}", role))


def _cost(row: InstanceRow, at: Context) -> Line:
    return _number(units.money(row.cost_microusd))


def _done(row: InstanceRow, at: Context) -> Line:
    return _number(units.count(row.done)) if row.done else (raw("0", "dim"),)


def _restarts(row: InstanceRow, at: Context) -> Line:
    if not row.restarts:
        return (raw("0", "dim"),)
    return (raw(units.count(row.restarts), "amber" if row.restarts > 2 else "text"),)


def _up(row: InstanceRow, at: Context) -> Line:
    return _number(units.since(row.started_ms, at.now_ms))


def _number(text: str) -> Line:
    return (raw(text, "dim" if text == units.NONE else "text"),)


INSTANCE_COLUMNS: tuple[Column[InstanceRow], ...] = (
    Column("instance", "INSTANCE", _instance, least=10, most=26, whole=True, rank=0, sort="instance"),
    Column("health", "HEALTH", _health, least=11, most=11, rank=1, sort="health"),
    Column("task", "TASK", _task, least=12, most=30, path=True, grow=2, rank=4, sort="task"),
    Column("doing", "DOING", _doing, least=16, most=34, grow=3, rank=2),
    Column("flow", "FLOW", _flow, least=LANE, most=LANE, rank=7),
    Column("done", "DONE", _done, least=4, most=6, rank=6, right=True),
    Column("memory", "MEMORY", _memory, least=7, most=7, rank=8, right=True, sort="memory"),
    Column("restarts", "RESTARTS", _restarts, least=8, most=8, rank=9, right=True, sort="restarts"),
    Column("up", "UP", _up, least=6, most=6, rank=3, right=True, sort="since"),
)
#: shown only where something reports them
USAGE_COLUMNS: tuple[Column[InstanceRow], ...] = (
    Column("context", "CONTEXT", _context, least=11, most=11, rank=5, sort="context"),
    Column("cost", "COST", _cost, least=6, most=8, rank=5, right=True, sort="cost"),
)


def flow_top(rows: Sequence[InstanceRow]) -> int:
    """Return the scale that all sparklines of the table share."""
    return max((max(row.flow, default=0) for row in rows), default=0)


# --- dead letters


def _letter_task(row: DeadLetterRow, at: Context) -> Line:
    return (piece(row.task, "dim"),)


def _letter_title(row: DeadLetterRow, at: Context) -> Line:
    title = short(row.title)
    return (piece(title, "strong"),) if title else (piece(row.task, "strong"),)


def _letter_error(row: DeadLetterRow, at: Context) -> Line:
    return (piece(short(row.error) or "no error text", "text" if row.error else "dim"),)


def _letter_reason(row: DeadLetterRow, at: Context) -> Line:
    return (piece(reason(row.reason), "red"),)


def _letter_queue(row: DeadLetterRow, at: Context) -> Line:
    return (piece(row.queue),)


def _letter_agent(row: DeadLetterRow, at: Context) -> Line:
    return (piece(row.agent),) if row.agent else (raw(at.glyphs.none, "dim"),)


def _letter_tries(row: DeadLetterRow, at: Context) -> Line:
    return (raw(str(row.attempts)),)


def _letter_died(row: DeadLetterRow, at: Context) -> Line:
    return (raw(units.since(row.died_ms, at.now_ms), "dim"),)


DEAD_LETTER_COLUMNS: tuple[Column[DeadLetterRow], ...] = (
    Column("title", "TASK", _letter_title, least=20, most=34, path=True, grow=2, rank=0, sort="id"),
    Column("error", "ERROR", _letter_error, least=24, most=48, grow=3, rank=2),
    Column("reason", "REASON", _letter_reason, least=13, most=18, rank=6, sort="reason"),
    Column("queue", "QUEUE", _letter_queue, least=6, most=16, rank=5, sort="queue"),
    Column("agent", "AGENT", _letter_agent, least=8, most=16, rank=7, sort="agent"),
    Column("tries", "TRIES", _letter_tries, least=5, most=5, rank=4, right=True, sort="attempts"),
    Column("id", "ID", _letter_task, least=13, most=13, rank=8),
    Column("died", "DIED", _letter_died, least=6, most=6, rank=1, right=True, sort="died"),
)

_REASONS = {
    "permanent": "permanent",
    "max_attempts": "no tries left",
    "deadline": "deadline passed",
    "parent_failed": "parent failed",
    "policy": "against policy",
    "verify": "not verified",
    "rejected": "refused",
    "unanswered": "unanswered",
}


def reason(key: str) -> str:
    """Return a dead letter's reason in words; unknown ones as they are."""
    return _REASONS.get(key, key)


def _group_name(row: DeadLetterGroup, at: Context) -> Line:
    return (piece(reason(row.key) if row.key else "all reasons", "strong" if not row.key else "text"),)


def _group_count(row: DeadLetterGroup, at: Context) -> Line:
    return (raw(units.count(row.count), "strong"),)


def _group_oldest(row: DeadLetterGroup, at: Context) -> Line:
    return (raw(units.since(row.oldest_ms, at.now_ms) if row.count else at.glyphs.none, "dim"),)


GROUP_COLUMNS: tuple[Column[DeadLetterGroup], ...] = (
    Column("reason", "REASON", _group_name, least=9, most=16, grow=1, rank=0),
    Column("count", "N", _group_count, least=3, most=6, rank=1, right=True),
    Column("oldest", "OLDEST", _group_oldest, least=6, most=6, rank=2, right=True),
)

_OUTCOMES = {"done": "green", "failed": "red", "released": "dim", "cancelled": "dim", "asked": "dim"}


def attempt(row: AttemptRow, now_ms: int, known: str = "") -> tuple[Line, ...]:
    """Return the cells of one attempt: number, when, who, how long, how it ended.

    An error that is the `known` one is not told again.
    """
    outcome = row.outcome or "running"
    ended = row.ended_ms if row.ended_ms is not None else now_ms
    why = str(row.error_class or "")
    code = f"exit {row.exit_code}" if row.exit_code is not None else ""
    error = short(row.error or "") if row.error != known else ""
    return (
        (raw(f"{row.n}", "dim"),),
        (raw(units.clock(row.claimed_ms), "dim"),),
        (piece(row.instance),),
        (raw(units.duration(ended - row.claimed_ms)),),
        (piece(why or outcome, _OUTCOMES.get(outcome, "blue")),),
        (raw(code, "dim"), piece(f"  {error}" if error else "")),
    )
