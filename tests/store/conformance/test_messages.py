"""What every driver promises of messages: receipts, acks, redelivery, dead letters, replies, topics, damping."""

from __future__ import annotations

from typing import Any

import pytest
from store.store_kit import SetClock, add  # noqa: TID251

from agentctl_store.domain.agent import AgentSpec
from agentctl_store.domain.message import MAX_TOPICS, OPERATOR, Damping, Delivery, Message, MessageFilter, Sent
from agentctl_store.domain.message_machine import MOVES, STATES
from agentctl_store.errors import BadInput, BadName, Conflict, NotFound, StaleAttempt
from agentctl_store.ids import write_id
from agentctl_store.messageverbs import MessageRequest
from agentctl_store.replay import verify
from agentctl_store.sqlite.delivering import ATTEND_AT_ONCE
from agentctl_store.store import Store

SCHEMA = '{"type":"object","required":["question"],"properties":{"question":{"type":"string"}}}'


def known(store: Store, *agents: str) -> None:
    """Make agents known, as agentctl.toml does."""
    store.declare_agents([AgentSpec(name, "worker", (name,), 1) for name in agents], actor="supervisor")


def send(store: Store, source: str = "ann", target: str | None = "bob", payload: str = "1", **more: Any) -> Sent:
    return store.messages.send(MessageRequest(source, target, payload, **more), actor=f"{source}/1")


def read(store: Store, agent: str = "bob", **more: Any) -> list[Delivery]:
    return store.messages.read(agent, reader=f"{agent}/1", **more)


def one(store: Store, agent: str = "bob", **more: Any) -> tuple[int, int]:
    (taken,) = read(store, agent, **more)
    return taken.message.id, taken.n


def stands(store: Store, message: int) -> Message:
    return store.messages.message(message)


def kinds(store: Store, message: int) -> list[str]:
    return [event.kind for event in store.events(task=message)]


@pytest.fixture(autouse=True)
def replays(store: Store) -> Any:
    """Whatever a test did, the history tells it."""
    known(store, "ann", "bob", "carl")
    yield
    assert verify(store.directory).faults == ()


# --- from one to another ----------------------------------------------------------------------------------------------
def test_a_message_is_stored_then_delivered_then_acked(store: Store, clock: SetClock) -> None:
    sent = send(store, payload='{"b": [1, "ü"]}', type="QUERY")
    assert (sent.created, sent.state) == (True, "stored")
    assert stands(store, sent.id).state == "stored"
    clock.pass_ms(50)
    (taken,) = read(store)
    assert (taken.n, taken.message.payload, taken.message.type) == (1, '{"b":[1,"ü"]}', "QUERY")
    assert (taken.message.source, taken.message.conversation) == ("ann", sent.id)
    assert taken.message.correlation.startswith(f"{sent.id:016x}")
    assert taken.message == stands(store, sent.id)
    assert (taken.message.state, taken.message.reader) == ("delivered", "bob/1")
    assert taken.message.delivered_ms == clock.wall_ms and taken.ack_until_ms == clock.boot_ms + 60_000
    assert read(store) == []
    assert store.messages.ack(sent.id, 1).state == "acked"
    assert store.messages.ack(sent.id, 1).state == "acked", "saying it again changes nothing"
    assert kinds(store, sent.id) == ["message.sent", "message.delivered", "message.acked"]


def test_the_higher_priority_and_the_longer_wait_go_first(store: Store, clock: SetClock) -> None:
    first = send(store).id
    clock.pass_ms(10)
    urgent = send(store, priority=5).id
    clock.pass_ms(10)
    last = send(store).id
    assert [taken.message.id for taken in read(store, limit=3)] == [urgent, first, last]


def test_messages_of_one_millisecond_are_read_in_the_order_they_were_sent_in(store: Store) -> None:
    known(store, "ann", "bob")
    sent = [send(store, payload=str(number)).id for number in range(30)]
    got = [read(store)[0].message for _ in sent]
    assert [one.id for one in got] == sent and [one.payload for one in got] == [str(number) for number in range(30)]
    assert all(one.correlation[:16] == f"{one.id:016x}" for one in got)


