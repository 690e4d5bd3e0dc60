"""Clients and the store's owner: they move over when it comes and go on with the file when it goes, within a second."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from faults.broker_kit import WAYS, Asked, Owner, caller_of, serving, through
from faults.fleet_kit import Fleet, fleet
from faults.store_kit import assert_whole, filled, finals, until
from faults.store_workers import Clients

from agentctl_store.broker import client
from agentctl_store.broker.server import Broker
from agentctl_store.broker.tokens import Identity
from agentctl_store.broker.wire import MAX_ANSWER, SOCKET, VALUE, VERSION, frame
from agentctl_store.clock import Clock
from agentctl_store.domain.agent import AgentSpec
from agentctl_store.errors import Refused, StoreBusy
from agentctl_store.ids import write_id
from agentctl_store.sqlite import connection
from agentctl_store.store import Store, TaskRequest, open_store

WITHIN_S = 1.0
SERVICE = '[agent.s]\nmode = "service"\ncommand = ["sleep", "600"]\n'


def connected(store: Store) -> bool:
    """Whether its last call went through an owner."""
    store.version()
    return caller_of(store)._link is not None


def timed(call: Any) -> tuple[Any, float]:
    begun = time.monotonic()
    return call(), time.monotonic() - begun


def test_clients_follow_the_supervisor_both_ways_within_a_second(tmp_path: Path) -> None:
    with fleet(tmp_path, SERVICE) as f, through(Path(f.folder)) as mine:
        gone_s, come_s = [], []
        for number in range(3):
            f.up()
            _, took_s = timed(lambda: until(lambda: connected(mine), "the client moves over", 5))
            come_s.append(took_s)
            f.shows("s/1", lambda row: row.phase == "busy", "an agent runs")
            # What a killed supervisor leaves running must not keep its socket open.
            f.kill()
            (added,), took_s = timed(lambda number=number: mine.add([TaskRequest("q", str(number))]))
            gone_s.append(took_s)
            assert added.created and not connected(mine)
        f.up()
        until(lambda: connected(mine), "the client moves over", 5)
        f.end()
        (added,), took_s = timed(lambda: mine.add([TaskRequest("q")]))
        gone_s.append(took_s)
        text = f"to the file in {max(gone_s) * 1000:.0f} ms, to the supervisor in {max(come_s) * 1000:.0f} ms"
        print(f"at the slowest {text}")
        assert max(gone_s) < WITHIN_S and max(come_s) < WITHIN_S
        f.finish()
    assert len(finals(Path(f.folder))) == 4
    assert_whole(Path(f.folder))


def test_a_second_supervisor_is_refused_and_takes_nobody_s_socket(tmp_path: Path) -> None:
    with fleet(tmp_path, SERVICE) as f, through(Path(f.folder)) as mine:
        first = f.up()
        until(lambda: connected(mine), "the client moves over", 5)
        link = caller_of(mine)._link
        second = f.start()
        assert second.wait(15) != 0
        f.process = first
        with through(Path(f.folder)) as other:
            other.add([TaskRequest("q")])
            assert connected(other) and connected(mine) and caller_of(mine)._link is link
        assert f.end() == 0


def test_a_stopped_owner_keeps_nobody_for_longer_than_his_patience(tmp_path: Path) -> None:
    directory = filled(tmp_path, 0)
    with Clients(directory, tmp_path / "logs") as clients, through(directory, patience_s=0.6) as mine:
        owner = Owner(clients)
        owner.up()
        until(lambda: connected(mine), "the client moves over")
        mine.note("supervisor.noted", actor="me")  # what it does first, lock in hand, is done
        owner.signal(signal.SIGSTOP)
        asked = Asked(directory, lambda store: store.add([TaskRequest("q")]), store=mine)
        (added,), took_s = timed(lambda: asked.get(0.6 + WITHIN_S))
        assert took_s >= 0.6
        assert mine.claim(["q"], agent="a")[0].task.id == added.id
        owner.signal(signal.SIGCONT)
        until(lambda: connected(mine), "it moves back", 5)
        mine.add([TaskRequest("q")])
    assert len(finals(directory)) == 2
    assert_whole(directory)


def test_who_may_not_touch_the_file_waits_until_a_stopped_owner_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a sandbox: to end there would end the agent's work for a supervisor that has not gone."""
    monkeypatch.setattr(client, "_shut", lambda directory: True)
    monkeypatch.setattr(client, "AGAIN_S", 0.3)
    directory = filled(tmp_path, 0)
    with Clients(directory, tmp_path / "logs") as clients, through(directory, patience_s=0.2) as mine:
        owner = Owner(clients)
        owner.up()
        mine.note("supervisor.noted", actor="me")
        owner.signal(signal.SIGSTOP)
        begun = time.monotonic()
        asked = Asked(directory, lambda store: store.add([TaskRequest("q")]), store=mine)
        until(lambda: asked.over or time.monotonic() - begun > 4 * client.AGAIN_S, "it has tried again and again")
        assert not asked.over, asked.error
        owner.signal(signal.SIGCONT)
        (added,) = asked.get()
        assert connected(mine)
    assert list(finals(directory)) == [added.id]


