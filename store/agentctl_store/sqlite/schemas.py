"""JSON Schemas that messages of a type or topic are held to when they are sent.

The library is imported only when a schema applies. It fetches nothing: a schema that refers elsewhere is refused.
"""

from __future__ import annotations

from ..domain.event import KINDS
from ..domain.message import TOPIC
from ..errors import BadInput
from ..jsontext import dumps, loads
from ..text import cut, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .messages import Messages
    from .transaction import Transaction

MAX_SCHEMA = 64 << 10  #: characters of a schema
MAX_VALIDATED = 64 << 10  #: characters of a payload that a schema applies to: looking through more keeps others waiting
MAX_SAID = 300  #: characters of what is wrong
_validators: dict[str, Any] = {}  #: by the schema's text
_MOST_KEPT = 100


def violation(tx: Transaction, messages: Messages, type: str, topic: str | None, payload: str) -> str | None:
    """Return in words how a payload breaks the schemas of its type and topic, None if it does not."""
    for scope, text in tx.execute(messages.sql["schemas_for"], (type, f"{TOPIC}{topic}")).fetchall():
        if len(payload) > MAX_VALIDATED:
            return f"a payload that the schema of {scope} applies to may have {MAX_VALIDATED:,} characters"
        from referencing.exceptions import Unresolvable

        try:
            error = next(_validator(text).iter_errors(loads(payload)), None)
        except (Unresolvable, RecursionError):
            return f"the schema of {scope} refers to what it does not hold, or to itself without end"
        if error is not None:
            where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
            place = f" at {cut(printable(where), 100)}" if where else ""
            return f"the payload breaks the schema of {scope}{place}: {cut(printable(error.message), MAX_SAID)}"
    return None


def _validator(text: str) -> Any:
    found = _validators.get(text)
    if found is None:
        from jsonschema.validators import Draft202012Validator, validator_for
        from referencing import Registry

        schema = loads(text, "schema")
        kind = validator_for(schema, default=Draft202012Validator)
        if len(_validators) >= _MOST_KEPT:
            _validators.clear()
        found = _validators[text] = kind(schema, registry=Registry())
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
    elsewhere = next(_elsewhere(schema), None)
    if elsewhere is not None:
        raise BadInput(
            f"the schema refers to {cut(printable(elsewhere), 100)!r}, and nothing is fetched",
            'Put it under "$defs" and refer to it as "#/$defs/NAME"',
        )


def _elsewhere(schema: Any) -> Any:
    open_parts = [schema]
    while open_parts:
        part = open_parts.pop()
        if isinstance(part, dict):
            for name in ("$ref", "$dynamicRef"):
                if isinstance(part.get(name), str) and not part[name].startswith("#"):
                    yield part[name]
            open_parts += part.values()
        elif isinstance(part, list):
            open_parts += part


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