def test_an_inbox_is_read_by_its_owner_alone(store: Store) -> None:
    sent = send(store).id
    assert read(store, "carl") == []
    assert one(store) == (sent, 1)


def test_a_task_s_message_belongs_to_its_work(store: Store) -> None:
    task = add(store)
    sent = send(store, creator=task)
    assert stands(store, sent.id).correlation == store.task(task).correlation
    given = send(store, creator=task, correlation="ab" * 16)
    assert stands(store, given.id).correlation == "ab" * 16
    with pytest.raises(NotFound, match="no task"):
        send(store, creator=5)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"target": "Bob"}, BadName),
        ({"target": "topic:"}, BadName),
        ({"source": "../x"}, BadName),
        ({"type": "SHOUT"}, BadInput),
        ({"payload": "{"}, BadInput),
        ({"priority": 101}, BadInput),
        ({"ttl_ms": 0}, BadInput),
        ({"max_deliveries": 0}, BadInput),
        ({"key": "a\x00"}, BadName),
        ({"correlation": "x"}, BadName),
        ({"target": None}, BadInput),
        ({"reply_to": 7}, NotFound),
    ],
)
def test_what_cannot_be_meant_is_refused_and_leaves_nothing(store: Store, wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        send(store, **wrong)
    assert list(store.messages.list(MessageFilter())) == []


# --- keys -------------------------------------------------------------------------------------------------------------
def test_a_key_answers_its_first_message_whatever_became_of_it(store: Store) -> None:
    first = send(store, key="k")
    again = send(store, key="k", target="carl", payload="2")
    assert (again.id, again.created, again.state) == (first.id, False, "stored")
    store.messages.ack(*one(store))
    assert send(store, key="k").state == "acked"
    assert read(store) == [] and read(store, "carl") == []


def test_a_key_is_its_sender_s_own(store: Store) -> None:
    assert send(store, key="k").created
    assert send(store, source="carl", key="k").created
    assert len(read(store, limit=5)) == 2


# --- acks in time -----------------------------------------------------------------------------------------------------
def test_what_is_not_acked_in_time_is_delivered_again_and_the_late_ack_refused(store: Store, clock: SetClock) -> None:
    sent = send(store).id
    late = one(store, ack_ms=1_000)
    clock.pass_ms(999)
    assert read(store) == []
    clock.pass_ms(1)
    read(store)
    clock.pass_ms(1_000)  # the longest first pause
    assert one(store) == (sent, 2)
    with pytest.raises(StaleAttempt, match="delivered again as"):
        store.messages.ack(*late)
    with pytest.raises(StaleAttempt, match="delivered again as"):
        store.messages.refuse(*late)
    assert stands(store, sent).state == "delivered"
    assert store.messages.ack(sent, 2).state == "acked"


def test_a_late_ack_counts_while_nobody_else_was_given_the_message(store: Store, clock: SetClock) -> None:
    taken = one(store) if send(store) else None
    clock.pass_ms(61_000)
    assert taken is not None and store.messages.ack(*taken).state == "acked"


def test_between_two_deliveries_an_ack_is_stale(store: Store, clock: SetClock) -> None:
    send(store)
    taken = one(store)
    clock.pass_ms(61_000)
    store.sweep()
    with pytest.raises(StaleAttempt, match="to be delivered again"):
        store.messages.ack(*taken)
    with pytest.raises(StaleAttempt, match="delivered 1 times"):
        store.messages.ack(taken[0], 2)
    with pytest.raises(NotFound):
        store.messages.ack(5, 1)


def test_the_pause_before_each_delivery_grows_and_the_last_one_leads_to_the_dead_letters(
    store: Store, clock: SetClock
) -> None:
    sent = send(store, max_deliveries=3).id
    for n in (1, 2, 3):
        assert one(store) == (sent, n)
        clock.pass_ms(60_000)
        store.sweep()
        stood = stands(store, sent)
        if n < 3:
            assert stood.state == "stored" and stood.due_boot_ms is not None
            assert 0 <= stood.due_boot_ms - clock.boot_ms <= 1_000 << (n - 1)
        clock.pass_ms(1_000 << n)
    assert (stood.state, stood.reason, stood.deliveries) == ("dead", "max_deliveries", 3)
    assert read(store) == []


def test_a_sweep_says_when_it_is_needed_again(store: Store, clock: SetClock) -> None:
    send(store, ttl_ms=5_000)
    assert store.sweep().next_due_ms == clock.wall_ms + 5_000
    read(store, ack_ms=700)
    assert store.sweep().next_expiry_ms == clock.boot_ms + 700


def test_after_a_reboot_nobody_holds_a_message(store: Store, clock: SetClock) -> None:
    sent = send(store).id
    one(store)
    clock.reboot()
    read(store)
    clock.pass_ms(1_000)
    assert one(store) == (sent, 2)


def test_a_sleep_of_the_machine_takes_no_time_to_ack_away(store: Store, clock: SetClock) -> None:
    send(store)
    taken = one(store)
    clock.sleep_ms(3_600_000)
    store.sweep()
    assert read(store) == []
    assert store.messages.ack(*taken).state == "acked"


# --- dead letters -----------------------------------------------------------------------------------------------------
def test_a_message_expires_when_its_time_is_over(store: Store, clock: SetClock) -> None:
    swept, lazily = send(store, ttl_ms=1_000).id, send(store, ttl_ms=2_000).id
    clock.pass_ms(1_000)
    store.sweep()
    assert (stands(store, swept).state, stands(store, swept).reason) == ("expired", "expired")
    clock.pass_ms(1_000)
    assert read(store) == []
    assert stands(store, lazily).state == "expired"
    assert kinds(store, lazily) == ["message.sent", "message.expired"]


def test_of_many_whose_time_is_over_none_is_delivered(store: Store, clock: SetClock) -> None:
    late = [send(store, ttl_ms=1_000).id for _ in range(3 * ATTEND_AT_ONCE)]
    lives = send(store).id
    clock.pass_ms(5_000)
    assert [taken.message.id for taken in read(store, limit=5)] == [lives]
    states = [stands(store, number).state for number in late]
    assert states.count("expired") == ATTEND_AT_ONCE, "a read does some of it, however many wait: others want to write"
    store.sweep()
    assert {stands(store, number).state for number in late} == {"expired"}


def test_of_many_given_back_whose_time_is_over_none_is_delivered(store: Store, clock: SetClock) -> None:
    for _ in range(2 * ATTEND_AT_ONCE):
        send(store, ttl_ms=100_000)
    read(store, limit=2 * ATTEND_AT_ONCE, ack_ms=1_000)
    clock.pass_ms(5_000)
    store.sweep()  # given back: they wait to be delivered again
    clock.pass_ms(200_000)
    assert read(store, limit=5) == []


def test_one_that_was_taken_in_time_may_be_acked_and_is_not_delivered_again(store: Store, clock: SetClock) -> None:
    acked, left = send(store, ttl_ms=1_000).id, send(store, ttl_ms=1_000).id
    read(store, limit=2)
    clock.pass_ms(2_000)
    store.sweep()
    assert store.messages.ack(acked, 1).state == "acked"
    clock.pass_ms(60_000)
    store.sweep()
    assert stands(store, left).state == "expired"


def test_nobody_by_that_name_is_told_at_once_and_kept(store: Store) -> None:
    sent = send(store, target="dora")
    assert (sent.state, sent.reason, sent.error) == ("dead", "no_such_agent", "there is no agent dora")
    with pytest.raises(Conflict, match="no agent dora"):
        store.messages.requeue(sent.id, actor="t")
    known(store, "ann", "dora")
    assert store.messages.requeue(sent.id, actor="t").state == "stored"
    assert one(store, "dora") == (sent.id, 1)


def test_an_agent_that_was_withdrawn_or_stopped_is_offline(store: Store, clock: SetClock) -> None:
    stopped = send(store, target="bob", ttl_ms=1_000).id
    store.set_desired("bob", "stopped", actor="t")
    clock.pass_ms(1_000)
    store.sweep()
    assert (stands(store, stopped).state, stands(store, stopped).reason) == ("dead", "offline")
    known(store, "ann")
    sent = send(store, target="carl")
    assert (sent.state, sent.reason) == ("dead", "offline")


def test_a_refused_message_is_a_dead_letter_until_a_person_decides(store: Store) -> None:
    sent = send(store).id
    taken = one(store)
    assert store.messages.refuse(*taken, error="not my business").reason == "refused"
    assert store.messages.refuse(*taken).state == "dead", "saying it again changes nothing"
    assert (stands(store, sent).reason, stands(store, sent).error) == ("refused", "not my business")
    assert [letter.id for letter in store.messages.list(MessageFilter(dead=True))] == [sent]
    assert store.messages.requeue(sent, payload='{"now": "it is"}', note="try again", actor="t").state == "stored"
    (again,) = read(store)
    assert (again.n, again.message.burnt, again.message.payload) == (2, 1, '{"now":"it is"}')
    store.messages.refuse(sent, 2)
    assert store.messages.discard(sent, reason="no use", actor="t").state == "discarded"
    for verb in (store.messages.requeue, store.messages.discard):
        with pytest.raises(Conflict, match="is discarded"):
            verb(sent, actor="t")
    assert list(store.messages.list(MessageFilter(dead=True))) == []


# --- replies and threads ----------------------------------------------------------------------------------------------
def test_a_reply_goes_to_the_sender_in_the_same_conversation_and_acks_in_the_same_step(store: Store) -> None:
    asked = send(store, type="QUERY").id
    message, n = one(store)
    reply = send(store, "bob", None, "42", type="RESULT", reply_to=message, acks=n)
    assert stands(store, asked).state == "acked"
    (taken,) = read(store, "ann")
    assert (taken.message.id, taken.message.conversation, taken.message.reply_to) == (reply.id, asked, asked)
    assert taken.message.correlation == stands(store, asked).correlation
    third = send(store, "ann", None, "0", reply_to=reply.id).id
    assert [each.id for each in store.messages.thread(reply.id)] == [asked, reply.id, third]
    assert [each.id for each in store.messages.thread(asked, party="carl")] == []


def test_a_reply_to_what_was_delivered_again_is_not_sent(store: Store, clock: SetClock) -> None:
    send(store)
    message, n = one(store)
    clock.pass_ms(61_000)
    store.sweep()
    with pytest.raises(StaleAttempt):
        send(store, "bob", None, reply_to=message, acks=n, key="r")
    assert read(store, "ann") == []
    clock.pass_ms(1_000)
    message, n = one(store)
    assert send(store, "bob", None, reply_to=message, acks=n, key="r").created
    assert not send(store, "bob", None, reply_to=message, acks=n, key="r").created


def test_the_operator_has_an_inbox_that_answers_come_to(store: Store) -> None:
    sent = store.messages.send(MessageRequest(OPERATOR, "bob"), actor="anna")
    message, _ = one(store)
    send(store, "bob", None, '"done"', reply_to=message)
    (taken,) = store.messages.read(OPERATOR, reader="anna")
    assert (taken.message.payload, taken.message.conversation) == ('"done"', sent.id)


# --- topics -----------------------------------------------------------------------------------------------------------
def test_each_subscriber_gets_a_copy_of_its_own_and_the_publisher_none(store: Store) -> None:
    for agent in ("ann", "bob", "carl"):
        assert store.messages.subscribe("news", agent)
    assert not store.messages.subscribe("news", "bob")
    sent = send(store, target="topic:news", payload='"hear"', key="p")
    assert (sent.state, len(sent.copies)) == ("published", 2)
    assert send(store, target="topic:news", key="p").copies == sent.copies
    store.messages.ack(*one(store, "bob"))
    (other,) = read(store, "carl")
    assert (other.message.topic, other.message.conversation) == ("news", sent.copies[0])
    assert read(store, "ann") == []
    assert [(topic.name, topic.subscribers) for topic in store.messages.topics()] == [("news", ("ann", "bob", "carl"))]
    assert store.messages.unsubscribe("news", "carl") and not store.messages.unsubscribe("news", "carl")
    assert len(send(store, target="topic:news").copies) == 1


def test_a_topic_that_nobody_hears_and_the_one_that_all_hear(store: Store) -> None:
    assert send(store, target="topic:void").copies == ()
    assert len(send(store, "carl", "topic:all").copies) == 2
    assert [len(read(store, agent)) for agent in ("ann", "bob", "carl")] == [1, 1, 0]


def test_nobody_becomes_known_by_being_subscribed_by_another(store: Store) -> None:
    with pytest.raises(NotFound, match="no agent bbo"):
        store.messages.subscribe("news", "bbo", actor="cli:anna")
    assert store.messages.subscribe("news", "bob", actor="bob/1")
    assert store.messages.subscribe("more", "bob", actor="cli:anna")
    assert [topic.subscribers for topic in store.messages.topics()] == [("bob",), ("bob",)]


def test_one_agent_is_subscribed_to_no_more_topics_than_it_may(store: Store) -> None:
    for number in range(MAX_TOPICS):
        store.messages.subscribe(f"t{number}", "bob")
    with pytest.raises(BadInput, match="1,000 topics already"):
        store.messages.subscribe("one-more", "bob")
    assert not store.messages.subscribe("t0", "bob") and store.messages.subscribe("one-more", "ann")
    assert len(store.messages.topics()) == MAX_TOPICS + 1


# --- schemas ----------------------------------------------------------------------------------------------------------
def test_a_payload_that_breaks_its_type_s_schema_is_a_dead_letter(store: Store) -> None:
    assert store.messages.set_schema("QUERY", SCHEMA, actor="t")
    assert not store.messages.set_schema("QUERY", SCHEMA, actor="t")
    assert send(store, payload='{"question":"how"}', type="QUERY").state == "stored"
    assert send(store, payload="3", type="STATUS").state == "stored"
    broken = send(store, payload='{"question":7}', type="QUERY")
    assert (broken.state, broken.reason) == ("dead", "schema")
    assert broken.error == "the payload breaks the schema of QUERY at .question: 7 is not of type 'string'"
    with pytest.raises(BadInput, match="cannot be requeued"):
        store.messages.requeue(broken.id, actor="t")
    assert store.messages.requeue(broken.id, payload='{"question":"7"}', actor="t").state == "stored"
    assert [each.scope for each in store.messages.schemas()] == ["QUERY"]
    assert store.messages.remove_schema("QUERY", actor="t") and not store.messages.remove_schema("QUERY", actor="t")
    assert send(store, payload="7", type="QUERY").state == "stored"


def test_a_publication_that_breaks_its_topic_s_schema_is_not_sent(store: Store) -> None:
    store.messages.subscribe("news", "bob")
    store.messages.set_schema("topic:news", '{"type":"string"}', actor="t")
    with pytest.raises(BadInput, match="nothing was published to news"):
        send(store, target="topic:news", payload="1")
    assert len(send(store, target="topic:news", payload='"x"').copies) == 1


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ('{"type":"nothing"}', "no JSON Schema"),
        ("3", "is a JSON object"),
        ('{"$ref":"https://example.com/x.json"}', "nothing is fetched"),
        ('{"$ref":"#/$defs/none"}', "which is not there"),
        ('{"unevaluatedProperties":false}', "can take any time"),
    ],
)
def test_what_is_no_schema_or_lies_elsewhere_is_refused(store: Store, schema: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        store.messages.set_schema("QUERY", schema, actor="t")
    with pytest.raises(BadInput, match="no type of message"):
        store.messages.set_schema("SHOUT", "{}", actor="t")


UNFIT = {
    "a pattern": ('{"pattern":"^(a|a)*$"}', '"' + "a" * 60 + '!"'),
    "a name's pattern": ('{"patternProperties":{"^(a|a)*$":{}}}', '{"' + "a" * 60 + '!":1}'),
    "others than a pattern's": (
        '{"patternProperties":{"^(a|a)*$":{}},"additionalProperties":false}',
        '{"' + "a" * 60 + '!":1}',
    ),
    "references that multiply": (
        '{"anyOf":[{"properties":{"a":{"$ref":"#"}},"type":"object"},'
        '{"properties":{"a":{"$ref":"#"}},"type":"object"}]}',
        '{"a":' * 40 + "1" + "}" * 40,
    ),
    "a reference to itself": ('{"$ref":"#"}', "1"),
    "a reference to nothing in a part with a name of its own": (
        '{"$defs":{"a":{"$id":"http://example.com/a","$ref":"#/none"}},"$ref":"#/$defs/a"}',
        "1",
    ),
}


@pytest.mark.parametrize("unfit", UNFIT)
def test_what_cannot_be_checked_is_a_dead_letter_and_keeps_nobody_waiting(store: Store, unfit: str) -> None:
    schema, payload = UNFIT[unfit]
    store.messages.set_schema("QUERY", schema, actor="t")
    sent = send(store, payload=payload, type="QUERY")
    assert (sent.state, sent.reason) == ("dead", "schema") and "cannot be held to" in (sent.error or "")
    assert send(store, type="STATUS").state == "stored"


def test_a_long_list_is_looked_through_once_for_two_alike(store: Store) -> None:
    store.messages.set_schema("QUERY", '{"uniqueItems":true}', actor="t")
    unlike = ",".join(f'{{"a":{number}}}' for number in range(6_000))
    assert send(store, payload=f"[{unlike}]", type="QUERY").state == "stored"
    assert send(store, payload="[1,true,[0],[false]]", type="QUERY").state == "stored"
    assert send(store, payload='[{"a":1},2,{"a":1.0}]', type="QUERY").reason == "schema"


# --- damping ----------------------------------------------------------------------------------------------------------
def ping_pong(store: Store, times: int) -> int:
    """Let two answer each other; return the last message."""
    last = send(store).id
    for turn in range(times):
        last = send(store, ("bob", "ann")[turn % 2], None, reply_to=last).id
    return last


def test_two_who_go_on_and_on_are_damped_until_the_window_has_passed(store: Store, clock: SetClock) -> None:
    assert store.messages.configure(Damping(4, 10_000), actor="t")
    assert not store.messages.configure(Damping(4, 10_000), actor="t")
    assert store.messages.damping() == Damping(4, 10_000)
    last = ping_pong(store, 4)
    for _ in range(3):
        with pytest.raises(Conflict, match=r"4 messages within 10 s .* got nowhere"):
            send(store, "ann", None, reply_to=last)
    (damped,) = store.events(kinds=["message.damped"])
    assert damped.task == stands(store, last).conversation and damped.actor == "ann/1"
    assert send(store, "carl", "bob", conversation=stands(store, last).conversation).created, "another pair"
    clock.pass_ms(10_001)
    assert send(store, "ann", None, reply_to=last).created


def test_a_clock_that_is_set_back_leaves_nobody_damped(store: Store, clock: SetClock) -> None:
    store.messages.configure(Damping(4, 10_000), actor="t")
    clock.set_wall_by(86_400_000)
    last = ping_pong(store, 4)
    with pytest.raises(Conflict, match="got nowhere"):
        send(store, reply_to=last)
    clock.set_wall_by(-86_400_000)
    for _ in range(4):
        assert send(store, reply_to=last).created
    with pytest.raises(Conflict, match="got nowhere"):
        send(store, reply_to=last)
    assert len(store.events(kinds=["message.damped"])) == 2, "it is shown each time"


def test_a_reply_that_is_damped_acks_nothing(store: Store) -> None:
    store.messages.configure(Damping(4, 60_000), actor="t")
    first = send(store).id
    for _ in range(2):
        send(store, conversation=first)
        send(store, "bob", "ann", conversation=first)
    number, n = one(store)
    with pytest.raises(Conflict, match="got nowhere"):
        send(store, "bob", None, reply_to=number, acks=n)
    assert stands(store, number).state == "delivered"
    assert send(store, "bob", None, reply_to=number, acks=n, type="RESULT").created
    assert stands(store, number).state == "acked"


def test_progress_is_a_result_or_a_task_that_ended(store: Store, clock: SetClock) -> None:
    store.messages.configure(Damping(3, 60_000), actor="t")
    last = ping_pong(store, 3)
    assert send(store, "ann", None, reply_to=last, type="RESULT").created
    assert send(store, "bob", None, reply_to=last).created
    task = add(store)
    last = send(store, creator=task).id
    for turn in range(3):
        last = send(store, ("bob", "ann")[turn % 2], None, reply_to=last).id
    with pytest.raises(Conflict):
        send(store, "bob", None, reply_to=last)
    clock.pass_ms(1)
    (won,) = store.claim(["work"], agent="ann")
    store.complete(won.task.id, won.n)
    assert send(store, "bob", None, reply_to=last).created


def test_pages_of_dead_letters_join_to_all_of_them_however_late_one_died(store: Store, clock: SetClock) -> None:
    ids = [send(store).id for _ in range(6)]
    taken = {one.message.id: one.n for one in store.messages.read("bob", limit=6)}
    died = [ids[place] for place in (3, 5, 0, 4, 1, 2)]
    for message in died:
        clock.pass_ms(2)
        store.messages.refuse(message, taken[message])
    found: list[Message] = []
    while page := store.messages.list(
        MessageFilter(dead=True, before=found[-1].id, before_ms=found[-1].finished_ms)
        if found
        else MessageFilter(dead=True),
        2,
    ):
        found += page
    assert [letter.id for letter in found] == died[::-1]


def test_no_limit_damps_nobody(store: Store) -> None:
    store.messages.configure(Damping(0, 60_000), actor="t")
    assert ping_pong(store, 40)


# --- crowded inboxes --------------------------------------------------------------------------------------------------
def test_an_inbox_takes_so_many_unread_messages_of_one_sender_in_whatever_conversations(store: Store) -> None:
    store.messages.configure(Damping(unread=3), actor="t")
    assert store.messages.damping() == Damping(unread=3)
    for _ in range(3):
        send(store)
    for _ in range(2):
        with pytest.raises(
            Conflict,
            match=r"as many messages of ann as may \(3\) wait unread in the inbox of bob\. Wait until some are read",
        ):
            send(store)
    assert send(store, "carl", "bob").created and send(store, "ann", "carl").created, "other pairs"
    (told,) = store.events(kinds=["message.crowded"])
    assert told.actor == "ann/1" and told.data == '{"from":"ann","to":"bob","unread":3}'
    one(store)
    assert send(store).created
    with pytest.raises(Conflict, match="wait unread"):
        send(store)
    assert len(store.events(kinds=["message.crowded"])) == 2, "it is shown each time"
    store.messages.configure(Damping(unread=0), actor="t")
    assert send(store).created


def test_what_a_crowded_inbox_refuses_acks_nothing_and_takes_no_key(store: Store) -> None:
    store.messages.configure(Damping(unread=1), actor="t")
    asked = send(store, "bob", "ann", "1").id
    number, n = one(store, "ann")
    kept = send(store)
    with pytest.raises(Conflict, match="wait unread"):
        send(store, "ann", None, reply_to=number, acks=n, key="k", type="RESULT")
    assert stands(store, asked).state == "delivered"
    assert one(store)[0] == kept.id
    assert send(store, "ann", None, reply_to=number, acks=n, key="k", type="RESULT").created
    assert stands(store, asked).state == "acked"


def test_a_publication_leaves_out_crowded_inboxes_and_says_so(store: Store) -> None:
    store.messages.configure(Damping(unread=1), actor="t")
    for agent in ("bob", "carl"):
        store.messages.subscribe("news", agent)
    send(store)
    sent = send(store, target="topic:news")
    assert len(sent.copies) == 1 and sent.error == "as many messages of ann as may (1) wait unread in the inbox of bob"
    assert [one(store, "carl")[0]] == list(sent.copies)
    assert len(send(store, target="topic:news").copies) == 1
    with pytest.raises(Conflict, match="in the inbox of bob, carl"):
        send(store, target="topic:news")


def test_what_has_expired_fills_no_inbox_though_nobody_sweeps_or_reads(store: Store, clock: SetClock) -> None:
    store.messages.configure(Damping(unread=3), actor="t")
    store.messages.subscribe("news", "bob")
    for target in ("bob", "bob", "bob", "carl", "carl", "carl"):
        send(store, target=target, ttl_ms=1_000)
    with pytest.raises(Conflict, match="wait unread"):
        send(store)
    clock.pass_ms(3_600_000)
    assert send(store).created and send(store, target="topic:news").copies
    assert len(store.events(kinds=["message.expired"])) == 3, "of the inbox that there was no room in"
    send(store)
    with pytest.raises(Conflict, match="wait unread"):
        send(store)


# --- looking ----------------------------------------------------------------------------------------------------------
def test_lists_are_narrowed_and_go_on_from_page_to_page(store: Store, clock: SetClock) -> None:
    ids = []
    for number in range(5):
        ids.append(send(store, target=("bob", "carl")[number % 2], payload=f'"n{number}"').id)
        clock.pass_ms(1)
    listed = store.messages.list

    def found(**narrowed: Any) -> list[int]:
        return [message.id for message in listed(MessageFilter(**narrowed), 3)]

    assert found() == ids[:1:-1] and found(before=ids[2]) == ids[1::-1]
    assert found(target="carl") == [ids[3], ids[1]] and found(party="ann") == ids[:1:-1]
    assert found(text="n4") == [ids[4]] and found(source="bob") == [] and found(state="acked") == []
    assert store.messages.find_message(write_id(ids[0])[:13]) == ids[0]
    with pytest.raises(NotFound):
        store.messages.find_message("0000000000000")
    large = send(store, payload=f'"{"x" * 5_000}"').id
    assert [len(message.payload) for message in listed(MessageFilter(), 1)] == [500]
    assert [len(message.payload) for message in store.messages.thread(large)] == [500]
    assert len(stands(store, large).payload) == 5_002


def test_a_reader_that_waits_is_answered_when_its_time_is_up(store: Store) -> None:
    assert store.messages.read("bob", wait_ms=0) == []


def test_only_its_own_read_makes_an_agent_known(store: Store) -> None:
    def names() -> list[str]:
        return [agent.name for agent in store.agents()]

    with pytest.raises(NotFound, match=r"there is no agent cral. Did you mean carl\?"):
        store.messages.read("cral", reader="anna")
    assert "cral" not in names() and send(store, target="cral").state == "dead"
    assert store.messages.read("dora", reader="dora/2") == []
    assert "dora" in names() and send(store, target="dora").state == "stored"
    assert len(store.messages.read("dora", reader="anna")) == 1


# --- the machine ------------------------------------------------------------------------------------------------------
def reach(store: Store, clock: SetClock, state: str) -> int:
    """A message in `state`, to bob, that may have been delivered once."""
    sent = send(store, ttl_ms=None if state != "expired" else 10).id
    if state in ("delivered", "acked", "dead", "discarded"):
        one(store)
    if state == "acked":
        store.messages.ack(sent, 1)
    elif state in ("dead", "discarded"):
        store.messages.refuse(sent, 1)
    elif state == "expired":
        clock.pass_ms(10)
        store.sweep()
    if state == "discarded":
        store.messages.discard(sent, actor="t")
    assert stands(store, sent).state == state
    return sent


@pytest.mark.parametrize("verb", ["deliver", "ack", "give_back", "bury", "requeue", "discard"])
@pytest.mark.parametrize("state", STATES)
def test_a_verb_leads_where_the_machine_says_or_is_refused_and_changes_nothing(
    store: Store, clock: SetClock, state: Any, verb: Any
) -> None:
    sent = reach(store, clock, state)
    before, events = stands(store, sent), len(store.events(task=sent))
    mail = store.messages
    acts: dict[str, Any] = {
        "deliver": lambda: read(store),
        "ack": lambda: mail.ack(sent, 1),
        "give_back": lambda: store.driver.messages.give_back(sent, 1, now=clock.now()),
        "bury": lambda: mail.refuse(sent, 1, error="no"),
        "requeue": lambda: mail.requeue(sent, actor="t"),
        "discard": lambda: mail.discard(sent, actor="t"),
    }
    target = MOVES[state, verb] if verb != "bury" or state == "delivered" else None  # others are buried by time
    try:
        acts[verb]()
    except Conflict:
        assert target is None
    after = stands(store, sent)
    if target is None:
        assert after == before and len(store.events(task=sent)) == events
    else:
        assert after.state == target and len(store.events(task=sent)) == events + 1
