"""A store as a busy fleet leaves it after five days: 100 instances, a million tasks, ten million events.

Rows are as the store would have written them, put in by bulk SQL under the real schema; only the hashes of the history
are not those of a chain, which no screen looks at. Instances, sessions and held tasks are made by the store's verbs.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from bench.replay import bare

from agentctl_store.clock import Clock
from agentctl_store.domain.agent import AgentSpec, Instance
from agentctl_store.domain.event import KINDS
from agentctl_store.ids import new_correlation
from agentctl_store.read.vitals import Vitals, write_vitals
from agentctl_store.sqlite.driver import SqliteDriver
from agentctl_store.store import Store

TASKS = int(os.environ.get("AGENTCTL_BENCH_TASKS", 1_000_000))  #: fewer, to try the bench out in seconds
EVENTS_EACH = 10
SPAN_MS = 5 * 24 * 3_600_000
AGENTS = ("coder", "mailer", "planner", "reviewer", "tester")
SLOTS = 20
QUEUES = ("build", "mail", "review", "write")

#: the state of task `i`; one in 200 is dead
STATE = """CASE WHEN i % 200 = 7 THEN 'dead' WHEN i % 100 = 3 THEN 'scheduled' WHEN i % 20 = 11 THEN 'ready'
    WHEN i % 500 = 9 THEN 'cancelled' ELSE 'done' END"""
ENDED = "i % 100 <> 3 AND i % 20 <> 11 AND i % 500 <> 9"  #: done or dead, after three attempts
ERROR = "'exit 1: ConnectionResetError: [Errno 104] peer ' || (i % 977) || ' closed the connection'"
NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {count})"
AT = "({start} + i * {step})"
ID = f"({AT} << 20 | i * 7919 % 1048576)"

BODIES = """INSERT INTO body (id, text) SELECT 2 * i + 1, '{{"path":"lib/part_' || (i % 4211) || '/module_' || i ||
    '.py","depth":' || (i % 7) || ',"tags":["stdlib","review"],"ask":"look for calls that can block"}}' FROM n"""
RESULTS = """INSERT INTO body (id, text) SELECT 2 * i + 2, '{{"findings":' || (i % 11) || ',"lines":' || (i % 3011) ||
    ',"verdict":"nothing that would block"}}' FROM n WHERE {state} = 'done'"""
TASK_ROWS = """INSERT INTO task (id, queue, state, payload, correlation, priority, available_ms, attempts, burnt,
    reason, error_class, error, result, finished_ms)
SELECT {id}, 1 + i % 4, {state}, 2 * i + 1, trace({id}), i % 9 - 4,
    CASE WHEN i % 100 = 3 THEN {start} * 2 ELSE {at} END, 3 * ({ended}), 2 * ({ended}),
    CASE WHEN i % 200 = 7 THEN CASE WHEN i % 600 = 7 THEN 'permanent' ELSE 'max_attempts' END END,
    CASE WHEN i % 200 = 7 THEN 'transient' END, CASE WHEN i % 200 = 7 THEN {error} END,
    CASE WHEN {state} = 'done' THEN 2 * i + 2 END,
    CASE WHEN {state} IN ('done', 'dead', 'cancelled') THEN {at} + 320 END FROM n"""
#: each try was a process of its own, whose session the claim opened and the attempt's end closed (store: ending.py)
SESSION = "({at} + 100 * {k} - 60 << 20 | (3 * i + {k}) * 7919 % 1048576)"
GOOD = "(k = 3 AND i % 200 <> 7)"
TRIES = "FROM n, (SELECT 1 k UNION ALL SELECT 2 UNION ALL SELECT 3) WHERE {ended}"
ATTEMPTS = """INSERT INTO attempt (task, n, agent, slot, session, claimed_ms, ended_ms, outcome, error_class, error,
    exit_code)
SELECT {id}, k, 1 + i % 5, 1 + i / 5 % 20, {session}, {at} + 100 * k - 60, {at} + 100 * k,
    iif({good}, 'done', 'failed'), iif({good}, NULL, 'transient'), iif({good}, NULL, {error}), NOT {good} {tries}"""
SESSIONS = """INSERT INTO session (id, agent, slot, task, attempt, pid, started_ms, ended_ms, exit_code)
SELECT {session}, 1 + i % 5, 1 + i / 5 % 20, {id}, k, iif({good}, NULL, 1000000 + i),
    iif({good}, NULL, {at} + 100 * k - 59), {at} + 100 * k, NOT {good} {tries}"""
#: of a task that ended: added, claimed, retried, promoted, claimed, retried, promoted, claimed, ended;
#: of the others: added; and what happened to instances meanwhile, to make ten of all
EVENTS = """INSERT INTO event (seq, at_ms, kind, task, attempt, actor, session, body, data, correlation, hash)
SELECT e + 1, {at} + 40 * k, kind, CASE WHEN kind < 30 THEN {id} END,
    CASE WHEN kind = 1 THEN 1 + i % 4 WHEN kind BETWEEN 5 AND 13 THEN 1 + k / 3 END,
    CASE WHEN kind IN (1, 5, 50) THEN 1 + i % 5 END, CASE WHEN kind BETWEEN 5 AND 13 THEN {session_of_event} END,
    CASE kind WHEN 1 THEN 2 * i + 1 WHEN 6 THEN 2 * i + 2 END,
    CASE WHEN kind IN (7, 13) THEN '{{"class":"transient","error":"' || {error} || '","burns":1,"exit":1,"session":'
        || '{{"pid":' || (1000000 + i) || ',"started":' || ({at} + 100 * (k / 3) + 41) || '}},'
        || iif(kind = 7, '"run_at":' || ({at} + 40 * k + 40), '"reason":"max_attempts"') || '}}'
        WHEN kind = 50 THEN '{{"phase":"idle","health":"healthy"}}' END,
    CASE WHEN kind = 1 THEN randomblob(8) END, randomblob(16)
