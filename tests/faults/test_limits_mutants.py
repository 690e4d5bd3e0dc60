"""P18 for limits, budgets and breakers: each seeded bug is seen by what the conformance suite asks of every driver."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.seeding import seed
from store.conformance import test_breakers, test_limits  # noqa: TID251
from store.store_kit import SetClock, new_store  # noqa: TID251

from agentctl_store.domain import breaker, budget, limits
from agentctl_store.replay import limits as folds
from agentctl_store.replay import verify
from agentctl_store.sqlite import claiming, clocks, ending, holding, limiting
from agentctl_store.sqlite import limits as setting
from agentctl_store.store import Store

Check = Callable[[Store, SetClock], object]


def _rate(store: Store, clock: SetClock) -> None:
    test_limits.test_a_rate_lets_a_burst_through_and_then_one_each_interval(store, clock, "provider", "acme")


def _caps(store: Store, clock: SetClock) -> None:
    test_limits.test_no_more_run_at_once_than_may(store, "provider", "acme")


def _spends(measure: str, amount: int) -> Check:
    def check(store: Store, clock: SetClock) -> None:
        test_limits.test_what_has_ended_and_what_runs_count_before_a_start(
            store, clock, "provider", "acme", measure, amount
        )

    return check


def alone(test: Callable[[Store], None]) -> Check:
    return lambda store, clock: test(store)


def working(test: Callable[..., None], *more: object) -> Check:
    """A test of breakers, with the work its fixture adds."""

    def check(store: Store, clock: SetClock) -> None:
        asked = test.__code__.co_varnames[: test.__code__.co_argcount]
        test(test_breakers.stocked(store), *([clock] if "clock" in asked else []), *more)

    return check


CHECKS: list[Check] = [
    _rate, _caps, _spends("tokens", 100), _spends("usd", 2_000_000), _spends("wall_time", 5_000),
    test_limits.test_rates_of_several_targets_all_hold,
    test_limits.test_a_clock_that_is_set_neither_frees_a_rate_nor_shuts_it_for_long,
    alone(test_limits.test_a_full_queue_refuses_new_tasks_and_says_what_to_do),
    test_limits.test_a_budget_of_the_day_comes_back_with_the_next_day_of_its_zone,
    test_limits.test_attempts_are_counted_as_they_start_also_those_of_retries,
    test_limits.test_a_task_that_spent_its_own_budget_is_a_dead_letter_also_when_it_is_requeued,
    alone(test_limits.test_what_an_attempt_said_it_used_is_not_taken_back),
    alone(test_limits.test_raising_a_budget_lets_work_go_on_and_what_was_spent_stays),
    alone(test_limits.test_a_configuration_replaces_what_it_set_and_leaves_what_a_person_set),
    working(test_breakers.test_it_opens_at_its_share_of_failures_and_not_with_fewer_calls, "crashed"),
    working(test_breakers.test_successes_and_time_keep_it_closed),
    working(test_breakers.test_one_probe_of_the_whole_fleet_and_its_success_closes),
    working(test_breakers.test_a_probe_that_fails_opens_it_for_longer, "crashed"),
    working(test_breakers.test_a_probe_whose_agent_got_another_provider_tells_the_one_it_probed),
    working(test_breakers.test_a_probe_that_is_lost_or_given_back_does_not_shut_it_for_good),
    working(test_breakers.test_throttling_holds_all_agents_of_the_provider_and_burns_nothing),
    working(test_breakers.test_after_it_closed_the_others_come_back_one_after_the_other),
    working(test_breakers.test_what_ended_while_it_was_open_neither_closes_nor_opens_it),
    working(test_breakers.test_it_stands_as_it_stood_after_a_reboot_and_moves_with_a_clock_that_is_set),
]  # fmt: skip

#: what the bug does → (module, the good line, the bad one)
MUTANTS: dict[str, tuple[types.ModuleType, str, str]] = {
    "one more than the burst": (limits, "now_us) - (burst - 1) * interval", "now_us) - burst * interval"),
    "no burst at all": (limits, "now_us) - (burst - 1) * interval", "now_us)"),
    "a start is not counted": (limits, "now_us), now_us) + interval\n", "now_us), now_us)\n"),
    "a pause is saved up": (
        limits, "return max(_possible(interval, burst, full_us, now_us), now_us) + interval",
        "return _possible(interval, burst, full_us, now_us) + interval",
    ),
    "a clock that was set back shuts for long": (
        limits, "return full_us if full_us <= now_us + burst * interval + SLACK_MS * 1000 else now_us", "return full_us"
    ),
    "a breaker's time is believed after the clock was set back": (
        breaker, "if now_ms < breaker.since_ms - SLACK_MS:", "if False:"
    ),
    "rates stay behind when the clock is set": (
        clocks, 'tx.execute(conn.sql["shift_bounds"], (shift * 1000,))', "pass"
    ),
    "breakers stay behind when the clock is set": (clocks, 'tx.execute(conn.sql["shift_breakers"], (shift,))', "pass"),
    "the provider is forgotten": (limiting, "if provider is None:\n            return", "if True:\n            return"),
    "one more runs than may": (limiting, "if at_once >= bound.concurrency:", "if at_once > bound.concurrency:"),
    "only the queue's own bounds hold": (claiming, "if limits.hold(agent, now_ms, running) is not None:", "if False:"),
    "only the first claim of several is held": (
        claiming, "        if limits:\n            looked, best = _let_through",
        "        if False:\n            looked, best = _let_through",
    ),
    "what runs is not counted": (limiting, "return spent + sum(", "return spent + 0 * sum("),
    "what has ended is not counted": (
        ending, "limits.ended(tx, task, n, outcome, failure, used, jitter)", "pass"
    ),
    "a budget may be overdrawn by one": (
        limiting, "                if total >= budget.amount:\n                    return Hold",
        "                if total > budget.amount:\n                    return Hold",
    ),
    "what runs is never told to stop": (
        limiting, "                if total >= budget.amount:\n                    return _spent(budget, total)",
        "                if False:\n                    return _spent(budget, total)",
    ),
    "a day never ends": (budget, "<= now_ms < until_ms:", "<= now_ms:"),
    "a clock that was set back pays out again": (budget, "spent if begun < from_ms else 0", "0"),
    "every day is UTC's": (budget, 'if zone == "UTC":', "if True:"),
    "starts are not counted": (
        limiting, "self._spend(tx, [(one, 1) for one in", "self._spend(tx, [(one, 0) for one in"
    ),
    "a task may spend for ever": (claiming, "or not _bury_spent(", "or True or not _bury_spent("),
    "a raised budget forgets what was spent": (
        setting, 'kept = {name: before[name] for name in ("from_ms", "until_ms", "spent")}',
        'kept = {name: before[name] for name in ("from_ms", "until_ms")}',
    ),
    "the file's limit goes before a person's": (setting, '.get("origin") != "operator"]', '.get("origin") != ""]'),
    "a full queue takes one more": (limiting, "if depth + more > most:", "if depth > most:"),
    "it opens at once": (breaker, "ends < breaker.min_calls or", "False or"),
    "it never opens": (breaker, "if not bad or ends", "if True or ends"),
    "the window never slides": (breaker, "if bucket - BUCKETS < one[0] <= bucket", "if True"),
    "all probe at once": (breaker, 'if breaker.state == "half_open":\n', "if False:\n"),
    "nobody waits for the probe": (breaker, 'if breaker.state == "open" and now_ms < breaker.until_ms:', "if False:"),
    "it is open for as long each time": (breaker, "breaker.open_ms * 2 ** min(breaker.opened, 40)", "breaker.open_ms"),
    "any success closes it": (
        breaker, '    if place == "half_open" and (', '    if place in ("half_open", "open") or ('
    ),
    "a probe given back is waited for": (
        breaker, "since_ms=now_ms, until_ms=now_ms, probe=None, probe_n=None\n    )  # fmt: skip\n\n\ndef _open(",
        "since_ms=now_ms, until_ms=now_ms + breaker.cap_ms, probe=None, probe_n=None\n    )\n\n\ndef _open(",
    ),
    "Retry-After is not heard": (breaker, "    if asked is None:\n", "    if True:\n"),
    "all come back at once": (breaker, "_closed(breaker, now_ms, SPACED)", "_closed(breaker, now_ms, 0)"),
    "an agent's 429 is its own": (limiting, '"throttled" and place:', '"throttled" and not place:'),
    "a probe whose agent has moved is forgotten": (limiting, "== (task, n) and key not in keys", "== (0, n)"),
    "less is believed": (holding, "else max(a, b)", "else b"),
    "starts are not told": (folds, 'self.rows[scope, name]["full_us"] = full', "pass"),
    "spending is not told": (folds, "self.rows[tuple(key)].update(from_ms=begun, until_ms=ends, spent=spent)", "pass"),
}  # fmt: skip


def survives(folder: Path) -> bool:
    """Whether every check passes, and each time replaying the history gives the tables."""
    for place, check in enumerate(CHECKS):
        clock = SetClock()
        room = folder / str(place)
        room.mkdir()
        try:
            with new_store(room, clock) as store:
                check(store, clock)
                assert verify(store.directory).intact
        except (Exception, pytest.fail.Exception):  # a crash is noticed, too
            return False
    return True


def test_what_is_there_passes_every_check(tmp_path: Path) -> None:
    assert survives(tmp_path)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_seeded_bug_is_caught(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, good, bad = MUTANTS[name]
    seed(module, good, bad, monkeypatch)
    assert not survives(tmp_path), f"the bug {name!r} survives: a check is missing"
