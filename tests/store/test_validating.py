"""Payloads are held to schemas within bounds, and otherwise just as jsonschema holds them."""

from __future__ import annotations

import random
from typing import Any

import pytest
from jsonschema.validators import Draft202012Validator, validator_for

from agentctl_store.sqlite.validating import Validator

DRAFT = "http://json-schema.org/draft-0{}/schema#"
SCHEMAS: tuple[dict[str, Any], ...] = (
    {"$schema": DRAFT.format(7), "definitions": {"a": {"type": "string"}}, "$ref": "#/definitions/a", "type": "null"},
    {"$schema": DRAFT.format(4), "properties": {"a": {"minimum": 3, "exclusiveMinimum": True}}},
    {"$schema": DRAFT.format(4), "properties": {"a": {}}, "additionalProperties": False},
    {"$schema": DRAFT.format(3), "properties": {"a": {"type": "string", "required": True}}},
    {"patternProperties": {"^a": {"type": "integer"}, "b$": {"minimum": 2}}, "additionalProperties": {"type": "null"}},
    {"uniqueItems": True, "items": {"pattern": "^[a-c]+$"}},
    {"uniqueItems": False},
    {"prefixItems": [{"type": "integer"}], "items": False},
    {"contains": {"const": 1}, "minContains": 2},
    {"if": {"properties": {"a": {"const": 1}}}, "then": {"required": ["b"]}, "else": {"required": ["c"]}},
    {"oneOf": [{"required": ["a"]}, {"required": ["b"]}], "dependentRequired": {"a": ["ab"]}},
    {"$defs": {"n": {"properties": {"a": {"$ref": "#/$defs/n"}}, "required": ["a"]}}, "$ref": "#/$defs/n"},
    {"propertyNames": {"pattern": "^.$"}, "not": {"type": "array"}},
)
LEAVES = (0, 1, 1.0, True, False, None, "a", "abc", "d", [0], [False], {"a": 1}, {}, 3)


def some(dice: random.Random, depth: int = 0) -> Any:
    kind = dice.random()
    if depth < 3 and kind < 0.4:
        return {dice.choice(("a", "b", "ab", "c", "xb")): some(dice, depth + 1) for _ in range(dice.randrange(4))}
    if depth < 3 and kind < 0.6:
        return [some(dice, depth + 1) for _ in range(dice.randrange(4))]
    return dice.choice(LEAVES)


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: "-".join(schema)[:40])
def test_what_a_schema_means_is_what_jsonschema_says(schema: dict[str, Any]) -> None:
    dice, ours = random.Random(7), Validator(schema)
    theirs = validator_for(schema, default=Draft202012Validator)(schema)
    for _ in range(400):
        payload = some(dice)
        assert (ours.fault(payload, "it") is None) == theirs.is_valid(payload), (schema, payload)
