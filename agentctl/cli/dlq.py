"""Verbs on dead letters, tasks and messages alike: look, understand, send back, give up, export."""

from __future__ import annotations

import time

from agentctl_store.errors import BadInput, Conflict, NotFound
from agentctl_store.ids import write_id
from agentctl_store.jsontext import loads
from agentctl_store.read.models import DEAD_LETTER_SORTS, Filter

from . import output
from .acts import each
from .call import Call, actor
from .given import json_text
from .letters import dead_message, groups, letter_of, letter_row, merged, message_letters
from .message_rows import MESSAGE
from .table import Column, Form
from .task_rows import task_row
from .task_view import TASK
from .tasks import sorts, windows
from .times import read_span
from .verb import AT_MOST, arg, opt, verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_SELECTED = 1_000_000
_LIST = (
    Column("kind", wide=True),
    Column("task", title="letter"),
    Column("queue"),
    Column("reason"),
    Column("class"),
    Column("agent"),
    Column("attempts", "number"),
    Column("died_at", "time", title="died"),
    Column("error"),
    Column("title", wide=True),
)
_GROUPS = (
    Column("reason"),
    Column("count", "number"),
    Column("newest_at", "time", title="newest"),
    Column("oldest_at", "time", title="oldest"),
)
_TASKS = "Dead letters, by id or the beginning of it."
MOST_MESSAGES = 10_000  #: dead messages that are grouped or chosen at once
_QUEUE = opt("-q", help="Only tasks of this queue.", complete="queues")
_AGENT = opt(help="Only what this agent tried last, or was sent.", complete="agents")
_REASON = opt(help="Only that died of this reason, as `dlq list --groups` shows it.", metavar="REASON")
_TEXT = opt("-t", help="Only where this stands in an id, payload or error.", metavar="TEXT")


@verb(
    "dlq list",
    summary="List dead letters, tasks and messages, the newest first.",
    reads=True,
    queue=_QUEUE,
    agent=_AGENT,
    reason=_REASON,
    text=_TEXT,
    groups=opt(help="Count them by reason instead."),
    sort=opt(help="By what, with a dash the other way round.", choices=sorts(DEAD_LETTER_SORTS), metavar="FIELD"),
    limit=AT_MOST,
)
def list_letters(
    call: Call,
    *,
    queue: str | None = None,
    agent: str | None = None,
    reason: str | None = None,
    text: str = "",
    groups: bool = False,
    sort: str = "-died",
    limit: int | None = None,
) -> int:
    """List dead letters or their groups."""
    narrowed = Filter(text, queue, agent, reason=reason)
    if groups:
        return call.show(_GROUPS, lambda: _groups(call, narrowed), empty="No dead letters.")

    def fetch(most: int) -> list[dict[str, Any]]:
        found = windows(lambda offset, size: call.reader.dead_letters(offset, size, sort, narrowed), most)
        tasks = [
            {
                "kind": "task",
                "task": row.task,
                "queue": row.queue,
                "reason": row.reason,
                "class": row.error_class,
                "agent": row.agent,
                "attempts": row.attempts,
                "died_at": row.died_ms,
                "error": row.error,
                "title": row.title,
            }
            for row in found
        ]
        return merged(tasks, [letter_row(one) for one in message_letters(call, narrowed, most)], sort, most)

    return call.show_first(_LIST, limit, fetch, empty="No dead letters.")


def _groups(call: Call, narrowed: Filter) -> list[dict[str, Any]]:
    tasks = [
        {"reason": group.key, "count": group.count, "newest_at": group.newest_ms, "oldest_at": group.oldest_ms}
        for group in call.reader.dead_letter_groups(narrowed)
    ]
    # As with tasks, every group is shown whatever reason is asked for.
    every = Filter(narrowed.text, narrowed.queue, narrowed.agent)
    return groups(tasks, list(message_letters(call, every, MOST_MESSAGES)))


@verb(
    "dlq show",
    summary="Show why a task or message became a dead letter, with payload and error.",
    reads=True,
    task=arg("Its id, or the beginning of it.", "LETTER", complete="letters"),
)
def show(call: Call, *, task: str) -> int:
    """Show one dead letter."""
    kind, number = letter_of(call, task)
    code = call.show_one(MESSAGE, lambda: dead_message(call, number)) if kind == "message" else _show_task(call, number)
    if output.on_terminal() and call.output == "table":
        name = write_id(number)
        call.note(f"\nSend it back: agentctl dlq requeue {name}    Give it up: agentctl dlq discard {name}")
    return code


def _show_task(call: Call, number: int) -> int:
    def fetch() -> dict[str, Any]:
        row = task_row(call.store, number)
        if row["state"] != "dead":
            raise Conflict(
                f"task {row['task']} is {row['state']}, no dead letter", f"See: agentctl task show {row['task']}"
            )
        return row

    return call.show_one(TASK, fetch)


