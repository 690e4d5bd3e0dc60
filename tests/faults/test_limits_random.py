"""Limits, routing and fallbacks under random verbs of several writers, of whom some are killed or fail to commit."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
from faults.bad_commit import BadCommit
from faults.store_kit import assert_whole, dice_of
from store.store_kit import SetClock  # noqa: TID251

from agentctl_store.domain.agent import AgentSpec
from agentctl_store.domain.breaker import Breaker
from agentctl_store.domain.budget import Budget
from agentctl_store.domain.limits import Bound
from agentctl_store.domain.retry import Failure, RetryPolicy
from agentctl_store.domain.task import Usage
from agentctl_store.errors import AgentctlError, BadDelegation, StoreError
from agentctl_store.jsontext import loads
from agentctl_store.replay import verify
from agentctl_store.sqlite import writelock
from agentctl_store.sqlite.driver import SqliteDriver
from agentctl_store.store import Store, TaskRequest
from agentctl_store.upkeep import prune

AGENTS = {"ann": ("gpu",), "bob": ("gpu", "web"), "eve": (), "joe": ("web",)}
PROVIDERS = {"ann": "acme", "bob": "acme", "eve": "other"}
QUEUES = ("q", "r")
RATES = {("fleet", ""): (30, 10_000, 4), ("provider", "acme"): (10, 10_000, 2), ("queue", "r"): (5, 10_000, 1)}
CAPS = {("fleet", ""): 5, ("agent", "bob"): 2, ("queue", "q"): 3}
STEPS = 400
RUNS = 6
KINDS = ("transient", "permanent", "throttled", "timeout", "crashed", "policy")


class World:
    """A store, the connections of three processes, and what a person would count beside it."""

    def __init__(self, folder: Path, dice: random.Random) -> None:
        self.dice, self.clock = dice, SetClock(seed=dice.randrange(1 << 30))
        self.directory = str(folder / ".agentctl")
        self.stores = [self.open(create=True) for _ in range(3)]
        self.elapsed_ms = 0
        self.starts: list[tuple[int, str, str]] = []  #: (time that really passed, agent, queue)
        self.held: dict[int, tuple[int, str]] = {}  #: task → attempt and agent, as their holders believe
        one = self.stores[0]
        fallbacks = {"ann": '{"agent":"bob"}', "eve": '{"result":"so be it"}'}
        self.specs = [
            AgentSpec(name, "task", QUEUES if name != "joe" else ("r",), 1, None, can, fallbacks.get(name))
            for name, can in AGENTS.items()
        ]
        one.declare_agents(self.specs, actor="t")
        for agent, provider in PROVIDERS.items():
            one.limits.assign(agent, provider, actor="t")
        for key, (starts, period_ms, burst) in RATES.items():
            one.limits.set_bound(Bound(*key, starts=starts, period_ms=period_ms, burst=burst), actor="t")  # type: ignore[arg-type]
        for key, cap in CAPS.items():
            one.limits.set_bound(Bound(*key, concurrency=cap), actor="t")  # type: ignore[arg-type]
        for provider in ("acme", "other"):
            one.limits.set_breaker(Breaker("provider", provider, min_calls=4, open_ms=2_000, cap_ms=8_000), actor="t")
        one.limits.set_budget(Budget("fleet", "", "tokens", "total", 10**9), actor="t")
        one.limits.set_budget(Budget("fleet", "", "attempts", "total", 10**6), actor="t")
        one.limits.set_budget(Budget("task", "", "attempts", "task", 6), actor="t")

    def open(self, create: bool = False) -> Store:
        return Store(SqliteDriver(self.directory, create=create, synchronous="OFF"), self.directory, self.clock)

    @property
    def one(self) -> Store:
        return self.dice.choice(self.stores)

    def rows(self, sql: str, *values: Any) -> list[Any]:
        return self.stores[0].driver.conn.rows(sql, values)  # type: ignore[attr-defined, no-any-return]

    # --- what may happen --------------------------------------------------------------------------------------
    def add(self) -> None:
        dice = self.dice
        needs = tuple(dice.sample(("gpu", "web", "never"), dice.choice((0, 0, 0, 1, 1, 2))))
        creator = dice.choice(list(self.held)) if self.held and dice.random() < 0.3 else None
        actor = None if creator is None else self.held[creator][1]
        retry = RetryPolicy(100, 2.0, 2_000, dice.randint(1, 4))
        one = TaskRequest(dice.choice(QUEUES), "1", dice.randint(-3, 3), needs=needs, creator=creator, retry=retry)
        try:
            self.one.add([one] * dice.randint(1, 3), actor=actor)
        except BadDelegation:
            pass

    def claim(self) -> None:
        store, agent = self.one, self.dice.choice(list(AGENTS))
        queues = self.dice.sample(QUEUES, self.dice.randint(1, 2))
        won = store.claim(queues, agent=agent, limit=self.dice.randint(1, 3), lease_ms=self.dice.choice((500, 5_000)))
        for claim in won:
            self.starts.append((self.elapsed_ms, agent, claim.task.queue))
            self.held[claim.task.id] = (claim.n, agent)
        if not won:
            self.claims_nothing(store, queues, agent)
        self.within_caps()

    def claims_nothing(self, store: Store, queues: list[str], agent: str) -> None:
        """Nothing was claimed: because nothing is there for it, or something holds it back."""
        for queue in queues:
            if store.limits.hold([queue], agent) is None:
                ready = self.rows(
                    "SELECT t.id, l.needs, l.barred FROM task t JOIN queue q ON q.id = t.queue "
                    "LEFT JOIN lane l ON l.id = t.lane WHERE t.state = 'ready' AND q.paused_ms IS NULL AND q.name = ?",
                    queue,
                )
                for task, needs, barred in ready:
                    able = set(loads(needs or "[]")) <= set(AGENTS[agent]) and agent not in loads(barred or "[]")
                    assert not able, f"{agent} could have had {task}"

    def within_caps(self) -> None:
        active = self.rows(
            "SELECT a.name, q.name FROM task t JOIN attempt x ON x.task = t.id AND x.n = t.attempts "
            "JOIN agent a ON a.id = x.agent JOIN queue q ON q.id = t.queue WHERE t.state = 'active'"
        )
        for (scope, name), cap in CAPS.items():
            mine = [row for row in active if scope == "fleet" or name == row[0 if scope == "agent" else 1]]
            assert len(mine) <= cap, (scope, name, mine)

    def attempt(self) -> None:
        if not self.held:
            return
        task, (n, _) = self.dice.choice(list(self.held.items()))
        verbs = ("complete",) * 2 + ("fail",) * 3 + ("release",) + ("heartbeat",) * 2
        store, verb = self.one, self.dice.choice(verbs)
        usage = None if self.dice.random() < 0.3 else Usage(self.dice.randint(0, 900), self.dice.randint(0, 99), 1)
        try:
            if verb == "heartbeat":
                store.heartbeat(task, n, lease_ms=5_000, usage=usage)
            elif verb == "complete":
                store.complete(task, n, result="1", usage=usage)
            elif verb == "release":
                store.release(task, n, usage=usage)
            else:
                after = self.dice.choice((None, 500, 3_000))
                store.fail(task, n, Failure(self.dice.choice(KINDS), "no", retry_after_ms=after), usage=usage)  # type: ignore[arg-type]
        except StoreError:
            raise
        except AgentctlError:
            del self.held[task]
            return
        if verb != "heartbeat":
            del self.held[task]

    def decide(self) -> None:
        found = self.rows("SELECT id, state FROM task ORDER BY random() LIMIT 1")
        if not found:
            return
        task, _ = found[0]
        act = self.dice.choice((self.one.cancel, self.one.requeue, self.one.discard, self.one.hasten))
        try:
            act(task, actor="t")
        except StoreError:
            raise
        except AgentctlError:
            pass

    def operate(self) -> None:
        store, dice = self.one, self.dice
        what = dice.randrange(5)
        if what == 0:
            if dice.random() < 0.3:
                store.pause_queue("q", reason="", actor="t")
            else:
                store.add([TaskRequest("q")])
                store.resume_queue("q", actor="t")
        elif what == 1:
            name = dice.choice(("acme", "other"))
            store.limits.reset_breaker("provider", name, actor="t")
        elif what == 2:
            gone = dice.choice((None, "joe", "eve"))
            store.declare_agents([one for one in self.specs if one.name != gone], actor="t")
        elif what == 3:
            store.sweep()
        else:
            store.limits.assign("joe", dice.choice(("acme", "other", None)), actor="t")

    def time(self) -> None:
        span_ms = self.dice.choice((1, 50, 300, 1_000, 4_000))
        self.elapsed_ms += span_ms
        self.clock.pass_ms(span_ms)
        chance = self.dice.random()
        if chance < 0.05:
            self.clock.set_wall_by(self.dice.choice((-7_200_000, -30_000, 30_000, 7_200_000)))
        elif chance < 0.08:
            self.clock.sleep_ms(60_000)
            self.elapsed_ms += 60_000
        elif chance < 0.1:
            self.clock.reboot()
            self.elapsed_ms += 60_000

    def trouble(self) -> None:
        """A commit that fails, durably or not; a writer that is killed behind his commit; a process that comes anew."""
        place = self.dice.randrange(3)
        if self.dice.random() < 0.3:
            self.stores[place].close()
            self.stores[place] = self.open()
        elif self.dice.random() < 0.3:
            child = os.fork()
            if not child:
                writelock.WriteLock.mark = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
                try:
                    self.stores = [self.open()]
                    self.claim()
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
            self.find_out()
        else:
            conn = self.stores[place].driver.conn  # type: ignore[attr-defined]
            good, conn_db = self.stores, conn.db
            conn.use(BadCommit(conn_db, durable=self.dice.random() < 0.5))
            self.stores = [self.stores[place]] * 3
            try:
                self.dice.choice((self.add, self.claim, self.attempt))()
            except StoreError:
                pass
            finally:
                self.stores = good
                conn.use(conn_db)
            self.find_out()

    def find_out(self) -> None:
        """Take in what a history says that nobody was told."""
        running = "SELECT x.task, x.n, a.name FROM attempt x JOIN agent a ON a.id = x.agent WHERE x.ended_ms IS NULL"
        for task, n, agent in self.rows(running):
            self.held[task] = (n, agent)

    # --- what always holds ------------------------------------------------------------------------------------
    def check(self) -> None:
        half = self.rows("SELECT scope, name, probe, probe_n FROM breaker WHERE state = 'half_open'")
        for scope, name, task, n in half:
            found = self.rows("SELECT state, attempts FROM task WHERE id = ?", task)
            assert found == [("active", n)], f"the probe of {scope} {name} has ended: {found}"
        ((spent,),) = self.rows("SELECT spent FROM budget WHERE measure = 'tokens'")
        ((used,),) = self.rows(
            "SELECT coalesce(sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0)), 0) FROM attempt "
            "WHERE ended_ms IS NOT NULL"
        )
        ((counted,),) = self.rows("SELECT spent FROM budget WHERE measure = 'attempts' AND scope = 'fleet'")
        ((there,),) = self.rows("SELECT count(*) FROM attempt")
        assert (spent, counted) == (used, there)
        assert not self.rows("SELECT task FROM attempt GROUP BY task HAVING count(*) > 6")

    def rates(self) -> None:
        for (scope, name), (starts, period_ms, burst) in RATES.items():
            mine = [
                at for at, agent, queue in self.starts
                if scope == "fleet" or name == (queue if scope == "queue" else PROVIDERS.get(agent))
            ]  # fmt: skip
            for window_ms in (300, 1_000, 5_000, 20_000):
                for place, at in enumerate(mine):
                    most = sum(at <= one < at + window_ms for one in mine[place:])
                    assert most <= starts * window_ms / period_ms + burst, (scope, name, window_ms, at)


@pytest.mark.parametrize("number", range(RUNS))
def test_limits_hold_and_nothing_is_forgotten(tmp_path: Path, request: pytest.FixtureRequest, number: int) -> None:
    world = World(tmp_path, dice_of(request))
    often = [world.claim] * 8 + [world.attempt] * 8 + [world.time] * 6 + [world.add] * 3
    acts = [*often, world.decide, world.operate, world.trouble]
    for _ in range(STEPS):
        world.dice.choice(acts)()
        world.check()
    world.rates()
    found = verify(world.directory)
    assert found.intact, found.faults
    for store in world.stores:
        store.close()
    assert_whole(Path(world.directory))
    prune(world.directory, 0, world.clock, "t")
    found = verify(world.directory)
    assert found.intact, found.faults
