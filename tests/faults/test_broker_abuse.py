"""P15, P17: what an agent can try on the broker by its own words gives it nothing, and keeps nobody else waiting."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faults.raw_kit import CLOCK, Raw, World, claim_words, hello_frame, in_thread, new_message, new_task, world
from faults.store_kit import until

from agentctl_store.broker import calls, rights, server
from agentctl_store.domain.agent import AgentSpec
from agentctl_store.domain.message import MessageFilter
from agentctl_store.errors import StoreError
from agentctl_store.sqlite import adding, claiming, transaction

NOTHING = (None, None, None)
PROMPT_S = 3.0  #: an ordinary call is answered within this on a busy machine, whatever others do


def added(caller: Raw, *tasks: Any) -> list[int]:
    how, value = caller.call("add", tasks, "x")
    assert how == 0, value
    return [one.id for one in value]


def won(caller: Raw, agent: str, **more: Any) -> Any:
    how, value = caller.call("claim", *claim_words(agent, **more))
    assert how == 0, value
    return value


def refused(answer: Any, words: str = "") -> None:
    assert answer[0] == 1 and answer[1][0] == "Refused" and words in answer[1][1], answer


# --- client numbers -----------------------------------------------------------------------------------------------
def test_a_client_number_is_worth_nothing_to_another(tmp_path: Path) -> None:
    with world(tmp_path, "a/1", "b/1") as w:
        operator, other = w.raw(client=77), w.raw("b/1", client=78)
        [task] = added(operator, new_task("q"))
        added(other, new_task("q", key="others"))
        with w.raw("a/1", client=77) as thief, w.raw("a/1", client=78) as thief2:
            assert operator.call("version")[0] == other.call("version")[0] == 0, "nobody was put out"
            for number in (1, 2):
                assert thief.call("receipt", 77, number) == thief2.call("receipt", 78, number) == (0, None)
            added(thief, new_task("q"))
            assert str(task) in operator.call("receipt", 77, 1)[1], "nor written over"
        with w.raw("b/1", client=78) as again:
            assert "false" not in again.call("receipt", 78, 1)[1]
            assert other.closed(), "its own caller came back: what was left there is not to be done any more"


@pytest.mark.parametrize("client", [-1, 1 << 63, "1", None, 1.0, True, []])
def test_a_client_number_that_is_none_is_malformed(client: Any, tmp_path: Path) -> None:
    with world(tmp_path) as w, Raw(w.directory) as caller:
        caller.send(server.frame([0, "hello", [1, client, None]], 1 << 20))
        assert caller.take()[2][0] == "Malformed"
        assert caller.closed()


def test_those_who_did_not_greet_are_not_put_out_by_the_number_0(tmp_path: Path) -> None:
    with world(tmp_path, "a/1") as w, Raw(w.directory) as slow:
        w.raw("a/1", client=0).close()
        w.raw(client=0).close()
        assert slow.hello()[0] == 0


# --- who is at the other end --------------------------------------------------------------------------------------
def test_a_connection_of_a_process_that_has_ended_is_nobodys(tmp_path: Path) -> None:
    """A child made for the purpose connects and ends: nobody could trace where its parent comes from."""
    with world(tmp_path) as w, socket.socket(socket.AF_UNIX) as shared:
        child = os.fork()
        if child == 0:
            shared.connect(f"{w.directory}/broker.sock")
            os._exit(0)
        os.waitpid(child, 0)
        caller = Raw.__new__(Raw)
        caller.channel, caller.number = shared, 0
        shared.settimeout(20)
        refused(caller.hello(), "has ended")
        until(w.refusals, "it is in the history")


def test_an_ended_session_is_refused_on_the_connection_it_has(tmp_path: Path) -> None:
    with world(tmp_path, "a/1") as w, w.raw("a/1") as caller, w.raw("a/1") as waiting, w.raw() as operator:
        waiting.ask("claim", *claim_words("a", wait_ms=60_000))
        assert caller.call("claim", *claim_words("a"))[0] == 0
        w.end("a/1")
        refused(caller.call("claim", *claim_words("a")), "has ended")
        [task] = added(operator, new_task("q"))
        refused(waiting.take()[1:], "has ended")
        assert operator.call("task", task)[1].state == "ready"


# --- what an agent may see and say ----------------------------------------------------------------------------------
@contextmanager
def secret_world(tmp_path: Path) -> Iterator[Any]:
    """A world in which b/1 has finished a task with a secret result, that a/1 has no part in."""
    with world(tmp_path, "a/1", "b/1") as w:
        with w.raw() as operator, w.raw("b/1") as b:
            [w.task] = added(operator, new_task("secrets", '"the payload"', key="guessed"))  # type: ignore[attr-defined]
            [claim] = won(b, "b", queues=("secrets",))
            w.correlation = claim.task.correlation  # type: ignore[attr-defined]
            assert b.call("complete", w.task, 1, '"the result"', None, None, None)[0] == 0  # type: ignore[attr-defined]
        yield w


@pytest.fixture
def secret(tmp_path: Path) -> Iterator[Any]:
    with secret_world(tmp_path) as made:
        yield made


def test_a_key_that_is_known_does_not_give_its_result(secret: Any) -> None:
    with secret.raw("a/1") as a, secret.raw() as operator:
        _, [known] = a.call("add", (new_task("q", key="guessed"),), None)
        assert (known.id, known.created, known.result) == (secret.task, False, None)
        refused(a.call("task_by_key", "guessed"))
        assert a.call("task_by_key", "not there") == (0, None)
        _, [known] = operator.call("add", (new_task("q", key="guessed"),), "me")
        assert known.result == '"the result"'


def test_a_child_of_it_is_refused_for_it_would_be_told_the_result(secret: Any) -> None:
    with secret.raw("a/1") as a:
        for parent in (secret.task, "guessed"):
            refused(a.call("add", (new_task("q", after=(parent,)),), None), "wait for")
        assert a.call("add", (new_task("q", after=(1234,)),), None)[1][0] == "NotFound"
        pair = (new_task("q", key="mine"), new_task("q", after=("mine",)))
        [parent, child] = added(a, *pair)
        refused(a.call("add", (new_task("q", after=(parent,)),), None), "wait for")
        [first] = won(a, "a")
        assert first.task.id == parent and a.call("complete", parent, 1, "1", None, None, None)[0] == 0
        [second] = won(a, "a")
        assert second.task.id == child and a.call("parents", child)[1][0].result == "1"
        assert added(a, new_task("q", after=(child, parent), creator=child)), "what it works on and did"


def test_its_work_cannot_be_joined_by_its_correlation_id(secret: Any) -> None:
    with secret.raw("a/1") as a, secret.raw("b/1") as b:
        refused(a.call("add", (new_task("q", correlation=secret.correlation),), None), "no part in")
        own = new_task("q", correlation=secret.correlation, creator=secret.task)
        assert b.call("add", (own,), None)[0] == 0, "it has its part"


def test_a_receipt_is_its_callers_alone(secret: Any) -> None:
    with secret.raw("a/1", client=5) as a, secret.raw(client=6) as operator:
        added(a, new_task("q"))
        refused(a.call("receipt", 6, 1), "another client's")
        refused(operator.call("receipt", 5, 1), "another client's")
        assert a.call("receipt", 5, 1)[1]


def test_reads_of_it_are_refused_and_told_once_with_their_number(secret: Any) -> None:
    with secret.raw("a/1") as a, secret.raw("a/1") as again:
        for caller in (a, a, again):
            for verb in ("task", "attempts", "parents"):
                refused(caller.call(verb, secret.task))
            refused(caller.call("events", 0, 10, secret.task, (), False))
            refused(caller.call("events", 0, 10, None, (), False))
        until(lambda: len(secret.refusals()) >= 4, "each verb is told")
        assert sorted(event.data.split('"')[3] for event in secret.refusals()) == [
            "attempts",
            "events",
            "parents",
            "task",
        ]
        assert {event.actor for event in secret.refusals()} == {"a/1"}


def test_every_call_is_under_a_rule_or_the_operators_with_words_for_a_refusal() -> None:
    assert {*rights._RULES, *rights.OPERATORS} == {*calls.ORDER}
    assert not {*rights._RULES} & {*rights.OPERATORS}
    assert not [words for words in rights.OPERATORS.values() if "_" in words or re.search(r"\w\.\w", words)]


OPERATORS = [
    ("requeue", 1, None, None, "", "me"), ("discard", 1, "", "me"), ("hasten", 1, "me"), ("sweep", 10, 0.5),
    ("pause_queue", "q", "", "me"), ("resume_queue", "q", "me"), ("declare_agents", (), "me"),
    ("set_desired", "a", "stopped", "me"), ("restart_agent", "a", "me"), ("scale_agent", "a", 3, "me"),
    ("save_instances", ()), ("drop_instances", ()), ("session_started", 1, 1), ("note", "supervisor.noted", "me", None),
    ("agents",), ("instances",), ("open_sessions",), ("session", 1),
]  # fmt: skip


@pytest.mark.parametrize("call", OPERATORS, ids=lambda call: call[0])
def test_what_is_the_operators_is_refused(call: Any, secret: Any) -> None:
    with secret.raw("a/1") as a:
        refused(a.call(*call), f"may not {rights.OPERATORS[call[0]]}")


def test_an_agent_claims_what_it_was_declared_for_and_no_more(tmp_path: Path) -> None:
    with world(tmp_path, "a/1") as w, w.raw() as operator, w.raw("a/1") as a:
        spec = AgentSpec("a", "task", ("q",), 1, None, ("browser", "python"))
        assert operator.call("declare_agents", (spec,), "x")[0] == 0
        tasks = added(operator, *(new_task("q", needs=needs) for needs in (("gpu",), ("python",), ("browser",))))
        given = list(claim_words("a"))
        given[-2] = ("gpu", "python")
        refused(a.call("claim", *given), "was not declared with gpu")
        given[-2] = ("browser",)
        assert [one.task.id for one in a.call("claim", *given)[1]] == [tasks[2]]
        assert [one.task.id for one in a.call("claim", *claim_words("a", limit=9))[1]] == [tasks[1]]
        mine = w.sessions["a/1"].session
        refused(
            a.call("complete_and_claim", tasks[1], 1, None, None, ("q",), "a", 1, mine, 1_000, ("gpu",)), "with gpu"
        )


def test_an_agent_whose_work_is_checked_does_not_call_it_done_itself(tmp_path: Path) -> None:
    with world(tmp_path, "a/1") as w, w.raw() as operator, w.raw("a/1") as a:
        spec = AgentSpec("a", "task", ("q",), 1, checked=True)
        assert operator.call("declare_agents", (spec,), "x")[0] == 0
        [task] = added(operator, new_task("q"))
        won(a, "a")
        refused(a.call("complete", task, 1, "1", None, None, None), "may not call its own work done")
        mine = w.sessions["a/1"].session
        turn = ("complete_and_claim", task, 1, None, None, ("q",), "a", 1, mine, 1_000, None)
        refused(a.call(*turn), "may not call its own work done")
        assert a.call("heartbeat", task, 1, 1_000, None, None)[0] == 0
        assert operator.call("complete", task, 1, "1", None, None, None)[0] == 0, "its supervisor does"


def test_a_circle_of_delegations_is_refused_and_noted(tmp_path: Path) -> None:
    with world(tmp_path, "a/1", "b/1") as w, w.raw() as operator, w.raw("a/1") as a, w.raw("b/1") as b:
        specs = tuple(AgentSpec(name, "task", (name,), 1) for name in ("a", "b"))
        assert operator.call("declare_agents", specs, "x")[0] == 0
        [root] = added(operator, new_task("a"))
        work = w.driver.task(root).correlation
        a.call("claim", *claim_words("a", queues=("a",)))
        [second] = added(a, new_task("b", creator=root, correlation=work))
        b.call("claim", *claim_words("b", queues=("b",)))
        how, value = b.call("add", (new_task("a", creator=second, correlation=work),), None)
        assert (how, value[0]) == (1, "BadDelegation") and "a → b → a" in value[1]
        until(lambda: any("circular" in (one.data or "") for one in w.refusals()), "it is in the history")


def test_nobody_claims_ends_or_adds_as_another(secret: Any) -> None:
    with secret.raw() as operator, secret.raw("a/1") as a, secret.raw("b/1") as b:
        [task] = added(operator, new_task("q"))
        won(b, "b")
        mine, theirs = (secret.sessions[name].session for name in ("a/1", "b/1"))
        for agent, slot, session in (("b", None, None), ("a", 2, None), ("a", 1, theirs)):
            refused(a.call("claim", ("q",), agent, slot, session, None, 1_000, 1, None, 0), "may not claim as")
        for call in (
            ("heartbeat", task, 1, 1_000, None, None), ("complete", task, 1, None, None, None, None),
            ("release", task, 1, "", None, None), ("cancelled", task, 1, None, None),
            ("complete_and_claim", task, 1, None, None, ("q",), "a", 1, mine, 1_000, None),
        ):  # fmt: skip
            refused(a.call(*call), "may not speak for attempt")
        refused(a.call("add", (new_task("q", creator=task),), "b/1"), "in the name of")
        refused(a.call("cancel", task, "", "b/1"), "may not cancel")
        [other] = added(a, new_task("q"))
        assert secret.driver.events(task=other)[0].actor == "a/1", "whatever it called itself"
        assert b.call("complete", task, 1, None, None, None, None)[0] == 0


# --- what it may cost ------------------------------------------------------------------------------------------------
def test_ids_that_an_agent_asks_for_are_not_used(tmp_path: Path) -> None:
    """Each that is taken is looked for one by one: a batch that asks for one id would take minutes."""
    with world(tmp_path, "a/1") as w, w.raw("a/1") as a:
        began = time.monotonic()
        for _ in range(2):
            ids = added(a, *(new_task("q", id=1 << 62) for _ in range(1_000)))
            assert len(set(ids)) == 1_000 and max(ids) < 1 << 62
        assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    "wrong",
    [
        {"run_at_ms": (1 << 63) - 1}, {"deadline_ms": (1 << 63) - 1}, {"timeout_ms": (1 << 63) - 1},
        {"priority": 101}, {"id": (1 << 63) - 1}, {"id": -1}, {"creator": -1}, {"after": (True,)}, {"key": "\x00"},
        {"on_parent_failure": "never"},
    ],
    ids=str,
)  # fmt: skip
def test_numbers_beyond_reckoning_are_refused(wrong: Any, tmp_path: Path) -> None:
    with world(tmp_path) as w, w.raw() as caller:
        assert caller.call("add", (new_task("q", **wrong),), None)[0] == 1
        assert caller.call("find_tasks", 0, (1 << 63) - 1, 10) == (0, [])


@pytest.mark.parametrize("wrong", ["", "no", "[]", '{"x":1}', '{"base_ms":-1}', '{"factor":"2"}', '{"factor":1e308}'])
def test_an_agent_is_not_declared_with_a_policy_that_nobody_can_read(wrong: str, tmp_path: Path) -> None:
    """It is read in everybody's claims: found by broken frames."""
    with world(tmp_path) as w, w.raw() as caller:
        assert caller.call("declare_agents", (AgentSpec("a", "task", ("q",), 1, wrong),), "x")[0] == 1
        added(caller, new_task("q"))
        assert won(caller, "a")


