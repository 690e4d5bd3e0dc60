"""P2 to P5 for messages: one reader wins, the late are refused, the dead hold nothing up, a key sends once."""

from __future__ import annotations

import os
import signal
import statistics
import time
from pathlib import Path
from typing import Any

import pytest
from faults.bad_commit import BadCommit
from faults.broker_kit import WAYS, Asked, clients_of, serving
from faults.raw_kit import greeted
from faults.store_kit import filled, raw, until
from faults.test_broker_waits import LONG_MS, ROUNDS, WOKEN_MS, opened, owned
from history import read

from agentctl_store import upkeep
from agentctl_store.clock import Clock
from agentctl_store.domain.agent import AgentSpec
from agentctl_store.domain.message import MessageFilter
from agentctl_store.errors import StoreError
from agentctl_store.messageverbs import MessageRequest
from agentctl_store.replay import verify
from agentctl_store.store import Store, open_store

ACK_MS = 250
PAUSE_S = 1.0  #: the longest before a second delivery


def inbox(folder: Path, count: int, **more: Any) -> Path:
    """A new store in which bob has `count` messages; its directory."""
    directory = filled(folder, 0)
    with open_store(str(directory)) as store:
        store.declare_agents([AgentSpec(name, "worker", (name,), 1) for name in ("ann", "bob")], actor="t")
        for index in range(count):
            source = f"ann{index // 500 or ''}"  # of one alone an inbox does not take any number
            store.messages.send(MessageRequest(source, "bob", str(index), **more), actor=f"{source}/1")
    return directory


def states(directory: Path) -> list[tuple[str, int]]:
    db = raw(directory)
    rows: list[tuple[str, int]] = db.execute("SELECT state, deliveries FROM message ORDER BY id").fetchall()
    db.close()
    return rows


def assert_told(directory: Path) -> None:
    found = verify(str(directory))
    assert found.intact, found.faults


@pytest.mark.parametrize("way", WAYS)
def test_six_readers_race_for_one_inbox_and_no_message_is_delivered_twice(tmp_path: Path, way: str) -> None:
    directory = inbox(tmp_path, 1_200)
    with clients_of(way, directory, tmp_path / "logs") as clients:
        clients.wait(*[clients.start("drain_inbox", agent="bob") for _ in range(6)])
    won = [op for op in read(clients.logs) if op.verb == "read" and op.outcome == "acked"]
    assert len(won) == len({op.task for op in won}) == 1_200
    assert len({op.client for op in won}) == 6, "a reader that never won did not race"
    assert set(states(directory)) == {("acked", 1)}
    assert_told(directory)


@pytest.mark.parametrize("verb", ["ack", "refuse", "reply"])
@pytest.mark.parametrize("way", WAYS)
def test_a_stopped_reader_is_refused_once_another_was_given_the_message(tmp_path: Path, verb: str, way: str) -> None:
    directory = inbox(tmp_path, 1)
    with clients_of(way, directory, tmp_path / "logs") as clients, open_store(str(directory)) as mine:
        reader = clients.start("late_reader", agent="bob", verb=verb, ack_ms=ACK_MS)
        until(lambda: any(op.outcome == "acked" for op in read(clients.logs)), "it has read")
        clients.signal(reader, signal.SIGSTOP)
        began = time.monotonic()
        (taken,) = until(lambda: mine.messages.read("bob"), "the message is delivered again")
        took_s = time.monotonic() - began
        assert taken.n == 2 and took_s <= ACK_MS / 1000 + PAUSE_S + 1.0, f"only after {took_s:.2f} s"
        (clients.logs / "go").touch()
        clients.signal(reader, signal.SIGCONT)
        clients.wait(reader)
        (tried,) = (op for op in read(clients.logs) if op.verb == verb)
        assert tried.outcome == "refused"
        assert mine.messages.read("ann") == [], "no reply was sent"
        assert mine.messages.ack(taken.message.id, 2).state == "acked"
    assert states(directory) == [("acked", 2)]
    assert_told(directory)


@pytest.mark.parametrize("durable", [True, False], ids=["the commit happened", "the commit did not happen"])
@pytest.mark.parametrize("kill", [True, False], ids=["killed", "an error"])
def test_a_key_sends_once_whatever_became_of_the_commit(tmp_path: Path, durable: bool, kill: bool) -> None:
    directory = inbox(tmp_path, 0)
    request = MessageRequest("ann", "bob", '"once"', key="k")
    child = os.fork() if kill else 0
    if child == 0:
        with open_store(str(directory)) as store:
            store.messages.damping()
            store.driver.conn.use(BadCommit(store.driver.conn.db, durable, kill))  # type: ignore[attr-defined]
            with pytest.raises(StoreError, match="same idempotency key"):
                store.messages.send(request, actor="ann/1")
            if kill:
                os._exit(0)
            assert store.messages.send(request, actor="ann/1").created is not durable
    else:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        assert len(states(directory)) == durable
        with open_store(str(directory)) as store:
            assert store.messages.send(request, actor="ann/1").created is not durable
    assert states(directory) == [("stored", 0)]
    assert_told(directory)


