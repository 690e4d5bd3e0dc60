"""Which agents get which tasks: what a task needs, who delegated it, and what is told of one that nobody can take."""

from __future__ import annotations

import random
from typing import Any

import pytest
from store.store_kit import SetClock, add  # noqa: TID251

from agentctl.quantities import read_duration_ms
from agentctl_store.domain.agent import AgentSpec
from agentctl_store.domain.retry import Failure
from agentctl_store.domain.routing import MAX_DEPTH
from agentctl_store.errors import BadDelegation, BadInput, BadName
from agentctl_store.ids import write_id
from agentctl_store.read import open_reader
from agentctl_store.read.models import Filter
from agentctl_store.replay import verify
from agentctl_store.sqlite.pruning import Pruning
from agentctl_store.store import Store, TaskRequest, open_store
from agentctl_store.upkeep import prune


def declare(store: Store, **agents: tuple[str, ...] | AgentSpec) -> None:
    """Declare agents by what each can, on a queue of its name and on `work`."""
    specs = [
        one if isinstance(one, AgentSpec) else AgentSpec(name, "task", (name, "work"), 1, can=one)
        for name, one in agents.items()
    ]
    store.declare_agents(specs, actor="t")


def won(store: Store, agent: str, *queues: str, **more: object) -> list[int]:
    return [one.task.id for one in store.claim(queues or ("work",), agent=agent, **more)]  # type: ignore[arg-type]


def told(store: Store, kind: str) -> list[str]:
    return [event.data or "" for event in store.events(kinds=[kind])]


# --- needs ------------------------------------------------------------------------------------------------------------
def test_a_task_goes_to_an_agent_that_can_all_it_needs(store: Store) -> None:
    declare(store, ann=("python",), bob=("browser", "python"))
    task = add(store, needs=("python", "browser"))
    assert store.task(task).needs == ("browser", "python")
    assert won(store, "ann") == []
    (claim,) = store.claim(["work"], agent="bob")
    assert (claim.task.id, claim.task.needs) == (task, ("browser", "python"))
    assert verify(store.directory).faults == ()


def test_an_undeclared_agent_says_what_it_can_and_a_declared_one_may_say_less(store: Store) -> None:
    declare(store, ann=("gpu",))
    first, second = add(store, needs=("gpu",)), add(store, needs=("gpu",))
    assert won(store, "eve") == [] and won(store, "ann", can=()) == []
    assert won(store, "eve", can=["gpu", "python"]) == [first]
    assert won(store, "ann") == [second]


def test_rank_decides_between_lanes_and_a_task_nobody_can_take_holds_nobody_up(store: Store, clock: SetClock) -> None:
    stuck, order = [], []
    for _ in range(50):
        clock.pass_ms(1)
        stuck.append(add(store, needs=("quantum",), priority=100))
    for number in range(12):
        clock.pass_ms(1)
        order.append(add(store, needs=[(), ("a",), ("a", "b"), ("b",)][number % 4]))
    assert won(store, "ann", can=("a", "b"), limit=5) == order[:5]
    assert won(store, "bob", can=("b",)) == [order[7]], "the first that asks for b alone"
    assert won(store, "eve") == [order[8]]
    assert won(store, "ann", can=("a", "b"), limit=50) == [n for n in order[5:] if n not in (order[7], order[8])]
    assert won(store, "ann", can=("a", "b", "quantum"), limit=50) == stuck


def test_finishing_and_claiming_in_one_follows_what_the_agent_can(store: Store) -> None:
    plain, needy = add(store), add(store, needs=("gpu",))
    assert won(store, "ann") == [plain]
    assert store.complete_and_claim(plain, 1, ["work"], agent="ann").claim is None
    other = add(store)
    assert won(store, "ann") == [other]
    turn = store.complete_and_claim(other, 1, ["work"], agent="ann", can=["gpu"])
    assert turn.claim is not None and turn.claim.task.id == needy


@pytest.mark.parametrize(("needs", "error"), [(("Py thon",), BadName), (tuple(f"c{n}" for n in range(17)), BadInput)])
def test_capabilities_are_names_and_few(store: Store, needs: tuple[str, ...], error: type[Exception]) -> None:
    with pytest.raises(error, match="capabilit"):
        add(store, needs=needs)
    with pytest.raises(error, match="capabilit"):
        store.claim(["work"], agent="ann", can=needs * 5 if error is BadName else [f"c{n}" for n in range(65)])