@pytest.mark.parametrize(
    "wrong", ["", "no", "[]", "{}", '{"x":1}', '{"agent":1}', '{"agent":"a b"}', '{"agent":"a","result":1}']
)
def test_an_agent_is_not_declared_with_a_fallback_that_nobody_can_read(wrong: str, tmp_path: Path) -> None:
    """It is read where its attempts fail."""
    with world(tmp_path) as w, w.raw() as caller:
        how, value = caller.call("declare_agents", (AgentSpec("a", "task", ("q",), 1, None, (), wrong),), "x")
        assert how == 1 and value[0] in ("Malformed", "BadJson", "BadName")


def test_one_key_ten_thousand_times_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adding, "MOST_ANSWERED", 1 << 20)
    with world(tmp_path) as w, w.raw() as caller:
        [task] = added(caller, new_task("q", key="k"))
        won(caller, "a")
        large = '"' + "x" * 10_000 + '"'
        assert caller.call("complete", task, 1, large, None, None, None)[0] == 0
        how, value = caller.call("add", tuple(new_task("q", key="k") for _ in range(10_000)), None)
        assert (how, value[0]) == (1, "BadInput") and "Add them in parts" in value[2]
        few = adding.MOST_ANSWERED // len(large)
        assert len(caller.call("add", tuple(new_task("q", key="k") for _ in range(few)), None)[1]) == few