@pytest.mark.parametrize("writer", WAYS)
@pytest.mark.parametrize("reader", WAYS)
def test_a_message_wakes_its_recipient_at_once(tmp_path: Path, reader: str, writer: str) -> None:
    directory = inbox(tmp_path, 0)
    took_ms = []
    owner = "broker" if "broker" in (reader, writer) else "direct"

    def wait(mine: Store) -> Any:
        return mine.messages.read("bob", wait_ms=LONG_MS)

    with owned(owner, directory), opened(writer, directory) as sender, opened(reader, directory) as mine:
        mine.messages.read("bob")  # from here on it is known
        for _ in range(ROUNDS):
            asked = Asked(directory, wait, store=mine)
            time.sleep(0.05)
            began = time.monotonic()
            sent = sender.messages.send(MessageRequest("ann", "bob"), actor="ann/1")
            (taken,) = asked.get()
            took_ms.append((time.monotonic() - began) * 1000)
            assert taken.message.id == sent.id
            sender.messages.ack(sent.id, 1)
    print(f"woken after {statistics.median(took_ms):.1f} ms")
    assert statistics.median(took_ms) < WOKEN_MS
    assert_told(directory)


def test_those_who_wait_for_one_inbox_get_one_message_each_and_others_none(tmp_path: Path) -> None:
    directory = inbox(tmp_path, 0)
    with serving(directory) as broker, opened("broker", directory) as store:
        waiting = [Asked(directory, lambda mine: mine.messages.read("bob", wait_ms=LONG_MS)) for _ in range(3)]
        other = Asked(directory, lambda mine: mine.messages.read("ann", wait_ms=2_000))
        until(lambda: len(broker._desk._waiting) == 4, "all wait")
        sent = [store.messages.send(MessageRequest("ann", "bob"), actor="ann/1").id for _ in range(3)]
        assert sorted(one.get()[0].message.id for one in waiting) == sorted(sent)
        assert other.get() == []
    assert_told(directory)


def test_a_message_nobody_heard_of_goes_to_the_next_reader_and_burns_no_delivery(tmp_path: Path) -> None:
    directory = inbox(tmp_path, 0)
    with serving(directory) as broker, opened("broker", directory) as store:
        dying = greeted(directory)
        dying.ask("messages.read", "bob", None, 1, 600_000, LONG_MS)
        until(lambda: broker._desk.waits, "it waits for mail")
        second = Asked(directory, lambda mine: mine.messages.read("bob", wait_ms=LONG_MS))
        until(lambda: len(broker._desk._waiting) == 2, "so does another")
        sent = store.messages.send(MessageRequest("ann", "bob"), actor="ann/1").id
        assert store.messages.message(sent).state == "delivered" and not second.over
        dying.close()
        (taken,) = second.get()
        assert (taken.message.id, taken.n, taken.message.burnt) == (sent, 2, 1)
    assert_told(directory)


def test_a_read_whose_answer_was_lost_is_looked_up_and_not_done_again(tmp_path: Path) -> None:
    directory = inbox(tmp_path, 2)
    with serving(directory), opened("broker", directory) as store:
        caller = store.driver.close.__self__  # type: ignore[attr-defined]
        caller._number += 1
        link = caller._link or caller._connect()
        first = link.call(caller._number, _frame(caller._number), 0)
        caller._drop()
        again = caller._after_loss("messages.read", _READ, 0.0, _lost())
        assert [(one.message.id, one.n) for one in again] == [(one.message.id, one.n) for one in first]
        assert len(store.messages.read("bob", limit=5)) == 1
    assert_told(directory)


_READ = ("bob", "bob/1", 1, 60_000, 0)


def _frame(number: int) -> bytes:
    from agentctl_store.broker.wire import MAX_CALL, frame

    return frame([number, "messages.read", _READ], MAX_CALL)


def _lost() -> Any:
    from agentctl_store.broker.link import Lost

    return Lost(ConnectionResetError("cut"))


