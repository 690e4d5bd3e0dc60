"""Signals combine to one health, and to a reason that tells what to do."""

from __future__ import annotations

import itertools

import pytest

from agentctl.policy import admission
from agentctl.policy.health import ProbeState, Signals, assess, probed

BUSY = {"phase": "busy", "desired": "running", "alive": True}
CASES = [
    ({"phase": "idle", "desired": "running"}, "healthy", ""),
    ({"phase": "idle", "desired": "paused"}, "paused", "agent resume"),
    ({"phase": "stopped", "desired": "stopped", "why": "asked to stop"}, "stopped", "asked to stop"),
    (
        {"phase": "failed", "desired": "running", "why": "5 starts in 60 s, exit 127"},
        "unhealthy",
        "agent start",
    ),
    ({"phase": "backoff", "desired": "running", "why": "exit 1"}, "degraded", "exit 1"),
    ({"phase": "stopping", "desired": "running", "why": "timeout"}, "draining", "being stopped (timeout)"),
    ({"phase": "draining", "desired": "running", "why": "finishes its task"}, "draining", "finishes"),
    ({**BUSY, "silence_ms": 4_000, "silence_timeout_ms": 10_000}, "healthy", ""),
    ({**BUSY, "silence_ms": 6_000, "silence_timeout_ms": 10_000}, "degraded", "stopped in 4 s"),
    ({**BUSY, "silence_ms": 10_000, "silence_timeout_ms": 10_000}, "unhealthy", "no output for 10 s"),
    ({**BUSY, "watchdog_age_ms": 9, "watchdog_ms": 9}, "unhealthy", "WATCHDOG"),
    ({**BUSY, "heartbeat_age_ms": 9_000, "heartbeat_timeout_ms": 5_000}, "unhealthy", "no heartbeat for"),
    ({**BUSY, "ready": False}, "starting", "READY=1"),
    ({**BUSY, "startup": ProbeState()}, "starting", "startup"),
    ({**BUSY, "liveness": ProbeState(False, 3, 0, "http 500")}, "unhealthy", "http 500"),
    ({**BUSY, "readiness": ProbeState(False, 3, 0, "refused")}, "degraded", "no new claims"),
    ({**BUSY, "memory_bytes": 95, "memory_limit_bytes": 100}, "degraded", "limits.memory"),
    ({**BUSY, "throttled": True}, "degraded", "provider"),
    ({**BUSY, "streak": 3, "why": "exit 1"}, "degraded", "3 times in a row, last: exit 1"),
    ({"phase": "idle", "desired": "running", "held": "waits for memory"}, "degraded", "memory"),
    ({"phase": "backoff", "desired": "running", "held": "waits for memory"}, "degraded", "waits for memory"),
]


@pytest.mark.parametrize(("signals", "health", "words"), CASES)
def test_signals_to_health(signals, health, words):
    found, reason = assess(Signals(**signals))
    assert found == health and words in reason


def test_why_an_instance_fell_is_left_out_where_nobody_knows():
    assert assess(Signals(**BUSY, streak=3)) == ("degraded", "fell 3 times in a row")


def test_a_probe_turns_only_after_so_many_equal_results():
    state, verdicts = ProbeState(), []
    for ok in (True, False, False, True, False, False, False, True):
        state = probed(state, ok, "no", failures=3, successes=1)
        verdicts.append(state.ok)
    assert verdicts == [True, True, True, True, True, True, False, True]


def test_the_memory_floor_holds_starts_and_says_why():
    assert admission.memory(None, 100) is None and admission.memory(100, 100) is None
    held = admission.memory(99, 100)
    assert held is not None and "less than 100 B is free" in held.reason and held.retry_ms > 0
    assert admission.memory(98, 100) == held, "no news, no event, while it goes up and down below the floor"
    assert admission.free_memory_bytes("MemFree: 1 kB\nMemAvailable:  2 kB\n") == 2048
    assert admission.free_memory_bytes("") is None


def test_starts_are_staggered_beyond_the_burst():
    now, starts = 0, []
    while len(starts) < 40:
        held = admission.stagger(tuple(starts), now)
        if held is None:
            starts.append(now)
        else:
            now += held.retry_ms
    assert starts[:8] == [0] * 8
    assert all(b >= a for a, b in itertools.pairwise(starts)) and 1_000 < starts[-1] < 4_000