def test_a_claim_of_a_thousand_large_tasks_wins_what_fits(tmp_path: Path) -> None:
    with world(tmp_path) as w, w.raw() as caller:
        large = '"' + "x" * 900_000 + '"'
        for _ in range(30):
            added(caller, new_task("q", large))
        first = won(caller, "a", limit=1_000)
        assert len(first) == claiming.MOST_CLAIMED // len(large) + 1
        assert len(won(caller, "a", limit=1_000)) == 30 - len(first)


def test_parents_that_left_too_much_are_not_all_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentctl_store.broker.desk.MAX_ANSWER", 4 << 20)
    with world(tmp_path) as w, w.raw() as caller:
        large = '"' + "x" * 300_000 + '"'
        parents = [added(caller, new_task("q", large))[0] for _ in range(20)]
        [few] = added(caller, new_task("q", after=tuple(parents[:10])))
        [many] = added(caller, new_task("q", after=tuple(parents)))
        assert [one.task for one in caller.call("parents", few)[1]] == parents[:10]
        how, value = caller.call("parents", many)
        assert (how, value[0]) == (1, "StoreError") and "fewer parents" in value[2]


def test_a_session_holds_few_connections_and_all_agents_leave_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_AGENTS", 10)
    monkeypatch.setattr(server, "MOST_OF_ONE", 6)
    with world(tmp_path, "a/1", "b/1") as w:
        held = [w.raw("a/1") for _ in range(6)]
        for token, more in (("a/1", 0), ("b/1", 4)):
            held += [w.raw(token) for _ in range(more)]
            with Raw(w.directory) as extra:
                assert "too many connections" in extra.hello(token=token)[1][1]
        w.raw().close()
        held.pop().close()
        until(lambda: not _hello_fails(w, "b/1"), "room again")
        for one in held:
            one.close()


