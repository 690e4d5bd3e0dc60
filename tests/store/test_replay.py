"""Replaying the history gives the tables, and a change of either is found."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from store.store_kit import SetClock, add, new_store  # noqa: TID251
from store.test_reader import act, fleet, lively  # noqa: TID251

from agentctl_store.domain.agent import AgentSpec, Instance, SessionEnd
from agentctl_store.domain.breaker import Breaker
from agentctl_store.domain.budget import Budget
from agentctl_store.domain.limits import Bound
from agentctl_store.domain.question import NewQuestion
from agentctl_store.domain.retry import Failure
from agentctl_store.domain.schedule import ScheduleSpec
from agentctl_store.domain.task import Claim, Usage
from agentctl_store.read import open_reader
from agentctl_store.read.models import Filter
from agentctl_store.record import replace
from agentctl_store.replay import VOLATILE, state_at
from agentctl_store.sqlite import gate
from agentctl_store.sqlite.verify import verify
from agentctl_store.store import Store

BY = ("instance", Filter())


def raw(store: Store) -> Any:
    """The connection below the store, for doing what nobody should."""
    return store.driver.conn.db  # type: ignore[attr-defined]


def eventful(folder: Path, seed: int) -> Store:
    """A store in which every kind of event has happened."""
    store, clock = lively(folder, seed)
    dice = random.Random(seed)
    fleet(store)
    limit(store)
    ids = [add(store, f"q{number}") for number in range(5)]
    ids += [add(store, after=(ids[0], ids[1]), on_parent_failure=how) for how in ("run", "fail", "cancel")]
    for _ in range(60):
        act(store, dice, ids)
        clock.pass_ms(dice.randint(0, 20_000))
        if dice.random() < 0.2:
            store.sweep()
    for agent in ("ann", "bob"):
        store.limits.remove_breaker("agent", agent, actor="cli:ann")
    fall_back_and_delegate(store)
    late = add(store, "late", deadline_ms=clock.wall_ms + 1_000)
    store.claim(["late"], agent="ann", slot=1)
    add(store, "late", deadline_ms=clock.wall_ms + 1_000)
    store.heartbeat(late, 1, usage=Usage(5, 6, 7), progress="so far")
    lost = add(store, "lost")
    store.claim(["lost"], agent="bob", slot=1, open_session=True)
    store.heartbeat(lost, 1, usage=Usage(1, 2, 3))
    asked = add(store, "asked")
    (claim,) = store.claim(["asked"], agent="bob", slot=1, open_session=True)
    store.session_started(claim.session or 0, pid=99)
    store.cancel(asked, reason="enough", actor="cli:ann")
    store.cancelled(asked, 1, end_session=SessionEnd(claim.session or 0, "stopped", None, 15, "asked"))
    clock.pass_ms(120_000)
    store.sweep()
    for jump in (clock.sleep_ms, clock.set_wall_by):
        jump(3_600_000)
        store.sweep()
    for number in range(40):  # sessions of tasks, ended in every way
        add(store, "brief")
        (claim,) = store.claim(["brief"], agent="bob", slot=1, open_session=True)
        end_somehow(store, dice, claim)
        clock.pass_ms(number % 2 * 200_000)
        store.sweep()
    worker = store.open_session("bob", 1, "n3")
    store.session_started(worker.id, pid=1)
    store.end_session(SessionEnd(worker.id, "exited", 0))
    store.open_session("bob", 1, "n4")
    clock.reboot()
    store.sweep()
    store.pause_queue("work", reason="night", actor="cli:ann")
    store.resume_queue("work", actor="cli:ann")
    store.pause_queue("late", reason="night", actor="cli:ann")
    for desired in ("paused", "draining", "running"):
        store.set_desired("ann", desired, actor="cli:ann")  # type: ignore[arg-type]
    store.scale_agent("ann", 7, actor="cli:ann")
    store.restart_agent("bob", actor="cli:ann")
    store.declare_agents([], actor="supervisor")
    store.save_instances([Instance("ann", 1, "backoff", "degraded", "exit 1", memo="{}", next_start_ms=5)])
    store.drop_instances([("ann", 3)])
    store.note("supervisor.noted", actor="supervisor", data={"x": 1})
    schedules(store, clock)
    questions(store, clock)
    return store


def limit(store: Store) -> None:
    """Set limits, budgets and breakers: the breakers are soon open, the others have room for all that is done."""
    store.limits.assign("ann", "acme", actor="cli:ann")
    for scope, name in (("fleet", ""), ("queue", "q1"), ("agent", "bob"), ("provider", "acme")):
        bound = Bound(scope, name, 1_000, 1_000, 1_000, 1_000, 10**6 if scope == "queue" else None)  # type: ignore[arg-type]
        store.limits.set_bound(bound, actor="cli:ann")
    for measure in ("tokens", "usd", "wall_time", "attempts"):
        for per in ("day", "total"):
            store.limits.set_budget(Budget("fleet", "", measure, per, 10**12), actor="cli:ann")  # type: ignore[arg-type]
    store.limits.set_budget(Budget("task", "", "tokens", "task", 10**9), actor="cli:ann")
    for agent in ("ann", "bob"):
        store.limits.set_breaker(Breaker("agent", agent, min_calls=2, share=10), actor="cli:ann")
    store.limits.remove_breaker("provider", "acme", actor="cli:ann")


def questions(store: Store, clock: SetClock) -> None:
    """Questions that end in every way there is, and one that does not."""
    late = NewQuestion("Sure?", ("yes", "no"), 5_000, "no")
    asked: list[int] = []
    for question in (*[NewQuestion("What now?")] * 4, late, NewQuestion("Now?", (), 5_000), late):
        asked.append(add(store, "ask"))
        (won,) = store.claim(["ask"], agent="ann", slot=1, open_session=True)
        end = SessionEnd(won.session or 0, "exited", 0)
        store.questions.ask(won.task.id, won.n, question, usage=Usage(1, 2, 3), end_session=end)
    store.questions.answer(asked[0], "Go on", actor="cli:ann")
    store.questions.reject(asked[1], reason="no", actor="cli:ann")
    store.cancel(asked[2], actor="cli:ann")
    clock.pass_ms(6_000)
    store.sweep()
    store.requeue(asked[5], actor="cli:ann")
    for _ in range(3):
        (won,) = store.claim(["ask"], agent="ann", slot=1)
        store.questions.ask(won.task.id, won.n, NewQuestion("And now?"))


def schedules(store: Store, clock: SetClock) -> None:
    """Every kind of event of schedules."""
    every = ScheduleSpec("every", "timed", every_ms=60_000, jitter_ms=1_000, overlap="replace")
    line = ScheduleSpec("line", "timed", '{"a":1}', cron="*/5 * * * *", zone="UTC", catch_up=False)
    for spec in (every, replace(every, name="gone"), replace(every, name="stopped")):
        store.schedules.add(spec, actor="cli:ann")
    store.schedules.declare([line], actor="supervisor")
    store.schedules.remove("gone", actor="cli:ann")
    store.schedules.pause("stopped", reason="night", actor="cli:ann")
    for span_ms in (61_000, 61_000, 300_000, 3_600_000):
        clock.pass_ms(span_ms)
        store.sweep()
        store.claim(["timed"], agent="ann", slot=1)
    store.schedules.run("every", actor="cli:ann")
    store.schedules.resume("stopped", actor="cli:ann")
    clock.set_wall_by(-7_200_000)
    store.sweep()
    store.schedules.declare([replace(line, priority=5)], actor="supervisor")


def fall_back_and_delegate(store: Store) -> None:
    """Tasks that need something, that were delegated, and that a fallback took."""
    specs = [AgentSpec("ann", "task", ("asks",), 1, fallback='{"agent":"bob"}'),
             AgentSpec("bob", "task", ("helps",), 1, can=("gpu",), fallback='{"result":[1]}', max_depth=3)]  # fmt: skip
    store.declare_agents(specs, actor="supervisor")
    for more in ({}, {"needs": ("gpu",)}):
        add(store, "asks", **more)
    for claim in store.claim(["asks"], agent="ann", can=("gpu",), limit=2):
        add(store, "helps", creator=claim.task.id)
        store.fail(claim.task.id, claim.n, Failure("permanent", "no"))
    for claim in store.claim(["helps"], agent="bob", limit=9):
        add(store, "helps", creator=claim.task.id)
        store.fail(claim.task.id, claim.n, Failure("permanent", "no"))


def end_somehow(store: Store, dice: random.Random, claim: Claim) -> None:
    """End an attempt and its session, together or apart, well or badly, or not at all."""
    task, n, session = claim.task.id, claim.n, claim.session or 0
    if dice.random() < 0.5:
        store.session_started(session, pid=dice.randint(1, 99))
    code = dice.choice([0, 1, None])
    outcome = dice.choice(["exited", "killed", "stopped", "lost", "never_started"])
    end = SessionEnd(session, outcome, code, dice.choice([None, 9]), dice.choice([None, "why"]))  # type: ignore[arg-type]
    end = dice.choice([end, SessionEnd(session, "exited", 0)])
    apart = dice.random() < 0.3
    ends = None if apart else end
    if dice.random() < 0.2:
        store.cancel(task, reason="enough", actor="cli:ann")
    match dice.randrange(5):
        case 0:
            store.complete(task, n, result="1", exit_code=dice.choice([0, None]), end_session=ends)
        case 1:
            kind = dice.choice(["transient", "permanent", "throttled"])
            partial = dice.choice([None, '{"got":"so far"}'])
            why = Failure(kind, "x", code, partial=partial)  # type: ignore[arg-type]
            store.fail(task, n, why, usage=Usage(1, 2, 3), end_session=ends)
        case 2:
            store.release(task, n, reason="r", end_session=ends)
        case 3:
            store.cancelled(task, n, end_session=ends)
        case _:
            return
    if apart and dice.random() < 0.7:
        store.end_session(end)


def test_replaying_the_history_gives_the_tables(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    with eventful(tmp_path, seed) as store:
        heard: list[tuple[int, int]] = []
        seen = verify(store.directory, lambda done, total: heard.append((done, total)))
        assert seen.faults == ()
        assert seen.events == store.events(newest_first=True, limit=1)[0].seq == seen.last_seq
        assert seen.tasks == raw(store).execute("SELECT count(*) FROM task").fetchone()[0]


def columns(table: str, folder: Path) -> list[str]:
    with new_store(folder) as store:
        return [row[1] for row in raw(store).execute(f"PRAGMA table_info({table})")]


#: tables whose rows have no number of their own
KEYS = {
    "attempt": "task, n", "edge": "parent, child", "instance": "agent, slot", "bound": "scope, name",
    "member": "agent", "budget": "scope, name, measure, per", "breaker": "scope, name",
}  # fmt: skip
BREAKER_NUMBERS = (
    "window_ms", "min_calls", "share", "open_ms", "cap_ms", "stagger_ms", "opened", "since_ms", "until_ms", "probe",
    "probe_n", "next_ms", "spaced",
)  # fmt: skip
#: what forging one column would look like: (table, column, value)
FORGED = [
    ("task", "queue", 2), ("task", "state", "ready"), ("task", "payload", 2), ("task", "correlation", bytes(16)),
    ("task", "priority", 9), ("task", "available_ms", 5), ("task", "attempts", 99), ("task", "burnt", 1),
    ("task", "throttled", 1), ("task", "key", "k"), ("task", "on_parent_failure", "run"), ("task", "deadline_ms", 5),
    ("task", "timeout_ms", 5), ("task", "retry", "{}"), ("task", "creator", 5), ("task", "reason", "other"),
    ("task", "error_class", "other"), ("task", "error", "other"), ("task", "finished_ms", 5),
    ("task", "open_parents", 3), ("task", "result", 1), ("task", "cancel_asked", 1), ("task", "lane", 9),
    ("task", "chain", 9), ("task", "degraded", 9), ("agent", "can", "[1]"), ("agent", "fallback", "{}"),
    ("agent", "max_depth", 9),
    ("agent", "checked", 1), ("lane", "queue", 2), ("lane", "needs", "[1]"), ("lane", "barred", "[1]"),
    ("chain", "before", 1), ("chain", "agent", 2),
    ("attempt", "agent", 2), ("attempt", "slot", 9), ("attempt", "session", 9), ("attempt", "claimed_ms", 9),
    ("attempt", "ended_ms", 9), ("attempt", "outcome", "released"), ("attempt", "error_class", "other"),
    ("attempt", "error", "other"), ("attempt", "exit_code", 77), ("attempt", "input_tokens", 9),
    ("attempt", "output_tokens", 9), ("attempt", "cost_microusd", 9), ("attempt", "partial", 1),
    ("edge", "ended", 1),
    ("queue", "name", "other"), ("queue", "paused_ms", 5), ("queue", "paused_by", "x"), ("queue", "reason", "x"),
    ("agent", "name", "other"), ("agent", "mode", "service"), ("agent", "queues", "[1]"), ("agent", "instances", 9),
    ("agent", "scale", 9), ("agent", "retry", "{}"), ("agent", "desired", "stopped"), ("agent", "restart_seq", 9),
    ("agent", "reset_seq", 9), ("agent", "declared", 0), ("agent", "since_ms", 9),
    ("actor", "name", "other"),
    ("instance", "phase", "starting"), ("instance", "health", "starting"), ("instance", "reason", "other"),
    ("instance", "latched", 1), ("instance", "since_ms", 9),
    ("session", "agent", 2), ("session", "slot", 9), ("session", "nonce", "x"),
    ("session", "task", 9), ("session", "attempt", 9), ("session", "pid", 9), ("session", "started_ms", 9),
    ("session", "ended_ms", 9), ("session", "outcome", "lost"), ("session", "exit_code", 77), ("session", "signal", 9),
    ("session", "detail", "x"),
    ("bound", "starts", 9), ("bound", "period_ms", 9), ("bound", "burst", 9), ("bound", "concurrency", 9),
    ("bound", "max_depth", 9), ("bound", "origin", "config"), ("bound", "full_us", 9),
    ("member", "provider", "other"), ("member", "origin", "config"),
    ("budget", "amount", 9), ("budget", "origin", "config"), ("budget", "zone", "X"), ("budget", "from_ms", 9),
    ("budget", "until_ms", 9), ("budget", "spent", 9),
    *[("breaker", name, 9) for name in BREAKER_NUMBERS], ("breaker", "origin", "config"), ("breaker", "state", "open"),
    ("breaker", "reason", "other"), ("breaker", "calls", "[[9,9,9]]"),
    ("body", "text", "other"),
    ("event", "at_ms", 9), ("event", "kind", 72), ("event", "attempt", 9), ("event", "actor", 1),
    ("event", "session", 9), ("event", "body", 1), ("event", "data", "{}"), ("event", "correlation", bytes(16)),
    ("event", "hash", bytes(16)),
]  # fmt: skip
#: columns that no forgery of one row can change: keys, and what the history does not tell
UNFORGED = {
    "task": {"id", "lease_until_boot_ms"}, "attempt": {"task", "n", "progress"}, "edge": {"parent", "child"},
    "queue": {"id"}, "agent": {"id"}, "actor": {"id"}, "body": {"id", "digest"}, "event": {"seq", "task"},
    "instance": {"agent", "slot", "session", "restarts", "next_start_ms", "memo"}, "session": {"id"},
    "bound": {"scope", "name"}, "member": {"agent"}, "budget": {"scope", "name", "measure", "per"},
    "breaker": {"scope", "name"}, "lane": {"id"}, "chain": {"id"},
}  # fmt: skip


OF_ENDED = {"input_tokens", "output_tokens", "cost_microusd"}  #: what the history tells once the attempt has ended


def test_every_column_is_either_replayed_or_named_as_volatile(tmp_path: Path) -> None:
    for table, kept in UNFORGED.items():
        forged = {column for name, column, _ in FORGED if name == table}
        assert forged | kept == set(columns(table, tmp_path)), table
    told = " ".join(VOLATILE)
    for name in ("lease_until_boot_ms", "progress", "restarts", "next_start_ms", "memo", "session", "pid, started_ms"):
        assert name in told


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    store, _ = lively(folder)
    fleet(store)
    limit(store)
    first = add(store, "parent")
    add(store, "child", after=(first,))
    add(store, "child", '"wild"', key="key", creator=first, timeout_ms=7, priority=2)
    (claim,) = store.claim(["parent"], agent="ann", slot=1, open_session=True)
    store.session_started(claim.session or 0, pid=3)
    add(store, "child", creator=first, needs=("gpu",))
    store.fail(first, 1, Failure("permanent", "no", 65), end_session=SessionEnd(claim.session or 0, "exited", 65))
    second = add(store, "parent")
    add(store, "child", after=(second,))
    store.pause_queue("review", reason="x", actor="cli:a")
    store.close()
    return folder / ".agentctl"


def forge(directory: Path, sql: str, values: tuple[object, ...] = ()) -> int:
    """Change the file behind the store's back; return how many rows that touched."""
    db = gate.load().connect(str(directory / "store.db"), isolation_level=None)
    db.execute("PRAGMA ignore_check_constraints=ON")
    db.execute("DROP TRIGGER IF EXISTS event_is_append_only")
    touched = db.execute(sql, values).rowcount
    db.close()
    return int(touched)


