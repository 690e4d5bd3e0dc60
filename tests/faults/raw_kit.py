"""A real broker for the fault tests, and callers that say whatever they like to it."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agentctl_store.broker.server import Broker
from agentctl_store.broker.tokens import Identity
from agentctl_store.broker.wire import LENGTH, MAX_CALL, VERSION, frame, read_answer
from agentctl_store.clock import Clock
from agentctl_store.domain.agent import NewSession, SessionEnd
from agentctl_store.domain.message import NewMessage
from agentctl_store.domain.task import NewTask
from agentctl_store.errors import Refused
from agentctl_store.ids import new_correlation, new_id
from agentctl_store.sqlite.driver import SqliteDriver

WITHIN_S = 20.0
CLOCK = Clock()


class Raw:
    """A connection that sends any bytes."""

    def __init__(self, directory: str | Path, *, connect: bool = True) -> None:
        self.channel = socket.socket(socket.AF_UNIX)
        self.channel.settimeout(WITHIN_S)
        self.number = 0
        if connect:
            self.connect(directory)

    def connect(self, directory: str | Path) -> None:
        self.channel.connect(f"{directory}/broker.sock")

    def hello(self, client: int | None = None, token: str | None = None) -> Any:
        """Greet; what the broker answers: how, and the value or the error's name, message and remedy."""
        self.send(hello_frame(client, token))
        return self.take()[1:]

    def call(self, verb: str, *given: Any) -> Any:
        """Call and wait; how (0: fine) and the value, or the error's name, message and remedy."""
        self.ask(verb, *given)
        number, how, value = self.take()
        # What cannot be read has no number.
        assert number == self.number or (how, number) == (1, 0), f"the answer to {number} came for {self.number}"
        return how, value

    def ask(self, verb: str, *given: Any) -> None:
        """Call and do not wait."""
        self.number += 1
        self.send(frame([self.number, verb, given], 1 << 30))

    def send(self, data: bytes) -> None:
        self.channel.sendall(data)

    def take(self) -> Any:
        """The next answer. ConnectionError when the broker has closed."""
        return read_answer(self._exactly(int.from_bytes(self._exactly(LENGTH), "big")))

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.channel.recv(min(size - len(data), 1 << 20))
            if not more:
                raise ConnectionError("the broker closed the connection")
            data += more
        return data

    def closed(self) -> bool:
        """Whether the broker has closed it, having said what it said."""
        try:
            while self.channel.recv(1 << 16):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self.channel.close()

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def greeted(directory: str | Path, client: int | None = None, token: str | None = None) -> Raw:
    """A connection that was let in: an agent's with its token, else the operator's."""
    made = Raw(directory)
    how, value = made.hello(client, token)
    assert how == 0, value
    return made


def hello_frame(client: int | None = None, token: str | None = None) -> bytes:
    return frame([0, "hello", [VERSION, secrets.randbits(62) if client is None else client, token]], MAX_CALL)


def new_task(queue: str = "q", payload: str = "null", **more: Any) -> NewTask:
    number = more.pop("id", None) or new_id(CLOCK, CLOCK.now().wall_ms)
    more.setdefault("correlation", new_correlation(CLOCK, number))
    return NewTask(number, queue, payload, **more)


def new_message(source: str = "a", target: str | None = "b", **more: Any) -> NewMessage:
    number = more.pop("id", None) or new_id(CLOCK, CLOCK.now().wall_ms)
    more.setdefault("correlation", new_correlation(CLOCK, number))
    return NewMessage(number, source, target, "QUERY", more.pop("payload", '"psst"'), **more)


def claim_words(agent: str = "a", *, queues: tuple[str, ...] = ("q",), limit: int = 1, wait_ms: int = 0) -> Any:
    """The arguments of a claim."""
    return (queues, agent, None, None, None, 60_000, limit, None, wait_ms)


class World:
    """A store, its broker and sessions whose names are their tokens."""

    def __init__(self, directory: Path, sessions: tuple[str, ...]) -> None:
        self.directory = directory
        self.driver = SqliteDriver(str(directory), create=True, synchronous="OFF")
        self.sessions: dict[str, Identity] = {}
        self.told: list[str] = []
        for name in sessions:
            self.open(name)
        self.broker = Broker(str(directory), CLOCK, identify=self.identify, tell=self.told.append, synchronous="OFF")

    def open(self, name: str) -> Identity:
        """Begin a session of `agent/slot`."""
        agent, _, slot = name.partition("/")
        who = Identity(agent, int(slot or 1), new_id(CLOCK, CLOCK.now().wall_ms))
        self.driver.open_session(NewSession(who.session, agent, who.slot, secrets.token_hex(8)), now=CLOCK.now())
        self.sessions[name] = who
        return who

    def end(self, name: str) -> None:
        end = SessionEnd(self.sessions[name].session, "exited", 0)
        self.driver.end_session(end, usage=None, now=CLOCK.now())

    def identify(self, pid: int, token: str | None) -> Identity | None:
        if token is not None and token not in self.sessions:
            raise Refused("the token was not made here")
        return None if token is None else self.sessions[token]

    def raw(self, token: str | None = None, client: int | None = None) -> Raw:
        return greeted(self.directory, client, token)

    def refusals(self) -> list[Any]:
        return self.driver.events(kinds=("access.refused",), limit=1_000)


@contextmanager
def world(folder: Path, *sessions: str) -> Iterator[World]:
    """A broker over a new store, with these sessions; it must be alive and well at the end."""
    made = World(folder / ".agentctl", sessions)
    made.broker.start()
    try:
        yield made
        with made.raw() as last:
            assert last.call("version")[0] == 0, "the broker serves to the end"
    finally:
        made.broker.stop()
        made.driver.close()


def in_thread(act: Callable[[], Any]) -> Callable[[], Any]:
    """Begin `act` in a thread; call what is returned for its value."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(act()), daemon=True)
    thread.start()

    def join() -> Any:
        thread.join(WITHIN_S)
        assert found, "not within the time"
        return found[0]

    return join


def rss_kib(pid: int | None = None) -> int:
    """Resident memory of a process."""
    with open(f"/proc/{pid or os.getpid()}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def descriptors(pid: int | None = None) -> int:
    return len(os.listdir(f"/proc/{pid or os.getpid()}/fd"))