def _hello_fails(w: World, token: str) -> bool:
    with Raw(w.directory) as caller:
        return bool(caller.hello(token=token)[0])


def test_those_who_say_nothing_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_PEERS", 8)
    with world(tmp_path) as w:
        silent = [Raw(w.directory) for _ in range(8)]
        with w.raw() as operator:
            assert operator.call("version")[0] == 0
            assert silent[0].closed(), "whoever came first"
            assert silent[-1].hello()[0] == 0
        for one in silent:
            one.close()


def test_whoever_never_reads_or_never_finishes_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "TIDY_MS", 200)
    monkeypatch.setattr(server, "STUCK_MS", 100)
    with world(tmp_path, "a/1") as w, w.raw() as operator:
        [task] = added(operator, new_task("q", '"' + "x" * 900_000 + '"'))
        deaf, half, mute, drip = w.raw(), w.raw("a/1"), Raw(w.directory), w.raw()
        for _ in range(8):
            deaf.ask("task", task)
        half.send((1 << 20).to_bytes(4, "big") + b"[")
        said = server.frame([7, "version", []], 1 << 20)
        for index in range(len(said)):
            drip.send(said[index : index + 1])
            assert operator.call("version")[0] == 0
        assert drip.take()[:2] == [7, 0]
        for one in (half, mute, deaf):
            assert one.closed(), "let go"


