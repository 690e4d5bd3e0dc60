"""The history checker catches what it is there to catch, and lets honest histories pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from history import Final, Log, Op, anomalies, read


def op(client: str, verb: str, sent: int, ended: int | None, **more: Any) -> Op:
    outcome = more.pop("outcome", "unknown" if ended is None else "acked")
    return Op(client, verb, sent, ended, outcome, more.pop("task", 1), **more)


ADD = op("c", "add", 0, 1, key="k")
HONEST = [ADD, op("a", "claim", 2, 3, n=1), op("a", "heartbeat", 4, 5, n=1), op("a", "complete", 6, 7, n=1)]
DONE = {1: Final("done", 1, "k")}

SEEDED: list[tuple[str, list[Op], dict[int, Final], str]] = [
    ("an acknowledged task is gone", [ADD], {}, "lost"),
    ("an acknowledged completion is gone", HONEST, {1: Final("active", 1)}, "it is active"),
    ("an acknowledged claim is gone", HONEST[:2], {1: Final("ready", 0)}, "the store knows 0"),
    ("two win one attempt", [*HONEST[:2], op("b", "claim", 2, 4, n=1)], DONE, "won by 2"),
    (
        "two attempts complete",
        [*HONEST, op("b", "claim", 4, 8, n=2), op("b", "complete", 9, 10, n=2)],
        {1: Final("done", 2)},
        "completed by 2",
    ),
    (
        "one attempt ends in two ways",
        [*HONEST, op("a", "release", 8, 9, n=1)],
        DONE,
        "ended in 2 ways: complete, release",
    ),
    (
        "a stale heartbeat is accepted",
        [*HONEST[:2], op("b", "claim", 4, 5, n=2), op("a", "heartbeat", 6, 7, n=1)],
        {1: Final("active", 2)},
        "stale attempt 1",
    ),
    (
        "a stale completion is accepted",
        [*HONEST[:2], op("b", "claim", 4, 5, n=2), op("a", "complete", 6, 7, n=1)],
        {1: Final("done", 2)},
        "stale attempt 1",
    ),
    (
        "the fence goes back",
        [op("a", "claim", 2, 3, n=2), op("b", "claim", 4, 5, n=1)],
        {1: Final("active", 2)},
        "went back from 2 to 1",
    ),
    (
        "a finished task is claimed",
        [*HONEST, op("b", "claim", 8, 9, n=2)],
        {1: Final("done", 2)},
        "claimed again after",
    ),
    ("a key answers with two tasks", [ADD, op("d", "add", 2, 3, key="k", task=2)], {**DONE, 2: DONE[1]}, "2 tasks"),
    ("a key has two tasks", [ADD], {**DONE, 2: Final("ready", 0, "k")}, "the store holds 2"),
]


@pytest.mark.parametrize(("what", "ops", "final", "said"), SEEDED, ids=[case[0] for case in SEEDED])
def test_it_catches(what: str, ops: list[Op], final: dict[int, Final], said: str) -> None:
    assert any(said in line for line in anomalies(ops, final)), (what, anomalies(ops, final))


def test_an_honest_history_passes() -> None:
    assert anomalies(HONEST, DONE) == []


def test_what_is_unknown_may_have_happened_or_not() -> None:
    """A killed client's complete may be durable or not, and overlapping writes may have either order."""
    unknown = [ADD, op("a", "claim", 2, 3, n=1), op("a", "complete", 4, None, n=1)]
    assert anomalies(unknown, DONE) == anomalies(unknown, {1: Final("ready", 1, "k")}) == []
    overlapping = [*HONEST[:2], op("b", "claim", 4, 8, n=2), op("a", "heartbeat", 5, 9, n=1)]
    assert anomalies(overlapping, {1: Final("active", 2)}) == []


def test_logs_are_read_back_with_what_was_cut_off(tmp_path: Path) -> None:
    log = Log(str(tmp_path), "w1")
    log.sent("claim")
    log.acked(task=7, n=1)
    log.sent("complete", task=7, n=1)
    log.refused()
    log.sent("add", key="k")
    first, second, third = read(tmp_path)
    assert (first.verb, first.task, first.n, first.outcome) == ("claim", 7, 1, "acked")
    assert (second.verb, second.outcome) == ("complete", "refused")
    assert (third.key, third.outcome, third.ended_ns) == ("k", "unknown", None)
