"""Verbs that scripts and agents speak to each other with: send, read, ack, refuse, reply, publish."""

from __future__ import annotations

import os

from agentctl_store.domain.message import OPERATOR, TOPIC, TYPES
from agentctl_store.errors import BadInput, Conflict, NotFound, NothingToClaim
from agentctl_store.ids import LENGTH, is_itself, read_delivery, read_id, write_attempt, write_id
from agentctl_store.messageverbs import MessageRequest

from . import output
from .call import Call, actor
from .verb import arg, opt, verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentctl_store.domain.message import Sent

_PAYLOAD = arg("What is said, as JSON; @FILE reads a file, - stdin.", "JSON")
_SENDER = opt(help="Who sends; outside of an agent you do, as operator.", env="AGENTCTL_AGENT", complete="agents")
_KEY = opt(help="Idempotency key: the same sender's same key never sends twice, it answers the first.")
_PRIORITY = opt("-p", help="-100 to 100; higher is sooner.")
_TTL = opt(help="Not delivered after this long: an expired message is a dead letter.", metavar="DURATION")
_MOST = opt(help="Deliveries without an ack before it becomes a dead letter.", metavar="N")
_CORRELATION = opt(help="The correlation id: 32 hex digits. Otherwise that of the agent's task.", metavar="ID")
_TYPE = "The type of the message."
#: why a message was not even accepted, which saying it again under its key does not change
_UNDELIVERED = {"no_such_agent": NotFound, "schema": BadInput, "offline": Conflict}
_DELIVERY = "The delivery, as `msg read` printed it."


@verb(
    "msg send",
    summary="Send a message to an agent and print its id.",
    details="When this returns, the message survives a crash and a power cut. A reader that waits is woken at once. "
    "What cannot be delivered (no such agent, offline, against the schema) is kept as a dead letter, and told.",
    prints="table",
    target=arg("The agent; `operator` is you; topic:NAME publishes.", "AGENT", complete="agents"),
    payload=_PAYLOAD,
    type=opt("-t", help=_TYPE, choices=TYPES, metavar="TYPE"),
    agent=_SENDER,
    key=_KEY,
    priority=_PRIORITY,
    ttl=_TTL,
    max_deliveries=_MOST,
    conversation=opt(help="Go on with this conversation.", metavar="MESSAGE"),
    correlation=_CORRELATION,
)
def send(
    call: Call,
    *,
    target: str,
    payload: str = "null",
    type: str = "DIRECTIVE",
    agent: str | None = None,
    key: str | None = None,
    priority: int = 0,
    ttl: str | None = None,
    max_deliveries: int = 5,
    conversation: str | None = None,
    correlation: str | None = None,
) -> int:
    """Send one message."""
    _expect(call)
    begun = None if conversation is None else call.store.messages.message(_number(call, conversation)).conversation
    return _send(
        call, target, payload, type, agent, key=key, priority=priority, max_deliveries=max_deliveries,
        ttl_ms=_span(ttl, "--ttl"), conversation=begun, correlation=correlation,
    )  # fmt: skip


@verb(
    "msg publish",
    summary="Send each subscriber of a topic a copy and print their ids.",
    details="The topic `all` reaches every agent of agentctl.toml.",
    prints="table",
    topic=arg("The topic.", "TOPIC"),
    payload=_PAYLOAD,
    type=opt("-t", help=_TYPE, choices=TYPES, metavar="TYPE"),
    agent=_SENDER,
    key=_KEY,
    priority=_PRIORITY,
    ttl=_TTL,
    max_deliveries=_MOST,
    correlation=_CORRELATION,
)
def publish(
    call: Call,
    *,
    topic: str,
    payload: str = "null",
    type: str = "STATUS",
    agent: str | None = None,
    key: str | None = None,
    priority: int = 0,
    ttl: str | None = None,
    max_deliveries: int = 5,
    correlation: str | None = None,
) -> int:
    """Publish one message."""
    _expect(call)
    return _send(
        call, TOPIC + topic, payload, type, agent, key=key, priority=priority, max_deliveries=max_deliveries,
        ttl_ms=_span(ttl, "--ttl"), correlation=correlation,
    )  # fmt: skip


@verb(
    "msg reply",
    summary="Answer a message, in its conversation; of a delivery, ack it in the same step.",
    details="Refused with exit code 4 when the delivery is not the newest: then nothing is sent.",
    prints="table",
    to=arg(f"{_DELIVERY} A message's id answers without an ack.", "DELIVERY"),
    payload=_PAYLOAD,
    type=opt("-t", help=_TYPE, choices=TYPES, metavar="TYPE"),
    agent=_SENDER,
    key=_KEY,
    priority=_PRIORITY,
    ttl=_TTL,
    max_deliveries=_MOST,
)
def reply(
    call: Call,
    *,
    to: str,
    payload: str = "null",
    type: str = "RESULT",
    agent: str | None = None,
    key: str | None = None,
    priority: int = 0,
    ttl: str | None = None,
    max_deliveries: int = 5,
) -> int:
    """Reply to one message."""
    _expect(call)
    number, n = read_delivery(to) if "." in to else (_number(call, to), None)
    return _send(
        call, None, payload, type, agent, key=key, priority=priority, max_deliveries=max_deliveries,
        ttl_ms=_span(ttl, "--ttl"), reply_to=number, acks=n,
    )  # fmt: skip


def _expect(call: Call) -> None:
    if call.fields is not None:
        from .message_rows import SENT

        call.expect(SENT)


