"""Verbs on the history."""

from __future__ import annotations

import time

from agentctl_store.errors import BadInput
from agentctl_store.ids import write_id

from . import output
from .call import Call
from .given import task_id
from .table import Column, Form
from .verb import opt, verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentctl_store.domain.event import Event

_FOLLOW_S = 0.1
_PAGE = 1_000
_COLUMNS = (
    Column("seq", "number"),
    Column("at", "time"),
    Column("kind"),
    Column("task"),
    Column("attempt", "number"),
    Column("actor"),
    Column("data", "json"),
)
_TASK = opt(help="Only of this task.", metavar="TASK", complete="tasks")
_KIND = opt("-k", help="Only of this kind, such as task.completed; repeatable.", metavar="KIND", complete="kinds")


def _row(event: Event) -> dict[str, Any]:
    return {
        "seq": event.seq,
        "at": event.at_ms,
        "kind": event.kind,
        "task": None if event.task is None else write_id(event.task),
        "attempt": event.attempt,
        "actor": event.actor,
        "data": event.data,
    }


def _check(kind: tuple[str, ...]) -> None:
    from agentctl_store.domain.event import KINDS

    unknown = [one for one in kind if one not in KINDS]
    if unknown:
        raise BadInput(f"there is no kind of event called {unknown[0][:60]!a}", f"Kinds are: {', '.join(KINDS)}")


@verb(
    "event list",
    summary="List what happened, the newest last.",
    reads=True,
    task=_TASK,
    kind=_KIND,
    after=opt(help="Only after this sequence number, oldest first.", metavar="SEQ"),
    limit=opt("-n", help="At most so many.", metavar="N"),
)
def list_events(
    call: Call, *, task: str | None = None, kind: tuple[str, ...] = (), after: int | None = None, limit: int = 50
) -> int:
    """List events."""
    _check(kind)
    if limit < 1 or (after is not None and after < 0):
        raise BadInput("--limit counts from 1, --after from 0", "Use whole numbers")
    number = None if task is None else task_id(call.store, task)

    def fetch() -> list[dict[str, Any]]:
        if after is None:
            newest = call.store.events(limit=limit, task=number, kinds=kind, newest_first=True)
            return [_row(event) for event in reversed(newest)]
        return [_row(event) for event in call.store.events(after=after, limit=limit, task=number, kinds=kind)]

    return call.show(_COLUMNS, fetch, empty="No events.")


@verb(
    "event follow",
    summary="Print events as they happen, until Ctrl-C.",
    prints="table",
    task=_TASK,
    kind=_KIND,
    after=opt(help="Begin after this sequence number instead of now.", metavar="SEQ"),
)
def follow(call: Call, *, task: str | None = None, kind: tuple[str, ...] = (), after: int | None = None) -> int:
    """Follow the history."""
    _check(kind)
    store = call.store
    number = None if task is None else task_id(store, task)
    if after is None:
        newest = store.events(limit=1, newest_first=True)
        after = newest[0].seq if newest else 0
    form = Form(_COLUMNS, call.output, call.fields)
    version = None
    while True:
        now_version = store.version()
        while now_version != version:
            found = store.events(after=after, limit=_PAGE, task=number, kinds=kind)
            for event in found:
                output.write(_line(form, event))
                after = event.seq
            output.flush()
            if len(found) < _PAGE:
                version = now_version
        time.sleep(_FOLLOW_S)


def _line(form: Form, event: Event) -> str:
    row = _row(event)
    if not form.for_people:
        text = form.render([row])
        return text.split("\r\n", 1)[1] if form.form == "csv" else text
    from agentctl_store.text import one_line

    from .times import iso

    where = "" if event.task is None else f" {row['task']}" + (f".{event.attempt}" if event.attempt else "")
    who = f" by {event.actor}" if event.actor else ""
    data = f" {event.data}" if event.data and form.form == "wide" else ""
    return f"{event.seq:>6} {iso(event.at_ms)} {event.kind}{where}{one_line(who + data, 20_000)}\n"
