"""Ids and names: how they are made, written and read.

A task or session id is a 63-bit integer, 43 bits of wall milliseconds above 20 random ones: time-ordered, so
it is its table's rowid and needs no index of its own. People and machines see 13 characters of Crockford's base 32
(https://www.crockford.com/base32.html), in lower case. An attempt id is `<task id>.<n>`, where n is the fence.
"""

from __future__ import annotations

from .errors import BadName

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .clock import Clock

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 13
_RANDOM_BITS = 20
_VALUES = {**{c: i for i, c in enumerate(ALPHABET)}, "i": 1, "l": 1, "o": 0}
_NAME_FIRST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_NAME_REST = _NAME_FIRST | frozenset("._-")
_HEX = frozenset("0123456789abcdef")
MAX_NAME = 64
MAX_KEY = 200
RUN_KEY = "schedule/"  #: how the keys of schedules' runs begin: whoever took one first would keep it from running


def new_id(clock: Clock, wall_ms: int) -> int:
    """Make an id for something that begins at `wall_ms`. A rare clash is the inserter's to retry."""
    random = int.from_bytes(clock.token(3), "big") & ((1 << _RANDOM_BITS) - 1)
    return ((wall_ms & ((1 << 43) - 1)) << _RANDOM_BITS) | random


def in_order(last: int, number: int) -> int:
    """Return `number`, or the id after `last` where both are of one millisecond: who comes later is to stand behind."""
    return last + 1 if last >= number and last >> _RANDOM_BITS == number >> _RANDOM_BITS else number


def new_correlation(clock: Clock, task: int) -> str:
    """Make the correlation id of work that begins with `task`: a W3C trace id, 32 lower-case hex digits, not all zero.

    Its first half is the task's id, so that this task is found by it without an index; the half that samplers look at
    is random.
    """
    return f"{task:016x}{clock.token(8).hex()}"


def session_nonce(session: int, correlation: str) -> str:
    """Return the nonce by which the processes of a task's session are known: 32 hex digits.

    It has to be unlike any other and to be found again, not to be a secret: so it is made of the session's id and the
    random half of its task's correlation id, and a million short tasks need not keep one each.
    """
    return f"{session:016x}{correlation[16:]}"


def write_id(number: int) -> str:
    """Write an id as its 13 characters."""
    return "".join(ALPHABET[(number >> shift) & 31] for shift in range(60, -1, -5))


def read_id(text: str, what: str = "task id") -> int:
    """Read the 13 characters of an id. Raises BadName, saying what an id looks like."""
    low, high = id_range(text, what)
    if low != high:
        raise BadName(f"{what} {_shown(text)} is too short", f"An id has {LENGTH} characters, like 01k9x4m2v8qrs")
    return low


def id_range(prefix: str, what: str = "task id") -> tuple[int, int]:
    """Return the lowest and highest id that begin with `prefix` (1 to 13 characters). Raises BadName."""
    number = 0
    if not 1 <= len(prefix) <= LENGTH:
        raise BadName(f"{what} {_shown(prefix)} is not an id", "An id has 13 characters, like 01k9x4m2v8qrs")
    for character in prefix.lower():
        value = _VALUES.get(character)
        if value is None:
            raise BadName(f"{what} {_shown(prefix)} is not an id", "An id has 13 characters, like 01k9x4m2v8qrs")
        number = number << 5 | value
    shift = 5 * (LENGTH - len(prefix))
    low, high = number << shift, (number + 1 << shift) - 1
    if low >= 1 << 63:
        raise BadName(
            f"{what} {_shown(prefix)} is not an id", "It has 13 characters and begins with 0 to 7, like 01k9x4m2v8qrs"
        )
    return low, min(high, (1 << 63) - 1)


def write_attempt(task: int, number: int) -> str:
    """Write an attempt id."""
    return f"{write_id(task)}.{number}"


def read_attempt(text: str) -> tuple[int, int]:
    """Read an attempt id as (task id, fence). Raises BadName."""
    found = _numbered(text)
    if found is None:
        raise BadName(
            f"attempt id {_shown(text)} is not an attempt id",
            "It is the task id, a dot and a number, as `agentctl task claim` printed it: 01k9x4m2v8qrs.1",
        )
    return read_id(found[0]), found[1]


def read_delivery(text: str) -> tuple[int, int]:
    """Read a delivery as (message id, number). Raises BadName."""
    found = _numbered(text)
    if found is None:
        raise BadName(
            f"{_shown(text)} is not a delivery",
            "It is the message id, a dot and a number, as `agentctl msg read` printed it: 01k9x4m2v8qrs.1",
        )
    return read_id(found[0], "message id"), found[1]


def _numbered(text: str) -> tuple[str, int] | None:
    whole, dot, number = text.partition(".")
    if not dot or not (number.isascii() and number.isdigit()) or len(number) > 9 or int(number) < 1:
        return None
    return whole, int(number)


def check_name(text: str, what: str) -> str:
    """Return `text` if it is a name: `[a-z0-9][a-z0-9._-]{0,63}`. Raises BadName."""
    if not text or len(text) > MAX_NAME or text[0] not in _NAME_FIRST or not _NAME_REST.issuperset(text):
        raise BadName(
            f"{what} {_shown(text)} is not a valid name",
            "Use 1 to 64 lower-case letters, digits, dots, dashes or underscores, beginning with a letter or digit",
        )
    return text


def check_instance(text: str) -> tuple[str, int]:
    """Read `agent/slot`, as in `reviewer/2`. Raises BadName."""
    agent, slash, slot = text.partition("/")
    if not slash or not (slot.isascii() and slot.isdigit()) or not 1 <= len(slot) <= 4 or slot[0] == "0":
        raise BadName(f"instance {_shown(text)} is not an instance", "Write AGENT/NUMBER, like reviewer/2")
    return check_name(agent, "agent"), int(slot)


def is_itself(actor: str | None, agent: str) -> bool:
    """Whether who acts is the agent, in any of its instances."""
    return actor is not None and actor.partition("/")[0] == agent


def check_correlation(text: str) -> str:
    """Return `text` if it is a W3C trace id. Raises BadName."""
    if len(text) != 32 or not _HEX.issuperset(text) or text == "0" * 32:
        raise BadName(f"correlation id {_shown(text)} is not valid", "Use 32 lower-case hex digits, not all zero")
    return text


def check_key(text: str) -> str:
    """Return `text` if it can be an idempotency key: 1 to 200 printable characters. Raises BadName."""
    if not text or len(text) > MAX_KEY or not text.isprintable():
        raise BadName(f"idempotency key {_shown(text)} is not valid", f"Use 1 to {MAX_KEY} printable characters")
    return text


def run_key(schedule: str, planned_ms: int) -> str:
    """Return the idempotency key of a schedule's run: whoever fires it, and however often, there is one task."""
    return f"{RUN_KEY}{schedule}/{planned_ms}"


def run_keys(schedule: str) -> tuple[str, str]:
    """Return what the keys of all runs of a schedule lie between."""
    return f"{RUN_KEY}{schedule}/", f"{RUN_KEY}{schedule}0"  # 0 is the character after /


def check_own_key(text: str) -> str:
    """Return a key that somebody gives a task of his own. BadName for one that the runs of schedules have."""
    if text.startswith(RUN_KEY):
        raise BadName(f"idempotency key {_shown(text)} is that of a schedule's run", f"Do not begin it with {RUN_KEY}")
    return text


def _shown(text: str) -> str:
    cut = text if len(text) <= 40 else text[:40] + "…"
    return ascii(cut) if not cut.isprintable() else repr(cut)