def test_claims_follow_a_model_of_lanes_in_any_order(store: Store, clock: SetClock) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    dice = random.Random(seed)
    words = ("a", "b", "c")
    waiting: list[tuple[int, str, frozenset[str]]] = []
    for _ in range(120):
        clock.pass_ms(1)
        if dice.random() < 0.55:
            queue, needs = dice.choice(("q", "r")), frozenset(w for w in words if dice.random() < 0.3)
            waiting.append((add(store, queue, needs=tuple(needs)), queue, needs))
            continue
        can, queues = {w for w in words if dice.random() < 0.6}, dice.choice((("q",), ("r",), ("q", "r")))
        fit = next((one for one in waiting if one[1] in queues and one[2] <= can), None)
        assert won(store, "ann", *queues, can=tuple(can)) == ([] if fit is None else [fit[0]])
        if fit is not None:
            waiting.remove(fit)
    assert verify(store.directory).faults == ()


# --- unroutable -------------------------------------------------------------------------------------------------------
def test_a_task_nobody_can_take_is_told_at_once_and_no_more_when_somebody_can(store: Store) -> None:
    declare(store, ann=("python",))
    added = store.add([TaskRequest("nowhere"), TaskRequest("nowhere"), TaskRequest("work", needs=("python", "gpu"))])
    assert [one.unroutable for one in added] == [
        "no agent serves queue nowhere", "no agent serves queue nowhere", "no agent of queue work can gpu",
    ]  # fmt: skip
    assert store.add([TaskRequest("work")])[0].unroutable == ""
    assert len(told(store, "route.lost")) == 2 and '"tasks":2' in told(store, "route.lost")[0]
    with open_reader(store.directory) as reader:
        rows = {row.task: row.unroutable for row in reader.tasks(0, 9, "id", Filter())}
        assert [rows.pop(write_id(one.id)) for one in added] == [one.unroutable for one in added]
        assert list(rows.values()) == [""]
        counted = {row.queue: row.unroutable for row in reader.queues()}
        assert (counted["nowhere"], counted["work"]) == (2, 1)
        glance = reader.summary(0)
        assert (glance.unroutable, glance.why) == (3, "no agent serves queue nowhere")
    declare(store, ann=("python", "gpu"), nowhere=())
    assert len(told(store, "route.found")) == 2
    with open_reader(store.directory) as reader:
        assert not any(row.unroutable for row in reader.tasks(0, 9, "id", Filter()))
        assert not any(row.unroutable for row in reader.queues())
        assert reader.summary(0).unroutable == 0
    declare(store, ann=("python",))
    assert len(told(store, "route.lost")) == 4, "they wait, and their agents have gone"


def test_a_fleet_that_declares_no_agent_says_nothing_of_who_comes(store: Store) -> None:
    assert store.add([TaskRequest("work"), TaskRequest("work", needs=("gpu",))])[1].unroutable == ""
    assert told(store, "route.lost") == []
    declare(store, bob=AgentSpec("bob", "service", (), 1))
    assert told(store, "route.lost") == [], "a service takes no tasks"
    declare(store, ann=())
    assert len(told(store, "route.lost")) == 1


def test_work_is_left_only_where_one_of_the_agents_may_take_it(store: Store) -> None:
    declare(store, ann=("python",), bob=("gpu",))
    task = add(store, needs=("gpu",))
    assert store.unfinished(["work"]) and store.unfinished(["work"], ["ann", "bob"])
    assert not store.unfinished(["work"], ["ann"]) and not store.unfinished(["other"], ["bob"])
    assert won(store, "bob") == [task]
    assert store.unfinished(["work"], ["ann"]), "it runs"
    add(store, "later", needs=("gpu",), delay_ms=5_000)
    assert store.unfinished(["later"], ["bob"]) and not store.unfinished(["later"], ["ann"])


# --- delegation -------------------------------------------------------------------------------------------------------
def delegate(store: Store, agent: str, queue: str, *to: str, **more: object) -> tuple[int, list[int]]:
    """Let an agent claim from a queue and add a task to others."""
    (task,) = won(store, agent, queue)
    added = store.add([TaskRequest(one, creator=task, **more) for one in to])  # type: ignore[arg-type]
    return task, [one.id for one in added]


