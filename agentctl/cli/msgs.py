"""Verbs that people look at messages with, and arrange topics and schemas."""

from __future__ import annotations

from agentctl_store.domain.message import EVERYBODY, OPERATOR, TYPES, MessageFilter
from agentctl_store.domain.message_machine import STATES
from agentctl_store.errors import NotFound
from agentctl_store.ids import LENGTH, read_id

from . import output
from .call import Call, actor
from .given import json_text
from .message_rows import LIST, MESSAGE, listed_row, message_row
from .table import Column
from .verb import AT_MOST, arg, opt, verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from agentctl_store.domain.message import Message

_PAGE = 500
_TOPICS = (Column("topic"), Column("subscribers", "list"))
_SCHEMAS = (Column("scope"), Column("since_at", "time", title="since"), Column("schema", "json"))
_SCOPE = "A type of message, or topic:NAME."
_WHOSE = opt(help="Which agent; outside of an agent you, as operator.", env="AGENTCTL_AGENT", complete="agents")
_MESSAGE = arg("The message's id, or the beginning of it.", "MESSAGE")


def message_id(call: Call, text: str) -> int:
    """Return the message that `text` names: its id, or for people the beginning of it. NotFound, BadName."""
    return read_id(text, "message id") if len(text) == LENGTH else call.store.messages.find_message(text)


@verb(
    "msg list",
    summary="List messages, the newest first.",
    details="Looks through the newest 50,000.",
    reads=True,
    to=opt(help="Only to this agent.", metavar="AGENT", complete="agents"),
    source=opt("--from", help="Only from this agent.", metavar="AGENT", complete="agents"),
    agent=opt(help="Only to or from this agent.", complete="agents"),
    state=opt("-s", help="Only in this state.", choices=STATES, metavar="STATE"),
    type=opt("-t", help="Only of this type.", choices=TYPES, metavar="TYPE"),
    topic=opt(help="Only what was published to this topic."),
    text=opt(help="Only where this stands in a payload or error.", metavar="TEXT"),
    limit=AT_MOST,
)
def list_messages(
    call: Call,
    *,
    to: str | None = None,
    source: str | None = None,
    agent: str | None = None,
    state: str | None = None,
    type: str | None = None,
    topic: str | None = None,
    text: str = "",
    limit: int | None = None,
) -> int:
    """List messages."""
    narrowed: dict[str, Any] = {
        "target": to, "source": source, "party": agent, "state": state, "type": type, "topic": topic, "text": text,
    }  # fmt: skip

    def fetch(most: int) -> list[dict[str, Any]]:
        return [listed_row(message) for message in pages(call, most, narrowed)]

    return call.show_first(LIST, limit, fetch, empty="No messages.")


def pages(call: Call, limit: int, narrowed: dict[str, Any]) -> Iterator[Message]:
    """Read a list of messages page by page until `limit` or its end."""
    before = before_ms = None
    while limit > 0:
        size = min(_PAGE, limit)
        page = call.store.messages.list(MessageFilter(**narrowed, before=before, before_ms=before_ms), size)
        yield from page
        limit -= len(page)
        if len(page) < size:
            return
        before, before_ms = page[-1].id, page[-1].finished_ms


@verb("msg show", summary="Show a message whole.", reads=True, message=_MESSAGE)
def show(call: Call, *, message: str) -> int:
    """Show one message."""
    number = message_id(call, message)
    return call.show_one(MESSAGE, lambda: message_row(call.store.messages.message(number)))


@verb(
    "msg thread",
    summary="Show the conversation that a message belongs to, oldest first.",
    reads=True,
    message=_MESSAGE,
    limit=AT_MOST,
)
def thread(call: Call, *, message: str, limit: int | None = None) -> int:
    """Show a conversation."""
    number = message_id(call, message)

    def fetch(most: int) -> list[dict[str, Any]]:
        return [listed_row(one) for one in call.store.messages.thread(number, limit=most)]

    rows = call.show_first(LIST, limit, fetch, empty="No messages.")
    begun = call.store.messages.message(number).conversation
    damped = call.store.events(task=begun, kinds=["message.damped"], limit=1, newest_first=True)
    if damped and call.output in ("table", "wide"):
        call.note(f"This conversation was damped (event {damped[0].seq}): its two went on and got nowhere.")
    return rows


# --- topics -----------------------------------------------------------------------------------------------------------
@verb("msg topics", summary="List topics and who is subscribed to them.", reads=True)
def topics(call: Call) -> int:
    """List topics."""

    def fetch() -> list[dict[str, Any]]:
        return [{"topic": one.name, "subscribers": one.subscribers} for one in call.store.messages.topics()]

    return call.show(_TOPICS, fetch, empty=f"No topics. `{EVERYBODY}` reaches every agent of agentctl.toml.")


@verb(
    "msg subscribe",
    summary="Send an agent a copy of what is published to a topic.",
    topic=arg("The topic.", "TOPIC"),
    agent=_WHOSE,
)
def subscribe(call: Call, *, topic: str, agent: str | None = None) -> int:
    """Subscribe an agent."""
    whose = agent or OPERATOR
    new = call.store.messages.subscribe(topic, whose, actor=actor())
    output.say(f"{whose} {'subscribed' if new else 'was subscribed already'} to {topic}")
    return 0


@verb(
    "msg unsubscribe",
    summary="Send an agent no more copies; those it got stay.",
    topic=arg("The topic.", "TOPIC"),
    agent=_WHOSE,
)
def unsubscribe(call: Call, *, topic: str, agent: str | None = None) -> int:
    """Unsubscribe an agent."""
    whose = agent or OPERATOR
    if not call.store.messages.unsubscribe(topic, whose, actor=actor()):
        raise NotFound(f"{whose} is not subscribed to {topic}", "See who is: agentctl msg topics")
    output.say(f"{whose} unsubscribed from {topic}")
    return 0


# --- schemas ----------------------------------------------------------------------------------------------------------
@verb("schema list", summary="List the JSON Schemas that payloads are held to.", reads=True)
def schemas(call: Call) -> int:
    """List schemas."""

    def fetch() -> list[dict[str, Any]]:
        found = call.store.messages.schemas()
        return [{"scope": one.scope, "since_at": one.since_ms, "schema": one.schema} for one in found]

    return call.show(_SCHEMAS, fetch, empty="No schemas.")


@verb(
    "schema set",
    summary="Hold the payloads of a type or topic to a JSON Schema from now on.",
    details="A message that breaks it becomes a dead letter with the reason `schema`; a publication is refused.",
    scope=arg(_SCOPE, "TYPE|TOPIC"),
    schema=arg("The schema, as JSON; @FILE reads a file, - stdin.", "JSON"),
)
def set_schema(call: Call, *, scope: str, schema: str) -> int:
    """Set a schema."""
    new = call.store.messages.set_schema(scope, json_text(schema, "schema"), actor=actor())
    output.say(f"{scope} is held to this schema{'' if new else ' already'}")
    return 0


@verb("schema remove", summary="Hold payloads to a schema no longer.", scope=arg(_SCOPE, "TYPE|TOPIC"))
def remove_schema(call: Call, *, scope: str) -> int:
    """Remove a schema."""
    if not call.store.messages.remove_schema(scope, actor=actor()):
        raise NotFound(f"there is no schema for {scope}", "See those there are: agentctl schema list")
    output.say(f"{scope} is held to no schema")
    return 0
