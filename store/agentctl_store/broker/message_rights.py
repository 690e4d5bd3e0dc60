"""What an agent may do with messages: send, read, ack and subscribe as itself, and see what it sent or got."""

from __future__ import annotations

import os

from ..domain.message import MessageFilter
from ..errors import Refused
from ..ids import write_attempt, write_id
from ..record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..clock import Moment
    from ..domain.message import Message, NewMessage
    from ..sqlite.driver import SqliteDriver
    from .tokens import Identity

    Rule = Callable[[Identity, dict[str, Any], SqliteDriver], None]


def _send(who: Identity, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    new: NewMessage = arguments["message"]
    if new.source != who.agent:
        raise Refused(f"{who.instance} may not send as {new.source}", "An agent sends only as itself")
    answered = None if new.reply_to is None else _own(who, driver, new.reply_to)
    if new.acks is not None and answered is not None:
        _reader(who, answered, new.acks)
    if new.conversation is not None and not driver.messages.thread(new.conversation, who.agent, 1):
        raise Refused(
            f"{who.instance} may not speak in conversation {write_id(new.conversation)}",
            "An agent goes on with those it has a part in",
        )
    if new.creator is not None and not driver.took_part(who.agent, new.creator):
        raise Refused(
            f"{who.instance} may not send for task {write_id(new.creator)}", "An agent sends for those it works on"
        )
    own = new.correlation[:16] == f"{new.id:016x}"
    if not own and driver.part_in_work(new.creator, who.session, new.correlation) is None:
        raise Refused(
            f"{who.instance} may not send for work it has no part in",
            "Leave the correlation id out, or use that of a task it works on",
        )
    arguments["actor"] = who.instance


def restamp(new: NewMessage, now: Moment) -> None:
    """Give an agent's new message an id of ours, in place: only we hold this record. An id says when it was sent."""
    number = now.wall_ms << 20 | int.from_bytes(os.urandom(3), "big") >> 4
    if new.correlation[:16] == f"{new.id:016x}":  # of work that begins with it
        object.__setattr__(new, "correlation", f"{number:016x}{new.correlation[16:]}")
    object.__setattr__(new, "id", number)


def _own(who: Identity, driver: SqliteDriver, number: int) -> Message:
    """Return a message that an agent sent or got. Refused for another; NotFound is no secret."""
    message: Message = driver.messages.message(number)
    if who.agent not in (message.source, message.target):
        raise Refused(f"{who.instance} may not see message {write_id(number)}", "An agent sees what it sent or got")
    return message


def _reader(who: Identity, message: Message, n: int) -> None:
    if message.target != who.agent or (message.deliveries == n and message.reader not in (who.instance, who.agent)):
        whose = f"{write_attempt(message.id, n)}, which is {message.reader or message.target}'s"
        raise Refused(f"{who.instance} may not speak for delivery {whose}", "An agent acks only what it read")


def _read(who: Identity, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    if arguments["agent"] != who.agent:
        raise Refused(f"{who.instance} may not read the inbox of {arguments['agent']}", "An agent reads only its own")
    arguments["reader"] = who.instance


def _ack(who: Identity, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    _reader(who, _own(who, driver, arguments["message"]), arguments["n"])


def _subscribe(who: Identity, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    if arguments["agent"] != who.agent:
        raise Refused(f"{who.instance} may not subscribe {arguments['agent']}", "An agent subscribes only itself")
    arguments["actor"] = who.instance


def _seen(who: Identity, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    _own(who, driver, arguments["message"])


def _listed(who: Identity, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    narrowed: MessageFilter = arguments["filter"]
    arguments["filter"] = replace(narrowed, party=who.agent)


def _thread(who: Identity, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    arguments["party"] = who.agent


def _free(who: Identity, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    """Names and ids, no contents."""


MESSAGE_RULES: dict[str, Rule] = {
    "messages.send": _send,
    "messages.read": _read,
    "messages.ack": _ack,
    "messages.refuse": _ack,
    "messages.subscribe": _subscribe,
    "messages.unsubscribe": _subscribe,
    "messages.message": _seen,
    "messages.list": _listed,
    "messages.thread": _thread,
    "messages.find": _free,
    "messages.topics": _free,
    "messages.schemas": _free,
    "messages.damping": _free,
}
