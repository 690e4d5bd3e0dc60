"""The history tells every message, before and after it was pruned; a change of either is found."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
from store.store_kit import SetClock, add, new_store  # noqa: TID251

from agentctl_store import upkeep
from agentctl_store.domain.agent import AgentSpec
from agentctl_store.domain.event import KINDS
from agentctl_store.domain.message import INBOX_LIMIT, Damping, MessageFilter
from agentctl_store.domain.message_machine import STATES
from agentctl_store.errors import AgentctlError, NotFound
from agentctl_store.messageverbs import MessageRequest
from agentctl_store.replay import verify
from agentctl_store.replay.message_tables import DampingFold
from agentctl_store.sqlite import sqltext
from agentctl_store.sqlite.messaging import Messages
from agentctl_store.store import Store

DAY = 86_400_000
AGENTS = ("ann", "bob", "carl")


def rows(store: Store) -> list[Any]:
    return store.driver.conn.rows("SELECT * FROM message ORDER BY id")  # type: ignore[attr-defined,no-any-return]


def lively(store: Store, clock: SetClock, dice: random.Random, steps: int) -> None:
    """Do what agents and people do with messages, at random."""
    sent: list[int] = []
    held: list[tuple[int, int]] = []
    mail = store.messages
    for _ in range(steps):
        clock.pass_ms(dice.choice((1, 50, 20_000)))
        source, target = dice.sample((*AGENTS, "operator"), 2)
        what = dice.randrange(10)
        try:
            if what < 3:
                more: dict[str, Any] = {"ttl_ms": dice.choice((None, 30_000)), "priority": dice.choice((0, 5))}
                more |= {"key": dice.choice((None, str(dice.randrange(9)))), "max_deliveries": dice.choice((1, 5))}
                to = dice.choice((target, target, "topic:news", "topic:all", "nobody"))
                kind = dice.choice(("QUERY", "STATUS"))
                made = mail.send(MessageRequest(source, to, str(dice.random()), kind, **more), actor=f"{source}/1")  # type: ignore[arg-type]
                sent += made.copies or [made.id]
            elif what < 6:
                held += [(one.message.id, one.n) for one in mail.read(target, reader=f"{target}/1", limit=3)]
            elif what == 6 and held:
                mail.ack(*held.pop(dice.randrange(len(held))))
            elif what == 7 and held:
                number, n = held.pop()
                answer = MessageRequest(mail.message(number).target, None, "1", "RESULT", reply_to=number, acks=n)
                sent.append(mail.send(answer, actor="x").id)
            elif what == 8:
                store.sweep()
            elif sent:
                act = dice.choice((mail.requeue, mail.discard, mail.refuse))
                if act == mail.refuse:
                    act(*held.pop()) if held else None  # type: ignore[operator]
                elif act == mail.requeue:
                    act(dice.choice(sent), payload=dice.choice((None, '"new"')), note=dice.choice(("", "n")), actor="t")
                else:
                    act(dice.choice(sent), actor="t")
        except AgentctlError:
            pass


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def made(folder: Path, clock: SetClock) -> Store:
    store = new_store(folder, clock)
    store.declare_agents([AgentSpec(name, "worker", (name,), 1) for name in AGENTS], actor="t")
    store.messages.subscribe("news", "ann")
    store.messages.subscribe("news", "carl")
    store.messages.unsubscribe("news", "carl")
    store.messages.set_schema("STATUS", '{"type":"number"}', actor="t")
    store.messages.configure(Damping(3, 60_000), actor="t")
    return store


def test_replaying_gives_the_messages_before_and_after_each_prune(tmp_path: Path, clock: SetClock) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    dice = random.Random(seed)
    with made(tmp_path, clock) as store:
        pruned = 0
        for _ in range(4):
            lively(store, clock, dice, 300)
            add(store)
            seen = verify(store.directory)
            assert seen.faults == () and seen.messages == len(rows(store)) > 0
            clock.pass_ms(DAY)
            store.sweep()
            lively(store, clock, dice, 40)
            waiting = [row for row in rows(store) if row[6] in ("stored", "delivered", "dead")]
            pruned += upkeep.prune(store.directory, DAY // 2, clock, "t").messages
            after = verify(store.directory)
            assert after.faults == () and after.first_seq > 1
            assert [row for row in rows(store) if row[6] in ("stored", "delivered", "dead")] == waiting
        assert pruned > 50
        assert all(finding.ok for finding in upkeep.check(store.directory))
        clock.pass_ms(DAY)
        while taken := store.messages.read("ann", limit=50):
            for one in taken:
                assert one.message.payload, "what waits keeps its payload over a cut"


def test_a_pruned_message_leaves_no_text_behind(tmp_path: Path, clock: SetClock) -> None:
    with made(tmp_path, clock) as store:
        sent = store.messages.send(MessageRequest("ann", "bob", '"secret"')).id
        (taken,) = store.messages.read("bob")
        store.messages.refuse(sent, taken.n)
        store.messages.requeue(sent, payload='"secret edit"', actor="t")
        store.messages.read("bob")
        store.messages.ack(sent, 2)
        clock.pass_ms(DAY)
        assert upkeep.prune(store.directory, 1_000, clock, "t").messages == 1
        with pytest.raises(NotFound):
            store.messages.message(sent)
        found = store.driver.conn.rows("SELECT count(*) FROM body WHERE text IS NOT NULL")  # type: ignore[attr-defined]
        assert found == [(0,)] and verify(store.directory).faults == ()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE message SET state = 'acked', finished_ms = 5, due_boot_ms = NULL",
        "UPDATE message SET deliveries = 7",
        "UPDATE message SET source = 'carl'",
        "UPDATE message SET key = 'k'",
        "DELETE FROM message",
        "UPDATE subscription SET agent = 'bob'",
        "DELETE FROM message_schema",
        "UPDATE damping SET messages = 0",
        "UPDATE body SET text = '2'",
    ],
)
def test_a_change_behind_the_history_s_back_is_found(tmp_path: Path, clock: SetClock, change: str) -> None:
    with made(tmp_path, clock) as store:
        store.messages.send(MessageRequest("ann", "bob", "1"), actor="ann/1")
        store.messages.read("bob", reader="bob/1")
        assert verify(store.directory).intact
        store.driver.conn.db.execute(change)  # type: ignore[attr-defined]
        assert not verify(store.directory).intact


# --- the schema and its queries ---------------------------------------------------------------------------------------
def test_the_schema_knows_the_states_of_the_machine(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        ((sql,),) = store.driver.conn.rows("SELECT sql FROM sqlite_schema WHERE name = 'message'")  # type: ignore[attr-defined]
        assert all(f"state = '{state}'" in sql for state in STATES)
        assert sql.count("state = '") == len(STATES) + 2, "a CHECK beside them names dead and expired again"


@pytest.mark.parametrize(
    ("block", "index"),
    [
        ("next", "message_inbox"),
        ("next_again", "message_again"),
        ("unacked", "message_awaited"),
        ("outlived", "message_expiry"),
        ("exchanged", "message_conversation"),
        ("thread", "message_conversation"),
        ("copies", "message_post"),
        ("by_key", "message_key"),
        ("crowded", "COVERING INDEX message_unread"),
        ("oldest_unread", "COVERING INDEX message_unread"),
        ("outlived_from", "SEARCH m USING INDEX message_unread"),
        ("outlived_from", "COVERING INDEX message_expiry"),
        ("peek", "message_inbox"),
    ],
)
def test_hot_queries_keep_to_their_index(tmp_path: Path, block: str, index: str) -> None:
    with new_store(tmp_path) as store:
        messages: Messages = store.driver.messages.shared  # type: ignore[attr-defined]
        sql = messages.limited(block, 5)
        count = max([int(number) for number in re.findall(r"\?(\d)", sql)], default=sql.count("?"))
        plan = messages.conn.rows(f"EXPLAIN QUERY PLAN {sql}", (1,) * count)
        said = " / ".join(row[3] for row in plan)
        assert index in said and "SCAN m" not in said, said


@pytest.mark.parametrize("before", [None, 1 << 62])
def test_a_list_walks_back_from_the_newest_and_collects_no_set_of_them_first(
    tmp_path: Path, clock: SetClock, before: int | None
) -> None:
    with made(tmp_path, clock) as store:
        db, asked = store.driver.conn.db, []  # type: ignore[attr-defined]
        sent = store.messages.send(MessageRequest("ann", "bob", "1"))
        db.set_trace_callback(asked.append)
        assert [one.id for one in store.messages.list(MessageFilter(before=before), 1)] == [sent.id]
        db.set_trace_callback(None)
        plan = " / ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {asked[-1]}"))
        assert "SEARCH m USING INTEGER PRIMARY KEY (rowid>?" in plan and "LIST" not in plan, plan


def test_reading_costs_what_it_costs_beside_many_messages(tmp_path: Path, clock: SetClock) -> None:
    with made(tmp_path, clock) as store:
        for index in range(3_000):
            store.messages.send(MessageRequest(f"ann{index % 4}", ("carl", "bob")[index % 2], "1", ttl_ms=DAY))
        for one in store.messages.read("bob", limit=1_000):
            store.messages.ack(one.message.id, one.n)
        db, steps = store.driver.conn.db, [0]  # type: ignore[attr-defined]

        def tick() -> int:
            steps[0] += 1
            return 0

        db.set_progress_handler(tick, 100)
        store.messages.send(MessageRequest("ann", "bob", "1"))
        (taken,) = store.messages.read("bob")
        store.messages.ack(taken.message.id, taken.n)
        db.set_progress_handler(None, 0)
        assert steps[0] * 100 < 2_000
    assert sqltext.load("message")["next"].count("@message") == 1


def test_an_older_history_does_not_say_how_full_an_inbox_gets(tmp_path: Path, clock: SetClock) -> None:
    told, snapshot = {"messages": 4, "window_ms": 10}, [{"id": 1, "messages": 5, "window_ms": 20}]
    fold, line = DampingFold(), (1, 0, KINDS["message.configured"], None, None, "t", None, None, None, b"")
    fold.configured(line, told)
    assert fold.snapshot() == [{"id": 1, **told, "unread": INBOX_LIMIT}]
    fold.load(snapshot)
    assert fold.snapshot() == [{**snapshot[0], "unread": INBOX_LIMIT}]
