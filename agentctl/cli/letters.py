"""Dead letters that are messages, for the verbs of `dlq`, which people use for both kinds."""

from __future__ import annotations

from agentctl_store.domain.message_machine import LETTERS
from agentctl_store.errors import BadInput, Conflict, NotFound
from agentctl_store.ids import LENGTH, read_id, write_id
from agentctl_store.read.models import Filter
from agentctl_store.text import one_line

from .message_rows import TITLE, message_row
from .msgs import pages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from agentctl_store.domain.message import Message

    from .call import Call

#: how message letters are ordered, by what `dlq list --sort` calls it
_KEYS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "died": lambda row: row["died_at"] or 0,
    "queue": lambda row: row["queue"],
    "reason": lambda row: row["reason"] or "",
    "agent": lambda row: row["agent"] or "",
    "attempts": lambda row: row["attempts"],
    "id": lambda row: row["task"],
}


def message_letters(call: Call, narrowed: Filter, limit: int) -> Iterator[Message]:
    """Yield dead messages that a filter of dead letters matches, the newest first; none where it names a queue."""
    if narrowed.queue is None:
        wanted = {"target": narrowed.agent, "reason": narrowed.reason, "text": narrowed.text, "dead": True}
        yield from pages(call, limit, wanted)


def letter_row(message: Message) -> dict[str, Any]:
    """Return a dead message as a line of `dlq list`."""
    return {
        "kind": "message",
        "task": write_id(message.id),
        "queue": f"to {message.target}",
        "reason": message.reason,
        "class": None,
        "agent": message.reader or message.source,
        "attempts": message.deliveries,
        "died_at": message.finished_ms,
        "error": message.error,
        "title": one_line(f"{message.type} {message.payload}", TITLE),
    }


def merged(tasks: list[dict[str, Any]], messages: list[dict[str, Any]], sort: str, limit: int) -> list[dict[str, Any]]:
    """Return both kinds in one order."""
    if not messages:
        return tasks
    return sorted([*tasks, *messages], key=_KEYS[sort.removeprefix("-")], reverse=sort[0] == "-")[:limit]


def groups(tasks: list[dict[str, Any]], messages: list[Message]) -> list[dict[str, Any]]:
    """Return both kinds counted by reason, the largest group first."""
    found = {row["reason"]: dict(row) for row in tasks}
    for message in messages:
        at = message.finished_ms or 0
        row = found.setdefault(message.reason, {"reason": message.reason, "count": 0, "newest_at": at, "oldest_at": at})
        row.update(count=row["count"] + 1, newest_at=max(row["newest_at"], at), oldest_at=min(row["oldest_at"], at))
    return sorted(found.values(), key=lambda row: -row["count"])


def letter_of(call: Call, text: str) -> tuple[str, int]:
    """Return what a person names by an id or its beginning: "task" or "message", and its number. NotFound, BadInput."""
    messages = call.store.messages
    if len(text) == LENGTH:
        number = read_id(text)
        try:
            call.store.task(number)
        except NotFound:
            return "message", _known(call, number, text)
        return "task", number
    found: list[tuple[str, int]] = []
    for kind, find in (("task", call.store.find_task), ("message", messages.find_message)):
        try:
            found.append((kind, find(text)))
        except NotFound:
            pass
    if len(found) > 1:
        raise BadInput(f"{text!r} could be task or message {write_id(found[0][1])}", "Give more of the id")
    return found[0] if found else ("message", _known(call, read_id(text.ljust(LENGTH, "0")), text))


def _known(call: Call, number: int, text: str) -> int:
    try:
        return int(call.store.messages.message(number).id)
    except NotFound:
        raise NotFound(f"there is no task or message {text}", "List dead letters with: agentctl dlq list") from None


def dead_message(call: Call, number: int) -> dict[str, Any]:
    """Return all of a dead message. Conflict when it is none."""
    message = call.store.messages.message(number)
    if message.state not in LETTERS:
        name = write_id(number)
        raise Conflict(f"message {name} is {message.state}, no dead letter", f"See: agentctl msg show {name}")
    return message_row(message)