def test_an_answer_to_another_call_is_nobody_s(tmp_path: Path) -> None:
    """A broker that had lost count would tell a client that another's task is its own."""
    directory = filled(tmp_path, 0)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(f"{directory}/{SOCKET}")
        door.listen()

        def answer() -> None:
            channel, _ = door.accept()
            os.unlink(f"{directory}/{SOCKET}")  # whom it misleads finds nobody else to ask
            with channel:
                channel.recv(1 << 16)  # the greeting and the call come in one
                channel.sendall(frame([0, VALUE, [VERSION, 1, 1]], MAX_ANSWER) + frame([99, VALUE, 12], MAX_ANSWER))
                channel.recv(1 << 16)  # it hangs up

        served = threading.Thread(target=answer)
        served.start()
        with through(directory) as mine:
            (added,) = mine.add([TaskRequest("q")])
            assert mine.task(added.id).state == "ready"
        served.join()
    assert_whole(directory)


def test_an_owner_stopped_in_its_commit_leaves_an_outcome_that_is_said_to_be_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BUSY_S", 0.3)
    directory = filled(tmp_path, 0)
    with Clients(directory, tmp_path / "logs") as clients, through(directory, patience_s=0.3) as mine:
        owner = Owner(clients)
        owner.up()
        until(lambda: connected(mine), "the client moves over")
        holder = clients.start("hold_lock")
        until(lambda: list(clients.logs.glob("hold_lock*.holds")), "the lock is held")
        with pytest.raises(StoreBusy, match="Whether the last call was done is not known"):
            mine.add([TaskRequest("q", key="k")])
        clients.kill(holder)
        mine.add([TaskRequest("q", key="k")])
    assert len(finals(directory)) == 1


def test_an_agent_may_ask_for_its_own_receipts_and_for_no_other(tmp_path: Path) -> None:
    directory = filled(tmp_path, 1)
    with open_store(str(directory), own=True) as store:
        store.declare_agents([AgentSpec("a", "worker", ("q",), 1)], actor="test")
        session = store.open_session("a", 1, "nonce").id
    broker = Broker(str(directory), Clock(), identify=lambda pid, token: Identity("a", 1, session))
    broker.start()
    try:
        with through(directory) as mine:
            (won,) = mine.claim(["q"], agent="a")
            caller = caller_of(mine)
            assert caller.call("receipt", caller._client, caller._number) == f"[[{won.task.id},1]]"
            with pytest.raises(Refused):
                caller.call("receipt", caller._client + 1, 1)
    finally:
        broker.stop()


def test_a_mistake_of_the_broker_s_own_leaves_its_clients_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = filled(tmp_path, 0)
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    with serving(directory) as broker, through(directory) as mine:
        assert connected(mine)
        broker._deliver = None  # type: ignore[assignment, method-assign]
        (added,), took_s = timed(lambda: mine.add([TaskRequest("q")]))
        assert added.created and took_s < WITHIN_S and not connected(mine)
    assert len(finals(directory)) == 1


# --- Ctrl-C -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("verb", ["claim", "wait", "follow"])
def test_ctrl_c_ends_a_wait_cleanly(tmp_path: Path, way: str, verb: str) -> None:
    directory = filled(tmp_path, 1)
    (task,) = finals(directory)
    words = {
        "claim": ["task", "claim", "none", "--wait", "60s", "--agent", "a"],
        "wait": ["task", "wait", write_id(task)],
        "follow": ["event", "follow"],
    }[verb]
    if way == "broker":
        with serving(directory) as broker:
            _interrupt(directory, words, lambda: len(broker._desk._waiting) == 1)
            until(lambda: not broker._desk.waits, "the broker waits for nobody")
            assert len(os.listdir(directory / "waiters")) == 1, "the broker's own"
    else:
        _interrupt(directory, words, lambda: _waits(directory))
    with open_store(str(directory), own=True) as store:
        store.add([TaskRequest("q")])
        assert not _waits(directory)


def _waits(directory: Path) -> bool:
    return bool((directory / "waiters").exists() and os.listdir(directory / "waiters"))


def _interrupt(directory: Path, words: list[str], waits: Any) -> None:
    argv = [sys.executable, "-m", "agentctl", *words, "--store", str(directory)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until(waits, "it waits", 10)
        time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=5)
    assert process.returncode in (130, -signal.SIGINT), said
    assert "Traceback" not in said and not re.search("Error", said), said


def test_a_supervisor_that_comes_takes_over_who_waits_on_the_file(tmp_path: Path) -> None:
    with fleet(tmp_path, SERVICE) as f:
        asked = Asked(Path(f.folder), lambda store: store.claim(["q"], agent="a", wait_ms=20_000))
        _come_and_go(f)
        task = f.add("q")
        assert [one.task.id for one in asked.get(3)] == [task]
        f.finish()


def _come_and_go(f: Fleet) -> None:
    f.up()
    f.kill()
    f.up()
    f.end()
