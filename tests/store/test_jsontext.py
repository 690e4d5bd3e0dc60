"""What JSON is let in, and what is refused in one clear sentence (promise P17)."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl_store import jsontext
from agentctl_store.errors import BadJson

REFUSED = {
    "": "expected a value at line 1, column 1",
    "NaN": "NaN is not JSON",
    "[1, Infinity]": "Infinity is not JSON",
    "[-Infinity]": "-Infinity is not JSON",
    '{"a":1,"b":2,"a":3}': "the key 'a' stands twice",
    '[{"x":{"k":1,"k":1}}]': "the key 'k' stands twice",
    "9" * 5000: "beyond 64 bits",
    "9223372036854775808": "beyond 64 bits",
    "-9223372036854775809": "beyond 64 bits",
    "1e999": "beyond the range",
    "[" * 100_000: "nests deeper than 64",
    '{"a":' * 70 + "1" + "}" * 70: "nests deeper than 64",
    '"\\ud800"': "lone surrogate",
    '"\udc80"': "lone surrogate",
    "[1] x": "unexpected text after the value at line 1, column 4",
    '{\n "a" 1}': "at line 2, column 6",
    '{"a":tru}': "expected a value",
    '"\x00"': "invalid control character at line 1, column 2",
    "'a'": "expected a value",
}


@pytest.mark.parametrize(("text", "why"), REFUSED.items(), ids=lambda value: ascii(value)[:30])
def test_what_readers_would_disagree_on_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(BadJson) as refusal:
        jsontext.loads(text)
    assert why in str(refusal.value)
    assert len(str(refusal.value)) < 300


def test_size_is_limited_in_bytes() -> None:
    with pytest.raises(BadJson, match="limit of 1,048,576 bytes"):
        jsontext.loads('"' + "é" * 600_000 + '"')
    with pytest.raises(BadJson, match="the limit is 1,048,576"):
        jsontext.loads(b'"' + b"x" * (1 << 20) + b'"')
    with pytest.raises(BadJson, match="not UTF-8"):
        jsontext.loads(b'"\xff"')


def test_brackets_inside_strings_do_not_count_as_depth() -> None:
    text = json.dumps(["[" * 500, '\\"{' * 100])
    assert jsontext.loads(text) == json.loads(text)


def test_the_edges_are_let_in() -> None:
    for text in ("9223372036854775807", "-9223372036854775808", "[" * 64 + "]" * 64, ' {"a": [1, 2.5, "\\u00e9"]}\n'):
        assert jsontext.loads(text) == json.loads(text)


words = st.text(st.characters(exclude_categories=("Cs",)))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | words,
    lambda inner: st.lists(inner) | st.dictionaries(words, inner),
    max_leaves=30,
)  # fmt: skip


@given(json_values)
def test_what_is_let_in_reads_as_the_standard_library_reads_it(value: object) -> None:
    text = jsontext.dumps(value)
    assert jsontext.loads(text) == json.loads(text) == value


def test_mutated_documents_are_read_or_refused_and_never_crash() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    base = '{"task": [1, 2.5, {"name": "caf\\u00e9", "ok": true}], "none": null}'
    for _ in range(5_000):
        text = list(base)
        for _ in range(dice.randrange(1, 4)):
            text[dice.randrange(len(text))] = dice.choice('{}[]",:\\0eE+-tfnu\x00\ud800é ')
        try:
            jsontext.loads("".join(text))
        except BadJson:
            pass


def test_what_json_cannot_hold_is_refused_on_the_way_out() -> None:
    for value in (float("nan"), {1, 2}, object()):
        with pytest.raises(BadJson):
            jsontext.dumps(value)
