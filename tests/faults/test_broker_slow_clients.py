"""P14 through the broker: who does not read, sends half a call, says nothing or is stopped never blocks the others."""

from __future__ import annotations

import os
import signal
import socket
import statistics
import time
from pathlib import Path

import pytest
from faults.broker_kit import Owner, caller_of, serving, through
from faults.raw_kit import Raw, greeted
from faults.store_kit import assert_whole, filled, until
from faults.store_workers import THROUGH, Clients

from agentctl_store.broker import server
from agentctl_store.broker.server import Broker
from agentctl_store.broker.wire import MAX_CALL, frame
from agentctl_store.clock import Clock
from agentctl_store.store import TaskRequest

SLOWEST_MS, USUAL_MS = 1_000, 50
EVENTS = (0, 3_000, None, [], False)  #: an answer that no socket's buffer holds


def test_others_are_served_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STUCK_MS", 300)
    monkeypatch.setattr(server, "TIDY_MS", 100)
    directory = filled(tmp_path, 3_000)
    with (
        serving(directory) as broker,
        Clients(directory, tmp_path / "logs", **{THROUGH: "broker"}) as clients,
        through(directory) as mine,
    ):
        stopped = [clients.start("mingle", seed=seed) for seed in range(3)]
        until(lambda: len(broker._peers) >= 3, "they work")
        for pid in stopped:
            clients.signal(pid, signal.SIGSTOP)
        deaf = [greeted(directory) for _ in range(3)]
        for one in deaf:
            for _ in range(20):
                one.ask("events", *EVENTS)
        halves = [greeted(directory) for _ in range(3)]
        for one in halves:
            one.send(frame([1, "note", ["supervisor.noted", "x" * 1_000, None]], MAX_CALL)[:500])
        took_ms = []
        for number in range(200):
            begun = time.monotonic()
            mine.add([TaskRequest("q", str(number))])
            took_ms.append((time.monotonic() - begun) * 1_000)
            owed = max(len(peer.owed) for peer in list(broker._peers.values()))
            assert owed < 2 << 20, "one answer is owed to each, not all it asked for"
        print(f"adds beside them took {statistics.median(took_ms):.2f} ms, {max(took_ms):.1f} ms at most")
        assert max(took_ms) < SLOWEST_MS and statistics.median(took_ms) < USUAL_MS
        until(lambda: not any(peer.owed for peer in list(broker._peers.values())), "who never reads is let go")
        for pid in stopped:
            clients.signal(pid, signal.SIGCONT)
            clients.kill(pid)
        for one in [*deaf, *halves]:
            one.close()
        until(lambda: len(broker._peers) == 1, "all are gone but one")
    assert_whole(directory)


def test_one_who_is_slow_gets_all_of_a_large_answer(tmp_path: Path) -> None:
    directory = filled(tmp_path, 3_000)
    with serving(directory):
        slow = greeted(directory)
        slow.ask("events", *EVENTS)
        come = slow.channel.recv(4)
        left = size = int.from_bytes(come, "big")
        assert size > 500_000
        while left:
            data = slow.channel.recv(min(left, 20_000))
            assert data, "it was cut off"
            left -= len(data)
        slow.close()


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_with_no_descriptor_left_callers_go_on_with_the_file_and_the_broker_rests(tmp_path: Path) -> None:
    directory = filled(tmp_path, 0)
    with Clients(directory, tmp_path / "logs") as clients:
        owner = Owner(clients)
        owner.up(files=40)
        crowd = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(60)]
        for one in crowd:
            one.connect(str(directory / "broker.sock"))
        begun = time.monotonic()
        with through(directory) as late:
            assert late.add([TaskRequest("q")])[0].created
        assert time.monotonic() - begun < 1
        worked_s, begun = cpu_s(owner.pid), time.monotonic()
        until(lambda: time.monotonic() - begun > 0.5, "half a second has passed")
        assert cpu_s(owner.pid) - worked_s < 0.2, "it spins"
        for one in crowd:
            one.close()
        with through(directory) as again:
            until(lambda: again.version() and caller_of(again)._link is not None, "there is room again", 5)
            again.add([TaskRequest("q")])
    assert_whole(directory)


def test_one_who_is_let_go_while_others_are_heard_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """He says something in the very moment in which somebody else takes his place."""
    monkeypatch.setattr(server, "MOST_PEERS", 1)
    directory, told = filled(tmp_path, 0), []
    broker = Broker(str(directory), Clock(), tell=told.append)
    silent, next_one = Raw(directory), Raw(directory, connect=False)
    broker._listen(1)
    next_one.connect(directory)
    silent.send(b"?")
    broker._listen(1)  # on this thread: both are heard in one look
    broker.start()
    assert silent.closed() and next_one.hello()[0] == 0 and next_one.call("version")[0] == 0
    broker.stop()
    next_one.close()
    assert told == []