LONG_CALLS: dict[str, tuple[Any, ...]] = {
    "messages.list": (MessageFilter(text="x"), 1),
    "messages.thread": (1, None, 1),
    "messages.topics": (),
    "messages.send": (new_message(payload=f'"{"x" * 5_000}"'), None),
}


@pytest.mark.parametrize("verb", LONG_CALLS)
def test_what_takes_long_is_done_for_one_at_a_time(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with world(tmp_path, "a/1") as made:
        batches: list[int] = []
        serve = made.broker._desk.serve

        def counted(calls: Any, alive: Any) -> Any:
            batches.append(sum(call.verb == verb for call in calls))
            time.sleep(0.02)  # the others come meanwhile
            return serve(calls, alive)

        monkeypatch.setattr(made.broker._desk, "serve", counted)
        many = [made.raw("a/1") for _ in range(12)]
        for one in many:
            one.ask(verb, *LONG_CALLS[verb])
        assert all(one.take()[1] == 0 for one in many)
        assert sum(batches) == 12 and max(batches) == 1
        for one in many:
            one.close()


def test_who_asks_for_much_has_every_other_turn_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with world(tmp_path, "a/1", "b/1") as made:
        served: list[str] = []
        serve = made.broker._desk.serve

        def slowly(calls: Any, alive: Any) -> Any:
            served.extend(call.peer.identity.agent for call in calls if call.peer.identity is not None)
            time.sleep(0.05)  # the others come meanwhile
            return serve(calls, alive)

        monkeypatch.setattr(made.broker._desk, "serve", slowly)
        many, other = [made.raw("a/1") for _ in range(12)], made.raw("b/1")
        for one in many:
            one.ask("messages.topics")
        until(lambda: len(made.broker._heavy) > 6, "they wait for each other")
        before = len(served)
        other.ask("messages.topics")
        for one in (*many, other):
            assert one.take()[1] == 0
            one.close()
        assert served.count("a") == 12 and served.index("b") <= before + 2, served


def test_a_peer_that_is_stopped_while_it_waits_loses_its_task_with_its_lease(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from faults.raw_kit import Raw
one = Raw(Path(sys.argv[1]))
one.hello()
one.ask("claim", ("q",), "stopped", None, None, None, 300, 1, None, 60000)
print("asked", flush=True)
print(one.take(), flush=True)
"""
    with world(tmp_path) as w, w.raw() as operator:
        stopped = subprocess.Popen(
            [sys.executable, "-c", code, str(w.directory)], stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
        )  # fmt: skip
        assert stopped.stdout is not None and stopped.stdout.readline() == b"asked\n"
        w.raw().close()  # what was asked before has been heard
        stopped.send_signal(signal.SIGSTOP)
        [task] = added(operator, new_task("q"))
        until(lambda: w.driver.task(task).state == "active", "it was given it")
        [claim] = won(operator, "b", wait_ms=10_000)
        assert (claim.task.id, claim.n) == (task, 2)
        stopped.send_signal(signal.SIGKILL)
        stopped.wait()


def test_those_who_wait_are_served_in_the_order_they_came(tmp_path: Path) -> None:
    lines = [("q",), ("q",), ("q", "r"), ("q",), ("r", "q")]
    with world(tmp_path) as w, w.raw() as operator:
        for at_once in (1, len(lines)):  # tasks in one commit
            waiting = []
            for queues in lines:  # of one agent: those of several wait in lines of their own
                waiting.append(w.raw())
                waiting[-1].ask("claim", *claim_words(queues=queues, wait_ms=60_000))
                w.raw().close()
            tasks: list[int] = []
            for one in waiting:
                tasks = tasks or sorted(added(operator, *(new_task("q") for _ in range(at_once))))
                [claim] = one.take()[2]
                assert claim.task.id == tasks.pop(0)
                one.close()


def test_who_waits_is_woken_by_what_it_can_whoever_came_before(tmp_path: Path) -> None:
    def words(agent: str, *can: str) -> Any:
        given = list(claim_words(agent, wait_ms=60_000))
        given[-2] = can
        return given

    with world(tmp_path) as w, w.raw() as operator, w.raw() as plain, w.raw() as early, w.raw() as able:
        added(operator, new_task("other", needs=("gpu",)))  # a store that has lanes
        for one, given in ((plain, words("p")), (early, words("e", "gpu", "tpu")), (able, words("a", "gpu"))):
            one.ask("claim", *given)
            w.raw().close()
        for needs, one in ((("gpu",), early), (("gpu",), able), ((), plain)):
            begun = time.monotonic()
            [task] = added(operator, new_task("q", needs=needs))
            [claim] = one.take()[2]
            assert claim.task.id == task and time.monotonic() - begun < 0.4, "by the commit, not by a look"


# --- mistakes of our own, and of the disk ---------------------------------------------------------------------------
def test_a_commit_that_fails_answers_each_once_and_whoever_waits_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, broken = transaction.Transaction._commit, []

    def failing(tx: Any) -> None:
        if isinstance(tx, transaction.Group) and broken:
            broken.pop()
            tx._roll_back()
            tx.conn.unlock()
            raise StoreError("the disk is full")
        commit(tx)

    monkeypatch.setattr(transaction.Transaction, "_commit", failing)
    with world(tmp_path) as w, w.raw() as worker, w.raw() as operator:
        worker.ask("claim", *claim_words(wait_ms=60_000))
        w.raw().close()
        broken.append(1)
        assert operator.call("add", (new_task("q"),), None)[1][1] == "the disk is full"
        broken.append(1)
        with w.raw() as other:
            other.ask("claim", *claim_words(wait_ms=60_000))  # in the batch that fails
            assert other.take()[2][1] == "the disk is full"
            [task] = added(operator, new_task("q"))
            assert [claim.task.id for claim in worker.take()[2]] == [task]
            for one in (worker, other):
                assert one.call("version")[0] == 0, "its next answer is the next one's"


@contextmanager
def held(w: World) -> Iterator[None]:
    """While this is open, nobody else commits: what comes meanwhile is in one batch after it."""
    with w.driver.conn.write(CLOCK.now()):
        yield


def unread(caller: Raw) -> int:
    """Bytes that were sent and not yet taken."""
    return int.from_bytes(fcntl.ioctl(caller.channel, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def test_an_answer_comes_after_the_commit_and_never_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit, broken = transaction.Transaction._commit, [1]

    def failing(tx: Any) -> None:
        if isinstance(tx, transaction.Group) and broken:
            broken.pop()
            tx._roll_back()
            tx.conn.unlock()
            raise StoreError("the disk is full")
        commit(tx)

    with world(tmp_path) as w, w.raw() as caller:
        monkeypatch.setattr(transaction.Transaction, "_commit", failing)
        assert caller.call("add", (new_task("q"),), None)[1][1] == "the disk is full"
        assert caller.call("find_tasks", 0, (1 << 63) - 1, 10) == (0, [])


def test_one_bad_call_in_a_batch_leaves_nothing_and_takes_nobody_with_it(tmp_path: Path) -> None:
    with world(tmp_path) as w, w.raw() as first, w.raw() as bad, w.raw() as good:
        with held(w):
            first.ask("hasten", 1, "x")  # the broker waits for its turn with this one in hand
            until(lambda: not unread(first), "it was taken")
            bad.ask("add", (new_task("q"), new_task("q", after=(12345,))), None)
            good.ask("add", (new_task("q"),), None)
        assert first.take()[2][0] == bad.take()[2][0] == "NotFound"
        [one] = good.take()[2]
        assert good.call("find_tasks", 0, (1 << 63) - 1, 10) == (0, [one.id])


def test_what_somebody_asked_who_has_gone_is_not_done(tmp_path: Path) -> None:
    """It may have gone to the file meanwhile, and done there what it asked here."""
    with world(tmp_path) as w, w.raw() as operator:
        caller = w.raw()
        with held(w):
            caller.ask("add", (new_task("q"),), None)
            until(lambda: not unread(caller), "it was taken")
            caller.close()
        assert operator.call("hasten", 1, "x")[1][0] == "NotFound"
        assert operator.call("find_tasks", 0, (1 << 63) - 1, 10) == (0, [])


def test_a_claim_that_waits_is_fed_by_the_commit_and_not_by_a_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LOOK_MS", 600_000)
    with world(tmp_path) as w, w.raw() as operator, w.raw() as worker, w.raw() as watcher:
        worker.ask("claim", *claim_words(wait_ms=600_000))
        watcher.ask("changed", 1 << 40, None, 600_000)
        w.raw().close()
        [task] = added(operator, new_task("q"))
        assert [claim.task.id for claim in worker.take()[2]] == [task]
        assert watcher.take()[2] > 0


def test_what_was_answered_is_kept_until_the_next_call(tmp_path: Path) -> None:
    with world(tmp_path, "a/1") as w:
        for caller in (w.raw(client=5), w.raw("a/1", client=5)):
            [task] = added(caller, new_task("q"))
            assert str(task) in caller.call("receipt", 5, 1)[1]
            assert won(caller, "a")
            assert str(task) in caller.call("receipt", 5, caller.number)[1]
            caller.close()


def test_a_transaction_that_sqlite_gave_up_writes_no_events(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        with pytest.raises(StoreError, match="gave up"), w.driver.conn.together(CLOCK.now()):
            w.driver.add([new_task("q")], actor=None, now=CLOCK.now())
            w.driver.conn.db.execute("ROLLBACK")
        assert w.driver.events() == []


@pytest.mark.parametrize("where", ["_listen", "_calls", "_deliver"])
def test_a_mistake_of_ours_is_told_and_the_broker_goes_on(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = getattr(server.Broker, where), [1, 2]

    def broken(broker: Any, *given: Any) -> Any:
        if left and (where != "_deliver" or given[0]):
            left.pop()
            raise KeyError("the secret")
        return real(broker, *given)

    with world(tmp_path) as w:
        monkeypatch.setattr(server.Broker, where, broken)
        for _ in range(2):
            with Raw(w.directory) as caller:
                try:
                    caller.hello()
                except ConnectionError:
                    pass
        until(lambda: not left, "both went wrong")
        w.raw().close()
        assert len(w.told) == 2 and "KeyError at test_broker_abuse.py" in w.told[0] and "secret" not in w.told[0]


def test_a_verb_that_breaks_takes_nobody_with_it_and_quotes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(driver: Any, *_: Any, **__: Any) -> Any:
        raise RuntimeError("the secret")

    with world(tmp_path) as w, w.raw() as one, w.raw() as two:
        for verb, given in (("hasten", (1, "x")), ("task", (1,)), ("changed", (0, None, 60_000))):
            monkeypatch.setattr(type(w.driver), verb, broken)
            one.ask(verb, *given)
            assert added(two, new_task("q"))
            answer = one.take()
            assert answer[1] == 1 and answer[2][0] == "StoreError" and "secret" not in str(answer), answer
        assert len(w.told) == 3


def test_a_look_that_fails_answers_whoever_waited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with world(tmp_path) as w, w.raw() as caller:
        caller.ask("changed", 1 << 40, None, 60_000)
        w.raw().close()
        monkeypatch.setattr(type(w.driver), "changed", lambda *_, **__: 1 / 0)
        assert caller.take()[2][0] == "StoreError"


def test_deep_and_odd_greetings_are_malformed(tmp_path: Path) -> None:
    deep = b"[" * 900 + b"]" * 900
    with world(tmp_path) as w:
        for text in (b'[0,"hello",[' + deep + b",1,null]]", b"[0," + deep + b",[]]", b"[" * 100_000, b"", b"{}"):
            with Raw(w.directory) as caller:
                caller.send(len(text).to_bytes(4, "big") + text)
                assert caller.take()[2][0] == "Malformed"
                assert caller.closed()
        with w.raw() as caller:
            caller.send(len(deep).to_bytes(4, "big") + deep)
            assert caller.take()[2][0] == "Malformed"
            assert caller.call(secrets.token_hex(9))[1][0] == "Malformed"
        join = in_thread(lambda: w.raw().call("version")[0])
        assert join() == 0 and hello_frame()
