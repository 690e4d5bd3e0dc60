"""The shapes of each call's arguments; server only."""

from __future__ import annotations

from ..domain.budget import BUDGET_SCOPES, MEASURES, PERS
from ..domain.limits import SCOPES
from ..domain.question import MAX_ANSWER
from ..domain.schedule import MAX_SCHEDULES
from ..domain.task import MAX_BATCH, MAX_CAN
from ..errors import BadInput
from ..taskverbs import FOREVER_MS, MAX_CLAIM, MAX_LEASE_MS, MAX_PROGRESS, MAX_WAIT_MS
from .calls import ORDER
from .shapes import (
    a,
    bearer,
    boolean,
    count,
    desired,
    fence,
    fraction,
    json,
    key,
    kinds,
    long_text,
    many,
    maybe,
    moment,
    name,
    names_pair,
    number,
    pair,
    scope,
    slot,
    text,
    whole,
    word,
    words,
)  # fmt: skip
from .wire import Malformed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .shapes import Shape

#: kinds of events that change no row; another, noted, would tell what never happened
NOTES = ("supervisor.started", "supervisor.stopped", "supervisor.noted", "store.backed_up", "store.restored")
MANY_SET = 10_000  #: limits, budgets or breakers of one configuration
HEAVY = ("parents", "messages.list", "messages.thread", "messages.topics")  #: these look through much to find even one
LONG = 4 << 10  #: characters of a message beyond which holding it to a schema may take longer than all else
MANY = 32  #: rows or queues beyond which a call counts as heavy
_lease, _wait = whole(1, MAX_LEASE_MS), whole(0, MAX_WAIT_MS)
_queues, _usage, _end = many(name, 1_000), maybe(a("Usage")), maybe(a("SessionEnd"))
_progress, _reason = maybe(text(MAX_PROGRESS)), long_text

_BY_NAME: dict[str, Shape] = {
    "tasks": many(a("NewTask"), MAX_BATCH), "actor": words, "queues": _queues, "agent": name, "slot": maybe(slot),
    "session": number, "open_session": maybe(a("NewSession")), "lease_ms": _lease, "limit": whole(1, MAX_BATCH),
    "wait_ms": _wait, "task": number, "n": fence, "progress": _progress, "usage": _usage, "result": maybe(json),
    "exit_code": maybe(whole()), "end_session": _end, "failure": a("Failure"), "jitter": fraction, "reason": _reason,
    "payload": maybe(json), "run_at_ms": maybe(whole(0, FOREVER_MS * 1_000)), "note": long_text, "queue": name,
    "specs": many(a("AgentSpec"), 10_000), "desired": desired, "instances": maybe(whole(0, 9_999)),
    "changed": many(a("Instance"), 10_000), "gone": many(pair, 10_000), "pid": number, "end": a("SessionEnd"),
    "can": maybe(many(name, MAX_CAN)), "agents": maybe(many(name, 10_000)),
    "kind": words, "data": maybe(json), "low": number, "high": number, "key": key, "after": count, "kinds": kinds,
    "bound": a("Bound"), "budget": a("Budget"), "breaker": a("Breaker"),
    "target": bearer, "measure": word(MEASURES), "per": word(PERS), "provider": maybe(name),
    "bounds": many(a("Bound"), MANY_SET), "members": many(names_pair, MANY_SET),
    "budgets": many(a("Budget"), MANY_SET), "breakers": many(a("Breaker"), MANY_SET), "now_ms": moment,
    "newest_first": boolean, "client": whole(), "request": count, "message": number, "reader": maybe(words),
    "ack_ms": _lease, "error": long_text, "topic": name, "scope": scope, "schema": json, "damping": a("Damping"),
    "filter": a("MessageFilter"), "conversation": number, "party": maybe(name),
    "name": name, "spec": a("ScheduleSpec"), "question": a("NewQuestion"), "answer": text(MAX_ANSWER),
}  # fmt: skip
_SPECIAL: dict[tuple[str, str], Shape] = {
    **{
        (f"limits.{verb}", "scope"): word(BUDGET_SCOPES + SCOPES)
        for verb in ("remove_bound", "remove_budget", "remove_breaker", "reset_breaker")
    },
    ("add", "actor"): maybe(words),
    ("claim", "session"): maybe(number),
    ("claim", "limit"): whole(1, MAX_CLAIM),
    ("complete_and_claim", "session"): maybe(number),
    ("open_session", "session"): a("NewSession"),
    ("note", "kind"): word(NOTES),
    ("events", "task"): maybe(number),
    ("changed", "task"): maybe(number),
    ("messages.send", "message"): a("NewMessage"),
    ("messages.send", "actor"): maybe(words),
    ("messages.subscribe", "actor"): maybe(words),
    ("messages.unsubscribe", "actor"): maybe(words),
    ("messages.read", "limit"): whole(1, MAX_CLAIM),
    ("questions.answer", "n"): maybe(fence),
    ("questions.reject", "n"): maybe(fence),
    ("schedules.declare", "specs"): many(a("ScheduleSpec"), MAX_SCHEDULES),
}
SHAPES: dict[str, tuple[Shape, ...]] = {
    verb: tuple(_SPECIAL.get((verb, argument)) or _BY_NAME[argument] for argument in arguments)
    for verb, arguments in ORDER.items()
}


def checked(verb: Any, given: Any) -> dict[str, Any]:
    """Return the arguments of a call by name. BadInput for an unknown verb, or what its shapes refuse."""
    shapes = SHAPES.get(verb) if type(verb) is str else None
    if shapes is None:
        raise Malformed(
            f"there is no verb {str(verb)[:40]!a}", "The caller may be newer than the supervisor: restart the latter"
        )
    if type(given) is not list or len(given) != len(shapes):
        raise Malformed(f"{verb} takes {len(shapes)} arguments")
    arguments = {}
    for argument, shape, value in zip(ORDER[verb], shapes, given, strict=True):
        try:
            arguments[argument] = shape(value)
        except Malformed as refused:
            raise Malformed(f"{verb}, {argument}: {refused.message}") from None
    if arguments.get("queues") == () and verb != "unfinished":
        raise BadInput("a claim names at least one queue")
    return arguments


def is_heavy(verb: str, arguments: dict[str, Any]) -> bool:
    """Whether a call may take many times as long as most do: its size does not tell, what it asks for does."""
    if verb == "messages.send":
        return len(arguments["message"].payload) > LONG
    return verb in HEAVY or arguments.get("limit", 0) > MANY or len(arguments.get("queues", ())) > MANY


def parts(value: Any) -> tuple[int, Any, Any]:
    """Return number, verb and arguments of a call as it was sent. Raises Malformed."""
    if type(value) is not list or len(value) != 3 or type(value[0]) is not int or not 0 <= value[0] < 1 << 53:
        raise Malformed("a call is its number, a verb and its arguments")
    return value[0], value[1], value[2]


def is_client(value: Any) -> bool:
    """Whether a caller can call itself so."""
    return type(value) is int and 0 <= value < 1 << 63
