"""Holding a payload to a JSON Schema within bounds, since it is done with the store in hand and others wait.

jsonschema compares all items of a list with each other to find two alike, follows references as often as they multiply,
and leaves patterns to `re`, which can take longer than the machine lives for a text of 40 characters. Here lists are
looked through once, what is done is counted, and patterns are matched by `regex`, which gives up in time.
"""

from __future__ import annotations

import time

from jsonschema.exceptions import ValidationError
from jsonschema.validators import Draft202012Validator, extend, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from ..text import cut, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]

MOST_STEPS = 50_000  #: keywords applied to one payload: half a second at most
REFERENCE = 10  #: keywords that following a reference takes as long as
MATCHING_S = 0.1  #: for all patterns on one payload
MAX_SAID = 300  #: characters of what is wrong
_TOO_LONG = "that takes too long"


class _Unfit(Exception):
    """A payload cannot be held to a schema; says why."""


class Validator:
    """A schema that payloads are held to, one at a time: for one thread."""

    def __init__(self, schema: Any) -> None:
        self._steps, self._matching_s = 0, 0.0
        kind = validator_for(schema, default=Draft202012Validator)
        own: dict[str, Keyword] = {
            "pattern": self._pattern,
            "patternProperties": self._patterned,
            "additionalProperties": self._additional,
            "uniqueItems": self._unique,
        }
        keywords = {name: self._counted(name, keyword) for name, keyword in {**kind.VALIDATORS, **own}.items()}
        self._validator = extend(kind, keywords)(schema, registry=Registry())  # type: ignore[no-untyped-call]

    def fault(self, payload: Any, name: str) -> str | None:
        """Return in words how a payload breaks the schema, by its `name`; None if it does not.

        What cannot be held to it, within bounds, breaks it.
        """
        self._steps, self._matching_s = 0, 0.0
        try:
            error = next(self._validator.iter_errors(payload), None)
        except _Unfit as unfit:
            return f"cannot be held to {name}: {unfit}"
        except RecursionError:
            return f"cannot be held to {name}: it refers to itself without end"
        except Unresolvable as missing:
            return f"cannot be held to {name}: {cut(printable(missing.ref), 100)!r} is not in it"
        if error is None:
            return None
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
        place = f" at {cut(printable(where), 100)}" if where else ""
        return f"breaks {name}{place}: {cut(printable(error.message), MAX_SAID)}"

    def _counted(self, name: str, keyword: Keyword) -> Keyword:
        """Return a keyword that counts what it does."""
        weight = REFERENCE if name.endswith(("Ref", "ref")) else 1

        def apply(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
            self._steps += weight + (len(value) >> 4 if isinstance(value, list) else 0)
            if self._steps > MOST_STEPS:
                raise _Unfit(_TOO_LONG)
            yield from keyword(validator, value, instance, schema) or ()

        return apply

    def _matches(self, pattern: str, text: str) -> bool:
        import regex

        began_s = time.perf_counter()
        try:
            return regex.search(pattern, text, timeout=max(MATCHING_S - self._matching_s, 0.001)) is not None
        except TimeoutError:
            raise _Unfit(_TOO_LONG) from None
        except regex.error as error:
            raise _Unfit(f"the pattern {cut(pattern, 60)!a} is wrong ({error})") from None
        finally:
            self._matching_s += time.perf_counter() - began_s

    def _pattern(self, validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        if isinstance(instance, str) and not self._matches(value, instance):
            yield ValidationError(f"{instance!r} does not match {value!r}")

    def _patterned(self, validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        for pattern, held in value.items() if isinstance(instance, dict) else ():
            for name, one in instance.items():
                if self._matches(pattern, name):
                    yield from validator.descend(one, held, path=name, schema_path=pattern)

    def _additional(self, validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        for name, one in instance.items() if isinstance(instance, dict) else ():
            if name in named or any(self._matches(pattern, name) for pattern in patterns):
                continue
            if value is False:
                yield ValidationError(f"{name!r} was not expected")
            else:
                yield from validator.descend(one, value, path=name)

    def _unique(self, validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        if value and isinstance(instance, list) and len({_likeness(one) for one in instance}) < len(instance):
            yield ValidationError(f"{instance!r} has non-unique elements")


def _likeness(value: Any) -> Any:
    """Return what is equal for what JSON Schema calls equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, dict):
        return dict, frozenset([(name, _likeness(one)) for name, one in value.items()])
    if isinstance(value, list):
        return list, tuple([_likeness(one) for one in value])
    return isinstance(value, bool), value
