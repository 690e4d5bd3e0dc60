"""A crash loop ends in a latch: fast, slow, and across supervisor restarts. A stable run forgives."""

from __future__ import annotations

from dataclasses import dataclass

from agentctl.policy.restart import History, ended, latch, reset, started


@dataclass(frozen=True)
class Rules:
    policy: str = "on-failure"
    base_ms: int = 1_000
    cap_ms: int = 60_000
    limit: int = 5
    window_ms: int = 60_000
    reset_after_ms: int = 600_000


def crash_loop(runs_ms, rules, *, through_text=False, jitter=0.5, most=100):
    """Start, run, crash until latched; (starts, history)."""
    history, now = History(), 1_000_000
    for count in range(1, most + 1):
        history = started(history, now)
        now += runs_ms
        after = ended(history, rules, failed=True, ran_ms=runs_ms, wall_ms=now, jitter=jitter, why="exit 1")
        history = History.read(after.history.write()) if through_text else after.history
        if after.latched:
            return count, history
        assert after.again
        now += after.delay_ms
    return most, history


def test_a_fast_crash_loop_is_latched_at_the_limit():
    starts, history = crash_loop(10, Rules())
    assert starts == 5 and "5 starts in 60 s" in history.latched and "exit 1" in history.latched


def test_a_slow_crash_loop_of_20_s_is_latched_too():
    starts, history = crash_loop(20_000, Rules())
    assert starts <= 10 and history.latched


def test_the_latch_is_reached_when_every_start_has_another_supervisor():
    assert crash_loop(20_000, Rules(), through_text=True)[1].latched
    assert crash_loop(10, Rules(), through_text=True)[0] == 5


def test_stable_runs_never_latch():
    starts, history = crash_loop(600_000, Rules(), most=50)
    assert starts == 50 and not history.latched and history.streak == 1


def test_delays_grow_with_jitter_and_stay_under_the_cap():
    rules = Rules(limit=1000, window_ms=1)
    history, low, high = History(), [], []
    for _ in range(12):
        history = started(history, 0)
        low.append(ended(history, rules, failed=True, ran_ms=1, wall_ms=9_999, jitter=0.0, why="").delay_ms)
        after = ended(history, rules, failed=True, ran_ms=1, wall_ms=9_999, jitter=0.999, why="")
        high.append(after.delay_ms)
        history = after.history
    assert low[:4] == [500, 1000, 2000, 4000] and max(high) <= 60_000 and high[0] > low[0]


def test_a_clean_end_rests_under_on_failure_and_counts_under_always():
    for policy, again in (("on-failure", False), ("never", False), ("always", True)):
        after = ended(
            started(History(), 0),
            Rules(policy=policy),
            failed=False,
            ran_ms=5,
            wall_ms=5,
            jitter=0,
            why="exit 0",
        )
        assert after.again is again and not after.latched
        assert bool(after.history.rested) is not again


def test_what_can_only_fail_again_is_latched_at_once_and_across_supervisors():
    after = latch(started(History(), 1_000), "no Landlock")
    assert after.latched and not after.again
    assert History.read(after.history.write()).latched == "no Landlock"


def test_a_person_clears_the_latch():
    history = reset(crash_loop(10, Rules())[1], reset_seq=7)
    assert not history.latched and history.reset_seq == 7 and history.starts_ms == ()


def test_a_broken_memo_is_an_empty_history():
    for memo in ("", "{", "[]", '{"x":1}', "null"):
        assert History.read(memo) == History()
