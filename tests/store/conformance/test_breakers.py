"""What every driver promises of breakers: who fails or is throttled is left alone, then tried with one probe."""

from __future__ import annotations

import pytest
from store.store_kit import SetClock  # noqa: TID251

from agentctl_store.domain.breaker import SPACED, Breaker
from agentctl_store.domain.retry import Failure
from agentctl_store.errors import NotFound
from agentctl_store.read import open_reader
from agentctl_store.replay import verify
from agentctl_store.store import Store, TaskRequest

OPEN_MS = 30_000


@pytest.fixture(autouse=True)
def replayed(store: Store) -> object:
    """After each of these tests, replaying the history gives the tables."""
    yield
    found = verify(store.directory)
    assert found.intact, found.faults


def stocked(store: Store) -> Store:
    """Return the store with twenty tasks, and two agents of one provider beside one of another."""
    store.add([TaskRequest("work") for _ in range(20)])
    for agent, provider in (("ann", "acme"), ("bob", "acme"), ("eve", "other")):
        store.limits.assign(agent, provider, actor="t")
    return store


@pytest.fixture
def work(store: Store) -> Store:
    return stocked(store)


def claim(store: Store, agent: str = "ann") -> tuple[int, int] | None:
    won = store.claim(["work"], agent=agent)
    return (won[0].task.id, won[0].n) if won else None


def fail(store: Store, kind: str = "crashed", agent: str = "ann", **more: int) -> None:
    held = claim(store, agent)
    assert held is not None
    store.fail(*held, Failure(kind, f"it {kind}", **more))  # type: ignore[arg-type]


def breaker(store: Store, scope: str = "provider", name: str = "acme") -> Breaker:
    with open_reader(store.directory) as reader:
        return next(one for one in reader.breakers() if (one.scope, one.name) == (scope, name))


def opened(store: Store) -> Breaker:
    for _ in range(5):
        fail(store)
    return breaker(store)


@pytest.mark.parametrize("kind", ["transient", "crashed", "timeout", "lost"])
def test_it_opens_at_its_share_of_failures_and_not_with_fewer_calls(work: Store, kind: str) -> None:
    for _ in range(4):
        fail(work, kind)
    assert breaker(work).state == "closed"
    fail(work, kind)
    found = breaker(work)
    assert (found.state, found.opened) == ("open", 1)
    assert OPEN_MS // 2 <= found.until_ms - work.clock.now().wall_ms <= OPEN_MS
    assert claim(work) is None and claim(work, "bob") is None and claim(work, "eve") is not None
    held = work.limits.hold(["work"], "bob")
    assert held is not None and held.until_ms == found.until_ms
    assert held.why == f"breaker of provider acme open: 5 of the last 5 attempts failed, last: it {kind}"


@pytest.mark.parametrize("kind", ["permanent", "policy", "verify"])
def test_a_fault_of_the_task_itself_says_nothing_of_its_provider(work: Store, kind: str) -> None:
    for _ in range(8):
        fail(work, kind)
    assert breaker(work).state == "closed" and breaker(work).calls == ()


def test_successes_and_time_keep_it_closed(work: Store, clock: SetClock) -> None:
    for _ in range(4):
        fail(work)
        held = claim(work)
        assert held is not None
        work.complete(*held)
        work.complete(*(claim(work) or (0, 0)))
    assert breaker(work).state == "closed", "4 of 12 failed"
    clock.pass_ms(301_000)
    for _ in range(4):
        fail(work)
    assert breaker(work).state == "closed", "the window has slid over the old ones"


def test_one_probe_of_the_whole_fleet_and_its_success_closes(work: Store, clock: SetClock) -> None:
    until = opened(work).until_ms
    clock.pass_ms(until - clock.wall_ms)
    probe = claim(work, "bob")
    assert probe is not None and breaker(work).state == "half_open"
    assert claim(work, "ann") is None and claim(work, "bob") is None
    work.complete(*probe)
    assert (breaker(work).state, breaker(work).opened) == ("closed", 0)


@pytest.mark.parametrize("kind", ["crashed", "throttled"])
def test_a_probe_that_fails_opens_it_for_longer(work: Store, clock: SetClock, kind: str) -> None:
    spans = []
    opened(work)
    for _ in range(6):
        spans.append(breaker(work).until_ms - clock.wall_ms)
        clock.pass_ms(spans[-1])
        fail(work, kind, "bob")
        assert claim(work) is None
    for doubled, span in enumerate(spans):
        bound = min(OPEN_MS * 2**doubled, 600_000)
        assert bound // 2 <= span <= bound


def test_a_probe_that_is_lost_or_given_back_does_not_shut_it_for_good(work: Store, clock: SetClock) -> None:
    clock.pass_ms(opened(work).until_ms - clock.wall_ms)
    probe = claim(work)
    assert probe is not None
    work.release(*probe)
    probe = claim(work, "bob")
    assert probe is not None, "the next one probes at once"
    clock.pass_ms(60_000)
    work.sweep()
    assert breaker(work).state == "open"
    clock.pass_ms(600_000)
    assert claim(work) is not None