def test_a_circle_of_delegations_is_refused_with_its_chain(store: Store) -> None:
    declare(store, ann=(), bob=(), eve=())
    root = add(store, "ann")
    delegate(store, "ann", "ann", "bob")
    _, (third,) = delegate(store, "bob", "bob", "eve")
    assert store.task(third).chain == ("ann", "bob")
    won(store, "eve", "eve")
    for queue in ("ann", "bob"):
        with pytest.raises(BadDelegation, match=f"ann → bob → eve → {queue}") as refused:
            store.add([TaskRequest(queue, creator=third)])
        assert refused.value.exit_code == 4 and store.task(root).correlation in str(refused.value)
    assert verify(store.directory).faults == ()


def test_an_agent_may_go_on_with_its_own_work_as_deep_as_is_allowed(store: Store) -> None:
    declare(store, ann=())
    add(store, "ann")
    for depth in range(MAX_DEPTH):
        _, (task,) = delegate(store, "ann", "ann", "ann")
        assert store.task(task).chain == ("ann",) * (depth + 1)
    (last,) = won(store, "ann", "ann")
    with pytest.raises(BadDelegation, match=rf"{MAX_DEPTH + 1} long .*: ann \({MAX_DEPTH + 1}×\) → ann"):
        store.add([TaskRequest("ann", creator=last)])
    declare(store, ann=AgentSpec("ann", "task", ("ann",), 1, max_depth=MAX_DEPTH + 1))
    assert store.add([TaskRequest("ann", creator=last)])[0].created


def test_where_several_serve_a_queue_only_those_claim_who_did_not_delegate_it(store: Store) -> None:
    declare(store, ann=(), bob=(), eve=())
    add(store, "ann")
    delegate(store, "ann", "ann", "bob")
    _, (shared,) = delegate(store, "bob", "bob", "work")
    assert won(store, "ann", "work") == [], "ann would wait for itself"
    assert won(store, "eve", "work") == [shared]
    store.release(shared, 1)
    assert won(store, "bob", "work") == [shared], "who delegated it last may do it after all"


def test_a_task_whose_only_agents_delegated_it_is_unroutable_once_the_others_have_gone(store: Store) -> None:
    declare(store, ann=(), bob=(), eve=())
    add(store, "ann")
    delegate(store, "ann", "ann", "bob")
    _, (shared,) = delegate(store, "bob", "bob", "work")
    declare(store, ann=())
    assert '"reason":"all agents that could take it delegated it: ann"' in told(store, "route.lost")[-1]
    assert won(store, "ann", "work") == [] and not store.unfinished(["work"], ["ann"])
    declare(store, ann=(), eve=())
    assert len(told(store, "route.found")) == 1 and won(store, "eve", "work") == [shared]


def test_another_piece_of_work_begins_another_chain(store: Store) -> None:
    declare(store, ann=(), bob=())
    add(store, "ann")
    delegate(store, "ann", "ann", "bob")
    (second,) = won(store, "bob", "bob")
    fresh = add(store, "ann", creator=second, correlation="ab" * 16)
    assert store.task(fresh).chain == () and won(store, "ann", "ann") == [fresh]


def test_a_retry_by_another_agent_delegates_in_its_own_name(store: Store) -> None:
    declare(store, ann=(), bob=(), eve=())
    task = add(store, "work")
    assert won(store, "ann") == [task]
    store.release(task, 1)
    assert won(store, "bob") == [task]
    child = add(store, "eve", creator=task)
    assert store.task(child).chain == ("bob",)
    (late,) = store.add([TaskRequest("eve", creator=task)], actor="ann/1")
    assert store.task(late.id).chain == ("ann",), "who adds for an attempt it has lost delegates all the same"


def test_lanes_and_chains_outlive_what_is_pruned(store: Store, clock: SetClock) -> None:
    declare(store, ann=(), bob=(), eve=("gpu",))
    add(store, "ann")
    parent, _ = delegate(store, "ann", "ann", "bob")
    second, (shared,) = delegate(store, "bob", "bob", "work", needs=("gpu",))
    for task in (parent, second):
        store.complete(task, 1)
    clock.pass_ms(100_000)
    add(store, "late")
    prune(store.directory, 50_000, clock, "t")
    assert verify(store.directory).faults == ()
    assert store.task(shared).chain == ("ann", "bob") and won(store, "eve", "work") == [shared]
    assert verify(store.directory).faults == ()


