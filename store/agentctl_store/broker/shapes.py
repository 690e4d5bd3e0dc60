"""What the arguments of a call may be. An agent's process can send any bytes: nothing goes on to a driver unchecked.

A shape is a function that returns its argument as the driver takes it, or raises BadInput (or one of its kinds).
"""

from __future__ import annotations

from ..domain.agent import DESIRED, HEALTHS, MODES, PHASES
from ..domain.breaker import BREAKER_SCOPES, MAX_HOLD_MS
from ..domain.budget import BUDGET_SCOPES, MEASURES, PERS
from ..domain.limits import MAX_PERIOD_MS, MAX_STARTS, SCOPES
from ..domain.message import MAX_INBOX_LIMIT, MOST_DELIVERIES, TOPIC, TYPES
from ..domain.message_machine import STATES as MESSAGE_STATES
from ..domain.question import MAX_ANSWER, MAX_OPTION, MAX_OPTIONS, MAX_QUESTION, NewQuestion
from ..domain.retry import CLASSES, RetryPolicy
from ..domain.schedule import OVERLAPS, ScheduleSpec
from ..domain.task import MAX_BATCH, MAX_CAN, MAX_NEEDS, MAX_TEXT, MAX_USED, PRIORITY_MAX, PRIORITY_MIN
from ..ids import check_correlation, check_key, check_name, check_own_key
from ..jsontext import loads
from ..record import fields_of
from .wire import Malformed, record_type, scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Shape = Callable[[Any], Any]

BIG = (1 << 63) - 1
MAX_WORDS = 256  #: characters of a nonce, an actor or a word
MAX_MEMO = 64 << 10


def whole(low: int = -BIG - 1, high: int = BIG) -> Shape:
    def check(value: Any) -> Any:
        if type(value) is not int or not low <= value <= high:
            raise Malformed("a number is missing or out of range")
        return value

    return check


def text(limit: int) -> Shape:
    def check(value: Any) -> Any:
        if type(value) is not str or len(value) > limit or "\x00" in value:
            raise Malformed(f"a text is missing, holds NUL or is longer than {limit:,} characters")
        return value

    return check


def word(known: Any) -> Shape:
    def check(value: Any) -> Any:
        if type(value) is not str or value not in known:
            raise Malformed(f"a word is not one of {', '.join(known)}")
        return value

    return check


def maybe(shape: Shape) -> Shape:
    def check(value: Any) -> Any:
        return None if value is None else shape(value)

    return check


def many(shape: Shape, limit: int) -> Shape:
    def check(value: Any) -> Any:
        if type(value) not in (list, tuple) or len(value) > limit:
            raise Malformed(f"a list is missing or has more than {limit:,} entries")
        return tuple([shape(one) for one in value])

    return check


def a(name: str) -> Shape:
    """The shape of a record of the domain; its fields have been looked at when it was read."""

    def check(value: Any) -> Any:
        if type(value).__name__ != name or not hasattr(value, "__fields__"):
            raise Malformed(f"a {name} is missing")
        return value

    return check


def name(value: Any) -> Any:
    return check_name(value if type(value) is str else "", "name")


def json(value: Any) -> Any:
    if type(value) is not str:
        raise Malformed("a JSON text is missing")
    loads(value)
    return value


def correlation(value: Any) -> Any:
    return check_correlation(value if type(value) is str else "")


def key(value: Any) -> Any:
    return check_key(value if type(value) is str else "")


def own_key(value: Any) -> Any:
    """A key that a caller may give a task of its own."""
    return check_own_key(key(value))


def parent(value: Any) -> Any:
    return number(value) if type(value) is int else key(value)


def target(value: Any) -> Any:
    if type(value) is str and value.startswith(TOPIC):
        return TOPIC + name(value.removeprefix(TOPIC))
    return name(value)


def scope(value: Any) -> Any:
    return value if type(value) is str and value in TYPES else target(value)


def fraction(value: Any) -> Any:
    if type(value) not in (int, float) or not 0 <= value < 1:
        raise Malformed("a fraction is missing or not from 0 to 1")
    return value


def pair(value: Any) -> Any:
    if type(value) not in (list, tuple) or len(value) != 2:
        raise Malformed("a pair of agent and slot is missing")
    return name(value[0]), slot(value[1])


def bearer(value: Any) -> Any:
    """The name of what something is set for; the fleet bears none."""
    return value if value == "" and type(value) is str else name(value)


def names_pair(value: Any) -> Any:
    if type(value) not in (list, tuple) or len(value) != 2:
        raise Malformed("a pair of names is missing")
    return name(value[0]), name(value[1])


def boolean(value: Any) -> Any:
    if type(value) is not bool:
        raise Malformed("a truth value is missing")
    return value


def real(value: Any) -> Any:
    if type(value) not in (int, float):
        raise Malformed("a number is missing")
    return value


MOST = 10**15  #: of anything that is counted or added up: sums of many still fit 64 bits
LATEST_MS = 10**15  #: of a moment; it is reckoned with, and a number beyond 64 bits would be a real one
number, count, slot, fence = whole(0), whole(0), whole(1, 9_999), whole(1, 1 << 31)
amount, moment, used = whole(0, MOST), whole(0, LATEST_MS), whole(0, MAX_USED)
words, long_text = text(MAX_WORDS), text(2 * MAX_TEXT)
names, kinds = many(name, 1_000), many(words, 64)
_origin = word(("config", "operator"))


