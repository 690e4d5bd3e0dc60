"""JSON Schemas that messages of a type or topic are held to when they are sent.

The libraries are imported only when a schema applies. Nothing is fetched: a schema that refers elsewhere is refused.
"""

from __future__ import annotations

from ..domain.event import KINDS
from ..domain.message import TOPIC
from ..errors import BadInput
from ..jsontext import dumps, loads
from ..text import cut, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .messaging import Messages
    from .transaction import Transaction
    from .validating import Validator

MAX_SCHEMA = 64 << 10  #: characters of a schema
MAX_VALIDATED = 64 << 10  #: characters of a payload that a schema applies to: looking through more keeps others waiting
MAX_SAID = 300  #: characters of what is wrong
_MOST_KEPT = 100
#: keywords that find out by ways of their own what others have seen, and so cannot be bounded (validating.py)
UNBOUNDED = ("unevaluatedItems", "unevaluatedProperties")


def violation(tx: Transaction, messages: Messages, type: str, topic: str | None, payload: str) -> str | None:
    """Return in words how a payload breaks the schemas of its type and topic, None if it does not."""
    for scope, text in tx.execute(messages.sql["schemas_for"], (type, f"{TOPIC}{topic}")).fetchall():
        if len(payload) > MAX_VALIDATED:
            return f"a payload that the schema of {scope} applies to may have {MAX_VALIDATED:,} characters"
        fault = _validator(messages, text).fault(loads(payload), f"the schema of {scope}")
        if fault is not None:
            return f"the payload {fault}"
    return None


def _validator(messages: Messages, text: str) -> Validator:
    kept = messages.validators
    found = kept.get(text)
    if found is None:
        from .validating import Validator

        if len(kept) >= _MOST_KEPT:
            kept.clear()
        found = kept[text] = Validator(loads(text, "schema"))
    return found


def check_schema(text: str) -> None:
    """Raise BadInput for a text that is no JSON Schema, or one that refers to another document."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for

    schema = loads(text, "schema", MAX_SCHEMA)
    if not isinstance(schema, dict):
        raise BadInput("a schema is a JSON object", "See https://json-schema.org for what stands in it")
    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        raise BadInput(f"this is no JSON Schema: {cut(printable(error.message), MAX_SAID)}") from None
    parts = list(_objects(schema))
    elsewhere = next((ref for ref in _references(parts) if not ref.startswith("#")), None)
    if elsewhere is not None:
        raise BadInput(
            f"the schema refers to {cut(printable(elsewhere), 100)!r}, and nothing is fetched",
            'Put it under "$defs" and refer to it as "#/$defs/NAME"',
        )
    unbounded = next((name for part in parts for name in UNBOUNDED if name in part), None)
    if unbounded is not None:
        raise BadInput(f"{unbounded} can take any time, and others wait meanwhile", "Use additionalProperties or items")
    _check_references(schema, parts)


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    open_parts = [schema]
    while open_parts:
        part = open_parts.pop()
        if isinstance(part, dict):
            yield part
            open_parts += part.values()
        elif isinstance(part, list):
            open_parts += part


def _references(parts: list[dict[str, Any]]) -> Iterator[str]:
    for part in parts:
        for name in ("$ref", "$dynamicRef", "$recursiveRef"):
            if isinstance(part.get(name), str):
                yield part[name]


def _check_references(schema: dict[str, Any], parts: list[dict[str, Any]]) -> None:
    """Raise BadInput for a reference to nothing. Parts with a name of their own are looked at when they are used."""
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012, specification_with

    if any("$id" in part or "id" in part for part in parts if part is not schema):
        return
    kind = specification_with(schema.get("$schema", ""), default=DRAFT202012)
    resolver = Registry().resolver_with_root(kind.create_resource(schema))
    for reference in _references(parts):
        try:
            resolver.lookup(reference)
        except Unresolvable:
            shown = cut(printable(reference), 100)
            raise BadInput(
                f"the schema refers to {shown!r}, which is not there", 'Put it under "$defs", or correct it'
            ) from None


def set_schema(tx: Transaction, messages: Messages, scope: str, schema: str, actor: str) -> bool:
    """Hold payloads of a scope to a schema."""
    check_schema(schema)
    if (scope, schema) in tx.execute(messages.sql["schemas_for"], (scope, "")).fetchall():
        return False
    tx.execute(messages.sql["set_schema"], (scope, schema, tx.now.wall_ms))
    tx.event(KINDS["schema.set"], actor=actor, data=dumps({"scope": scope, "schema": schema}))
    return True


def remove_schema(tx: Transaction, messages: Messages, scope: str, actor: str) -> bool:
    """Hold them to it no longer."""
    if not tx.execute(messages.sql["remove_schema"], (scope,)).rowcount:
        return False
    tx.event(KINDS["schema.removed"], actor=actor, data=dumps({"scope": scope}))
    return True
