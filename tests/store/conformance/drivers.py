"""The drivers that the conformance suite holds to agentctl_store.driver.Driver. A new one is one more line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from store.store_kit import make  # noqa: TID251

from agentctl_store.broker.driver import connect
from agentctl_store.broker.server import Broker
from agentctl_store.sqlite.driver import SqliteDriver

if TYPE_CHECKING:
    from agentctl_store.clock import Clock
    from agentctl_store.driver import Driver


def sqlite(folder: Path, clock: Clock) -> Driver:
    """The file itself."""
    make(str(folder / ".agentctl"))
    return SqliteDriver(str(folder / ".agentctl"), synchronous="OFF")


def broker(folder: Path, clock: Clock) -> Driver:
    """A client of a broker that runs beside the test."""
    directory = str(folder / ".agentctl")
    make(directory)
    server = Broker(directory, clock, synchronous="OFF")
    server.start()
    driver = connect(directory, clock, create=False, stay=False)
    assert driver is not None
    close = driver.close

    def both() -> None:
        close()
        server.stop()

    driver.close = both  # type: ignore[method-assign]
    return driver


#: name → makes a new, empty store in a folder
DRIVERS: dict[str, Callable[[Path, Clock], Driver]] = {"sqlite": sqlite, "broker": broker}
