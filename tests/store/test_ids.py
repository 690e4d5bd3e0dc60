"""Ids and names: how they are written, read and refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentctl_store import ids
from agentctl_store.clock import Clock
from agentctl_store.errors import BadName


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_an_id_reads_back_and_sorts_as_its_number(number: int, other: int) -> None:
    text = ids.write_id(number)
    assert len(text) == ids.LENGTH and ids.read_id(text) == ids.read_id(text.upper()) == number
    assert (text < ids.write_id(other)) == (number < other)


@given(st.integers(0, 2**63 - 1), st.integers(1, 13))
def test_a_prefix_names_the_ids_that_begin_with_it(number: int, length: int) -> None:
    low, high = ids.id_range(ids.write_id(number)[:length])
    assert low <= number <= high


def test_new_ids_follow_time() -> None:
    clock = Clock()
    assert ids.new_id(clock, 1_000) < ids.new_id(clock, 1_001)
    assert ids.new_id(clock, clock.now().wall_ms) >> 20 == pytest.approx(clock.now().wall_ms, abs=1_000)


BAD_IDS = ["", "x" * 14, "u2345", "../../etc", "01k9x4m2v8qr!", "zzzzzzzzzzzzz", "-rf", "a\x00b", "\u202e01", "٣" * 13]


@pytest.mark.parametrize("text", BAD_IDS, ids=ascii)
def test_what_is_no_id_is_refused_safely(text: str) -> None:
    with pytest.raises(BadName) as refusal:
        ids.read_id(text)
    assert "id" in str(refusal.value) and str(refusal.value).isprintable()


@pytest.mark.parametrize(
    "text", ["", "01k9x4m2v8qrs", "01k9x4m2v8qrs.0", "01k9x4m2v8qrs.-1", "01k9x4m2v8qrs.1.1", ".1"]
)
def test_what_is_no_attempt_id_is_refused(text: str) -> None:
    with pytest.raises(BadName):
        ids.read_attempt(text)


def test_an_attempt_id_is_task_and_fence() -> None:
    assert ids.read_attempt("01k9x4m2v8qrs.12") == (ids.read_id("01k9x4m2v8qrs"), 12)
    assert ids.write_attempt(ids.read_id("01k9x4m2v8qrs"), 12) == "01k9x4m2v8qrs.12"


BAD_NAMES = ["", "../../x", "-rf", "A", "a b", "a\x00", "é", "a/b", "x" * 65, "x" * 300, "\u202eabc", ".hidden", "a\n"]


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_a_bad_name_is_refused_and_shown_safely(name: str) -> None:
    with pytest.raises(BadName) as refusal:
        ids.check_name(name, "queue")
    assert str(refusal.value).startswith("queue ") and str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize("name", ["a", "0", "review", "a.b-c_d", "x" * 64])
def test_a_good_name_passes(name: str) -> None:
    assert ids.check_name(name, "queue") == name


def test_instances_are_agent_and_slot() -> None:
    assert ids.check_instance("reviewer/2") == ("reviewer", 2)
    for bad in ("reviewer", "reviewer/0", "reviewer/x", "/1", "reviewer/02", "a/99999", "a/²"):
        with pytest.raises(BadName):
            ids.check_instance(bad)


def test_correlation_ids_are_w3c_trace_ids() -> None:
    assert ids.check_correlation(ids.new_correlation(Clock(), 5))
    for bad in ("", "0" * 32, "A" * 32, "a" * 31, "g" * 32):
        with pytest.raises(BadName):
            ids.check_correlation(bad)
