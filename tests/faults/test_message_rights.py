"""P15 for messages: an agent sends, reads and acks as itself alone, and sees nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults.raw_kit import Raw, World, claim_words, new_message, new_task, world

from agentctl_store.broker.rights import OPERATORS
from agentctl_store.domain.message import MessageFilter


def value(answer: Any) -> Any:
    how, found = answer
    assert how == 0, found
    return found


def refused(answer: Any, said: str) -> None:
    how, words = answer
    assert how == 1 and words[0] == "Refused" and said in words[1], words


@pytest.fixture
def made(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, "a/1", "a/2", "b/1", "c/1") as found:
        yield found


@pytest.fixture
def asked(made: World) -> tuple[int, int]:
    """A message from a to b, which b/1 has read."""
    with made.raw("a/1") as a, made.raw("b/1") as b:
        sent = value(a.call("messages.send", new_message(), "forged/9"))
        (taken,) = value(b.call("messages.read", "b", "forged/9", 5, 60_000, 0))
        assert (taken.message.id, taken.message.reader) == (sent.id, "b/1")
        return sent.id, taken.n


def test_who_sends_is_who_it_is(made: World) -> None:
    with made.raw("a/1") as a:
        refused(a.call("messages.send", new_message("b"), None), "may not send as b")
        refused(a.call("messages.send", new_message("operator"), None), "may not send as operator")
        sent = value(a.call("messages.send", new_message(id=77), "operator"))
        assert sent.id != 77, "an id says when a message was sent"
        (told,) = made.driver.events(task=sent.id)
        assert told.actor == "a/1"
        assert value(a.call("messages.message", sent.id)).correlation.startswith(f"{sent.id:016x}")


def test_an_inbox_is_its_owner_s(made: World, asked: tuple[int, int]) -> None:
    number, n = asked
    with made.raw("c/1") as c, made.raw("b/1") as b, made.raw("a/2") as a:
        for agent in ("a", "b", "operator"):
            refused(c.call("messages.read", agent, None, 1, 60_000, 0), "may not read the inbox")
        for call in (("messages.message", number), ("messages.ack", number, n), ("messages.refuse", number, n, "")):
            refused(c.call(*call), "may not see message")
        refused(a.call("messages.ack", number, n), "may not speak for delivery")
        assert value(c.call("messages.list", MessageFilter(party="b"), 50)) == []
        assert value(c.call("messages.list", MessageFilter(target="b", dead=True), 50)) == []
        assert value(c.call("messages.thread", number, "b", 50)) == []
        assert [one.id for one in value(a.call("messages.list", MessageFilter(), 50))] == [number]
        assert value(b.call("messages.ack", number, n)).state == "acked"


def test_an_answer_belongs_to_what_one_has_a_part_in(made: World, asked: tuple[int, int]) -> None:
    number, n = asked
    with made.raw("c/1") as c, made.raw("b/1") as b:
        refused(c.call("messages.send", new_message("c", None, reply_to=number), None), "may not see message")
        refused(
            c.call("messages.send", new_message("c", "b", conversation=number), None), "may not speak in conversation"
        )
        sent = value(b.call("messages.send", new_message("b", None, reply_to=number, acks=n), None))
        assert value(b.call("messages.message", sent.id)).target == "a"
        assert value(b.call("messages.message", number)).state == "acked"


def test_a_sibling_s_delivery_is_not_one_s_own(made: World) -> None:
    with made.raw("b/1") as b, made.raw("a/1") as first, made.raw("a/2") as second:
        sent = value(b.call("messages.send", new_message("b", "a"), None))
        value(first.call("messages.read", "a", None, 1, 60_000, 0))
        refused(second.call("messages.ack", sent.id, 1), "which is a/1's")
        refused(
            second.call("messages.send", new_message("a", None, reply_to=sent.id, acks=1), None),
            "may not speak for delivery",
        )
        assert value(first.call("messages.ack", sent.id, 1)).state == "acked"


def test_work_one_has_no_part_in_is_not_spoken_for(made: World) -> None:
    with made.raw() as operator, made.raw("a/1") as a:
        task = new_task()
        (added,) = value(operator.call("add", [task], "t"))
        refused(a.call("messages.send", new_message(creator=added.id), None), "may not send for task")
        refused(a.call("messages.send", new_message(correlation=task.correlation), None), "work it has no part in")
        value(a.call("claim", *claim_words()))
        sent = value(a.call("messages.send", new_message(creator=added.id), None))
        assert value(a.call("messages.message", sent.id)).correlation == task.correlation


@pytest.mark.parametrize(
    "call",
    [
        ("messages.requeue", 1, None, "", "x"),
        ("messages.discard", 1, "", "x"),
        ("messages.give_back", 1, 1),
        ("messages.set_schema", "QUERY", "{}", "x"),
        ("messages.remove_schema", "QUERY", "x"),
    ],
)
def test_what_is_the_operator_s_is_refused(made: World, call: Any) -> None:
    with made.raw("a/1") as a:
        refused(a.call(*call), f"may not {OPERATORS[call[0]]}")


def test_one_subscribes_oneself(made: World) -> None:
    with made.raw("a/1") as a:
        refused(a.call("messages.subscribe", "news", "b", None), "may not subscribe b")
        refused(a.call("messages.unsubscribe", "news", "b", None), "may not subscribe b")
        assert value(a.call("messages.subscribe", "news", "a", None)) is True


def test_a_session_that_has_ended_reads_nothing_it_waited_for(made: World) -> None:
    with made.raw("b/1") as b, made.raw("a/1") as a:
        b.ask("messages.read", "b", None, 1, 60_000, 20_000)
        made.end("b/1")
        sent = value(a.call("messages.send", new_message(), None))
        refused(_taken(b), "has ended")
        assert value(a.call("messages.message", sent.id)).state == "stored"


def _taken(raw: Raw) -> Any:
    _, how, found = raw.take()
    return how, found


@pytest.mark.parametrize(
    "given",
    [
        (5, None),
        (new_message(target="topic:../x"), None),
        (new_message(target="B"), None),
        (new_message(priority=101), None),
        (new_message(max_deliveries=0), None),
        (new_message(key=""), None),
        (new_message(correlation="f" * 31), None),
        (new_message(expires_ms=1 << 62), None),
        (new_message(acks=0), None),
    ],
)
def test_what_is_no_message_is_malformed(made: World, given: Any) -> None:
    with made.raw("a/1") as a:
        how, words = a.call("messages.send", *given)
        assert how == 1 and words[0] in ("Malformed", "BadName", "BadInput"), words