def policy(value: Any) -> Any:
    """A retry policy as the store keeps it: everybody's claims read it."""
    found = loads(long_text(value), "retry policy")
    names = fields_of(RetryPolicy)
    if type(found) is not dict or not set(names).issuperset(found):
        raise Malformed(f"a retry policy has other fields than {', '.join(names)}")
    for field, shape in zip(names, _FIELDS["RetryPolicy"], strict=True):
        if field in found:
            shape(found[field])
    RetryPolicy(**found).check()
    return value


def needs(value: Any) -> Any:
    """Capabilities as they are kept: sorted, each once."""
    found = many(name, MAX_NEEDS)(value)
    if list(found) != sorted(set(found)):
        raise Malformed("capabilities are not sorted, or stand twice")
    return found


def fallback(value: Any) -> Any:
    """An agent's fallback as the store keeps it."""
    found = loads(json(value))
    if type(found) is not dict or len(found) != 1 or not {"agent", "result"}.issuperset(found):
        raise Malformed("a fallback is neither an agent nor a result")
    if "agent" in found:
        name(found["agent"])
    return value


# The next free id is looked for above one that is taken: there must be some.
_FIELDS: dict[str, tuple[Shape, ...]] = {
    "NewTask": (
        whole(1, BIG - (1 << 20)), name, json, correlation, whole(PRIORITY_MIN, PRIORITY_MAX), maybe(own_key),
        many(parent, MAX_BATCH), word(("fail", "run", "cancel")), maybe(moment), maybe(moment),
        maybe(whole(1, LATEST_MS)), maybe(a("RetryPolicy")), maybe(number), needs,
    ),
    "NewMessage": (
        whole(1, BIG - (1 << 20)), name, maybe(target), word(TYPES), json, correlation, maybe(number), maybe(number),
        whole(PRIORITY_MIN, PRIORITY_MAX), maybe(moment), maybe(key), whole(1, MOST_DELIVERIES), maybe(number),
        maybe(fence),
    ),
    "MessageFilter": (
        maybe(name), maybe(name), maybe(name), maybe(word(MESSAGE_STATES)), maybe(word(TYPES)), maybe(name),
        maybe(number), boolean, maybe(words), long_text, maybe(number), maybe(moment),
    ),
    "Damping": (whole(0, 1_000), whole(1, LATEST_MS), whole(0, MAX_INBOX_LIMIT)),
    "RetryPolicy": (count, real, count, count),
    "Failure": (word(CLASSES), long_text, maybe(whole()), maybe(moment), maybe(json)),
    "Usage": (used, used, used),
    "NewSession": (number, name, slot, maybe(words)),
    "SessionEnd": (
        number, word(("exited", "killed", "stopped", "lost", "never_started")), maybe(whole()), maybe(whole()),
        maybe(long_text),
    ),
    "AgentSpec": (
        name, word(MODES), names, whole(0, 9_999), maybe(policy), many(name, MAX_CAN), maybe(fallback),
        maybe(whole(1, 1_000)), boolean,
    ),
    "Instance": (
        name, slot, word(PHASES), word(HEALTHS), long_text, maybe(number), count, boolean, maybe(count),
        text(MAX_MEMO), count,
    ),
    "Bound": (
        word(SCOPES), bearer, maybe(whole(1, MAX_STARTS)), maybe(whole(1, MAX_PERIOD_MS)),
        maybe(whole(1, MAX_STARTS)), maybe(whole(0, MAX_STARTS)), maybe(amount), _origin,
    ),
    "Budget": (
        word(BUDGET_SCOPES), bearer, word(MEASURES), word(PERS), amount, _origin, words, moment, moment, amount,
    ),
    "Breaker": (
        word(BREAKER_SCOPES), bearer, whole(1, MAX_PERIOD_MS), whole(1, 1_000), whole(1, 100), whole(1, MAX_HOLD_MS),
        whole(1, MAX_HOLD_MS), whole(0, MAX_HOLD_MS), _origin, word(("closed",)), text(0), whole(0, 0), moment,
        whole(0, 0), maybe(number), maybe(fence), many(count, 0), whole(0, 0), whole(0, 0),  # how it stands is ours
    ),
    "NewQuestion": (
        text(MAX_QUESTION), many(text(MAX_OPTION), MAX_OPTIONS), maybe(moment), maybe(text(MAX_ANSWER)),
    ),
    "ScheduleSpec": (
        name, name, json, maybe(text(MAX_WORDS)), maybe(text(MAX_WORDS)), maybe(moment), maybe(moment), word(OVERLAPS),
        moment, boolean, whole(PRIORITY_MIN, PRIORITY_MAX), maybe(moment),
    ),
}  # fmt: skip
desired = word(DESIRED)


def _checked(pairs: list[tuple[str, Any]]) -> Any:
    if len(pairs) != 1:
        raise Malformed("an object is not a record")
    ((kind, values),) = pairs
    shapes = _FIELDS.get(kind)
    if shapes is None or type(values) is not list or len(values) != len(shapes):
        raise Malformed(f"{kind[:40]!a} is not a record with its fields")
    made = record_type(kind)(*[shape(value) for shape, value in zip(shapes, values, strict=True)])
    return made.check() if isinstance(made, RetryPolicy | ScheduleSpec | NewQuestion) else made


read_call = scanner(_checked)