@verb(
    "dlq requeue",
    summary="Send dead letters back to their queue or inbox with fresh tries.",
    details="Each is one audited act: interrupted and repeated, none is sent back twice.",
    dry=True,
    tasks=arg(_TASKS, "LETTER...", complete="letters"),
    every=opt("--all", help="All that match the filters."),
    queue=_QUEUE,
    agent=_AGENT,
    reason=_REASON,
    text=_TEXT,
    payload=opt(help="The payload to use instead, as JSON; @FILE reads a file, - stdin.", metavar="JSON"),
    spaced=opt(help="Leave this long between one task and the next, so that they do not come all at once.",
               metavar="DURATION"),
    note=opt(help="Why, for the history.", metavar="TEXT"),
)  # fmt: skip
def requeue(
    call: Call,
    *,
    tasks: tuple[str, ...] = (),
    every: bool = False,
    queue: str | None = None,
    agent: str | None = None,
    reason: str | None = None,
    text: str = "",
    payload: str | None = None,
    spaced: str | None = None,
    note: str = "",
) -> int:
    """Requeue dead letters."""
    edited = None if payload is None else json_text(payload, "payload")
    if edited is not None:
        loads(edited)
    gap_ms = 0 if spaced is None else read_span(spaced, "--spaced")
    chosen = _selected(call, tasks, every, Filter(text, queue, agent, reason=reason))
    begin_ms, given = time.time_ns() // 1_000_000, iter(range(len(chosen)))

    def act(target: str) -> str:
        kind, number = letter_of(call, target)
        if kind == "message":
            settled = call.store.messages.requeue(number, payload=edited, note=note, actor=actor())
            return f"{write_id(number)} {settled.state}"
        run_at_ms = begin_ms + gap_ms * next(given) if gap_ms else None
        ended = call.store.requeue(number, payload=edited, run_at_ms=run_at_ms, note=note, actor=actor())
        return f"{write_id(number)} {ended.state}"

    return each(call, chosen, act, would="requeue", look=lambda text: _dead(call, text))


@verb(
    "dlq discard",
    summary="Give dead letters up; they stay in the history.",
    dry=True,
    asks=True,
    tasks=arg(_TASKS, "LETTER...", complete="letters"),
    every=opt("--all", help="All that match the filters."),
    queue=_QUEUE,
    agent=_AGENT,
    reason=_REASON,
    text=_TEXT,
    why=opt(help="Why, for the history.", metavar="TEXT"),
)
def discard(
    call: Call,
    *,
    tasks: tuple[str, ...] = (),
    every: bool = False,
    queue: str | None = None,
    agent: str | None = None,
    reason: str | None = None,
    text: str = "",
    why: str = "discarded",
) -> int:
    """Discard dead letters."""
    chosen = _selected(call, tasks, every, Filter(text, queue, agent, reason=reason))
    many = f"{len(chosen):,} dead letters" if len(chosen) != 1 else f"dead letter {chosen[0]}"
    if chosen and not call.dry_run and not call.confirm(f"Discard {many}?"):
        call.note("Nothing was discarded.")
        return 1

    def act(target: str) -> str:
        kind, number = letter_of(call, target)
        discard = call.store.discard if kind == "task" else call.store.messages.discard
        return f"{write_id(number)} {discard(number, reason=why, actor=actor()).state}"

    return each(call, chosen, act, would="discard", look=lambda text: _dead(call, text))


@verb(
    "dlq export",
    summary="Print dead letters whole, with payload, error and attempts.",
    prints="jsonl",
    tasks=arg(_TASKS, "LETTER...", complete="letters"),
    every=opt("--all", help="All that match the filters."),
    queue=_QUEUE,
    agent=_AGENT,
    reason=_REASON,
    text=_TEXT,
)
def export(
    call: Call,
    *,
    tasks: tuple[str, ...] = (),
    every: bool = False,
    queue: str | None = None,
    agent: str | None = None,
    reason: str | None = None,
    text: str = "",
) -> int:
    """Export dead letters."""
    chosen = _selected(call, tasks, every, Filter(text, queue, agent, reason=reason))
    named = [letter_of(call, target) for target in chosen]
    if call.output != "jsonl" or call.fields is not None:
        numbers = [number for kind, number in named if kind == "task"]
        if len(numbers) < len(named):
            call.note(f"{len(named) - len(numbers)} messages have other fields and are left out: use -o jsonl for all")
        return call.show(TASK, lambda: [task_row(call.store, number) for number in numbers])
    forms = {"task": Form(TASK, "jsonl", None), "message": Form(MESSAGE, "jsonl", None)}
    for kind, number in named:
        row = task_row(call.store, number) if kind == "task" else dead_message(call, number)
        output.write(forms[kind].render([row]))
    return 0


def _dead(call: Call, text: str) -> str:
    kind, number = letter_of(call, text)
    if kind == "message":
        dead_message(call, number)
        return write_id(number)
    task = call.store.task(number)
    if task.state != "dead":
        raise Conflict(f"task {write_id(task.id)} is {task.state}, no dead letter", "Nothing would be done to it")
    return write_id(task.id)


def _selected(call: Call, tasks: tuple[str, ...], every: bool, narrowed: Filter) -> list[str]:
    filtered = narrowed != Filter()
    if tasks:
        if every or filtered:
            raise BadInput("ids and filters exclude each other", "Name the tasks, or filter them")
        return list(dict.fromkeys(tasks))
    if not (every or filtered):
        raise BadInput("which dead letters?", "Name them, or use --all, --queue, --agent, --reason or --text")
    found = list(call.reader.dead_letter_ids(narrowed, MAX_SELECTED))
    found += [write_id(message.id) for message in message_letters(call, narrowed, MOST_MESSAGES)]
    if not found:
        raise NotFound("no dead letter matches", "Look with: agentctl dlq list")
    return found