FROM (SELECT i AS e, i / 10 AS i, i % 10 AS k, CASE
        WHEN i % 10 = 0 THEN 1
        WHEN i % 10 = 9 OR NOT ({ended_e}) THEN 50
        ELSE CASE i % 10 WHEN 1 THEN 5 WHEN 2 THEN 7 WHEN 3 THEN 3 WHEN 4 THEN 5 WHEN 5 THEN 7 WHEN 6 THEN 3
            WHEN 7 THEN 5 ELSE CASE WHEN i / 10 % 200 = 7 THEN 13 ELSE 6 END END
    END AS kind FROM n)"""


def big_store(directory: Path) -> str:
    """Make the store and return its folder."""
    assert (KINDS["task.completed"], KINDS["task.buried"], KINDS["instance.changed"]) == (6, 13, 50)
    opened(directory).close()
    db = bare(str(directory / "store.db"), "OFF")
    db.create_function("trace", 1, lambda task: bytes.fromhex(new_correlation(Clock(), task)))
    for pragma in ("foreign_keys=OFF", "journal_mode=OFF", "cache_size=-200000"):
        db.execute(f"PRAGMA {pragma}")
    start, step = time.time_ns() // 1_000_000 - SPAN_MS, SPAN_MS // TASKS
    at, ended = AT.format(start=start, step=step), ENDED
    words = {"start": start, "state": STATE, "error": ERROR, "ended": ended, "at": at}
    words.update(id=ID.format(start=start, step=step), ended_e=ended.replace("i %", "i / 10 %"), good=GOOD)
    words.update(session=SESSION.format(at=at, k="k"), session_of_event=SESSION.format(at=at, k="(1 + k / 3)"))
    words["tries"] = TRIES.format(ended=ended)
    for name in QUEUES:
        db.execute("INSERT INTO queue (name) VALUES (?)", (name,))
    for name in AGENTS:
        db.execute("INSERT INTO agent (name, since_ms) VALUES (?, ?)", (name, start))
        db.execute("INSERT INTO actor (name) VALUES (?)", (name,))
    for statement in (BODIES, RESULTS, TASK_ROWS, ATTEMPTS, SESSIONS, EVENTS):
        count = TASKS * EVENTS_EACH if statement is EVENTS else TASKS
        db.execute(f"{NUMBERS.format(count=count)} {statement.format(**words)}")
    db.execute("PRAGMA journal_mode=WAL")
    db.close()
    with opened(directory) as store:
        people(store)
    return str(directory)


def opened(directory: Path | str) -> Store:
    return Store(SqliteDriver(str(directory), create=True, synchronous="NORMAL"), str(directory), Clock())


def people(store: Store) -> None:
    """Declare the agents and give every other instance a task."""
    store.declare_agents([AgentSpec(name, "worker", QUEUES, SLOTS) for name in AGENTS], actor="supervisor")
    rows = []
    for agent in AGENTS:
        for slot in range(1, SLOTS + 1):
            session = None
            if slot % 2:
                claim = store.claim(QUEUES, agent=agent, slot=slot, open_session=f"{agent}{slot}", lease_ms=86_400_000)[
                    0
                ]
                session = claim.session
                store.session_started(session or 0, pid=1_000_000_000 + slot)
            rows.append(Instance(agent, slot, "busy" if session else "idle", "healthy", "", session))
    store.save_instances(rows)


def keep_changing(directory: str, beat_s: float) -> None:
    """Change all instances, and the progress of what they do, as a very lively fleet would; until killed."""
    dice = random.Random(7)
    with opened(directory) as store:
        instances = store.instances()
        held = {one.session: store.held_tasks(one.session)[0] for one in instances if one.session}
        due = time.monotonic()
        while True:
            due += beat_s
            time.sleep(max(due - time.monotonic(), 0))
            changed = []
            for one in instances:
                reason = f"provider throttled {dice.randrange(100)} s"
                changed.append(Instance(one.agent, one.slot, one.phase, "degraded", reason, one.session))
            store.save_instances(changed)
            for task, n in held.values():
                store.heartbeat(task, n, progress=f"step {dice.randrange(1000)}/1000")
            seen = {f"{one.agent}/{one.slot}": Vitals(dice.randrange(10_000_000, 900_000_000)) for one in instances}
            write_vitals(directory, seen)


if __name__ == "__main__":
    import sys

    keep_changing(sys.argv[1], float(sys.argv[2]))
