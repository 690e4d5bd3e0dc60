"""The drivers that the conformance suite holds to agentctl_store.driver.Driver. A new one is one more line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from agentctl_store.sqlite.driver import SqliteDriver

if TYPE_CHECKING:
    from agentctl_store.driver import Driver

#: name → makes a new, empty store in a folder
DRIVERS: dict[str, Callable[[Path], Driver]] = {
    "sqlite": lambda folder: SqliteDriver(str(folder / ".agentctl"), create=True, synchronous="OFF"),
}
