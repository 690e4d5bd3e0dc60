"""A store's broker for the fault tests: a process of its own, to be killed, stopped and begun again."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.store_kit import until
from faults.store_workers import PATIENCE_S, THROUGH, Clients

from agentctl_store.broker.driver import connect
from agentctl_store.clock import Clock
from agentctl_store.store import Store

WAYS = ("direct", "broker")


class Owner:
    """The process that owns the store, if one does."""

    def __init__(self, clients: Clients, synchronous: str = "NORMAL") -> None:
        self._clients, self._synchronous = clients, synchronous
        self.pid = 0

    def start(self, die: str = "") -> None:
        """Begin to serve; returns before it does. `die`: see the job `serve`."""
        self.pid = self._clients.start("serve", synchronous=self._synchronous, die=die)

    def up(self, die: str = "") -> None:
        """Begin to serve, and return when it does."""
        self.start(die)
        ready = self._clients.logs / f"serve-{self._clients.count}.serves"
        until(ready.exists, "the broker serves")

    def signal(self, what: signal.Signals) -> None:
        assert self._clients.signal(self.pid, what), "the broker had ended by itself: see stderr"

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