def _span(text: str | None, what: str) -> int | None:
    if text is None:
        return None
    from .times import read_span

    return read_span(text, what)


def _number(call: Call, text: str) -> int:
    return read_id(text, "message id") if len(text) == LENGTH else call.store.messages.find_message(text)


def _send(call: Call, target: str | None, payload: str, type: str, agent: str | None, **more: Any) -> int:
    from .given import json_text

    creator = os.environ.get("AGENTCTL_TASK")
    if more.get("reply_to") is None and creator:
        more["creator"] = read_id(creator, "AGENTCTL_TASK")
    request = MessageRequest(agent or OPERATOR, target, json_text(payload, "payload"), type, **more)  # type: ignore[arg-type] # one of TYPES
    return _print_sent(call, target, call.store.messages.send(request, actor=actor()))


def _print_sent(call: Call, target: str | None, sent: Sent) -> int:
    numbers = sent.copies if sent.state == "published" else (sent.id,)
    if call.output == "table" and call.fields is None:
        output.write("".join(write_id(number) + "\n" for number in numbers))
        if not sent.created:
            call.note(f"{write_id(sent.id)} was sent before under this key and is {sent.state}")
    else:
        from .message_rows import SENT, sent_row

        call.show(SENT, lambda: [sent_row(sent, number) for number in numbers])
    if sent.state == "published" and sent.error:
        call.note(f"{sent.error}: no copy went there")
    elif sent.state == "published" and not numbers:
        call.note(f"nobody is subscribed to {(target or '').removeprefix(TOPIC)}: nothing was sent")
    if sent.state == "dead" and (sent.created or sent.reason in _UNDELIVERED):
        name = write_id(sent.id)
        remedy = f"See: agentctl dlq show {name}"
        if sent.reason == "no_such_agent":
            remedy = f"Has `agentctl run` read an agentctl.toml that names it? {remedy}"
        kind = _UNDELIVERED.get(sent.reason or "", Conflict)
        raise kind(f"{sent.error}; message {name} is kept as a dead letter", remedy)
    return 0


@verb(
    "msg read",
    summary="Take messages out of an inbox and print them; each is to be acked.",
    details="A message that is not acked in time is delivered again, and after its last delivery a dead letter. Exit "
    "code 7 when there is none, 3 when nobody knows the agent; with --wait that may change meanwhile.",
    prints="jsonl",
    agent=opt(help="Whose inbox; outside of an agent yours, as operator.", env="AGENTCTL_AGENT", complete="agents"),
    limit=opt("-n", help="Take up to so many.", metavar="N"),
    wait=opt(help="When there is none, wait this long for one.", metavar="DURATION"),
    ack_within=opt(help="Delivered again when it is not acked in this time.", metavar="DURATION"),
    ack=opt(help="Ack at once what is printed."),
)
def read(
    call: Call,
    *,
    agent: str | None = None,
    limit: int = 1,
    wait: str | None = None,
    ack_within: str = "1m",
    ack: bool = False,
) -> int:
    """Read and print."""
    from .message_rows import DELIVERY, delivery_row
    from .table import Form

    call.expect(DELIVERY)
    whose, ack_ms = agent or OPERATOR, _span(ack_within, "--ack-within") or 0
    wait_ms = _span(wait, "--wait") or 0
    call.stays = wait_ms > 0
    taken = call.store.messages.read(whose, reader=actor(), limit=limit, ack_ms=ack_ms, wait_ms=wait_ms)
    if not taken:
        raise _nothing(call, whose)
    output.write(Form(DELIVERY, call.output, call.fields).render([delivery_row(one) for one in taken]))
    if ack:
        output.flush()
        for one in taken:
            call.store.messages.ack(one.message.id, one.n)
    return 0


def _nothing(call: Call, whose: str) -> NothingToClaim:
    """Return what to raise for an empty inbox; whoever waited for a name that nobody knows is told so."""
    told, remedy = f"there is no message for {whose}", "Wait for one with --wait, or look: agentctl msg list"
    if whose != OPERATOR and not is_itself(actor(), whose):  # which agents there are is no agent's to ask
        known = [one.name for one in call.store.agents()]
        if whose not in known:
            from agentctl_store.domain.agent import no_such_agent

            missing = no_such_agent(whose, known)
            told, remedy = f"{told}: {missing.message}", missing.remedy
    return NothingToClaim(told, remedy)


@verb(
    "msg ack",
    summary="Say that deliveries were dealt with.",
    details="Refused with exit code 4 when the message was delivered again since, or has ended.",
    deliveries=arg(_DELIVERY, "DELIVERY..."),
)
def ack(call: Call, *, deliveries: tuple[str, ...]) -> int:
    """Ack deliveries."""
    from .acts import each

    def act(text: str) -> str:
        number, n = read_delivery(text)
        return f"{write_attempt(number, n)} {call.store.messages.ack(number, n).state}"

    return each(call, deliveries, act, would="ack")


@verb(
    "msg refuse",
    summary="Refuse a delivery: its message becomes a dead letter.",
    details="Refused with exit code 4 when the message was delivered again since, or has ended.",
    delivery=arg(_DELIVERY, "DELIVERY"),
    message=opt("-m", help="Why, for whoever looks at the dead letter.", metavar="TEXT"),
)
def refuse(call: Call, *, delivery: str, message: str = "") -> int:
    """Refuse a delivery."""
    number, n = read_delivery(delivery)
    settled = call.store.messages.refuse(number, n, error=message)
    output.say(f"{write_id(number)} {settled.state} ({settled.reason})")
    return 0