@pytest.mark.parametrize(("table", "column", "value"), FORGED, ids=lambda value: str(value)[:20])
def test_a_forged_column_is_found(original: Path, tmp_path: Path, table: str, column: str, value: object) -> None:
    copy = tmp_path / ".agentctl"
    shutil.copytree(original, copy)
    keys = KEYS.get(table, "rowid")
    final = " AND ended_ms IS NOT NULL" if table == "attempt" and column in OF_ENDED else ""
    one = f"SELECT {keys} FROM {table} WHERE {column} IS NOT ?{final} LIMIT 1"
    assert forge(copy, f"UPDATE {table} SET {column} = ? WHERE ({keys}) = ({one})", (value, value)) == 1
    assert verify(str(copy)).faults


@pytest.mark.parametrize(
    "table",
    ["task", "attempt", "edge", "queue", "agent", "actor", "instance", "session", "body", "lane", "chain", "bound",
     "member", "budget", "breaker"],
)  # fmt: skip
def test_a_row_that_is_gone_is_found(original: Path, tmp_path: Path, table: str) -> None:
    copy = tmp_path / ".agentctl"
    shutil.copytree(original, copy)
    keys = KEYS.get(table, "rowid")
    assert verify(str(copy)).intact
    assert forge(copy, f"DELETE FROM {table} WHERE ({keys}) = (SELECT {keys} FROM {table} LIMIT 1)") == 1
    assert verify(str(copy)).faults


