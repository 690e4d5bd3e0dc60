"""Strict JSON in and compact JSON out, on CPython's C scanner.

What agents and people send is refused here unless every reader would understand it the same way: no NaN, no
duplicate keys, no integers beyond 64 bits, no lone surrogates, bounded depth and size (RFC 8259 and the
interoperable subset of RFC 7493, I-JSON). ``import json`` compiles regular expressions and costs 4 ms at start-up;
the C scanner and encoder behind it are used directly, with ``json`` as the fallback on other interpreters.
"""

from __future__ import annotations

from .errors import BadJson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_BYTES = 1 << 20  #: the largest accepted document, in UTF-8 bytes
MAX_DEPTH = 64  #: how deeply objects and arrays may nest
MAX_INT_DIGITS = 19
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 63) - 1
_SPACE = " \t\n\r"


def loads(text: str | bytes, what: str = "payload", max_bytes: int = MAX_BYTES) -> Any:
    """Parse one JSON document.

    `what` names the document in errors. Raises BadJson with the reason, and the position where one is known.
    """
    if isinstance(text, bytes):
        if len(text) > max_bytes:
            raise BadJson(f"{what} is {len(text):,} bytes; the limit is {max_bytes:,}")
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            raise BadJson(f"{what} is not UTF-8 (byte {error.start})") from None
    plain = text.isascii()
    if len(text) > max_bytes or (not plain and len(text.encode(errors="replace")) > max_bytes):
        raise BadJson(f"{what} is larger than the limit of {max_bytes:,} bytes")
    if text.count("[") + text.count("{") > MAX_DEPTH:  # fewer openers cannot nest deeper
        _check_depth(text, what)
    start = len(text) - len(text.lstrip(_SPACE)) if text[:1] in _SPACE else 0
    try:
        try:
            value, end = _scan(text, start)
        except SystemError:
            # The C scanner words its errors with json.decoder's exception and needs it imported to do so.
            import json.decoder  # noqa: F401

            value, end = _scan(text, start)
    except StopIteration as stop:
        raise BadJson(f"{what} is not JSON: expected a value at {_place(text, stop.value)}") from None
    except _Refused as refused:
        raise BadJson(f"{what}: {refused}") from None
    except ValueError as error:
        where = getattr(error, "pos", None)
        reason = getattr(error, "msg", str(error)).rstrip(": ")
        at = f" at {_place(text, where)}" if where is not None else ""
        reason = reason.removesuffix(" at")  # "Invalid control character at"
        raise BadJson(f"{what} is not JSON: {reason[:1].lower()}{reason[1:]}{at}") from None
    if end != len(text) and text[end:].strip(_SPACE):
        raise BadJson(f"{what} is not JSON: unexpected text after the value at {_place(text, end)}")
    if not plain or "\\u" in text:
        try:
            text.encode()
            dumps(value).encode()
        except UnicodeEncodeError:
            raise BadJson(f"{what} holds a lone surrogate, which is not a character") from None
    return value


def dumps(value: Any) -> str:
    """Write `value` compactly. Raises BadJson for what JSON cannot hold (NaN, sets, foreign objects)."""
    try:
        return "".join(_encode(value, 0))
    except (TypeError, ValueError) as error:
        raise BadJson(f"cannot be written as JSON: {error}") from None


class _Refused(ValueError):
    pass


def _place(text: str, position: int) -> str:
    line = text.count("\n", 0, position) + 1
    column = position - (text.rfind("\n", 0, position) + 1) + 1
    return f"line {line}, column {column}"


def _check_depth(text: str, what: str) -> None:
    depth = 0
    inside = escaped = False
    for character in text:
        if inside:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                inside = False
        elif character == '"':
            inside = True
        elif character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise BadJson(f"{what} nests deeper than {MAX_DEPTH} levels")
        elif character in "]}":
            depth -= 1


def _integer(digits: str) -> int:
    if len(digits) <= MAX_INT_DIGITS + 1:
        value = int(digits)
        if _INT_MIN <= value <= _INT_MAX:
            return value
    raise _Refused("an integer is beyond 64 bits; send it as a string")


def _number(digits: str) -> float:
    value = float(digits)
    if value - value != 0:
        raise _Refused("a number is beyond the range of a 64-bit float; send it as a string")
    return value


def _constant(name: str) -> Any:
    raise _Refused(f"{name} is not JSON; use null or a string")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Refused(f"the key {key[:64]!r} stands twice in one object")
            seen.add(key)
    return made


def _default(value: Any) -> Any:
    raise TypeError(f"{type(value).__name__} has no JSON form")


class Rules:
    """What the C scanner asks of its caller; the fields of json.JSONDecoder."""

    strict = True
    object_hook = None
    object_pairs_hook: Any = staticmethod(_pairs)
    parse_float = staticmethod(_number)
    parse_int: Any = staticmethod(_integer)
    parse_constant = staticmethod(_constant)
    memo: dict[str, str] = {}  # noqa: RUF012 - the C scanner wants an instance-like attribute


def make_scanner(rules: type[Rules]) -> Any:
    """Return `scan(text, start) -> (value, end)` by `rules`; it raises StopIteration and ValueError."""
    try:
        import _json

        return _json.make_scanner(rules)  # type: ignore[arg-type]
    except (ImportError, AttributeError, TypeError):
        import json

        decoder: Any = json.JSONDecoder(
            object_pairs_hook=rules.object_pairs_hook,
            parse_int=rules.parse_int,
            parse_float=_number,
            parse_constant=_constant,
        )
        return decoder.scan_once


def make_encoder(default: Any) -> Any:
    """Return `encode(value, 0) -> pieces of compact JSON`; `default` says what to write for a foreign object."""
    try:
        import _json

        # markers, default, string encoder, indent, key and item separators, sort_keys, skipkeys, allow_nan
        return _json.make_encoder(None, default, _json.encode_basestring, None, ":", ",", False, False, False)
    except (ImportError, AttributeError, TypeError):
        import json

        encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=default)
        return lambda value, _level: (encoder.encode(value),)


_scan, _encode = make_scanner(Rules), make_encoder(_default)
