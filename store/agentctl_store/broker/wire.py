"""What goes over the broker's socket: frames of JSON, each a call or its answer.

A frame is its length, four bytes big-endian, and that much JSON in UTF-8. The first one names the version and who
calls: `[0, "hello", [version, client, token]]`; the server answers `[0, 0, [version, pid, client]]`, where the
last is the number the caller's receipts are kept under. After that a call is
`[number, verb, [argument, …]]` with the arguments in the order of broker/calls.py, and its answer, after the commit,
`[number, 0, value]`, or `[number, 1, [error, message, remedy]]` with the name of a class of errors.py.
A record of the domain is an object of one entry, its type's name and its fields in order; bytes are `{"bytes": hex}`.
"""

from __future__ import annotations

from .. import errors
from ..errors import AgentctlError, BadInput
from ..jsontext import Rules, make_encoder, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

VERSION = 3  #: of the protocol: any change of calls.py, or of the fields of a record below, needs a new one
SOCKET = "broker.sock"
LENGTH = 4  #: bytes of a frame's length
MAX_CALL = 4 << 20  #: bytes of a call: the largest payload, however much of it must be escaped
MAX_ANSWER = 64 << 20  #: bytes of an answer: what many parents left for one child
VALUE, ERROR = 0, 1

#: record type → the module of agentctl_store.domain it lives in
RECORDS = {
    **dict.fromkeys(("NewTask", "Added", "Claim", "Task", "Attempt", "Usage", "ParentResult", "Lease"), "task"),
    **dict.fromkeys(("Ended", "Swept", "Turn"), "task"),
    **dict.fromkeys(("RetryPolicy", "Failure"), "retry"),
    **dict.fromkeys(("AgentSpec", "Agent", "Instance", "NewSession", "Session", "SessionEnd"), "agent"),
    **dict.fromkeys(("NewMessage", "Sent", "Message", "Delivery", "Settled"), "message"),
    **dict.fromkeys(("MessageFilter", "Topic", "MessageSchema", "Damping"), "message"),
    **dict.fromkeys(("NewQuestion", "Question"), "question"),
    **dict.fromkeys(("ScheduleSpec", "Schedule"), "schedule"),
    "Event": "event",
    **dict.fromkeys(("Bound", "Hold"), "limits"),
    "Budget": "budget",
    "Breaker": "breaker",
}
_types: dict[str, Any] = {}
_getters: dict[type, Any] = {}
_makers: dict[str, tuple[Any, tuple[int, ...]]] = {}


class Malformed(BadInput):
    """A frame that is not what this module's first lines say."""

    code = "malformed"


def record_type(name: str) -> Any:
    """Return the record type `name`, imported when first asked for. Malformed for an unknown one."""
    found = _types.get(name)
    if found is None:
        room = RECORDS.get(name)
        if room is None:
            raise Malformed(f"there is no record {name[:40]!a}")
        package = __import__(f"agentctl_store.domain.{room}", fromlist=(name,))
        found = _types[name] = getattr(package, name)
    return found


def _default(value: Any) -> Any:
    kind = type(value)
    getter = _getters.get(kind)
    if getter is None:
        if kind is bytes:
            return {"bytes": value.hex()}
        from _operator import attrgetter

        fields = kind.__fields__
        single = attrgetter(fields[0])
        getter = _getters[kind] = attrgetter(*fields) if len(fields) > 1 else lambda one: (single(one),)
    return {kind.__name__: getter(value)}


def _given(pairs: list[tuple[str, Any]]) -> Any:
    # Of answers: they come from our own server. Calls are held to their shapes as well; broker/shapes.py.
    ((name, values),) = pairs
    known = _makers.get(name)
    if known is None:
        if name == "bytes":
            return bytes.fromhex(values)
        known = _maker(name)
    make, tuples = known
    for at in tuples:
        values[at] = tuple(values[at])
    return make(*values)


def _maker(name: str) -> tuple[Any, tuple[int, ...]]:
    """Return a record's type and which of its fields are tuples, which JSON does not know."""
    kind = record_type(name)
    said = kind.__annotations__
    tuples = tuple([at for at, field in enumerate(kind.__fields__) if said[field].startswith("tuple")])
    _makers[name] = kind, tuples
    return kind, tuples


def scanner(build: Callable[[list[tuple[str, Any]]], Any]) -> Callable[[bytes], Any]:
    """Return a reader of frames that makes what `build` makes of their objects. It raises Malformed."""

    class Reading(Rules):
        object_pairs_hook = staticmethod(build)
        parse_int: Any = int  # the C scanner's own way; what a number may be is its shape's business

    scan = make_scanner(Reading)

    def read(data: bytes) -> Any:
        try:
            text = data.decode()
            value, end = scan(text, 0)
            if end != len(text):
                raise Malformed(f"a frame goes on after its JSON, at byte {end}")
            if "\\ud" in text or "\\uD" in text:
                "".join(_write(value, 0)).encode()  # UnicodeEncodeError, a ValueError, for a lone surrogate
            return value
        except AgentctlError:
            raise
        except (ValueError, TypeError, StopIteration, RecursionError, SystemError) as error:
            raise Malformed(f"a frame is not understood: {type(error).__name__}") from None

    return read


_write = make_encoder(_default)
read_answer = scanner(_given)


def frame(value: Any, limit: int) -> bytes:
    """Return the frame that carries `value`. Malformed when it is larger than `limit` bytes."""
    data = "".join(_write(value, 0)).encode()
    if len(data) > limit:
        raise Malformed(f"a frame of {len(data):,} bytes is larger than {limit:,}")
    return len(data).to_bytes(LENGTH, "big") + data


def text_of(value: Any) -> str:
    """Return `value` as the JSON text a frame would carry."""
    return "".join(_write(value, 0))


def error_words(error: AgentctlError) -> list[str]:
    """Return what an answer carries of `error`."""
    return [type(error).__name__, error.message, error.remedy]


def error_from(words: Any) -> AgentctlError:
    """Return the error an answer names."""
    name, message, remedy = (str(word) for word in words)
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, AgentctlError)):
        kind = Malformed if name == "Malformed" else AgentctlError
    return kind(message, remedy)
