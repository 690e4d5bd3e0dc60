"""Verbs on the history."""

from __future__ import annotations

from agentctl_store.errors import BadInput
from agentctl_store.ids import write_id

from . import output
from .call import Call, inside
from .table import Column, Form
from .verb import AT_MOST, opt, verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentctl_store.domain.event import Event

_WAIT_MS = 60_000
_PAGE = 1_000
_COLUMNS = (
    Column("seq", "number"),
    Column("at", "time"),
    Column("kind"),
    Column("task"),
    Column("attempt", "number"),
    Column("actor"),
    Column("session", wide=True),
    Column("data", "json"),
)
_VERIFIED = (
    Column("intact", "flag"),
    Column("events", "number"),
    Column("tasks", "number"),
    Column("sessions", "number"),
    Column("messages", "number"),
    Column("first", "number"),
    Column("head"),
    Column("faults", "list"),
)
_TASK = opt(help="Only of this task or message.", metavar="ID", complete="tasks")
_KIND = opt("-k", help="Only of this kind, such as task.completed; repeatable.", metavar="KIND", complete="kinds")


def _row(event: Event) -> dict[str, Any]:
    return {
        "seq": event.seq,
        "at": event.at_ms,
        "kind": event.kind,
        "task": None if event.task is None else write_id(event.task),
        "attempt": event.attempt,
        "actor": event.actor,
        "session": None if event.session is None else write_id(event.session),
        "data": event.data,
    }


def _subject(call: Call, text: str) -> int:
    """Return what events are about: a task or a message, by its id or the beginning of it. NotFound, BadName."""
    from agentctl_store.ids import LENGTH, read_id

    if len(text) == LENGTH:
        return read_id(text)
    from .letters import letter_of

    return letter_of(call, text)[1]


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
    limit=AT_MOST,
)
def list_events(
    call: Call,
    *,
    task: str | None = None,
    kind: tuple[str, ...] = (),
    after: int | None = None,
    limit: int | None = None,
) -> int:
    """List events."""
    _check(kind)
    if after is not None and after < 0:
        raise BadInput("--after counts from 0", "Use a whole number")
    number = None if task is None else _subject(call, task)

    def fetch(most: int) -> list[dict[str, Any]]:
        # A person reads the file: to look through a long history would keep all waiting whom the supervisor serves.
        events = call.store.events if inside(call.place()[0]) else call.reader.history
        if after is None:
            newest = events(limit=most, task=number, kinds=kind, newest_first=True)
            return [_row(event) for event in reversed(newest)]
        return [_row(event) for event in events(after=after, limit=most, task=number, kinds=kind)]

    return call.show_first(_COLUMNS, limit, fetch, empty="No events.", newest_last=after is None)


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
    call.stays = True
    store = call.store
    number = None if task is None else _subject(call, task)
    seen = store.changed(task=number)
    after = store.changed() if after is None else after
    form = Form(_COLUMNS, call.output, call.fields)
    while True:
        found = store.events(after=after, limit=_PAGE, task=number, kinds=kind)
        for event in found:
            output.write(_line(form, event))
            after = event.seq
        if len(found) < _PAGE:
            # Nothing else up to there is wanted: of a rare kind each commit would look through all since the last one.
            after = max(after, seen)
            output.flush()
            seen = store.changed(seen, task=number, wait_ms=_WAIT_MS)


@verb(
    "event verify",
    summary="Check that no event was changed or lost, and that replay gives the tables.",
    details="Exit code 1 when something is wrong. Note the head down: a later verify can be held against it.",
    prints="table",
    head=opt(help="The head an earlier verify printed; it must still be part of the history.", metavar="SEQ:HASH"),
)
def verify(call: Call, *, head: str | None = None) -> int:
    """Verify the history."""
    from agentctl_store.replay import verify

    from .progress import Progress

    directory = call.place()[0]
    with Progress("Verifying") as progress:
        found = verify(directory, lambda done, total: progress.at(done, f"of {total:,} events"))
    faults = [*found.faults, *(_missing_head(call, head) if head is not None else ())]
    row = {
        "intact": not faults,
        "events": found.events,
        "tasks": found.tasks,
        "sessions": found.sessions,
        "messages": found.messages,
        "first": found.first_seq,
        "head": f"{found.last_seq}:{found.head}",
        "faults": faults,
    }
    call.show_one(_VERIFIED, lambda: row)
    if faults:
        call.note("The history or the tables were damaged or changed by hand. Keep the store's folder aside first.")
    return 1 if faults else 0


def _missing_head(call: Call, head: str) -> list[str]:
    number, colon, wanted = head.partition(":")
    if not colon or not (number.isascii() and number.isdigit()) or len(number) > 18 or len(wanted) != 32:
        raise BadInput(f"--head {head[:80]!a} is not a head", "Give it as `event verify` printed it: 120:9f86d0…")
    seq = int(number)
    found = call.store.events(after=seq - 1, limit=1) if seq else []
    if found and found[0].seq == seq and found[0].hash.hex() == wanted:
        return []
    return [f"event {seq} is gone or is not the one whose hash was noted"]


def _line(form: Form, event: Event) -> str:
    row = _row(event)
    if not form.for_people:
        return form.line(row)
    from agentctl_store.text import one_line

    from .times import iso

    where = "" if event.task is None else f" {row['task']}" + (f".{event.attempt}" if event.attempt else "")
    who = f" by {event.actor}" if event.actor else ""
    more = ""
    if form.form == "wide":
        more = f" in session {row['session']}" if event.session is not None else ""
        more += f" {event.data}" if event.data else ""
    rest = one_line(who + more, 20_000)  # without its first space
    return f"{event.seq:>6} {iso(event.at_ms)} {event.kind}{where}{rest and f' {rest}'}\n"
