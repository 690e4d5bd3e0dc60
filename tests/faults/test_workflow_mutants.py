"""P18 for workflows: each seeded bug of routing, delegation and fallbacks makes at least one of these checks fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from faults.store_kit import assert_whole
from faults.test_mutants import World, caught_by

from agentctl_store.domain import routing as rules
from agentctl_store.domain.agent import AgentSpec
from agentctl_store.domain.retry import Failure
from agentctl_store.errors import BadDelegation, StaleAttempt
from agentctl_store.read import open_reader
from agentctl_store.read.models import Filter
from agentctl_store.sqlite import adding, fallback, routes, routing, sqltext
from agentctl_store.store import TaskRequest

ONE_TRY = '{"base_ms":0,"factor":2.0,"cap_ms":0,"max_attempts":1}'


def declare(world: World, *specs: AgentSpec) -> None:
    world.store.declare_agents(specs, actor="t")


def serving(name: str, *queues: str, **more: object) -> AgentSpec:
    return AgentSpec(name, "task", queues or (name,), 1, ONE_TRY, **more)  # type: ignore[arg-type]


def needs_are_heeded_and_rank_goes_first(world: World) -> None:
    declare(world, serving("ann", "q", can=("x",)), serving("bob", "q", can=("x", "y")))
    last = world.add(needs=("x",))
    world.clock.pass_ms(1)
    first = world.add(needs=("y",), priority=5)
    assert world.won("ann").task.id == last and world.claim("ann") is None
    assert world.won("bob").task.id == first and world.claim("bob") is None
    late, soon = world.add(needs=("x",)), world.add(needs=("x",), priority=3)
    hers = [world.add(needs=("y",)) for _ in range(3)]
    assert [one.task.id for one in world.store.claim(["q"], agent="ann", limit=9)] == [soon, late]
    assert {one.task.id for one in world.store.claim(["q"], agent="bob", limit=9)} == set(hers)
    assert_whole(world.directory)


def a_paused_queue_gives_nothing_of_any_lane(world: World) -> None:
    world.add(needs=("x",))
    world.store.pause_queue("q", actor="t")
    assert world.store.claim(["q"], agent="ann", can=("x",)) == []


def nobody_waits_for_itself(world: World) -> None:
    declare(world, serving("ann", "ann", "q"), serving("bob", "bob", "q"), serving("eve", "q"))
    (root,) = world.store.add([TaskRequest("ann")])
    world.store.claim(["ann"], agent="ann")
    (second,) = world.store.add([TaskRequest("bob", creator=root.id)])
    world.store.claim(["bob"], agent="bob")
    with pytest.raises(BadDelegation):
        world.store.add([TaskRequest("ann", creator=second.id)])
    shared = world.add(creator=second.id)
    assert world.claim("ann") is None and world.won("bob").task.id == shared
    world.store.release(shared, 1)
    assert world.won("eve").task.id == shared


def recursion_ends(world: World) -> None:
    declare(world, serving("ann", "q", max_depth=2))
    task = world.add()
    for _ in range(2):
        world.won("ann")
        task = world.add(creator=task)
    world.won("ann")
    with pytest.raises(BadDelegation):
        world.add(creator=task)


def what_nobody_can_take_is_told(world: World) -> None:
    declare(world, serving("ann", "q"))
    (lost,) = world.store.add([TaskRequest("nowhere")])
    (needy,) = world.store.add([TaskRequest("q", needs=("x",))])
    assert lost.unroutable and needy.unroutable and not world.store.add([TaskRequest("q")])[0].unroutable
    assert len(world.store.events(kinds=["route.lost"])) == 2
    with open_reader(str(world.directory)) as reader:
        assert sum(bool(row.unroutable) for row in reader.tasks(0, 9, "id", Filter())) == 2
        assert sum(row.unroutable for row in reader.queues()) == 2
    declare(world, serving("ann", "q", "nowhere", can=("x",)))
    assert len(world.store.events(kinds=["route.found"])) == 2
    assert not world.store.add([TaskRequest("nowhere")])[0].unroutable


def a_fallback_takes_over_once_with_fresh_tries(world: World) -> None:
    more = {"fallback": '{"agent":"eve"}', "can": ("x",)}
    patient = AgentSpec("ann", "task", ("q",), 1, ONE_TRY.replace(":1}", ":2}"), **more)  # type: ignore[arg-type]
    declare(world, patient, serving("eve", fallback='{"agent":"ann"}', can=("x",)))
    task = world.add(needs=("x",))
    for n in (1, 2):
        world.won("ann")
        world.store.fail(task, n, Failure("transient", "no"))
    with pytest.raises(StaleAttempt):
        world.store.complete(task, 2)
    found = world.store.task(task)
    assert (found.queue, found.burnt, found.degraded, found.needs) == ("eve", 0, True, ("x",))
    (claim,) = world.store.claim(["eve"], agent="eve")
    world.store.fail(task, claim.n, Failure("transient", "no"))
    assert world.store.task(task).state == "dead"
    world.store.requeue(task, actor="t")
    back = world.store.task(task)
    assert (back.queue, back.degraded, back.needs) == ("q", False, ("x",)) and world.won("ann").task.id == task
    assert_whole(world.directory)


def a_result_stands_in_but_not_for_a_hard_stop(world: World) -> None:
    declare(world, serving("ann", "q", fallback='{"result":7}'))
    task = world.add()
    (child,) = world.store.add([TaskRequest("sum", after=(task,))])
    world.won("ann")
    world.store.fail(task, 1, Failure("transient", "no"))
    assert (world.store.task(task).state, world.store.task(task).degraded) == ("done", True)
    assert world.store.task(child.id).state == "ready" and world.store.parents(child.id)[0].degraded
    with pytest.raises(StaleAttempt):
        world.store.complete(task, 1, result="8")
    stopped = world.add()
    world.won("ann")
    world.store.fail(stopped, 1, Failure("policy", "the budget is spent"))
    assert world.store.task(stopped).state == "dead"
    assert_whole(world.directory)


CHECKS: list[Callable[[World], None]] = [
    needs_are_heeded_and_rank_goes_first, a_paused_queue_gives_nothing_of_any_lane, nobody_waits_for_itself,
    recursion_ends, what_nobody_can_take_is_told, a_fallback_takes_over_once_with_fresh_tries,
    a_result_stands_in_but_not_for_a_hard_stop,
]  # fmt: skip
SQL_MUTANTS: dict[str, list[tuple[str, str, str]]] = {
    "a lane is not looked at": [("survey", "r.lane = 0 AND", "")],
    "lanes out of order": [
        ("survey_lanes", "ORDER BY r.available_ms - r.priority", "ORDER BY r.available_ms + r.priority"),
    ],
    "the next of a lane is anybody's": [("pick", "t.lane = ? AND", "t.lane + ? >= 0 AND")],
    "the fallback keeps the tries": [("fall_back", "burnt = 0,", "burnt = burnt,")],
    "the fallback stays in its queue": [("fall_back", "queue = ?,", "queue = coalesce(queue, ?),")],
    "what fell back is not marked": [("fall_back", "degraded = queue,", "")],
    "a stand-in is not marked": [("stand_in", "degraded = coalesce(degraded, queue),", "")],
    "a requeue stays with the fallback": [("requeue", "queue = coalesce(degraded, queue),", "")],
    "who delegates is not known": [("delegator", "SELECT t.chain, x.agent", "SELECT t.chain, NULL")],
    "the chain begins anew": [("delegator", "SELECT t.chain", "SELECT NULL")],
    "any queue is served": [("served", "sum(instr(queues, ?) > 0)", "sum(instr(queues, ?) >= 0)")],
}  # fmt: skip


def needs_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules.Lane, "open_to", lambda lane, agent, can: agent not in lane.barred)


def circles_are_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules.Lane, "open_to", lambda lane, agent, can: set(lane.needs).issubset(can))


def circles_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "circle", lambda lane, servers: ())


def the_last_delegator_is_barred_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "barred_by", lambda chain: tuple(sorted(set(chain))))


def nobody_is_barred(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "barred_by", lambda chain: ())


def depth_is_not_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "MAX_DEPTH", 10**6)
    whole = routing.chain_of
    monkeypatch.setattr(routing, "chain_of", lambda conn, number: whole(conn, number)[-1:])


def a_fleets_change_is_not_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "redeclared", lambda tx, sql, before, actor: None)


def every_queue_is_taken_for_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adding, "_served", lambda tx, sql, queue: True)


def readers_see_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes.Routes, "why", lambda self, queue, lane, state: "")


def a_fallback_takes_over_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    lane = fallback._lane

    def forgetful(tx, held, agent, told):  # type: ignore[no-untyped-def]
        held.degraded = None
        return lane(tx, held, agent, told)

    monkeypatch.setattr(fallback, "_lane", forgetful)


def a_stand_in_frees_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    from agentctl_store.sqlite import settling

    monkeypatch.setattr(settling, "settle_children", lambda tx, sql, parent, state: [])


def a_requeue_forgets_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    from agentctl_store.sqlite import deciding

    monkeypatch.setattr(deciding, "home", lambda tx, task: (0, fallback.home(tx, task)[1]))


CODE_MUTANTS = [
    needs_are_ignored, circles_are_claimed, circles_are_added, the_last_delegator_is_barred_too, nobody_is_barred,
    depth_is_not_bounded, a_fleets_change_is_not_noticed, every_queue_is_taken_for_served, readers_see_no_reason,
    a_fallback_takes_over_for_ever, a_stand_in_frees_nobody, a_requeue_forgets_what_it_needs,
]  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_store_as_it_is_passes(check: Callable[[World], None], tmp_path: Path) -> None:
    check(World(tmp_path / "world"))


@pytest.mark.parametrize("name", SQL_MUTANTS)
def test_a_bug_in_a_statement_is_caught(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = sqltext.load

    def broken(file: str) -> dict[str, str]:
        blocks = load(file)
        for block, stands, bug in SQL_MUTANTS[name] if file == "task" else ():
            assert stands in blocks[block], f"{name}: {stands!r} is not in {block}"
            blocks[block] = blocks[block].replace(stands, bug)
        return blocks

    monkeypatch.setattr(sqltext, "load", broken)
    assert caught_by(CHECKS, tmp_path), f"nobody noticed: {name}"


@pytest.mark.parametrize("mutant", CODE_MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_bug_in_the_code_is_caught(
    mutant: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    assert caught_by(CHECKS, tmp_path), f"nobody noticed: {mutant.__name__}"
