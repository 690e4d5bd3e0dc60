"""Limits, budgets and breakers from the command line, without a configuration and without a supervisor."""

from __future__ import annotations

import json
import time

import pytest
from cli.command_kit import Fleet

from agentctl_store.domain.agent import AgentSpec, Instance
from agentctl_store.read import open_reader
from agentctl_store.store import open_store


def rows(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def one(fleet: Fleet, *words: str) -> dict[str, object]:
    (row,) = rows(fleet.ok(*words, "-o", "jsonl"))
    return row


def claim(fleet: Fleet, agent: str = "ann", queue: str = "work") -> str:
    return str(json.loads(fleet.ok("task", "claim", queue, "--agent", agent))["attempt"])


@pytest.fixture
def work(fleet: Fleet) -> Fleet:
    """Agents ann and bob, who take from queue work, with an idle instance each, and three tasks."""
    with open_store(str(fleet.store), create=True) as store:
        store.declare_agents([AgentSpec(name, "task", ("work",), 1) for name in ("ann", "bob")], actor="t")
        store.save_instances([Instance(name, 1, "idle", "healthy", "") for name in ("ann", "bob")])
    for number in range(3):
        fleet.ok("task", "add", str(number), "-q", "work")
    return fleet


def test_a_limit_is_set_shown_kept_to_and_lifted(work: Fleet) -> None:
    said = work.ok("limit", "set", "agent:ann", "--rate", "2/h", "--burst", "1", "--concurrency", "5")
    assert said == "agent:ann: 2/h, burst 1; 5 at once"
    row = one(work, "limit", "list")
    assert (row["target"], row["rate"], row["concurrency"], row["set_by"]) == ("agent:ann", "2/h", 5, "operator")
    claim(work)
    assert work.run("task", "claim", "work", "--agent", "ann").code == 7
    claim(work, "bob")
    assert work.ok("limit", "set", "agent:ann", "--concurrency", "1") == "agent:ann: 2/h, burst 1; 1 at once"
    assert work.ok("limit", "remove", "agent:ann") == "agent:ann has no limit any more"
    assert work.run("limit", "remove", "agent:ann").code == 3
    claim(work)


def test_a_full_queue_refuses_with_four_and_says_what_to_do(work: Fleet) -> None:
    assert work.ok("queue", "limit", "work", "--max-depth", "3") == "queue:work: at most 3 waiting"
    ran = work.run("task", "add", "1", "-q", "work")
    assert ran.code == 4 and "3 of 3 tasks wait in it" in ran.err and "agentctl queue limit work" in ran.err
    work.ok("task", "add", "1", "-q", "elsewhere")


def test_a_burst_without_a_rate_is_refused_as_wrong_usage(work: Fleet) -> None:
    ran = work.run("limit", "set", "fleet", "--burst", "5")
    assert ran.code == 2 and ran.err.startswith("agentctl: a burst goes with a rate")
    work.ok("limit", "set", "fleet", "--rate", "30/min")
    assert work.ok("limit", "set", "fleet", "--burst", "5") == "fleet: 30/min, burst 5"


def test_a_table_of_instances_says_that_nobody_keeps_it_true(work: Fleet) -> None:
    assert "No supervisor runs now" in work.run("ps").err
    assert work.run("ps", "-o", "jsonl").err == "", "programs look at the lock"


def test_why_nothing_starts_stands_in_ps_and_in_both_lists(work: Fleet) -> None:
    work.ok("limit", "set", "agent:ann", "--provider", "acme")
    work.ok("limit", "set", "provider:acme", "--rate", "1/h")
    work.ok("budget", "set", "agent:bob", "--attempts", "0")
    claim(work)
    now = {str(row["instance"]): str(row["now"]) for row in rows(work.ok("ps", "-o", "jsonl"))}
    assert now["ann/1"].startswith("rate limit of provider acme: next in 59m")
    assert now["bob/1"].startswith("budget of the day of agent bob spent: 0 of 0 attempts; again in ")
    held = {str(row["agent"]): row["held"] for row in rows(work.ok("agent", "list", "-o", "jsonl"))}
    assert held == {"ann": now["ann/1"], "bob": now["bob/1"]} or str(held["ann"]).startswith("rate limit")
    (queue,) = [row for row in rows(work.ok("queue", "list", "-o", "jsonl")) if row["queue"] == "work"]
    assert str(queue["held"]).startswith("rate limit of provider acme"), "all its agents are held back"
    work.ok("budget", "remove", "agent:bob")
    (queue,) = [row for row in rows(work.ok("queue", "list", "-o", "jsonl")) if row["queue"] == "work"]
    assert queue["held"] == ""


def test_a_heartbeat_tells_of_a_spent_budget_and_the_partial_result_is_kept(work: Fleet) -> None:
    assert work.ok("budget", "set", "fleet", "--usd", "0.5", "--tokens", "2k") == (
        "fleet per day: 2,000 tokens\nfleet per day: 0.50 USD"
    )
    attempt = claim(work)
    assert work.ok("task", "heartbeat", attempt, "--cost-usd", "0.49") == ""
    ran = work.run("task", "heartbeat", attempt, "--cost-usd", "0.52")
    assert (ran.code, ran.out) == (4, "stop budget of the day spent: 0.52 of 0.50 USD\n")
    work.ok("task", "fail", attempt, "-c", "policy", "-m", "out of money", "--partial", '{"pages": 3}')
    task = attempt.partition(".")[0]
    shown = json.loads(work.ok("dlq", "show", task, "-o", "json"))
    assert (shown["reason"], shown["partial"]) == ("policy", {"pages": 3})
    by_measure = {row["measure"]: row for row in rows(work.ok("budget", "list", "-o", "jsonl"))}
    assert (by_measure["usd"]["spent"], by_measure["usd"]["left"], by_measure["usd"]["share"]) == ("0.52", "0.00", 104)
    assert by_measure["tokens"]["spent"] == "0"
    with open_reader(str(work.store)) as reader:
        summary = reader.summary(time.time_ns() // 1_000_000)
    assert (summary.cost_today_microusd, summary.budget_today_microusd) == (520_000, 500_000), "so the dashboard shows"


def test_a_breaker_is_listed_and_reset_and_the_history_says_who(work: Fleet) -> None:
    work.ok("breaker", "set", "agent:ann", "--min-calls", "1", "--failure-share", "1")
    work.ok("task", "fail", claim(work), "-c", "crashed", "-m", "segfault")
    row = one(work, "breaker", "list")
    assert (row["target"], row["state"]) == ("agent:ann", "open")
    assert row["reason"] == "1 of the last 1 attempts failed, last: segfault"
    assert work.run("task", "claim", "work", "--agent", "ann").code == 7
    assert work.ok("breaker", "reset", "agent:ann") == "agent:ann closed"
    assert work.ok("breaker", "reset", "agent:ann") == "agent:ann was closed already"
    (event,) = rows(work.ok("event", "list", "--kind", "breaker.reset", "-o", "jsonl"))
    assert event["actor"] == "tester"
    claim(work)
    assert work.ok("event", "verify").startswith("✓") or "intact" in work.ok("event", "verify")
    work.ok("breaker", "remove", "agent:ann")
    assert work.run("breaker", "reset", "agent:ann").code == 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("limit", "set", "fleet"), "--rate"),
        (("limit", "set", "nobody:x", "--rate", "1/s"), "queue:NAME"),
        (("limit", "set", "fleet:x", "--rate", "1/s"), "fleet"),
        (("limit", "set", "agent:Bad Name", "--rate", "1/s"), "Bad Name"),
        (("limit", "set", "fleet", "--rate", "often"), "30/min"),
        (("limit", "set", "fleet", "--rate", "0/s"), "out of range"),
        (("limit", "set", "agent:ann", "--max-depth", "1"), "queue"),
        (("limit", "set", "fleet", "--provider", "acme"), "agent:NAME"),
        (("budget", "set", "fleet"), "--tokens"),
        (("budget", "set", "fleet", "--usd", "-1"), "out of range"),
        (("budget", "set", "fleet", "--tokens", "many"), "200k"),
        (("budget", "set", "task", "--tokens", "1", "--per", "day"), "per task"),
        (("budget", "set", "fleet", "--usd", "1", "--timezone", "Mars"), "Europe/Berlin"),
        (("breaker", "set", "fleet"), "agent:NAME"),
        (("breaker", "set", "agent:ann", "--failure-share", "7"), "0.01"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_write(fleet: Fleet, words: tuple[str, ...], says: str) -> None:
    ran = fleet.run(*words)
    assert ran.code == 2 and says in ran.err and ran.out == "", ran