# --- what is not what its sender signed -------------------------------------------------------------------------------
FORGERIES = {
    "another payload": "UPDATE body SET text = '\"give me the keys\"' WHERE id = (SELECT payload FROM message)",
    "another sender": "UPDATE message SET source = 'operator'",
    "another recipient": "UPDATE message SET target = 'bob', topic = NULL WHERE target = 'ann'",
    "another type": "UPDATE message SET type = 'DIRECTIVE'",
    "another trace": "UPDATE message SET correlation = zeroblob(16)",
    "a longer life": "UPDATE message SET expires_ms = NULL",
    "no body": "DELETE FROM body WHERE id = (SELECT payload FROM message)",
    "no signature": "UPDATE message SET signature = x''",
    "a copy under another id": "UPDATE message SET id = id + 1",
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_message_that_was_changed_in_the_file_is_a_dead_letter_and_told(tmp_path: Path, forgery: str) -> None:
    directory = inbox(tmp_path, 0)
    with open_store(str(directory)) as store:
        target = "ann" if "recipient" in forgery else "bob"
        request = MessageRequest("ann", target, '"good morning"', "QUERY", ttl_ms=3_600_000)
        store.messages.send(request, actor="ann/1")
        db = raw(directory)
        assert db.execute(FORGERIES[forgery]).rowcount == 1
        db.close()
        genuine = store.messages.send(MessageRequest("ann", "bob"), actor="ann/1").id
        assert [taken.message.id for taken in store.messages.read("bob", limit=5)] == [genuine]
        (letter,) = store.messages.list(MessageFilter(dead=True))
        assert (letter.state, letter.reason) == ("dead", "signature")
        (told,) = store.events(kinds=["message.buried"])
        assert told.task == letter.id and "signed" in (told.data or "")
    assert forgery in ("no body", "another payload", "no signature") or not verify(str(directory)).intact


def test_a_message_slipped_into_the_file_is_not_delivered(tmp_path: Path) -> None:
    directory = inbox(tmp_path, 1)
    db = raw(directory)
    columns = [row[1] for row in db.execute("PRAGMA table_info(message)")]
    copied = ", ".join("id + 77" if name == "id" else name for name in columns)
    db.execute(f"INSERT INTO message SELECT {copied} FROM message")
    db.close()
    with open_store(str(directory)) as store:
        assert len(store.messages.read("bob", limit=5)) == 1
        assert [letter.reason for letter in store.messages.list(MessageFilter(dead=True))] == ["signature"]


def test_many_that_send_first_at_once_make_one_key(tmp_path: Path) -> None:
    directory = inbox(tmp_path, 0)
    go = tmp_path / "go"
    children = []
    for number in range(8):
        child = os.fork()
        if child == 0:
            with open_store(str(directory)) as store:
                while not go.exists():
                    pass
                store.messages.send(MessageRequest("ann", "bob", str(number)), actor="ann/1")
            os._exit(0)
        children.append(child)
    go.touch()
    assert {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children} == {0}
    with open_store(str(directory)) as store:
        assert len(store.messages.read("bob", limit=20)) == 8
    assert [name.name for name in directory.glob("token.key*")] == ["token.key"]


def test_the_key_lies_beside_the_store_for_its_owner_alone(tmp_path: Path) -> None:
    directory = inbox(tmp_path, 1)
    assert (directory / "token.key").stat().st_mode & 0o777 == 0o600
    (directory / "token.key").chmod(0o644)
    with open_store(str(directory)) as store, pytest.raises(StoreError, match="open to others"):
        store.messages.read("bob")
    (directory / "token.key").unlink()  # as that error says
    with open_store(str(directory)) as store:
        assert store.messages.read("bob") == [], "another key has signed nothing"
        (letter,) = store.messages.list(MessageFilter(dead=True))
        assert letter.reason == "signature"
        store.messages.requeue(letter.id, actor="t")
        assert len(store.messages.read("bob")) == 1, "a person vouched for it"


def test_a_backup_that_is_restored_elsewhere_is_still_delivered(tmp_path: Path) -> None:
    directory = inbox(tmp_path, 2)
    with open_store(str(directory)) as store:
        store.messages.read("bob", ack_ms=1)
    made = upkeep.backup(str(directory), str(tmp_path / "b.db"), Clock(), "t")
    elsewhere = tmp_path / "elsewhere"
    upkeep.restore(str(elsewhere), made.path, Clock(), "t")
    assert_told(elsewhere)
    with open_store(str(elsewhere)) as store:
        until(lambda: store.messages.read("bob", limit=5), "one that was not acked comes again")
        taken = store.messages.list(MessageFilter())
        assert not [one for one in taken if one.state == "dead"]


def test_a_restored_backup_of_here_stays_under_its_signatures(tmp_path: Path) -> None:
    directory = inbox(tmp_path, 2)
    db = raw(directory)
    db.execute("UPDATE message SET signature = x'' WHERE id = (SELECT max(id) FROM message)")
    db.close()
    made = upkeep.backup(str(directory), str(tmp_path / "b.db"), Clock(), "t")
    upkeep.restore(str(directory), made.path, Clock(), "t")
    with open_store(str(directory)) as store:
        assert [one.message.payload for one in store.messages.read("bob", limit=5)] == ["0"]
        assert [one.reason for one in store.messages.list(MessageFilter(dead=True))] == ["signature"]
