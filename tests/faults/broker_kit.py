"""A store's broker for the fault tests: a process of its own, to be killed, stopped and begun again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from faults.store_kit import until
from faults.store_workers import PATIENCE_S, THROUGH, Clients

from agentctl_store.broker.client import Caller
from agentctl_store.broker.driver import connect
from agentctl_store.broker.peer import Answer
from agentctl_store.broker.server import Broker
from agentctl_store.broker.waiting import Call
from agentctl_store.clock import Clock
from agentctl_store.store import Store

WAYS = ("direct", "broker")
ANSWERED_S = 10.0  #: how long a test waits for an answer


class Owner:
    """The process that owns the store, if one does."""

    def __init__(self, clients: Clients, synchronous: str = "NORMAL") -> None:
        self._clients, self._synchronous = clients, synchronous
        self.pid = 0

    def start(self, die: str = "", files: int = 0) -> None:
        """Begin to serve; returns before it does. See the job `serve` for what is special."""
        self.pid = self._clients.start("serve", synchronous=self._synchronous, die=die, files=files)

    def up(self, die: str = "", files: int = 0) -> None:
        """Begin to serve, and return when it does."""
        self.start(die, files)
        ready = self._clients.logs / f"serve-{self._clients.count}.serves"
        until(ready.exists, "the broker serves")

    def signal(self, what: signal.Signals) -> None:
        assert self._clients.signal(self.pid, what), "the broker had ended by itself: see stderr"
        if what == signal.SIGSTOP:
            until(lambda: set(self._states()) == {"T"}, "all its threads have stopped")

    def _states(self) -> list[str]:
        threads = Path(f"/proc/{self.pid}/task").iterdir()
        return [(one / "stat").read_text().rpartition(")")[2].split()[0] for one in threads]

    def kill(self) -> None:
        self.signal(signal.SIGKILL)


@contextmanager
def clients_of(
    way: str, store: Path, logs: Path, *, synchronous: str = "NORMAL", patience_s: float = 15.0
) -> Iterator[Clients]:
    """Clients that work on the file, or through a broker that is up."""
    with Clients(store, logs, **{THROUGH: way, PATIENCE_S: str(patience_s)}) as clients:
        if way == "broker":
            Owner(clients, synchronous).up()
        yield clients


def through(store: Path, *, patience_s: float = 15.0) -> Store:
    """The store as one who stays sees it: through its owner while it has one."""
    clock = Clock()
    driver = connect(str(store), clock, create=False, stay=True, patience_s=patience_s)
    assert driver is not None
    return Store(driver, str(store), clock)


@contextmanager
def serving(store: Path, *, synchronous: str = "NORMAL") -> Iterator[Broker]:
    """A broker in this process, for what is looked at from both of its sides."""
    broker = Broker(str(store), Clock(), synchronous=synchronous)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


class Asked:
    """A call in a thread, by a client of its own or by `store`; with `go`, once that is set and it is connected."""

    def __init__(
        self,
        directory: Path,
        call: Callable[[Store], Any],
        go: threading.Event | None = None,
        store: Store | None = None,
    ) -> None:
        self._directory, self._call, self._store = directory, call, store
        self.connected, self.go = threading.Event(), go
        self.answer: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        try:
            if self._store is not None:
                self.answer = self._call(self._store)
                return
            with through(self._directory) as store:
                store.version()
                self.connected.set()
                if self.go is not None:
                    self.go.wait(30)
                self.answer = self._call(store)
        except BaseException as error:
            self.error = error

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    def get(self, within_s: float = 0) -> Any:
        """The answer; what it raised is raised."""
        self._thread.join(within_s or ANSWERED_S)
        assert self.over, "the call is still under way"
        if self.error is not None:
            raise self.error
        return self.answer


def in_one_batch(broker: Broker, store: Path, calls: list[Callable[[Store], Any]]) -> list[Asked]:
    """Have the broker serve all of these in one commit, in this order; what they answer comes later."""
    asked = [Asked(store, call, threading.Event()) for call in calls]
    until(lambda: all(one.connected.is_set() for one in asked), "all are connected")
    serve, sizes = broker._desk.serve, []

    def gather(given: list[Call], alive: Callable[[], None]) -> list[Answer]:
        """On the broker's thread, in the place of the batch before."""
        if not sizes:
            for place, one in enumerate(asked):
                assert one.go is not None
                one.go.set()
                until(lambda place=place: broker._listen(0.01) or len(broker._turn) > place, "it is heard")
        sizes.append(len(given))
        return serve(given, alive)

    broker._desk.serve = gather  # type: ignore[method-assign]
    Asked(store, lambda _: None).get()  # its first question
    until(lambda: len(sizes) > 1, "the batch is served")
    broker._desk.serve = serve  # type: ignore[method-assign]
    assert sizes[1] == len(calls)
    return asked


def caller_of(store: Store) -> Caller:
    """What carries the calls of a store that `through` gave."""
    found = store.driver.close.__self__  # type: ignore[attr-defined]
    assert isinstance(found, Caller)
    return found
