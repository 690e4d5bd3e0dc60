"""Messages from the command line: what is sent, read, acked, refused, answered, published, and kept as dead letters."""

from __future__ import annotations

import json
import time

import pytest
from cli.command_kit import Fleet, Ran


def one(text: str) -> dict[str, object]:
    (line,) = text.splitlines()
    found: dict[str, object] = json.loads(line)
    return found


def read_as(fleet: Fleet, agent: str) -> Ran:
    """Have an agent look for its own mail, as its processes do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AGENTCTL_AGENT", agent)
        return fleet.run("msg", "read")


@pytest.fixture
def agents(fleet: Fleet) -> Fleet:
    """A fleet in which ann and bob are known: they have looked for mail."""
    for name in ("ann", "bob"):
        assert read_as(fleet, name).code == 7
    return fleet


def test_reading_for_a_name_makes_nobody_known(agents: Fleet) -> None:
    ran = agents.run("msg", "read", "--agent", "bobb")
    assert ran.code == 3 and "there is no agent bobb. Did you mean bob?" in ran.err, ran
    waited = agents.run("msg", "read", "--agent", "bobb", "--wait", "1ms")
    assert waited.code == 7 and "no message for bobb: there is no agent bobb. Did you mean bob?" in waited.err, waited
    assert agents.run("msg", "read", "--agent", "bob").code == 7
    assert json.loads(agents.ok("agent", "list", "--json", "agent")) == [{"agent": "ann"}, {"agent": "bob"}]
    assert agents.run("msg", "send", "bobb", "1").code == 3


def test_a_message_is_sent_read_acked_and_shown(agents: Fleet) -> None:
    sent = agents.ok("msg", "send", "bob", '{"path": "a.py"}', "-t", "QUERY", "-p", "5", "--agent", "ann")
    read = one(agents.ok("msg", "read", "--agent", "bob"))
    assert (read["delivery"], read["message"], read["source"]) == (f"{sent}.1", sent, "ann")
    assert (read["type"], read["payload"], read["priority"]) == ("QUERY", {"path": "a.py"}, 5)
    assert agents.ok("msg", "ack", f"{sent}.1") == f"{sent}.1 acked"
    shown = json.loads(agents.ok("msg", "show", sent, "-o", "json"))
    assert shown["state"] == "acked" and shown["reader"] == "tester"
    assert agents.run("msg", "read", "--agent", "bob").code == 7
    told = agents.ok("event", "list", "--task", sent[:12], "--json", "kind", "-o", "csv").split()
    assert told == ["kind", "message.sent", "message.delivered", "message.acked"]


def test_the_environment_of_an_agent_says_who_it_is(agents: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    task = agents.ok("task", "add", "1")
    monkeypatch.setenv("AGENTCTL_AGENT", "ann")
    monkeypatch.setenv("AGENTCTL_INSTANCE", "ann/2")
    monkeypatch.setenv("AGENTCTL_TASK", task)
    sent = agents.ok("msg", "send", "bob", "1")
    shown = json.loads(agents.ok("msg", "show", sent, "-o", "json"))
    work = json.loads(agents.ok("task", "show", task, "-o", "json"))
    assert (shown["source"], shown["correlation"]) == ("ann", work["correlation"])
    assert one(agents.ok("event", "list", "--task", sent, "-o", "jsonl"))["actor"] == "ann/2"


def test_a_stale_delivery_is_refused_with_exit_code_4(agents: Fleet) -> None:
    sent = agents.ok("msg", "send", "bob", "1", "--max-deliveries", "9")
    agents.ok("msg", "read", "--agent", "bob", "--ack-within", "1ms")
    deadline = time.monotonic() + 10
    while (ran := agents.run("msg", "read", "--agent", "bob", "--wait", "2s")).code == 7:
        assert time.monotonic() < deadline
    assert one(ran.out)["delivery"] == f"{sent}.2"
    for words in (("ack", f"{sent}.1"), ("refuse", f"{sent}.1"), ("reply", f"{sent}.1", "2")):
        refused = agents.run("msg", *words)
        assert refused.code == 4 and "delivered again" in refused.err, refused
    assert agents.run("msg", "read", "--agent", "operator").code == 7, "the reply was not sent"


def test_a_reply_acks_and_comes_back_to_whoever_asked(agents: Fleet) -> None:
    asked = agents.ok("msg", "send", "bob", '"how?"', "-t", "QUERY")
    delivery = one(agents.ok("msg", "read", "--agent", "bob"))["delivery"]
    answer = agents.ok("msg", "reply", str(delivery), '"so"', "--agent", "bob")
    read = one(agents.ok("msg", "read", "--ack"))
    assert (read["message"], read["type"], read["reply_to"], read["payload"]) == (answer, "RESULT", asked, "so")
    thread = json.loads(agents.ok("msg", "thread", answer, "--json", "message,state"))
    assert thread == [{"message": asked, "state": "acked"}, {"message": answer, "state": "acked"}]
    again = agents.ok("msg", "send", "bob", "1", "--conversation", asked[:11] + asked[11:])
    assert len(agents.ok("msg", "thread", again, "-o", "jsonl").splitlines()) == 3


def test_topics_reach_their_subscribers(agents: Fleet) -> None:
    assert agents.run("msg", "publish", "news", "1").err.startswith("nobody is subscribed to news")
    for name in ("ann", "bob"):
        assert agents.ok("msg", "subscribe", "news", "--agent", name) == f"{name} subscribed to news"
    assert len(agents.ok("msg", "publish", "news", '"hear"').splitlines()) == 2
    assert one(agents.ok("msg", "read", "--agent", "bob"))["topic"] == "news"
    assert json.loads(agents.ok("msg", "topics", "-o", "json")) == [{"topic": "news", "subscribers": ["ann", "bob"]}]
    agents.ok("msg", "unsubscribe", "news", "--agent", "bob")
    assert agents.run("msg", "unsubscribe", "news", "--agent", "bob").code == 3
    assert len(agents.ok("msg", "publish", "news", "2").splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("msg", "send", "nobody", "1"), 3, "there is no agent nobody"),
        (("msg", "send", "bob", "3", "-t", "QUERY"), 2, "breaks the schema of QUERY"),
        (("msg", "send", "Bob", "1"), 2, "is not a valid name"),
        (("msg", "send", "bob", "{"), 2, "is not JSON"),
        (("msg", "send", "bob", "1", "--conversation", "0000000000000"), 3, "there is no message"),
        (("msg", "reply", "0000000000000", "1"), 3, "there is no message"),
        (("msg", "ack", "x"), 2, "is not a delivery"),
        (("msg", "refuse", "01k9x4m2v8qrs"), 2, "as `agentctl msg read` printed it"),
        (("msg", "show", "0000000000000"), 3, "there is no message"),
        (("schema", "set", "SHOUT", "{}"), 2, "no type of message"),
        (("schema", "remove", "PING"), 3, "there is no schema"),
    ],
)
def test_what_goes_wrong_is_told_with_its_exit_code(
    agents: Fleet, words: tuple[str, ...], code: int, said: str
) -> None:
    agents.ok("schema", "set", "QUERY", '{"type": "string"}')
    ran = agents.run(*words)
    assert ran.code == code and said in ran.err and ran.err.count("\n") == 1, ran


def test_what_was_not_accepted_is_not_said_to_be_sent_when_it_is_said_again(agents: Fleet) -> None:
    first, again = (agents.run("msg", "send", "nobody", "1", "--key", "k") for _ in range(2))
    assert (first.code, again.code) == (3, 3) and first.out == again.out
    assert "there is no agent nobody" in again.err
    agents.ok("msg", "send", "bob", "1", "--key", "k2")
    agents.ok("msg", "refuse", one(agents.ok("msg", "read", "--agent", "bob"))["delivery"])
    assert agents.run("msg", "send", "bob", "1", "--key", "k2").code == 0, "it was sent, whatever became of it"


def test_dead_letters_are_tasks_and_messages_alike(agents: Fleet) -> None:
    task = agents.ok("task", "add", "1")
    agents.ok("task", "claim", "default", "--agent", "a")
    agents.ok("task", "fail", f"{task}.1", "--class", "permanent", "-m", "no")
    message = agents.run("msg", "send", "nobody", '"hello"').out.strip()
    listed = json.loads(agents.ok("dlq", "list", "--json", "kind,task,queue,reason"))
    assert listed == [
        {"kind": "message", "task": message, "queue": "to nobody", "reason": "no_such_agent"},
        {"kind": "task", "task": task, "queue": "default", "reason": "permanent"},
    ]
    assert [row["task"] for row in json.loads(agents.ok("dlq", "list", "--sort", "died", "-o", "json"))] == [
        task,
        message,
    ]
    assert agents.ok("dlq", "list", "--queue", "default", "--json", "task", "-o", "csv").split() == ["task", task]
    groups = json.loads(agents.ok("dlq", "list", "--groups", "-o", "json"))
    assert {group["reason"]: group["count"] for group in groups} == {"permanent": 1, "no_such_agent": 1}
    assert json.loads(agents.ok("dlq", "show", message, "-o", "json"))["target"] == "nobody"
    assert json.loads(agents.ok("dlq", "show", task, "-o", "json"))["queue"] == "default"
    assert len(agents.ok("dlq", "export", "--all").splitlines()) == 2
    refused = agents.run("dlq", "requeue", "--all")
    assert refused.code == 4 and refused.out == f"{task} ready\n" and "no agent nobody" in refused.err
    read_as(agents, "nobody")
    assert agents.ok("dlq", "requeue", message) == f"{message} stored"
    read = one(agents.ok("msg", "read", "--agent", "nobody"))
    agents.ok("msg", "refuse", str(read["delivery"]), "-m", "not mine")
    assert agents.ok("dlq", "discard", message, "--yes") == f"{message} discarded"
    for verb in (("dlq", "show", message), ("dlq", "discard", message, "--yes")):
        assert agents.run(*verb).code == 4
    assert agents.run("dlq", "show", "7zzzzzzzzzzzz").code == 3
    assert agents.ok("event", "verify", "--json", "intact,messages") == '{"intact":true,"messages":1}'


def test_a_hostile_payload_steers_no_screen(agents: Fleet) -> None:
    nasty = json.dumps("\x1b]52;c;x\x07\u202e[red]")
    agents.ok("msg", "send", "bob", nasty)
    agents.run("msg", "send", "gone", nasty)
    for words in (("msg", "list"), ("dlq", "list", "-o", "wide"), ("msg", "read", "--agent", "bob")):
        shown: Ran = agents.run(*words)
        assert shown.out and not any(c in shown.out for c in "\x1b\x07\u202e"), words


def test_a_damped_sender_is_told_with_exit_code_4(agents: Fleet) -> None:
    begun = agents.ok("msg", "send", "bob", "1", "--agent", "ann")
    codes = [agents.run("msg", "send", "bob", "1", "--agent", "ann", "--conversation", begun) for _ in range(21)]
    assert [ran.code for ran in codes] == [0] * 20 + [4] and "got nowhere" in codes[-1].err
    assert "was damped" in agents.run("msg", "thread", begun).err
