"""A whole fleet under limits: budgets end what runs, breakers and throttled providers hold back what would start."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path

import pytest
from faults.fleet_kit import Fleet, fleet, lines
from faults.store_kit import assert_whole, until

from agentctl_store.domain.task import Usage
from agentctl_store.read import open_reader
from agentctl_store.store import TaskRequest

SPENDER = """
[agent.spender]
command = ["sh", "spend.sh"]
queues = ["work"]
grace = "2s"
[budget]
fleet.day = { usd = 0.5 }
"""
#: reports what it uses, a bit more each time, writes what it has got to, and goes on for ever
SPEND = """
n=0
while :; do
    n=$((n + 1))
    echo "{\\"agentctl\\": \\"usage\\", \\"input_tokens\\": $n, \\"cost_usd\\": 0.$(printf %02d $n)}"
    echo "\\"page $n\\"" > "$AGENTCTL_RESULT_FILE"
    sleep 0.02
    [ $n -lt 98 ] || n=97
done
"""


def breaker_state(one: Fleet, scope: str, name: str) -> str:
    with open_reader(one.folder) as reader:
        return next((row.state for row in reader.breakers() if (row.scope, row.name) == (scope, name)), "none")


def test_a_spent_budget_ends_what_runs_keeps_what_it_has_got_to_and_starts_nothing_more(tmp_path: Path) -> None:
    (tmp_path / "spend.sh").write_text(SPEND)
    with fleet(tmp_path, SPENDER) as one:
        first, second = one.add("work"), one.add("work")
        one.up()
        dead = one.state(first, "dead")
        assert (dead.reason, dead.error_class) == ("policy", "policy")
        assert dead.error is not None and dead.error.startswith("budget of the day spent: 0.")
        (attempt,) = one.attempts(first)
        assert attempt.usage.cost_microusd >= 500_000 and attempt.usage.input_tokens >= 50
        assert attempt.partial is not None and json.loads(attempt.partial).startswith("page ")
        one.shows("spender/1", lambda row: "budget of the day spent" in row.reason, "the slot says why it idles")
        assert one.task(second).state == "ready" and one.task(second).attempts == 0
        one.says("budget of the day spent: .*; it is stopped")
        one.configure(SPENDER.replace("usd = 0.5", "usd = 500"))
        one.state(second, "active")
        one.end()
        assert not one.leftovers()
    assert_whole(Path(one.folder))


def test_a_run_until_idle_does_not_wait_for_a_budget_that_never_comes_back(tmp_path: Path) -> None:
    (tmp_path / "spend.sh").write_text(SPEND)
    agents = SPENDER.replace("fleet.day", "fleet.total").replace("usd = 0.5", "usd = 0.05")
    with fleet(tmp_path, agents) as one:
        first, second = one.add("work"), one.add("work")
        assert one.finish() == 0, one.said()
        assert (one.task(first).state, one.task(second).state) == ("dead", "ready")
        one.says("idle, but tasks wait: budget of the fleet spent: ")


WORKER = """
[agent.worker]
mode = "worker"
command = ["sh", "worker.sh"]
queues = ["work"]
grace = "200ms"
restart = { policy = "always", base = "10ms", cap = "10ms" }
[budget.agent.worker.total]
tokens = 100
"""
WORK = """
a=$(agentctl task claim work --wait 1m) || exit 0
attempt=$(echo "$a" | sed 's/.*"attempt":"\\([^"]*\\)".*/\\1/')
agentctl task heartbeat "$attempt" --input-tokens 100 > said; echo "exit $?" >> said
trap '' TERM
while :; do agentctl task heartbeat "$attempt" >/dev/null; done
"""


def test_a_worker_is_told_and_one_that_does_not_listen_is_ended(tmp_path: Path) -> None:
    (tmp_path / "worker.sh").write_text(WORK)
    with fleet(tmp_path, WORKER) as one:
        task, after = one.add("work"), one.add("work")
        one.up()
        dead = one.state(task, "dead", within_s=25)
        assert (dead.reason, dead.error) == ("policy", "budget of agent worker spent: 100 of 100 tokens")
        told = (tmp_path / "said").read_text()
        assert told == "stop budget of agent worker spent: 100 of 100 tokens\nexit 4\n"
        one.shows("worker/1", lambda row: row.phase == "busy" and not row.latched, "the worker itself goes on")
        assert one.task(after).attempts == 0
        one.end()
    assert_whole(Path(one.folder))


FLAKY = """
[agent.flaky]
command = ["sh", "flaky.sh"]
queues = ["work"]
instances = 3
provider = "acme"
retry = { base = "10ms", cap = "10ms", max_attempts = 50 }
[agent.other]
command = ["sh", "flaky.sh"]
queues = ["elsewhere"]
provider = "acme"
retry = { base = "10ms", cap = "10ms", max_attempts = 50 }
[breaker.provider.acme]
min_calls = 4
open = "400ms"
cap = "800ms"
stagger = "0s"
"""


def test_a_breaker_opens_lets_one_probe_through_at_a_time_and_closes_by_its_success(tmp_path: Path) -> None:
    (tmp_path / "flaky.sh").write_text("echo x >> tries; [ -e well ]")
    with fleet(tmp_path, FLAKY) as one:
        tasks = [one.add("work") for _ in range(6)]
        one.up()
        until(lambda: breaker_state(one, "provider", "acme") == "open", "it opens")
        one.shows("flaky/1", lambda row: row.reason.startswith("breaker of provider acme open"), "the slot says so")
        elsewhere = one.add("elsewhere")
        one.shows("other/1", lambda row: "provider acme" in row.reason, "so does another agent's of the provider")
        until(lambda: len(one.store.events(kinds=["breaker.opened"], limit=9)) >= 3, "two probes have failed")
        kinds = [
            e.kind for e in one.store.events(kinds=["task.claimed", "breaker.opened", "breaker.probed"], limit=500)
        ]
        begun = kinds.index("breaker.opened")
        claimed, probed = (kinds[begun:].count(kind) for kind in ("task.claimed", "breaker.probed"))
        assert claimed == probed, "nothing but probes started since"
        (tmp_path / "well").touch()
        for task in (*tasks, elsewhere):
            one.state(task, "done")
        assert breaker_state(one, "provider", "acme") == "closed"
        one.end()
    assert_whole(Path(one.folder))


THROTTLED = """
[agent.one]
command = ["sh", "throttled.sh"]
queues = ["one"]
provider = "acme"
[agent.two]
command = "true"
queues = ["two"]
provider = "acme"
[agent.free]
command = "true"
queues = ["free"]
"""


def test_a_429_of_one_agent_holds_its_providers_others_back_and_burns_nothing(tmp_path: Path) -> None:
    (tmp_path / "throttled.sh").write_text(
        '[ -e told ] && exit 0; touch told; echo \'{"agentctl": "retry_after", "seconds": 2}\'; exit 75'
    )
    with fleet(tmp_path, THROTTLED) as one:
        one.up()
        limited = one.add("one")
        until(lambda: one.task(limited).throttled == 1, "it is throttled")
        until_ms = next(row.until_ms for row in _breakers(one))
        held, after, free = one.add("two"), one.add("two"), one.add("free")
        one.state(free, "done")
        row = one.shows("two/1", lambda row: "throttled" in row.reason, "the other agent says why it waits")
        assert row.health == "degraded" and row.reason.startswith("provider acme throttled")
        assert one.task(held).attempts == 0
        done = one.state(held, "done")
        assert one.attempts(held)[0].claimed_ms >= until_ms
        assert one.state(limited, "done").burnt == 0 and done.attempts == one.state(after, "done").attempts == 1
        one.shows("two/1", lambda row: row.health == "healthy", "and it is well again")
        one.says(r"one/1: \w+ was throttled, again in")
        assert "step by step" not in one.said(), "one start after the other is a pace, no trouble"
        one.end()
    assert_whole(Path(one.folder))


def _breakers(one: Fleet) -> list[object]:
    with open_reader(one.folder) as reader:
        return list(reader.breakers())


PACED = """
[agent.paced]
command = ["sh", "-c", "echo x >> started"]
queues = ["work"]
instances = 4
[limits.queue.work]
rate = "10/s"
[limits.agent.paced]
concurrency = 2
"""


def test_starts_of_a_fleet_keep_to_the_rate_and_go_on_by_themselves(tmp_path: Path) -> None:
    with fleet(tmp_path, PACED) as one:
        tasks = [one.add("work") for _ in range(15)]
        one.up()
        for task in tasks:
            one.state(task, "done")
        times = sorted(one.attempts(task)[0].claimed_ms for task in tasks)
        assert all(later - sooner >= 100 for sooner, later in itertools.pairwise(times))
        assert times[-1] - times[0] < 4_000, "each start comes when it is due, not at the next look"
        one.end()
    assert len(lines(tmp_path / "started")) == 15
    assert_whole(Path(one.folder))


def test_a_paced_queue_goes_on_though_what_waits_in_another_is_not_for_its_agent(tmp_path: Path) -> None:
    paced = PACED.replace('queues = ["work"]', 'queues = ["other", "work"]').replace("10/s", "2/s")
    with fleet(tmp_path, paced) as one:
        one.store.add([TaskRequest("other", needs=("gpu",))])
        tasks = [one.add("work") for _ in range(4)]
        one.up()
        for task in tasks:
            one.state(task, "done")
        one.end()
    assert_whole(Path(one.folder))


def test_what_a_person_set_holds_without_a_configuration_and_is_told_to_who_claims(tmp_path: Path) -> None:
    from agentctl_store.domain.budget import Budget

    with fleet(tmp_path, '[agent.idle]\ncommand = "true"\n') as one:
        one.up()
        one.store.limits.set_budget(Budget("agent", "ann", "tokens", "total", 10), actor="t")
        task = one.add("mine")
        one.add("mine")
        (won,) = one.store.claim(["mine"], agent="ann")
        assert one.store.heartbeat(task, won.n, usage=Usage(9, 0)).stop is None
        stop = one.store.heartbeat(task, won.n, usage=Usage(9, 1)).stop
        assert stop == "budget of agent ann spent: 10 of 10 tokens"
        began = time.monotonic()
        assert one.store.claim(["mine"], agent="ann", wait_ms=300) == [] and time.monotonic() - began >= 0.25
        one.end()


LAST = """
[agent.last]
command = ["sh", "last.sh"]
queues = ["work"]
[fleet]
grace = "300ms"
"""
LAST_WORDS = """
trap 'echo "{\\"agentctl\\": \\"usage\\", \\"input_tokens\\": 70}"; exit 1' TERM
touch began
while :; do sleep 0.05; done
"""


def test_what_an_agent_says_it_used_as_it_is_stopped_counts(tmp_path: Path) -> None:
    (tmp_path / "last.sh").write_text(LAST_WORDS)
    with fleet(tmp_path, LAST) as one:
        task = one.add("work")
        one.up()
        until((tmp_path / "began").exists, "it runs")
        assert one.end() == 0
        (attempt,) = one.attempts(task)
        assert (attempt.outcome, attempt.usage) == ("released", Usage(70))
    assert_whole(Path(one.folder))


FAILS = """
agentctl task fail -m "by its own word" > /dev/null
echo '{"agentctl": "usage", "input_tokens": 70}'
exit CODE
"""


@pytest.mark.parametrize("code", [0, 1])
def test_what_an_agent_says_it_used_after_it_failed_its_attempt_counts(tmp_path: Path, code: int) -> None:
    (tmp_path / "last.sh").write_text(FAILS.replace("CODE", str(code)))
    with fleet(tmp_path, LAST + "[agent.last.retry]\nmax_attempts = 1\n") as one:
        task = one.add("work")
        one.up()
        one.state(task, "dead")
        until(lambda: one.attempts(task)[0].usage == Usage(70), "it counts")
        assert one.store.task(task).error == "by its own word"
        one.end()
    assert_whole(Path(one.folder))


HOLDER = """
[agent.holder]
mode = "worker"
command = ["sh", "holder.sh"]
queues = ["work"]
grace = "200ms"
restart = { policy = "always", base = "10s", cap = "10s" }
[budget.task]
tokens = 100
"""
HOLD = """
a=$(agentctl task claim work --wait 1m) || exit 0
agentctl task claim work --wait 1m > /dev/null || exit 0
attempt=$(echo "$a" | sed 's/.*"attempt":"\\([^"]*\\)".*/\\1/')
agentctl task heartbeat "$attempt" --input-tokens 100 > /dev/null
trap '' TERM
while :; do sleep 0.1; done
"""


def test_a_worker_ended_for_one_tasks_budget_gives_its_others_back(tmp_path: Path) -> None:
    (tmp_path / "holder.sh").write_text(HOLD)
    with fleet(tmp_path, HOLDER) as one:
        spent, other = one.add("work"), one.add("work")
        one.up()
        assert one.state(spent, "dead", within_s=25).reason == "policy"
        assert one.state(other, "ready").attempts == 1
        one.end()
    assert_whole(Path(one.folder))


def test_a_breaker_the_store_would_refuse_is_reported_with_its_place_and_the_old_configuration_stays(
    tmp_path: Path,
) -> None:
    good = '[agent.idle]\ncommand = "true"\n[breaker.agent.idle]\nwindow = "1m"\n'
    with fleet(tmp_path, good) as one:
        one.up()
        one.configure(good.replace("1m", "60d"))
        one.says(r"the old one stays. \S+agentctl.toml:\d+: breaker.agent.idle is refused: the window in ms")
        one.state(one.add("idle"), "done")
        one.end()
