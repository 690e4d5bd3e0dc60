"""The store as everybody above it sees it: checks what it is given, stamps time and ids.

`open_store` picks the driver; nobody above knows which one it is.
"""

from __future__ import annotations

import os

from .clock import Clock
from .fleetverbs import FleetVerbs
from .ids import read_id, write_id
from .jsontext import dumps
from .later import Part
from .taskverbs import DEFAULT_LEASE_MS as DEFAULT_LEASE_MS
from .taskverbs import FOREVER_MS as FOREVER_MS
from .taskverbs import MAX_CLAIM as MAX_CLAIM
from .taskverbs import MAX_LEASE_MS as MAX_LEASE_MS
from .taskverbs import MAX_PROGRESS as MAX_PROGRESS
from .taskverbs import MAX_WAIT_MS, TaskVerbs
from .taskverbs import TaskRequest as TaskRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .domain.event import Event
    from .driver import Driver
    from .limitverbs import LimitVerbs
    from .messageverbs import MessageVerbs
    from .questionverbs import QuestionVerbs
    from .scheduleverbs import ScheduleVerbs


def open_store(
    directory: str, *, create: bool = False, clock: Clock | None = None, own: bool = False, stay: bool = False
) -> Store:
    """Open the store in `directory`, made if `create`: through the supervisor that owns it, else the file itself.

    `own` is for the owner, who always takes the file; `stay` for callers who stay long enough to see supervisors come.
    NotFound, StoreError and its kinds say what is wrong.
    """
    clock = clock or Clock()
    if not own and (stay or os.access(f"{directory}/broker.sock", os.F_OK)):
        from .broker.driver import connect

        driver = connect(directory, clock, create=create, stay=stay)
        if driver is not None:
            return Store(driver, directory, clock)
    from .sqlite.driver import SqliteDriver

    return Store(SqliteDriver(directory, create=create), directory, clock)


class Store(TaskVerbs, FleetVerbs):
    """All verbs of the store. Not for use by two threads at once: each opens its own."""

    limits: LimitVerbs = Part("agentctl_store.limitverbs", "LimitVerbs", "driver", "clock")  # type: ignore[assignment]
    messages: MessageVerbs = Part("agentctl_store.messageverbs", "MessageVerbs", "driver", "clock")  # type: ignore[assignment]
    schedules: ScheduleVerbs = Part("agentctl_store.scheduleverbs", "ScheduleVerbs", "driver", "clock")  # type: ignore[assignment]
    questions: QuestionVerbs = Part("agentctl_store.questionverbs", "QuestionVerbs", "driver", "clock")  # type: ignore[assignment]

    def __init__(self, driver: Driver, directory: str, clock: Clock) -> None:
        self.driver = driver
        self.directory = directory
        self.clock = clock

    def note(self, kind: str, *, actor: str, data: object = None) -> None:
        """Append an event that changes no row."""
        self.driver.note(kind, actor=actor, data=None if data is None else dumps(data), now=self.clock.now())

    def events(
        self,
        *,
        after: int = 0,
        limit: int = 100,
        task: int | None = None,
        kinds: Sequence[str] = (),
        newest_first: bool = False,
    ) -> list[Event]:
        return self.driver.events(after=after, limit=limit, task=task, kinds=kinds, newest_first=newest_first)

    def changed(self, after: int = 0, *, task: int | None = None, wait_ms: int = 0) -> int:
        """Return the number of the last event (of `task`), having waited for one beyond `after`.

        For `wait_ms` at most, and for no more than an hour: whoever waits longer asks again.
        """
        return self.driver.changed(after, task=task, wait_ms=min(wait_ms, MAX_WAIT_MS))

    def version(self) -> int:
        """Return a number that changes when another process has committed."""
        return self.driver.version()

    def close(self) -> None:
        self.driver.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def library_version() -> str:
    """Return the version of the SQLite library that stores are opened with. Raises UnsafeSqlite."""
    from .sqlite import gate

    return str(gate.load().sqlite_version)


def sessions_folder(directory: str, session: int) -> str:
    """Return the folder of a session's files."""
    return os.path.join(directory, "sessions", write_id(session))


def read_session_id(text: str) -> int:
    return read_id(text, "session id")
