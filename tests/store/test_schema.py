"""The schema restates the invariants of the domain, and the hot queries stay on their indexes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from store.store_kit import add, new_store  # noqa: TID251

from agentctl_store.domain.agent import DESIRED, HEALTHS, MODES, PHASES
from agentctl_store.domain.machine import FINAL, INITIAL, MOVES, STATES, VERBS, sources, target
from agentctl_store.domain.task import AGEING_MS, PRIORITY_MAX, PRIORITY_MIN
from agentctl_store.read.models import HEALTH_ORDER
from agentctl_store.sqlite import sqltext
from agentctl_store.sqlite.reader import load_sql
from agentctl_store.sqlite.rebuild import load_sql as verify_sql

SCHEMA = (Path(sqltext.__file__).parent / "migrations" / "0001_first.sql").read_text()


def checked(column: str, table: str) -> tuple[str, ...]:
    """The values that a CHECK constraint of the schema allows."""
    body = re.search(rf"CREATE TABLE {table} \((.*?)\n\) STRICT", SCHEMA, re.S)
    assert body is not None
    listed = re.search(rf"{column} IN \((.*?)\)", body.group(1), re.S)
    if listed is not None:
        return tuple(re.findall(r"'(\w+)'", listed.group(1)))
    # Where rows are updated all the time: IN builds a table of its values at each check.
    chain = re.search(rf"{column} +TEXT NOT NULL CHECK \((.*?)\),\n", body.group(1), re.S)
    assert chain is not None
    return tuple(re.findall(rf"{column} = '(\w+)'", chain.group(1)))


def test_the_schema_knows_the_states_of_the_machine() -> None:
    assert sorted(checked("state", "task")) == sorted(STATES)
    assert set(FINAL) == {state for state in STATES if f"'{state}'" in "'done', 'dead', 'cancelled'"}
    final = " OR ".join(f"state = '{state}'" for state in FINAL)
    assert f"CHECK (({final}) = (finished_ms IS NOT NULL))" in SCHEMA
    assert f"priority BETWEEN {PRIORITY_MIN} AND {PRIORITY_MAX}" in SCHEMA
    assert f"available_ms - priority * {AGEING_MS}" in SCHEMA


def test_the_schema_knows_the_words_of_the_fleet() -> None:
    assert checked("mode", "agent") == MODES
    assert checked("desired", "agent") == DESIRED
    assert checked("phase", "instance") == PHASES
    assert set(checked("health", "instance")) == set(HEALTHS) == set(HEALTH_ORDER)


def test_the_machine_is_total_and_its_end_states_end() -> None:
    assert set(MOVES) == {(state, verb) for state in STATES for verb in VERBS}
    assert all(MOVES[state, verb] is None for state in ("done", "cancelled") for verb in VERBS)
    assert {target(verb) for verb in VERBS} | set(INITIAL) == set(STATES)
    assert all(sources(verb) for verb in VERBS)


def test_statements_name_states_only_through_the_machine() -> None:
    """An UPDATE that moves a task says @target(verb) and @sources(verb); none spells a transition by itself."""
    text = (Path(sqltext.__file__).parent / "sql" / "task.sql").read_text()
    moved = [block for block in text.split("-- name: ")[1:] if "UPDATE task SET state" in block]
    assert len(moved) >= 12
    for block in moved:
        name = block.split()[0]
        assert f"@target({name})" in block and f"@sources({name})" in block, name


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> object:
    store = new_store(tmp_path_factory.mktemp("plans"))
    add(store)

    def plan(sql: str) -> str:
        values = (1,) * (sql.count("?") if "?1" not in sql else max(map(int, re.findall(r"\?(\d)", sql))))
        rows = store.driver.conn.rows("EXPLAIN QUERY PLAN " + sql, values)  # type: ignore[attr-defined]
        return "; ".join(row[3] for row in rows)

    return plan


#: who is of a trace: the task that began it, by the id in its first half, and all others by their index
TRACE = """SELECT id FROM task WHERE id = ? AND correlation = ?
UNION ALL SELECT id FROM task WHERE correlation = ? AND hex(substr(correlation, 1, 8)) <> printf('%016X', id)"""
TASK, READ, VERIFY = sqltext.load("task"), load_sql(), verify_sql()
FOUND = sqltext.load("findings")
SURVEY = TASK["survey"].replace("@names", "?3")
for _part in ("others_due", "newest_lane"):
    SURVEY = SURVEY.replace(f"@{_part}", TASK[_part])
#: (statement, what its plan must say)
HOT = [
    (TASK["pick"], "USING INDEX task_ready (queue=? AND lane=?)"),
    (TASK["claimable"].replace("@which", TASK["next_ready"]), "USING INDEX task_ready (queue=? AND lane=?)"),
    (SURVEY, "USING INDEX task_ready (queue=? AND lane=?)"),
    (SURVEY, "SEARCH lane"),
    (TASK["survey_lanes"], "USING INDEX task_ready (queue=? AND lane=?)"),
    (TASK["waits_in"].replace("@state", "ready"), "USING COVERING INDEX task_ready (queue=? AND lane=?)"),
    (TASK["waits_in"].replace("@state", "scheduled"), "USING INDEX task_scheduled (queue=?)"),
    (TASK["waits_in"].replace("@state", "blocked"), "USING INDEX task_blocked (queue=?)"),
    (TASK["chain_link"], "USING INDEX chain_link"),
    (TASK["lanes_idle"], "USING INDEX task_lane (lane=?)"),
    (sqltext.load("schedule")["backlog"], "USING INDEX task_key (key>? AND key<?)"),
    (TASK["scheduled_due"], "USING COVERING INDEX task_scheduled (queue=? AND available_ms<?)"),
    (TASK["next_due"], "USING COVERING INDEX task_scheduled"),
    (TASK["next_deadline"], "USING INDEX task_deadline (deadline_ms>?)"),
    (TASK["next_expiry"], "USING COVERING INDEX task_lease"),
    (TASK["lost"], "USING INDEX task_lease (lease_until_boot_ms<?)"),
    (TASK["overdue"], "USING INDEX task_deadline (deadline_ms>? AND deadline_ms<?)"),
    (TASK["by_key"], "USING INDEX task_key (key=?)"),
    (TASK["children"], "USING PRIMARY KEY (parent=?)"),
    (TASK["parents"], "USING COVERING INDEX edge_child (child=? AND parent>?)"),
    (TASK["held_by_session"], "attempt_open (session=?"),
    (READ["last_event"], "SEARCH event"),
    (READ["waiting_in"], "USING INDEX task_lane (lane=? AND state=?)"),
    (READ["moves"], "SEARCH e USING INTEGER PRIMARY KEY (rowid>?)"),
    (READ["newest_of_kind"], "USING COVERING INDEX event_rare (kind=?)"),
    (READ["cost_since"], "USING COVERING INDEX attempt_cost (ended_ms>?)"),
    (READ["sessions"], "session_instance (agent=? AND slot=?)"),
    (READ["task_sessions"], "CO-ROUTINE s; SCAN session"),
    (TRACE, "task USING INTEGER PRIMARY KEY (rowid=?)"),
    (TRACE, "COVERING INDEX task_correlation (correlation=?)"),
    (READ["done_by_slot"], "SEARCH attempt USING PRIMARY KEY (task>?)"),
    (READ["events"], "SEARCH e USING INTEGER PRIMARY KEY (rowid>?)"),
    (VERIFY["lines"], "USING INDEX event_task (task>? AND task<?)"),
    (VERIFY["of_kind"], "USING INDEX event_rare (kind=? AND rowid>? AND rowid<?)"),
    (VERIFY["parents_ended"], "USING INDEX event_task (task=?"),
    (FOUND["starts_by"], "SEARCH e USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
    (FOUND["adds_by"], "SEARCH event USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
    (FOUND["starts"], "SEARCH event USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
    (FOUND["bursts"], "USING INDEX event_rare (kind=? AND rowid>? AND rowid<?)"),
    (FOUND["retried"], "USING INDEX event_rare (kind=? AND rowid>? AND rowid<?)"),
    (FOUND["newest"], "USING INDEX event_rare (kind=? AND rowid>? AND rowid<?)"),
    (FOUND["talks"], "USING INDEX event_rare (kind=? AND rowid>? AND rowid<?)"),
    (FOUND["cost"], "USING COVERING INDEX attempt_cost (ended_ms>? AND ended_ms<?)"),
    (FOUND["dead"], "USING INDEX task_dead (finished_ms>?)"),
    (FOUND["creators"], "SEARCH task USING INTEGER PRIMARY KEY (rowid=?)"),
    (FOUND["unanswered"], "SEARCH message USING INTEGER PRIMARY KEY (rowid<?)"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "wanted"), HOT, ids=[sql[:40] for sql, _ in HOT])
def test_a_hot_query_stays_on_its_index(plans: object, sql: str, wanted: str) -> None:
    said = plans(sql)  # type: ignore[operator]
    assert wanted in said, said
    assert "TEMP B-TREE" not in said or "GROUP BY" in said, said
    assert "SCAN task" not in said and "SCAN event" not in said and "SCAN attempt" not in said, said


@pytest.mark.parametrize(
    ("block", "wanted"),
    [
        ("queues", "SEARCH t USING INDEX task_ready (queue=? AND lane=?)"),
        ("sessions_now", "SEARCH s USING INTEGER PRIMARY KEY (rowid=?)"),
        ("sessions_now", "SCAN session USING INDEX session_open"),
        ("sessions_now", "SEARCH session USING INTEGER PRIMARY KEY (rowid>?)"),
    ],
)
def test_a_query_that_sorts_a_handful_finds_them_by_an_index(plans: object, block: str, wanted: str) -> None:
    said = plans(READ[block])  # type: ignore[operator]
    assert wanted in said and "SCAN t;" not in said and "SCAN session;" not in said, said


def test_counting_reads_indexes_alone_and_sorts_no_finished_task(plans: object) -> None:
    for part in READ["counts"].split("UNION ALL"):
        said = plans(part)  # type: ignore[operator]
        assert "INDEX task_" in said, said
        if "'done'" in part:
            assert "COVERING INDEX task_finished" in said and "TEMP B-TREE" not in said
