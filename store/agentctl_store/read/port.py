"""What screens and reading verbs ask of a store. Each call reads what it needs, closes and returns values:
no cursor outlives it, so that a forgotten screen never pins the write-ahead log.

All methods raise the errors of `agentctl_store.errors`. They may be called from any one thread at a time, `interrupt`
from another one.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from ..domain.breaker import Breaker
    from ..domain.event import Event
    from ..domain.limits import Bound, Hold
    from .models import (
        AttemptRow,
        DeadLetter,
        DeadLetterGroup,
        DeadLetterRow,
        EventRow,
        Filter,
        FleetSummary,
        InstanceRow,
        QueueRow,
        SessionRow,
        Spending,
        TaskRow,
        TreeRow,
    )

    class Reader(Protocol):
        """Windowed reads. `offset` counts rows in the order of `sort` among those that match `filter`.

        A window shorter than `limit` ends the list. `…_position` answers where a row is in that order, or
        None when it does not match (any more): a list keeps its place by it while rows come and go.
        """

        def version(self) -> int:
            """Return a number that changes whenever anything shown may have changed. Nearly free."""

        def interrupt(self) -> None:
            """Give up the call under way, which then raises Interrupted; when there is none, the next one does."""

        def summary(self, now_ms: int) -> FleetSummary: ...

        def instances(self, offset: int, limit: int, sort: str, filter: Filter) -> tuple[InstanceRow, ...]: ...
        def instance_count(self, filter: Filter) -> int: ...
        def instance_position(self, instance: str, sort: str, filter: Filter) -> int | None: ...
        def instance(self, instance: str) -> InstanceRow | None: ...
        def sessions(self, instance: str, limit: int) -> tuple[SessionRow, ...]:
            """Return the newest sessions of an instance, newest first."""

        def sessions_now(self, since_ms: int, known: Sequence[str] = ()) -> tuple[SessionRow, ...]:
            """Return the sessions that run, those opened at `since_ms` or later and those `known`, oldest first.

            Who follows sessions asks so: one that began and ended between two looks is among them.
            """

        def queues(self) -> tuple[QueueRow, ...]: ...

        def schedule_names(self) -> tuple[str, ...]: ...
        def asked(self, limit: int) -> tuple[tuple[str, str], ...]:
            """Return (task, question) of what is asked now, the oldest first."""

        def tasks(self, offset: int, limit: int, sort: str, filter: Filter) -> tuple[TaskRow, ...]: ...
        def task_ids(self, limit: int, sort: str, filter: Filter) -> tuple[str, ...]:
            """Return the ids of the first `limit` tasks, all as of one moment: what a long list is read by."""

        def tasks_of(self, tasks: Sequence[str], filter: Filter) -> tuple[TaskRow, ...]:
            """Return these tasks as they stand, in this order; not those that are gone or match no more."""

        def task_count(self, filter: Filter) -> int: ...
        def task_position(self, task: str, sort: str, filter: Filter) -> int | None: ...
        def tree(self, task: str, limit: int) -> tuple[TreeRow, ...]:
            """Return a task, the tasks it added, those that wait for one of them, and theirs: at most so many.

            The nearest come first; empty when there is no such task.
            """

        def attempts(self, task: str) -> tuple[AttemptRow, ...]:
            """Return a task's attempts, oldest first, at most the newest 1000."""

        def dead_letters(self, offset: int, limit: int, sort: str, filter: Filter) -> tuple[DeadLetterRow, ...]: ...
        def dead_letter_count(self, filter: Filter) -> int: ...
        def dead_letter_position(self, task: str, sort: str, filter: Filter) -> int | None: ...
        def dead_letter_groups(self, filter: Filter) -> tuple[DeadLetterGroup, ...]:
            """Return the groups by reason, largest first; `filter.reason` is not applied."""

        def dead_letter_ids(self, filter: Filter, limit: int) -> tuple[str, ...]:
            """Return the ids of the newest dead letters that match: what `*` marks and `--all` acts on."""

        def dead_letter(self, task: str) -> DeadLetter | None: ...

        def holds(self, now_ms: int) -> tuple[Hold, ...]:
            """Return why nothing starts where work waits: of each queue and each agent that is held back."""

        def bounds(self) -> tuple[Bound, ...]: ...
        def members(self) -> dict[str, str]:
            """Return the provider of each agent that has one."""

        def budgets(self, now_ms: int) -> tuple[Spending, ...]:
            """Return the budgets with what is spent of them, what runs included; per task nothing is counted."""

        def breakers(self) -> tuple[Breaker, ...]: ...

        def events(self, after: int, limit: int) -> tuple[EventRow, ...]:
            """Return events with `seq` above `after`, oldest first; negative `after` counts from the end."""

        def history(
            self,
            *,
            after: int = 0,
            limit: int = 100,
            task: int | None = None,
            kinds: Sequence[str] = (),
            newest_first: bool = False,
        ) -> list[Event]:
            """Return a page of the history, as Store.events does, without a word to the store's owner."""

        def close(self) -> None: ...
