"""The formulas of limits, budgets and breakers, on times of the test's."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store.store_kit import SetClock, new_store  # noqa: TID251

from agentctl_store.domain import breaker as breakers
from agentctl_store.domain.breaker import BREAKER_STATES, Breaker, Seen, sign_of
from agentctl_store.domain.budget import DAY_MS, day_now, day_of, shown, spent_words
from agentctl_store.domain.limits import interval_us, next_start_us, started_us
from agentctl_store.domain.retry import CLASSES, Failure, RetryPolicy
from agentctl_store.errors import BadInput
from agentctl_store.store import TaskRequest

NOON_MS = 1_795_000_000_000


def starts(rate: int, period_ms: int, burst: int, asked_us: list[int]) -> list[int]:
    """The starts that are let through of those asked for."""
    interval, full, through = interval_us(rate, period_ms), 0, []
    for at in asked_us:
        if next_start_us(interval, burst, full, at) <= at:
            full = started_us(interval, burst, full, at)
            through.append(at)
    return through


def most_within(times: list[int], window: int) -> int:
    """The most that fall into any window: one that begins with each."""
    return max((sum(begun <= at < begun + window for at in times) for begun in times), default=0)


@given(
    st.integers(1, 100), st.integers(1, 100_000), st.integers(1, 20),
    st.lists(st.integers(0, 20_000_000), max_size=150), st.lists(st.integers(1, 100_000_000), min_size=1, max_size=5),
)  # fmt: skip
def test_no_window_holds_more_than_the_rate_and_the_burst(
    rate: int, period_ms: int, burst: int, gaps: list[int], windows: list[int]
) -> None:
    at, asked = 1, []
    for gap in gaps:
        at += gap
        asked.append(at)
    through = starts(rate, period_ms, burst, asked)
    for window in windows:
        assert most_within(through, window) <= window * rate / (period_ms * 1000) + burst


@given(st.integers(1, 60), st.integers(1_000, 100_000), st.integers(1, 9), st.integers(1, 200))
def test_who_comes_as_soon_as_it_may_gets_the_whole_rate(rate: int, period_ms: int, burst: int, count: int) -> None:
    interval, full, at = interval_us(rate, period_ms), 0, 1
    for _ in range(count):
        at = next_start_us(interval, burst, full, at)
        full = started_us(interval, burst, full, at)
    assert at == 1 + max(count - burst, 0) * interval


def test_a_start_that_is_held_back_is_told_the_very_moment() -> None:
    interval = interval_us(7, 60_000)
    full = started_us(interval, 1, 0, 10)
    due = next_start_us(interval, 1, full, 11)
    assert due == 10 + interval and interval * 7 >= 60_000_000
    assert next_start_us(interval, 1, full, due) == due and next_start_us(interval, 1, full, due - 1) > due - 1


def test_the_day_is_the_zones_and_as_long_as_it_is() -> None:
    assert day_of(NOON_MS, "UTC") == (NOON_MS - NOON_MS % DAY_MS, NOON_MS - NOON_MS % DAY_MS + DAY_MS)
    begun, ends = day_of(1_774_749_600_000, "Europe/Berlin")  # 2026-03-29, when summer time begins
    assert ends - begun == 23 * 3_600_000 and begun == 1_774_738_800_000
    begun, ends = day_of(1_792_890_000_000, "Europe/Berlin")  # 2026-10-25
    assert ends - begun == 25 * 3_600_000
    with pytest.raises(BadInput, match="time zone"):
        day_of(NOON_MS, "Mars/Olympus")


def test_a_new_day_begins_with_nothing_and_an_earlier_one_gives_nothing_back() -> None:
    begun, ends = day_of(NOON_MS, "UTC")
    assert day_now(begun, ends, 7, NOON_MS, "UTC") == (begun, ends, 7)
    assert day_now(begun, ends, 7, ends, "UTC") == (ends, ends + DAY_MS, 0)
    assert day_now(begun, ends, 7, begun - DAY_MS, "UTC") == (begun - DAY_MS, begun, 7)
    assert day_now(begun, ends, 7, begun - 1, "UTC") == (begun, ends, 7), "its writer waited over midnight"


def test_a_budget_is_told_in_its_own_unit() -> None:
    assert spent_words("fleet", "", "usd", "day", 5_000_000, 5_000_000) == "budget of the day spent: 5.00 of 5.00 USD"
    assert spent_words("fleet", "", "usd", "day", 40_020, 35_000).endswith("spent: 0.04002 of 0.035 USD")
    said = spent_words("provider", "acme", "tokens", "total", 12_345, 12_000)
    assert said == "budget of provider acme spent: 12,345 of 12,000 tokens"
    assert shown("wall_time", 5_025_000) == "1:23:45"


# --- breakers ---------------------------------------------------------------------------------------------------------
def test_every_state_has_a_rule_for_every_sign() -> None:
    signs = {"good", "bad", "throttled", "neutral"}
    assert set(breakers._RULES) == {(state, sign) for state in (*BREAKER_STATES, "probe") for sign in signs}
    assert {sign_of("failed", kind) for kind in CLASSES} | {sign_of("done", None)} == signs
    assert sign_of("released", None) == sign_of("cancelled", None) == "neutral"


@pytest.mark.parametrize("seed", range(5))
def test_whatever_ends_at_most_one_probes_and_it_never_stays_open_for_good(seed: int) -> None:
    dice, now = random.Random(seed), NOON_MS
    breaker, running, probes = Breaker("provider", "p", min_calls=2), [], 0
    for n in range(3_000):
        now += dice.randrange(2_000)
        if breakers.hold(breaker, now) is None:
            before = breaker
            breaker = breakers.begin(breaker, n, 1, now) or breaker
            probes += breaker.state == "half_open"
            assert before.state != "half_open" and (breaker.state != "half_open" or breaker.probe == n)
            running.append(n)
        if running and dice.random() < 0.6:
            task = running.pop(dice.randrange(len(running)))
            sign = dice.choice(["good", "bad", "bad", "throttled", "neutral"])
            after = breakers.end(
                breaker, Seen(sign, task, 1, "why", dice.choice([None, 500])), now, dice.random()  # type: ignore[arg-type]
            )  # fmt: skip
            breaker = breaker if after is None else after[1]
        assert (breaker.state == "half_open") == (breaker.probe is not None)
        assert breaker.until_ms - now <= breaker.cap_ms and len(breaker.calls) <= breakers.BUCKETS
    assert probes > 10


def test_the_window_forgets_what_slid_out_of_it() -> None:
    breaker, now = Breaker("agent", "a", window_ms=10_000, min_calls=3), NOON_MS
    for _ in range(20):
        now += 5_001
        change = breakers.end(breaker, Seen("bad", 1, 1), now, 0.5)
        assert change is not None
        breaker = change[1]
    assert breaker.state == "closed"


@pytest.mark.parametrize("how", ["failed", "lost"])
def test_a_retry_storm_is_spread_by_full_jitter(tmp_path: Path, how: str) -> None:
    """A hundred tasks of a store fail in one moment: how many come back in the fullest second, beside lockstep."""
    clock = SetClock(seed=11)
    with new_store(tmp_path, clock) as store:
        store.add([TaskRequest("work", retry=RetryPolicy(base_ms=60_000)) for _ in range(100)])
        for _ in range(2):  # the first loss of a task is forgiven at once
            won = store.claim(["work"], agent="ann", limit=100, lease_ms=60_000)
            for claim in won if how == "failed" else ():
                store.fail(claim.task.id, claim.n, Failure("transient", "the provider is down"))
            if how == "failed":
                break
            clock.pass_ms(60_000)
            store.sweep()
        back = [store.task(claim.task.id).available_ms - clock.wall_ms for claim in won]
    seconds = [span_ms // 1000 for span_ms in back]
    fullest = max(seconds.count(second) for second in set(seconds))
    print(f"{how}: {fullest} of 100 in the fullest second, 100 in lockstep: {100 / fullest:.0f} times as even")
    assert fullest <= 10 and max(back) > 30_000