@pytest.mark.parametrize("which", ["(SELECT min(seq) FROM event)", "7", "(SELECT max(seq) FROM event)"])
def test_an_event_that_is_gone_is_found(original: Path, tmp_path: Path, which: str) -> None:
    copy = tmp_path / ".agentctl"
    shutil.copytree(original, copy)
    assert forge(copy, f"DELETE FROM event WHERE seq = {which}") == 1
    assert verify(str(copy)).faults


def test_a_row_from_nowhere_is_found(original: Path, tmp_path: Path) -> None:
    copy = tmp_path / ".agentctl"
    shutil.copytree(original, copy)
    forge(copy, "INSERT INTO task (id, queue, state, payload, correlation, available_ms) SELECT 5, 1, 'ready', 1, "
                "correlation, 1 FROM task LIMIT 1")  # fmt: skip
    forge(copy, "INSERT INTO session (id, agent, slot, nonce) VALUES (5, 1, 1, 'n')")
    faults = verify(str(copy)).faults
    assert any("task 000" in fault for fault in faults) and any("session" in fault for fault in faults)


def test_the_past_is_shown_as_it_was(tmp_path: Path) -> None:
    clock = SetClock()
    with new_store(tmp_path, clock) as store:
        fleet(store)
        task = add(store, "write", '{"path":"a.py"}')
        seen: list[tuple[int, Any, Any]] = []

        def look() -> None:
            with open_reader(store.directory) as reader:
                rows = reader.tasks(0, 10, "id", Filter())
                seen.append((clock.wall_ms, rows, [(one.instance, one.health) for one in reader.instances(0, 9, *BY)]))
            clock.pass_ms(1_000)

        look()
        store.claim(["write"], agent="bob", slot=1)
        look()
        store.fail(task, 1, Failure("permanent", "no"))
        store.save_instances([Instance("bob", 1, "idle", "healthy", "")])
        look()
        store.requeue(task, actor="cli:a", payload='{"path":"b.py"}', note="edited")
        look()
        store.drop_instances([("ann", 3)])
        store.cancel(task, actor="cli:a")
        look()
        for moment, rows, healths in seen:
            with state_at(store.directory, moment + 500) as past:
                assert tuple(past.tasks()) == rows
                assert [(one.instance, one.health) for one in past.instances()] == healths
        with state_at(store.directory, seen[0][0] - 1) as before:
            assert list(before.tasks()) == []
