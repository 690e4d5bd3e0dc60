"""Which running tasks a person asked to end, read off the history."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentctl_store.store import Store

MOST_NEWS = 1_000  #: of cancels heard at once; the rest is heard at the next look


class CancelNews:
    """Remembers how far the history has been read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen = 0

    def begin(self) -> None:
        """What was asked until now is known from the tasks themselves."""
        self._seen = self._store.changed()

    def news(self) -> set[int]:
        """Return the tasks that were asked to end since the last time."""
        newest = self._store.changed()
        if newest == self._seen:
            return set()
        asked = self._store.events(after=self._seen, limit=MOST_NEWS, kinds=("task.cancel_asked",))
        self._seen = asked[-1].seq if len(asked) == MOST_NEWS else newest
        return {event.task for event in asked if event.task is not None}