def test_throttling_holds_all_agents_of_the_provider_and_burns_nothing(work: Store, clock: SetClock) -> None:
    running = claim(work, "bob")
    held = claim(work)
    assert held is not None and running is not None
    work.fail(*held, Failure("throttled", "429 from the API", retry_after_ms=90_000))
    assert work.task(held[0]).burnt == 0
    assert claim(work, "bob") is None and claim(work, "eve") is not None
    why = work.limits.hold(["work"], "bob")
    assert why is not None and (why.by, why.until_ms) == ("throttled", clock.wall_ms + 90_000)
    assert why.why == "provider acme throttled: 429 from the API"
    work.fail(*running, Failure("throttled", "429", retry_after_ms=120_000))
    assert breaker(work).until_ms == clock.wall_ms + 120_000, "the later of the two"
    clock.pass_ms(119_999)
    assert claim(work) is None
    clock.pass_ms(1)
    assert claim(work) is not None and claim(work, "bob") is None


def test_a_probe_whose_agent_got_another_provider_tells_the_one_it_probed(work: Store, clock: SetClock) -> None:
    fail(work, "throttled", retry_after_ms=1_000)
    clock.pass_ms(1_000)
    probe = claim(work)
    assert probe is not None and breaker(work).state == "half_open"
    work.limits.assign("ann", "other", actor="t")
    work.complete(*probe)
    assert breaker(work).state == "closed" and claim(work, "bob") is not None


def test_where_no_breaker_of_the_provider_hears_of_throttling_that_of_the_agent_does(work: Store) -> None:
    work.limits.remove_breaker("provider", "acme", actor="t")
    work.limits.set_breaker(Breaker("agent", "ann"), actor="t")
    fail(work, "throttled", retry_after_ms=60_000)
    assert claim(work) is None and claim(work, "bob") is not None


def test_after_it_closed_the_others_come_back_one_after_the_other(work: Store, clock: SetClock) -> None:
    work.add([TaskRequest("work") for _ in range(20)])
    fail(work, "throttled", retry_after_ms=1_000)
    clock.pass_ms(1_000)
    probe = claim(work)
    assert probe is not None
    work.complete(*probe)
    for _ in range(SPACED - 1):
        assert claim(work, "bob") is not None and claim(work, "ann") is None
        held = work.limits.hold(["work"], "ann")
        assert held is not None and held.until_ms == clock.wall_ms + 1_000
        clock.pass_ms(1_000)
    assert [claim(work) is not None for _ in range(4)] == [True] * 4


def test_what_ended_while_it_was_open_neither_closes_nor_opens_it(work: Store, clock: SetClock) -> None:
    early = [claim(work, "bob") for _ in range(2)]
    until = opened(work).until_ms
    work.complete(*(early[0] or (0, 0)))
    work.fail(*(early[1] or (0, 0)), Failure("crashed", "x"))
    assert (breaker(work).state, breaker(work).until_ms) == ("open", until)


def test_an_agents_own_breaker_leaves_the_others_alone(work: Store) -> None:
    work.limits.set_breaker(Breaker("agent", "ann", min_calls=2), actor="t")
    fail(work), fail(work)
    assert breaker(work, "agent", "ann").state == "open" and breaker(work).state == "closed"
    assert claim(work) is None and claim(work, "bob") is not None


def test_a_person_closes_it_and_the_history_names_who(work: Store) -> None:
    assert work.limits.reset_breaker("provider", "acme", actor="cli:anna") is False
    opened(work)
    assert work.limits.reset_breaker("provider", "acme", actor="cli:anna") is True
    assert breaker(work).state == "closed" and claim(work) is not None
    (event,) = work.events(kinds=["breaker.reset"])
    assert event.actor == "cli:anna"
    with pytest.raises(NotFound, match=r"provider:nobody.*provider:acme"):
        work.limits.reset_breaker("provider", "nobody", actor="t")


def test_it_stands_as_it_stood_after_a_reboot_and_moves_with_a_clock_that_is_set(work: Store, clock: SetClock) -> None:
    until = opened(work).until_ms
    clock.set_wall_by(3_600_000)
    assert claim(work) is None and breaker(work).until_ms == until + 3_600_000
    clock.reboot(away_ms=1_000)
    assert claim(work) is None
    clock.reboot(away_ms=-3_600_000)
    assert claim(work) is not None and claim(work) is None, "a probe, though that time is an hour off"


@pytest.mark.parametrize("span_ms", [3_600_000, -3_600_000])
def test_what_an_end_begins_after_the_clock_was_set_lasts_as_long_as_it_should(
    work: Store, clock: SetClock, span_ms: int
) -> None:
    held = claim(work)
    assert held is not None
    clock.set_wall_by(span_ms)
    work.fail(*held, Failure("throttled", "429", retry_after_ms=60_000))
    assert claim(work, "bob") is None
    assert breaker(work).until_ms == clock.wall_ms + 60_000
    run_at_ms = work.task(held[0]).available_ms
    assert clock.wall_ms + 60_000 <= run_at_ms <= clock.wall_ms + 400_000
    clock.pass_ms(60_000)
    probe = claim(work, "bob")
    assert probe is not None
    clock.set_wall_by(span_ms)
    work.complete(*probe)
    clock.pass_ms(2_000)
    assert claim(work, "bob") is not None
