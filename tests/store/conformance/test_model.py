"""Random work against a small pure model: after every step the store holds what the model says, and at the end the
history replays to the tables.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from store.conformance.drivers import DRIVERS  # noqa: TID251
from store.store_kit import SetClock  # noqa: TID251

from agentctl_store.domain.question import NewQuestion
from agentctl_store.domain.retry import CLASSES, Failure, RetryPolicy, judge
from agentctl_store.domain.task import rank
from agentctl_store.errors import Conflict, StaleAttempt
from agentctl_store.replay import verify
from agentctl_store.store import Store, TaskRequest

QUEUES = ("a", "b")
LEASE_MS = 30_000
ENDED = ("done", "dead", "cancelled")


class Half(SetClock):
    """Jitter is always a half, so that the model can tell delays."""

    def random(self) -> float:
        return 0.5


class Model:
    """Tasks as dicts; each method says what must hold after the verb of the same name."""

    def __init__(self, clock: SetClock) -> None:
        self.clock = clock
        self.tasks: dict[int, dict[str, Any]] = {}
        self.paused: set[str] = set()

    def add(self, number: int, queue: str, priority: int, delay: int, after: tuple[int, ...], how: str) -> None:
        now = self.clock.wall_ms
        waits = {parent for parent in after if self.tasks[parent]["state"] not in ENDED}
        failed = [parent for parent in after if self.tasks[parent]["state"] in ("dead", "cancelled")]
        state = "blocked" if waits else "scheduled" if delay else "ready"
        if failed and how != "run":
            state = "dead" if how == "fail" else "cancelled"
        self.tasks[number] = {
            "queue": queue, "priority": priority, "available": now + delay, "waits": waits, "how": how, "state": state,
            "n": 0, "burnt": 0, "throttled": 0, "until": 0, "asked": False, "outcomes": [],
        }  # fmt: skip

    def promote(self) -> None:
        for task in self.tasks.values():
            if task["state"] == "scheduled" and task["available"] <= self.clock.wall_ms:
                task["state"] = "ready"

    def next(self, queues: tuple[str, ...]) -> int | None:
        for task in self.tasks.values():
            due = task["available"] <= self.clock.wall_ms and task["queue"] in queues
            if due and task["queue"] not in self.paused and task["state"] == "scheduled":
                task["state"] = "ready"
        open_queues = set(queues) - self.paused
        ready = [n for n, task in self.tasks.items() if task["state"] == "ready" and task["queue"] in open_queues]
        return min(ready, key=lambda n: (rank(self.tasks[n]["available"], self.tasks[n]["priority"]), n), default=None)

    def claim(self, number: int) -> None:
        task = self.tasks[number]
        task.update(state="active", n=task["n"] + 1, until=self.clock.boot_ms + LEASE_MS, asked=False)
        task["outcomes"].append(None)

    def end(self, number: int, outcome: str, state: str) -> None:
        task = self.tasks[number]
        task["outcomes"][-1] = outcome
        task.update(state=state, asked=False)
        self.settle(number)

    def fail(self, number: int, failure: Failure, jitter: float) -> None:
        task = self.tasks[number]
        if task["asked"]:
            return self.end(number, "cancelled", "cancelled")
        verdict = judge(failure, RetryPolicy(), task["burnt"], task["throttled"], jitter)
        task["burnt"] += verdict.burns
        if verdict.dead:
            return self.end(number, "failed", "dead")
        task["throttled"] += failure.kind == "throttled"
        task["available"] = self.clock.wall_ms + verdict.delay_ms
        return self.end(number, "failed", "scheduled")

    def answer_due(self) -> None:
        for number, task in self.tasks.items():
            if task["state"] == "waiting" and task["by"] is not None and task["by"] <= self.clock.wall_ms:
                task["state"] = "ready" if task["default"] else "dead"
                self.settle(number)

    def settle(self, ended: int) -> None:
        state = self.tasks[ended]["state"]
        if state not in ENDED:
            return
        for number, task in self.tasks.items():
            if task["state"] != "blocked" or ended not in task["waits"]:
                continue
            task["waits"].discard(ended)
            if state != "done" and task["how"] != "run":
                task["state"] = "dead" if task["how"] == "fail" else "cancelled"
                self.settle(number)
            elif not task["waits"]:
                later = task["available"] > self.clock.wall_ms
                task["state"] = "scheduled" if later else "ready"
                if not later:
                    task["available"] = self.clock.wall_ms


class Work(RuleBasedStateMachine):
    driver = "sqlite"
    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="agentctl-model-"))
        shutil.copytree(self.template, self.folder / ".agentctl")
        self.clock = Half()
        self.store = Store(DRIVERS[self.driver](self.folder, self.clock), str(self.folder / ".agentctl"), self.clock)
        self.model = Model(self.clock)

    def teardown(self) -> None:
        try:
            assert verify(self.store.directory).faults == ()
        finally:
            self.store.close()
            shutil.rmtree(self.folder)

    def some(self, data: st.DataObject) -> int:
        return data.draw(st.sampled_from(sorted(self.model.tasks)))

    @rule(
        queue=st.sampled_from(QUEUES), priority=st.integers(-2, 2), delay=st.sampled_from((0, 0, 20_000)),
        parents=st.integers(0, 3), how=st.sampled_from(("fail", "run", "cancel")), data=st.data(),
    )  # fmt: skip
    def add(self, queue: str, priority: int, delay: int, parents: int, how: str, data: st.DataObject) -> None:
        known = sorted(self.model.tasks)
        after = tuple(data.draw(st.sets(st.sampled_from(known), max_size=parents))) if known else ()
        request = TaskRequest(
            queue, priority=priority, delay_ms=delay or None, after=after,
            on_parent_failure=how,  # type: ignore[arg-type]
        )  # fmt: skip
        (added,) = self.store.add([request])
        self.model.add(added.id, queue, priority, delay, after, how)
        self.clock.pass_ms(1)

    @rule(queues=st.sampled_from((("a",), ("b",), ("a", "b"))))
    def claim(self, queues: tuple[str, ...]) -> None:
        self.lose((self.clock.boot_ms % 997) / 997)
        self.model.answer_due()
        expected = self.model.next(queues)
        won = self.store.claim(queues, agent="ann", slot=1, lease_ms=LEASE_MS)
        assert [one.task.id for one in won] == ([] if expected is None else [expected])
        if expected is not None:
            self.model.claim(expected)
            assert won[0].n == self.model.tasks[expected]["n"]

    def lose(self, jitter: float) -> None:
        lost = [n for n, task in self.model.tasks.items() if task["state"] == "active"]
        late = sorted(
            (self.model.tasks[n]["until"], n) for n in lost if self.model.tasks[n]["until"] <= self.clock.boot_ms
        )
        for index, (_, number) in enumerate(late):
            spread = (jitter + index * 0.6180339887498949) % 1.0
            self.model.fail(number, Failure("lost", ""), spread)

    @precondition(lambda self: self.model.tasks)
    @rule(
        data=st.data(), verb=st.sampled_from(("complete", "fail", "release", "heartbeat", "cancelled")),
        kind=st.sampled_from(sorted(CLASSES)), older=st.integers(0, 1),
    )  # fmt: skip
    def end(self, data: st.DataObject, verb: str, kind: str, older: int) -> None:
        number = self.some(data)
        task = self.model.tasks[number]
        n = max(task["n"] - older, 1)
        last = task["outcomes"][-1] if task["outcomes"] and n == task["n"] else None
        owns = task["state"] == "active" and n == task["n"]
        repeated = {"complete": "done", "fail": "failed", "release": "released"}.get(verb) == last and last is not None
        repeated = repeated or (verb == "cancelled" and task["state"] == "cancelled" and n == task["n"])
        if verb == "complete":
            repeated = repeated and task["state"] == "done"
        acts = {
            "complete": lambda: self.store.complete(number, n, result="1"),
            "fail": lambda: self.store.fail(number, n, Failure(kind, "x")),  # type: ignore[arg-type]
            "release": lambda: self.store.release(number, n),
            "heartbeat": lambda: self.store.heartbeat(number, n, lease_ms=LEASE_MS),
            "cancelled": lambda: self.store.cancelled(number, n),
        }
        if not owns and not repeated:
            with pytest.raises(StaleAttempt):
                acts[verb]()
            return
        acts[verb]()
        if not owns:
            return
        if verb == "heartbeat":
            task["until"] = max(task["until"], self.clock.boot_ms + LEASE_MS)
        elif verb == "complete":
            self.model.end(number, "done", "done")
        elif verb == "fail":
            self.model.fail(number, Failure(kind, "x"), 0.5)  # type: ignore[arg-type]
        elif verb == "cancelled" or task["asked"]:
            self.model.end(number, "cancelled", "cancelled")
        else:
            self.model.end(number, "released", "ready")

    @precondition(lambda self: self.model.tasks)
    @rule(
        data=st.data(), older=st.integers(0, 1), deadline=st.sampled_from((None, 10_000, 3_000_000)),
        default=st.booleans(),
    )  # fmt: skip
    def ask(self, data: st.DataObject, older: int, deadline: int | None, default: bool) -> None:
        number = self.some(data)
        task = self.model.tasks[number]
        n = max(task["n"] - older, 1)
        question = NewQuestion("Well?", (), deadline, "no" if default and deadline else None)
        if task["state"] != "active" or n != task["n"]:
            if n == task["n"] and task["outcomes"] and task["outcomes"][-1] == "asked":
                assert self.store.questions.ask(number, n, question).state == task["state"]
            else:
                with pytest.raises(StaleAttempt):
                    self.store.questions.ask(number, n, question)
            return
        self.store.questions.ask(number, n, question)
        if task["asked"]:
            self.model.end(number, "cancelled", "cancelled")
            return
        self.model.end(number, "asked", "waiting")
        task.update(by=None if deadline is None else self.clock.wall_ms + deadline, default=bool(question.fallback))

    @precondition(lambda self: self.model.tasks)
    @rule(data=st.data(), reject=st.booleans())
    def answer(self, data: st.DataObject, reject: bool) -> None:
        number = self.some(data)
        task = self.model.tasks[number]
        act = self.store.questions.reject if reject else self.store.questions.answer
        words = () if reject else ("go on",)
        if task["state"] != "waiting":
            with pytest.raises(Conflict):
                act(number, *words, actor="t")
            return
        act(number, *words, actor="t")
        task["state"] = "dead" if reject else "ready"
        self.model.settle(number)

    @precondition(lambda self: self.model.tasks)
    @rule(data=st.data(), verb=st.sampled_from(("cancel", "hasten", "requeue", "requeue_later", "discard")))
    def decide(self, data: st.DataObject, verb: str) -> None:
        number = self.some(data)
        task, now = self.model.tasks[number], self.clock.wall_ms
        allowed = {
            "cancel": task["state"] not in ENDED, "hasten": task["state"] == "scheduled",
        }.get(verb, task["state"] == "dead")  # fmt: skip
        acts = {
            "cancel": lambda: self.store.cancel(number, actor="t"),
            "hasten": lambda: self.store.hasten(number, actor="t"),
            "requeue": lambda: self.store.requeue(number, actor="t", payload='"edited"'),
            "requeue_later": lambda: self.store.requeue(number, actor="t", run_at_ms=now + 7_000),
            "discard": lambda: self.store.discard(number, actor="t"),
        }
        if not allowed:
            with pytest.raises(Conflict):
                acts[verb]()
            return
        acts[verb]()
        if verb == "cancel" and task["state"] == "active":
            task["asked"] = True
        elif verb in ("cancel", "discard"):
            task["state"] = "cancelled"
            if verb == "cancel":
                self.model.settle(number)
        else:
            later = verb == "requeue_later"
            task.update(state="scheduled" if later else "ready", available=now + 7_000 if later else now)
            if verb != "hasten":
                task.update(burnt=0, throttled=0, waits=set())

    @rule(queue=st.sampled_from(QUEUES), pause=st.booleans())
    def pause(self, queue: str, pause: bool) -> None:
        if pause:
            assert self.store.pause_queue(queue, actor="t") == (queue not in self.model.paused)
            self.model.paused.add(queue)
        elif queue in self.model.paused:
            assert self.store.resume_queue(queue, actor="t")
            self.model.paused.discard(queue)

    @rule(span=st.sampled_from((1, 5_000, 31_000, 600_000)))
    def wait(self, span: int) -> None:
        self.clock.pass_ms(span)
        self.store.sweep()
        self.lose(0.5)
        self.model.answer_due()
        self.model.promote()

    @rule(span=st.sampled_from((60_000, 3_600_000)), how=st.sampled_from(("sleep", "set", "reboot")))
    def jump(self, span: int, how: str) -> None:
        self.store.sweep()
        self.lose(0.5)
        self.model.answer_due()
        self.model.promote()
        if how == "sleep":
            self.clock.sleep_ms(span)
            for task in self.model.tasks.values():
                task["until"] += span + 10_000
        elif how == "set":
            self.clock.set_wall_by(span)
            for task in self.model.tasks.values():
                if task["state"] == "scheduled" and task["n"]:
                    task["available"] += span
        else:
            self.clock.reboot(span)
            for task in self.model.tasks.values():
                task["until"] = 0
        self.store.sweep()
        self.lose(0.5)
        self.model.answer_due()
        self.model.promote()

    @invariant()
    def the_inbox_holds_what_waits(self) -> None:
        waiting = sorted(number for number, task in self.model.tasks.items() if task["state"] == "waiting")
        assert sorted(one.task for one in self.store.questions.open()) == waiting

    @invariant()
    def the_store_holds_what_the_model_says(self) -> None:
        for number, task in self.model.tasks.items():
            found = self.store.task(number)
            held = (found.state, found.attempts, found.burnt, found.throttled, found.open_parents, found.available_ms)
            waits = len(task["waits"]) if task["state"] == "blocked" else 0
            said = (task["state"], task["n"], task["burnt"], task["throttled"], waits, task["available"])
            assert held == said, (found, task)
            assert [one.outcome for one in self.store.attempts(number)] == task["outcomes"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_random_work_goes_as_the_model_says_and_replays(driver: str, tmp_path: Path) -> None:
    DRIVERS[driver](tmp_path, SetClock()).close()
    Work.driver, Work.template = driver, tmp_path / ".agentctl"
    run_state_machine_as_test(
        Work,
        settings=settings(
            max_examples=80, stateful_step_count=40, deadline=None, print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