# --- lanes that go ----------------------------------------------------------------------------------------------------
def done_with(store: Store, needs: str) -> int:
    """Add a task that needs something, and have it done."""
    task = add(store, needs=(needs,))
    assert won(store, "ann", can=(needs,)) == [task]
    store.complete(task, 1)
    return task


def test_lanes_go_when_no_task_is_left_of_them_and_the_others_stay(store: Store, clock: SetClock) -> None:
    done_with(store, "gone")
    dead, waits = add(store, needs=("dead",)), add(store, needs=("waits",))
    won(store, "ann", can=("dead",))
    store.fail(dead, 1, Failure("permanent", "no"))
    clock.pass_ms(100_000)
    kept = done_with(store, "kept")
    done_with(store, "newest")
    gone = prune(store.directory, 50_000, clock, "t")
    assert gone.lanes == 1 and told(store, "lane.dropped") == ['{"id":1}']
    assert [store.task(task).needs for task in (dead, waits, kept)] == [("dead",), ("waits",), ("kept",)]
    clock.pass_ms(100_000)
    add(store, "late")
    assert prune(store.directory, 50_000, clock, "t").lanes == 1, "the newest stays: no number is given twice"
    assert prune(store.directory, 0, clock, "t").lanes == 0
    again = add(store, needs=("gone",))
    assert store.task(again).needs == ("gone",) and '"id":6' in told(store, "lane.named")[-1]
    assert won(store, "ann", can=("gone",)) == [again] and won(store, "ann", can=("waits",)) == [waits]
    assert verify(store.directory).faults == ()


def test_a_process_that_still_knows_a_lane_that_is_gone_names_it_anew(store: Store, clock: SetClock) -> None:
    other = open_store(store.directory, clock=clock, own=True)
    for needs in ("gone", "newest"):
        done_with(other, needs)
    clock.pass_ms(10)
    assert prune(store.directory, 1, clock, "t").lanes == 1
    task = add(other, needs=("gone",))
    assert other.task(task).needs == ("gone",) and won(store, "eve", can=("gone",)) == [task]
    other.close()
    assert verify(store.directory).faults == ()


def test_a_queue_may_meet_ever_new_needs_as_long_as_it_is_pruned(
    store: Store, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentctl_store.sqlite.routing.MAX_LANES", 3)
    other: Any = open_store(store.directory, clock=clock, own=True)
    for round in range(3):
        for number in range(2 if round else 3):
            done_with(store, f"c{round}-{number}")
        with pytest.raises(BadInput, match=r"Up to 2 of them go with agentctl store prune --older-than \w+:") as full:
            add(store, needs=("more",))
        assert won(other, "eve") == [] and len(other.driver.conn.routing.lanes) <= 3, "nor does one that only claims"
        clock.pass_ms(10)
        span_ms = read_duration_ms(full.value.remedy.partition("--older-than ")[2].partition(":")[0])
        assert prune(store.directory, span_ms, clock, "t").lanes == 2, "though their tasks ended just now"
    for number in range(2):
        add(store, needs=(f"stays{number}",))
    prune(store.directory, 0, clock, "t")
    add(store, needs=("stays2",))
    with pytest.raises(BadInput, match=r"different sets of capabilities\. Use fewer words"):
        add(store, needs=("more",))
    other.close()
    assert verify(store.directory).faults == ()


@pytest.mark.parametrize("before_the_look", [True, False])
def test_a_lane_that_is_asked_for_while_others_are_dropped_stays(
    store: Store, clock: SetClock, monkeypatch: pytest.MonkeyPatch, before_the_look: bool
) -> None:
    for number in range(4):
        done_with(store, f"c{number}")
    clock.pass_ms(10)
    monkeypatch.setattr("agentctl_store.sqlite.prune_lanes.LANES_AT_ONCE", 1)
    late: list[int] = []
    steps = Pruning.steps

    def ask(self: Any, lanes: list[Any], act: Any) -> None:
        if lanes == ([1] if before_the_look else [3]):
            late.append(add(store, needs=("c2",)))
        steps(self, lanes, act)

    monkeypatch.setattr(Pruning, "steps", ask)
    assert prune(store.directory, 1, clock, "t").lanes == 2
    assert store.task(late[0]).needs == ("c2",) and won(store, "ann", can=("c2",)) == late
    assert verify(store.directory).faults == ()
