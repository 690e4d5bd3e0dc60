"""Each pattern is found in a history that has it, not in one just below its threshold, and never in a healthy fleet."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from store.findings_kit import HOUR_MS, MINUTE_MS, SECOND_MS, Fleet  # noqa: TID251

from agentctl_store.domain.agent import AgentSpec, Instance
from agentctl_store.domain.budget import Budget
from agentctl_store.domain.limits import Bound
from agentctl_store.domain.retry import Failure, RetryPolicy
from agentctl_store.errors import BadDelegation, BadInput, Conflict
from agentctl_store.findings import DETECTORS, storms
from agentctl_store.findings.model import PATTERNS, Burst
from agentctl_store.findings.storms import gathered
from agentctl_store.findings.telling import searched, signature, span
from agentctl_store.findings.thresholds import Thresholds
from agentctl_store.findings.waits import knots
from agentctl_store.ids import write_id
from agentctl_store.sqlite.evidence import SqliteEvidence


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path)
    yield made
    made.store.close()


# --- circular delegation ----------------------------------------------------------------------------------------------
def test_work_that_comes_back_to_who_handed_it_on_is_a_circle(fleet: Fleet) -> None:
    fleet.add("plan")
    first = fleet.claim("planner", "plan")
    fleet.add("code", by=first)
    second = fleet.claim("coder", "code")
    back = fleet.add("plan", by=second)
    assert fleet.find("circular_delegation") == [], "nobody has taken it yet"
    fleet.claim("planner", "plan", 2)
    found = fleet.one("circular_delegation")
    assert found.subject == "planner → coder → planner" and found.severity == "warning"
    assert found.tasks == (write_id(back),) and found.count == 1
    assert write_id(back) in found.remedy and found.summary.endswith(", once")
    assert fleet.find("circular_delegation", circular_returns=2) == []


def test_a_chain_that_goes_round_and_round_is_critical_and_told_once(fleet: Fleet) -> None:
    fleet.add("plan")
    holder = fleet.claim("planner", "plan")
    for turn in range(1, 7):
        agent, queue = ("coder", "code") if turn % 2 else ("planner", "plan")
        fleet.clock.pass_ms(1)
        fleet.add(queue, by=holder)
        holder = fleet.claim(agent, queue)
    found = fleet.one("circular_delegation")
    assert (found.subject, found.count, found.severity) == ("planner → coder → planner", 5, "critical")
    assert dict(found.evidence) == {"returns": 3, "agents": 2} and "up to 3 times in one chain" in found.summary


def test_splitting_ones_own_work_and_handing_it_down_is_no_circle(fleet: Fleet) -> None:
    fleet.add("plan")
    holder = fleet.claim("planner", "plan")
    for agent, queue in (("planner", "plan"), ("planner", "plan"), ("coder", "code"), ("tester", "test")):
        fleet.add(queue, by=holder)
        holder = fleet.claim(agent, queue)
    assert fleet.find("circular_delegation") == []


def test_a_circle_above_the_window_is_followed_to_where_it_began(fleet: Fleet) -> None:
    fleet.add("plan")
    first = fleet.claim("planner", "plan")
    fleet.add("code", by=first)
    second = fleet.claim("coder", "code")
    fleet.minutes(180)
    fleet.add("plan", by=second)
    fleet.claim("planner", "plan", 2)
    assert len(fleet.find("circular_delegation", since_ms=HOUR_MS)) == 1
    fleet.minutes(180)
    assert fleet.find("circular_delegation", since_ms=HOUR_MS) == [], "it is over"


def test_refused_circles_are_told_with_how_often(fleet: Fleet) -> None:
    said = {"verb": "add", "reason": "coder may not delegate to planner: planner → coder → planner", "more": 6}
    fleet.store.note("access.refused", actor="coder/1", data=said)
    fleet.store.note("access.refused", actor="coder/1", data={"verb": "requeue", "reason": "no circle of yours"})
    found = fleet.one("circular_delegation")
    assert (found.subject, found.count) == ("coder/1", 7)
    assert "planner → coder → planner" in found.summary and len(found.events) == 1


# --- god agents -------------------------------------------------------------------------------------------------------
def test_an_agent_that_takes_nearly_all_of_a_shared_queue_is_told(fleet: Fleet) -> None:
    fleet.declare(ann="work", bob="work", cid="work")
    fleet.do("ann", "work", 97)
    fleet.do("bob", "work", 2)
    fleet.do("cid", "work", 1)
    assert fleet.find("god_agent") == [], "97 starts say little"
    fleet.do("ann", "work", 3)
    found = fleet.one("god_agent")
    assert (found.subject, found.count) == ("ann", 100)
    assert dict(found.evidence)["share_of_starts"] == pytest.approx(100 / 103, abs=0.001)
    assert dict(found.evidence)["share_by_slots"] == pytest.approx(1 / 3, abs=0.001)
    assert fleet.find("god_agent", god_share=0.98) == []


def test_an_agent_with_most_of_the_slots_may_do_most_of_the_work(fleet: Fleet) -> None:
    specs = [AgentSpec(name, "task", ("work",), slots) for name, slots in (("ann", 18), ("bob", 1), ("cid", 1))]
    fleet.store.declare_agents(specs, actor="supervisor")
    fleet.do("ann", "work", 120)
    fleet.do("bob", "work", 5)
    assert fleet.find("god_agent") == []


def test_an_agent_that_alone_serves_many_queues_is_told(fleet: Fleet) -> None:
    fleet.declare(ann=("a", "b", "c", "d"), bob="e", cid="f")
    for queue in ("a", "b", "c"):
        fleet.do("ann", queue, 50)
    assert fleet.find("god_agent") == [], "three queues are a wide field, and still one"
    fleet.do("ann", "d", 10)
    found = fleet.one("god_agent")
    assert found.subject == "ann" and "[agent.ann]" in found.remedy


def test_a_specialist_and_its_planner_are_no_gods(fleet: Fleet) -> None:
    fleet.declare(planner="plan", reviewer="review", reporter="report")
    fleet.add("plan")
    plan = fleet.claim("planner", "plan")
    for _ in range(150):
        fleet.add("review", by=plan)
    for _ in range(150):
        claim = fleet.claim("reviewer", "review")
        fleet.store.complete(claim.task.id, claim.n)
    fleet.do("reporter", "report")
    assert fleet.find("god_agent") == []


def test_an_agent_that_adds_nearly_all_that_many_add_is_told(fleet: Fleet) -> None:
    fleet.declare(ann="a", bob="b", cid="c")
    for name, count in (("bob/1", 3), ("cid/1", 4), ("ann/2", 50), ("ann/1", 49)):
        for _ in range(count):
            fleet.add("work", actor=name)
    for _ in range(500):
        fleet.add("work", actor="a-person")
    assert fleet.find("god_agent") == []
    fleet.add("work", actor="ann/1")
    found = fleet.one("god_agent")
    assert (found.subject, found.count, found.severity) == ("ann", 100, "info")


# --- blocking waits ---------------------------------------------------------------------------------------------------
def knotted(fleet: Fleet) -> None:
    """planner's only slot waits for coder's, which waits for planner."""
    fleet.store.declare_agents(
        [AgentSpec("planner", "task", ("plan",), 1), AgentSpec("coder", "task", ("code",), 1)], actor="supervisor"
    )
    fleet.add("plan")
    first = fleet.claim("planner", "plan")
    fleet.add("code", by=first)
    second = fleet.claim("coder", "code")
    fleet.add("plan", by=second)


def test_agents_that_wait_for_each_other_are_told_with_their_tasks(fleet: Fleet) -> None:
    knotted(fleet)
    fleet.minutes(29)
    assert fleet.find("blocking_waits") == []
    fleet.minutes(2)
    found = fleet.one("blocking_waits")
    assert found.subject == "coder ⇄ planner" and found.severity == "critical"
    assert found.first_ms == fleet.clock.wall_ms - 31 * MINUTE_MS and found.last_ms == fleet.clock.wall_ms
    assert len(found.tasks) == 2 and found.tasks[0] in found.remedy


def test_a_knot_is_as_old_as_the_last_that_closed_it(fleet: Fleet) -> None:
    fleet.declare(ann="a", bob="b")
    for agent, queue in (("ann", "a"), ("bob", "b")):
        fleet.add(queue)
        fleet.claim(agent, queue)
    fleet.say("ann", "bob", type="QUERY")
    fleet.minutes(20)
    fleet.say("bob", "ann", type="QUERY")
    fleet.minutes(31)
    found = fleet.one("blocking_waits")
    assert found.first_ms == fleet.clock.wall_ms - 51 * MINUTE_MS and "for 31m" in found.summary


def test_a_free_slot_unties_the_knot(fleet: Fleet) -> None:
    knotted(fleet)
    fleet.store.scale_agent("planner", 2, actor="t")
    fleet.minutes(31)
    assert fleet.find("blocking_waits") == []


def test_another_agent_that_could_take_it_unties_the_knot(fleet: Fleet) -> None:
    knotted(fleet)
    names = ("planner", "coder", "helper")
    queues = (("plan",), ("code",), ("plan",))
    specs = [AgentSpec(name, "task", served, 1) for name, served in zip(names, queues, strict=True)]
    fleet.store.declare_agents(specs, actor="supervisor")
    fleet.minutes(31)
    assert fleet.find("blocking_waits") == []


def test_a_knot_is_untied_when_one_of_them_ends(fleet: Fleet) -> None:
    knotted(fleet)
    fleet.minutes(31)
    held = fleet.store.driver.conn.rows("SELECT id, attempts FROM task WHERE state = 'active'")  # type: ignore[attr-defined]
    fleet.store.complete(*held[0])
    assert fleet.find("blocking_waits") == []


def test_an_agent_whose_only_slot_waits_for_itself_is_told(fleet: Fleet) -> None:
    fleet.store.declare_agents([AgentSpec("planner", "task", ("plan",), 1)], actor="supervisor")
    fleet.add("plan")
    fleet.add("plan", by=fleet.claim("planner", "plan"))
    fleet.minutes(31)
    found = fleet.one("blocking_waits")
    assert found.subject == "planner" and "scale planner" in found.remedy


def test_tasks_that_wait_for_one_nobody_takes_are_told(fleet: Fleet) -> None:
    parent = fleet.add("review")
    children = [fleet.add("report", after=(parent,)) for _ in range(2)]
    fleet.minutes(5)
    children.append(fleet.add("report", after=(parent,)))
    fleet.minutes(24)
    assert fleet.find("blocking_waits") == []
    fleet.minutes(7)
    found = fleet.one("blocking_waits")
    assert (found.subject, found.count) == ("review", 3)
    assert found.first_ms == fleet.clock.wall_ms - 36 * MINUTE_MS and "for 36m" in found.summary
    assert found.tasks == tuple(map(write_id, sorted(children))) and write_id(parent) in found.remedy
    fleet.claim("ann", "review")
    assert fleet.find("blocking_waits") == [], "somebody works on it"


def test_groups_that_wait_for_each_other_are_found_however_long_their_chains() -> None:
    chain = [(f"a{n}", f"a{n + 1}") for n in range(20_000)]
    assert knots(chain) == []
    assert len(knots([*chain, ("a20000", "a0")])[0]) == 20_001
    assert knots([("a", "b"), ("b", "a"), ("b", "c"), ("d", "d"), ("c", "e")]) == [["a", "b"], ["d"]]


def test_agents_whose_questions_wait_for_each_other_are_told(fleet: Fleet) -> None:
    fleet.declare(ann="a", bob="b")
    for agent, queue in (("ann", "a"), ("bob", "b")):
        fleet.add(queue)
        fleet.claim(agent, queue)
    first = fleet.say("ann", "bob", type="QUERY")
    fleet.say("bob", "ann", type="QUERY")
    fleet.say("ann", "bob", type="STATUS")
    fleet.minutes(29)
    assert fleet.find("blocking_waits") == []
    fleet.minutes(2)
    found = fleet.one("blocking_waits")
    assert found.subject == "ann ⇄ bob" and dict(found.evidence)["awaited"] == "an answer"
    fleet.say("bob", "ann", type="RESULT", reply_to=first)
    assert fleet.find("blocking_waits") == [], "one of them has its answer"


def test_a_question_of_an_agent_that_runs_nothing_holds_nobody_up(fleet: Fleet) -> None:
    fleet.declare(ann="a", bob="b")
    fleet.add("a")
    fleet.claim("ann", "a")
    fleet.say("ann", "bob", type="QUERY")
    fleet.say("bob", "ann", type="QUERY")
    fleet.minutes(31)
    assert fleet.find("blocking_waits") == []


# --- chatty pairs -----------------------------------------------------------------------------------------------------
def test_two_that_write_to_each_other_all_the_time_are_chatty(fleet: Fleet) -> None:
    fleet.declare(ann="a", bob="b", cid="c")
    begun_ms = fleet.clock.now().wall_ms
    for number in range(24):
        fleet.say("ann", "bob")
        if number < 15:
            fleet.say("bob", "ann")
        fleet.clock.pass_ms(20_000)
    assert fleet.find("chatty_pair") == []
    fleet.say("bob", "ann")
    found = fleet.one("chatty_pair")
    assert (found.subject, found.count) == ("ann ⇄ bob", 40)
    assert dict(found.evidence) == {"from_first": 24, "from_second": 16, "damped": 0}
    assert (found.first_ms, found.last_ms) == (begun_ms, fleet.clock.now().wall_ms), "of messages, not of whole buckets"
    assert fleet.find("chatty_pair", chatty_window_ms=5 * MINUTE_MS) == []


def test_reports_and_publications_are_no_chat(fleet: Fleet) -> None:
    fleet.declare(ann="a", bob="b")
    fleet.say("ann", "bob", 100)
    fleet.say("bob", "ann", 12)
    assert fleet.find("chatty_pair") == [], "one of them reports"
    fleet.store.messages.subscribe("news", "ann")
    fleet.store.messages.subscribe("news", "bob")
    for source in ("ann", "bob"):
        fleet.say(source, "topic:news", 100)
    assert fleet.find("chatty_pair") == []


def test_a_dialogue_with_a_person_is_no_chat(fleet: Fleet) -> None:
    fleet.declare(ann="a")
    for _ in range(60):
        fleet.say("ann", "operator")
        fleet.say("operator", "ann")
    assert fleet.find("chatty_pair") == []


def test_a_conversation_that_was_damped_is_told_however_short(fleet: Fleet) -> None:
    fleet.declare(ann="a", bob="b")
    first = last = fleet.say("ann", "bob")
    with pytest.raises(Conflict):
        for number in range(30):
            source, target = ("bob", "ann") if number % 2 == 0 else ("ann", "bob")
            last = fleet.say(source, target, reply_to=last, conversation=first)
    found = fleet.one("chatty_pair")
    assert dict(found.evidence)["damped"] == 1 and "1 conversation got nowhere and was damped" in found.summary


# --- retry storms -----------------------------------------------------------------------------------------------------
def storm(fleet: Fleet, count: int, over_ms: int, error: str = "exit 1: connection to 10.0.0.{n} refused") -> None:
    for number in range(count):
        fleet.fail("ann", "work", error.format(n=number))
        fleet.clock.pass_ms(over_ms // count)


def test_many_retries_within_a_minute_are_a_storm(fleet: Fleet) -> None:
    storm(fleet, 49, 40 * SECOND_MS)
    assert fleet.find("retry_storm") == []
    storm(fleet, 1, SECOND_MS)
    found = fleet.one("retry_storm")
    assert (found.subject, found.count, found.severity) == ("ann", 50, "warning")
    figures = dict(found.evidence)
    assert figures["share_of_one_error"] == 1.0 and figures["share_of_starts"] == 1.0
    assert figures["starts_meanwhile"] >= 49 and figures["retries_looked_at"] == 50
    assert figures["error_class"] == "transient" and "queue pause work" in found.remedy
    assert found.first_ms is not None and found.last_ms is not None and found.last_ms - found.first_ms <= MINUTE_MS


def test_of_a_large_storm_the_first_are_looked_at_and_its_end_is_told(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storms, "LOOKED_AT", 10)
    storm(fleet, 60, 30 * SECOND_MS)
    found = fleet.one("retry_storm")
    assert found.count == 60 and dict(found.evidence)["retries_looked_at"] == 10
    assert found.last_ms == fleet.clock.wall_ms - 500 and "within 29s" in found.summary


def test_the_same_retries_over_an_hour_are_none(fleet: Fleet) -> None:
    storm(fleet, 200, HOUR_MS)
    assert fleet.find("retry_storm") == []


def test_retries_beside_much_good_work_are_none(fleet: Fleet) -> None:
    for _ in range(50):
        fleet.fail("ann", "work")
        fleet.do("bob", "fine", 3)
    assert fleet.find("retry_storm") == []
    assert len(fleet.find("retry_storm", storm_share=0.2)) == 1


def test_retries_that_come_back_together_are_in_lockstep_and_critical(fleet: Fleet) -> None:
    for _ in range(60):
        fleet.add("work", retry=RetryPolicy(base_ms=0, cap_ms=0))
        claim = fleet.claim("ann", "work")
        fleet.store.fail(claim.task.id, claim.n, Failure("throttled", "429", retry_after_ms=30_000))
    found = fleet.one("retry_storm")
    assert found.severity == "critical" and "[agent.ann.retry]" in found.remedy
    assert dict(found.evidence)["share_due_in_one_second"] == 1.0


def test_full_jitter_is_no_lockstep(fleet: Fleet) -> None:
    for _ in range(60):
        fleet.add("work", retry=RetryPolicy(base_ms=60_000))
        claim = fleet.claim("ann", "work")
        fleet.store.fail(claim.task.id, claim.n, Failure("transient", "exit 1"))
    assert dict(fleet.one("retry_storm").evidence)["share_due_in_one_second"] < 0.2


def test_a_storms_cost_is_told_beside_all_others(fleet: Fleet) -> None:
    from agentctl_store.domain.task import Usage

    for _ in range(60):
        fleet.add("work")
        claim = fleet.claim("ann", "work")
        fleet.store.fail(claim.task.id, claim.n, Failure("transient", "x"), usage=Usage(0, 0, 10_000))
    fleet.add("fine")
    claim = fleet.claim("bob", "fine")
    fleet.store.complete(claim.task.id, claim.n, usage=Usage(0, 0, 400_000))
    figures = dict(fleet.one("retry_storm").evidence)
    assert (figures["cost_microusd"], figures["share_of_cost"]) == (600_000, 0.6)


def test_storms_are_gathered_wherever_they_lie_on_the_clock() -> None:
    limits = Thresholds(storm_retries=50)
    dice = random.Random(3)
    for _ in range(200):
        start = dice.randrange(10**9) * 1_000
        burst = [Burst(start + 10_000 * n, 10, n, n) for n in range(5)]
        assert gathered(tuple(burst), 10_000, limits) == [burst]
        assert gathered(tuple(burst[:4]), 10_000, limits) == []
    far = [*burst, *(Burst(start + 3_600_000 + 10_000 * n, 10, 9 + n, 9 + n) for n in range(5))]
    assert [len(one) for one in gathered(tuple(far), 10_000, limits)] == [5, 5]


# --- starved queues ---------------------------------------------------------------------------------------------------
def test_a_queue_that_is_passed_over_while_others_run_is_starved(fleet: Fleet) -> None:
    fleet.declare(ann=("mail", "work"))
    waits = fleet.add("mail")
    fleet.minutes(16)
    fleet.do("ann", "work", 19)
    assert fleet.find("starved_queue") == []
    fleet.do("ann", "work", 1)
    found = fleet.one("starved_queue")
    assert (found.subject, found.count, found.tasks) == ("mail", 1, (write_id(waits),))
    assert dict(found.evidence)["starts_elsewhere"] == 20
    assert fleet.find("starved_queue", starved_wait_ms=17 * MINUTE_MS) == []


def test_a_backlog_that_is_worked_on_is_not_starved(fleet: Fleet) -> None:
    fleet.declare(ann=("mail", "work"))
    for _ in range(50):
        fleet.add("mail")
    fleet.minutes(16)
    fleet.do("ann", "work", 30)
    fleet.claim("ann", "mail")
    assert fleet.find("starved_queue") == []


def test_a_queue_nobody_serves_is_told_with_the_key_to_set(fleet: Fleet) -> None:
    fleet.declare(ann="work")
    fleet.add("typo")
    fleet.minutes(16)
    found = fleet.one("starved_queue")
    assert "no agent serves it" in found.summary and "`queues`" in found.remedy


def test_a_queue_whose_agent_was_stopped_is_told_with_the_command(fleet: Fleet) -> None:
    fleet.declare(ann="work")
    fleet.add("work")
    fleet.minutes(70)
    assert fleet.find("starved_queue") == [], "nothing runs, which is no starving"
    fleet.store.set_desired("ann", "paused", actor="t")
    found = fleet.one("starved_queue")
    assert "agent resume ann" in found.remedy and found.severity == "critical"
    fleet.store.set_desired("ann", "stopped", actor="t")
    found = fleet.one("starved_queue")
    assert "agent start ann" in found.remedy and "ann, who serves it, is stopped" in found.summary
    fleet.store.set_desired("ann", "running", actor="t")
    save(fleet, "failed", "unhealthy", "start limit", latched=True)
    found = fleet.one("starved_queue")
    assert "agent start ann" in found.remedy and "hit their start limit" in found.summary


def test_tasks_that_no_agent_can_take_are_told_with_the_reason(fleet: Fleet) -> None:
    fleet.store.declare_agents([AgentSpec("ann", "task", ("work",), 1, can=("python",))], actor="supervisor")
    waits = fleet.add("work", needs=("browser",))
    fleet.add("work", needs=("python",))
    fleet.minutes(14)
    fleet.do("ann", "work", 2)
    assert fleet.find("starved_queue") == []
    fleet.minutes(1)
    found = fleet.one("starved_queue")
    assert (found.subject, found.count, found.severity) == ("work", 1, "critical")
    assert "no agent of queue work can browser" in found.summary and found.tasks == (write_id(waits),)


def test_tasks_that_only_those_could_take_who_delegated_them_are_told(fleet: Fleet) -> None:
    fleet.declare(planner="plan", coder="code")
    fleet.add("plan")
    first = fleet.claim("planner", "plan")
    trace = {"correlation": first.task.correlation}
    fleet.add("code", by=first, **trace)
    second = fleet.claim("coder", "code")
    with pytest.raises(BadDelegation):
        fleet.add("plan", by=second, **trace)
    fleet.declare(planner="plan", coder="code", helper="plan")
    fleet.add("plan", by=second, **trace)
    fleet.declare(planner="plan", coder="code")
    fleet.minutes(15)
    found = fleet.one("starved_queue")
    assert found.subject == "plan" and "delegated it: planner" in found.summary


def test_a_queue_that_a_limit_holds_back_is_told_with_what_holds_it(fleet: Fleet) -> None:
    fleet.declare(ann="work", bob="free")
    fleet.add("work")
    fleet.store.limits.set_bound(Bound("queue", "work", concurrency=0), actor="t")
    fleet.minutes(14)
    assert fleet.find("starved_queue") == []
    fleet.minutes(1)
    found = fleet.one("starved_queue")
    assert found.subject == "work" and "held back: " in found.summary and "limit list" in found.remedy
    fleet.store.limits.remove_bound("queue", "work", actor="t")
    assert fleet.find("starved_queue") == [], "nobody was in a hurry"


def test_a_budget_that_is_spent_is_told_though_nothing_runs_any_more(fleet: Fleet) -> None:
    fleet.declare(ann="work", bob="work")
    fleet.store.limits.set_budget(Budget("agent", "ann", "attempts", "total", 1), actor="t")
    fleet.do("ann", "work")
    fleet.add("work")
    fleet.minutes(16)
    assert fleet.find("starved_queue") == [], "bob may"
    fleet.store.limits.set_budget(Budget("agent", "bob", "attempts", "total", 0), actor="t")
    assert "budget list" in fleet.one("starved_queue").remedy


def test_a_pause_is_forgotten_after_an_hour(fleet: Fleet) -> None:
    fleet.declare(ann="work")
    fleet.add("work")
    fleet.store.pause_queue("work", reason="lunch", actor="eve\x1b[31m")
    fleet.minutes(59)
    assert fleet.find("starved_queue") == []
    fleet.minutes(2)
    found = fleet.one("starved_queue")
    assert found.remedy == "agentctl queue resume work" and "by eve 1h 1m ago" in found.summary


# --- poison and flapping ----------------------------------------------------------------------------------------------
def test_dead_letters_of_one_error_are_poison(fleet: Fleet) -> None:
    for number in range(4):
        fleet.fail("ann", "work", f"exit 65: no key 'k{number}' at line {number}\nlong story {number}", "permanent")
        fleet.minutes(1)
    for word in ("east", "west", "south", "north"):
        fleet.fail("ann", "work", f"exit 65: no wind from the {word}", "permanent")
    assert fleet.find("poison") == []
    fleet.fail("ann", "work", "exit 65: no key 'k9' at line 12\nother story", "permanent")
    found = fleet.one("poison")
    assert (found.subject, found.count) == ("work", 5)
    assert (found.first_ms, found.last_ms) == (fleet.clock.wall_ms - 4 * MINUTE_MS, fleet.clock.wall_ms)
    assert "dlq requeue -q work -t 'at line'" in found.remedy or "-t 'exit'" in found.remedy


def test_children_of_a_dead_parent_are_no_poison_of_their_own(fleet: Fleet) -> None:
    parent = fleet.add("work")
    for _ in range(20):
        fleet.add("work", after=(parent,))
    claim = fleet.claim("ann", "work")
    fleet.store.fail(claim.task.id, claim.n, Failure("permanent", "no"))
    assert fleet.find("poison") == []


def test_errors_of_one_cause_have_one_signature_and_a_text_to_look_for() -> None:
    one = signature("\n  exit 1: peer 10.0.0.7 closed 'a b' after 12ms\nmore")
    assert one == signature("exit 1: peer 10.9.0.12 closed 'c' after 7ms") == "exit #: peer #.#.#.# closed … after #"
    assert signature("exit 1: peer gone") != one
    assert searched(one) == "closed" and searched("# … #") == ""
    for hostile in ("a'; rm -rf $HOME; `reboot` \\", 'it"s $(x) over', "' -t '' --all --payload 'x y z'"):
        assert not set("'\"$`\\;()") & set(searched(signature(hostile))), "it stands between quotes in a command"
    assert signature("") == signature("\n \n") == ""


def save(fleet: Fleet, phase: str, health: str, reason: str = "", latched: bool = False) -> None:
    fleet.store.save_instances([Instance("ann", 1, phase, health, reason, latched=latched)])  # type: ignore[arg-type]


def test_an_instance_that_goes_down_again_and_again_flaps(fleet: Fleet) -> None:
    fleet.declare(ann="work")
    for number in range(5):
        assert fleet.find("flapping") == [], number
        save(fleet, "backoff", "unhealthy", "exit 1")
        save(fleet, "backoff", "unhealthy", "exit 1, again in 2 s")
        save(fleet, "idle", "healthy")
        fleet.minutes(10)
    found = fleet.one("flapping")
    assert (found.subject, found.count, found.severity) == ("ann/1", 5, "warning")
    assert len(found.events) == 5 and "[agent.ann.restart]" in found.remedy
    assert fleet.find("flapping", flapping_window_ms=40 * MINUTE_MS) == []


def test_an_instance_that_degrades_now_and_then_does_not_flap(fleet: Fleet) -> None:
    fleet.declare(ann="work")
    for _ in range(30):
        save(fleet, "idle", "degraded", "provider throttled")
        save(fleet, "idle", "healthy")
    assert fleet.find("flapping") == []


def test_a_latched_instance_is_critical(fleet: Fleet) -> None:
    fleet.declare(ann="work")
    save(fleet, "backoff", "unhealthy", "exit 2")
    save(fleet, "failed", "unhealthy", "start limit \x1b]0;x\x07: exit 2", latched=True)
    save(fleet, "stopped", "stopped", "the supervisor ends", latched=True)
    found = fleet.one("flapping")
    assert found.summary == "it stays down, having gone down 1 time: start limit : exit 2"
    assert found.severity == "critical" and found.remedy.endswith("agentctl agent start ann")
    save(fleet, "idle", "healthy")
    assert fleet.find("flapping") == []


# --- all of them ------------------------------------------------------------------------------------------------------
def test_a_healthy_night_has_no_findings(fleet: Fleet) -> None:
    """A planner hands out two hundred reviews, one in twenty is tried again, a report waits for all of them."""
    dice = random.Random(5)
    fleet.declare(planner="plan", reviewer="review", reporter="report")
    for _ in range(3):
        fleet.add("plan")
        plan = fleet.claim("planner", "plan")
        reviews = [fleet.add("review", by=plan, payload=json.dumps({"n": n})) for n in range(70)]
        report = fleet.add("report", by=plan, after=tuple(reviews))
        fleet.store.complete(plan.task.id, plan.n)
        while fleet.store.task(report).state == "blocked":
            fleet.clock.pass_ms(dice.randrange(20_000))
            fleet.store.sweep()
            for claim in fleet.store.claim(["review"], agent="reviewer", slot=1 + dice.randrange(2)):
                if claim.n == 1 and not dice.randrange(20):
                    fleet.store.fail(claim.task.id, claim.n, Failure("transient", "exit 1: network"))
                else:
                    fleet.store.complete(claim.task.id, claim.n)
        done = fleet.claim("reporter", "report")
        fleet.store.complete(done.task.id, done.n)
        assert fleet.find() == []


def test_an_empty_store_has_none(fleet: Fleet) -> None:
    assert fleet.find() == []


def test_the_window_begins_where_it_is_asked_to(fleet: Fleet) -> None:
    for number in range(5):
        fleet.fail("ann", "work", "exit 65: no", "permanent")
        fleet.minutes(10 if number == 0 else 0)
    assert len(fleet.find("poison", since_ms=10 * MINUTE_MS)) == 1
    assert fleet.find("poison", since_ms=10 * MINUTE_MS - 1) == []


def test_a_longer_history_than_is_looked_at_is_cut_at_its_old_end_and_says_so(fleet: Fleet) -> None:
    fleet.do("ann", "old", 10)
    fleet.minutes(10)
    fleet.do("ann", "new", 10)
    now = fleet.clock.wall_ms
    with SqliteEvidence(fleet.store.directory, 0, now, most_events=30) as evidence:
        assert evidence.window.cut and evidence.window.events == 30
        assert evidence.window.since_ms == now
        assert {one.queue for one in evidence.work(now)} == {"new"}
    with SqliteEvidence(fleet.store.directory, 0, now) as evidence:
        assert not evidence.window.cut and evidence.window.after == 0
        assert sum(one.starts for one in evidence.work(now)) == 20


def test_looking_writes_nothing(fleet: Fleet) -> None:
    knotted(fleet)
    storm(fleet, 60, 30 * SECOND_MS)
    before = fleet.store.changed(), fleet.store.version()
    assert fleet.find()
    assert (fleet.store.changed(), fleet.store.version()) == before


def test_pruned_work_is_counted_without_its_queue(fleet: Fleet) -> None:
    from agentctl_store.upkeep import prune

    fleet.declare(ann="work", bob="work", cid="work")
    fleet.do("ann", "work", 120)
    fleet.minutes(5)
    fleet.do("bob", "work", 10)
    prune(fleet.store.directory, older_than_ms=MINUTE_MS, clock=fleet.clock, actor="t")
    assert fleet.find() == []


def test_every_pattern_has_its_detector_and_thresholds_are_checked() -> None:
    assert tuple(DETECTORS) == PATTERNS
    assert Thresholds().check() == Thresholds()
    for bad in ({"god_share": 0.0}, {"storm_share": 1.1}, {"poison_letters": 0}, {"waits_for_ms": 1}, {"god_times": 0}):
        with pytest.raises(BadInput):
            Thresholds(**bad).check()  # type: ignore[arg-type]


def test_lengths_of_time_are_told_with_two_units() -> None:
    said = [span(ms) for ms in (0, 999, 61_000, 3_600_000, 86_400_000 + 3_600_000 + 5_000)]
    assert said == ["0s", "0s", "1m 1s", "1h", "1d 1h"]
