"""Forgetting finished work, in steps so short that no writer waits for more than a few milliseconds.

1. Done and cancelled tasks that ended before the cutoff go, with their attempts, edges, sessions and the texts of
   their payloads and results; so do messages that were acked, expired or discarded. All other dead letters stay: they
   wait for a person. A parent stays as long as a child of it does, for a child can ask for its parents' results. Lanes
   that no task is left of go too.
2. What still lives is carried over the cut: a `task.carried` event says how it stood at the cut, worked out from the
   events that are about to go, never from the tables. So replaying what is left gives the tables as before.
3. The history before the cut goes, oldest first. The last hash cut off is kept as the anchor of the chain.

A step that was interrupted is taken up by the next prune.
"""

from __future__ import annotations

import fcntl
import os

from ..domain.upkeep import Pruned
from ..errors import BadInput, Conflict
from .past import seq_at
from .place import PRIVATE_FILE
from .prune_lanes import forget_lanes
from .prune_messages import carry_messages, forget_messages
from .prune_tasks import carry_tasks, forget_sessions, forget_tasks
from .pruning import Pruning
from .rebuild import origin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..clock import Clock


class one_pruner:
    """The lock that keeps two prunes apart, as a context. Conflict when another one runs."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, "prune.lock")

    def __enter__(self) -> None:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise Conflict("another prune of this store is running", "Wait until it ends") from None

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def prune(
    directory: str, older_than_ms: int, clock: Clock, actor: str, progress: Callable[[str, int], None] | None = None
) -> Pruned:
    """Forget what ended more than `older_than_ms` ago. BadInput for a negative span; StoreError and its kinds."""
    if older_than_ms < 0:
        raise BadInput("work that has not ended yet cannot be pruned", "Give a span of time, like 30d")
    with one_pruner(directory):
        pruning = Pruning(directory, clock, actor, progress or (lambda what, count: None))
        try:
            return _prune(pruning, clock.now().wall_ms - older_than_ms)
        finally:
            pruning.close()


def _prune(pruning: Pruning, cutoff_ms: int) -> Pruned:
    size = os.path.getsize(pruning.conn.path)
    pruning.cut()  # what an interrupted prune has left
    forget_tasks(pruning, cutoff_ms)
    forget_sessions(pruning, cutoff_ms)
    forget_messages(pruning, cutoff_ms)
    forget_lanes(pruning)
    anchor = origin(pruning.file, pruning.read)[0]
    cut_to = seq_at(pruning.file, pruning.read, cutoff_ms - 1, anchor)
    if cut_to > anchor:
        carry_tasks(pruning, cut_to, anchor)
        carry_messages(pruning, cut_to)
        pruning.begin_cut(cut_to, cutoff_ms)
        pruning.cut()
    pruning.give_back()
    freed = max(size - os.path.getsize(pruning.conn.path), 0)
    return Pruned(
        pruning.tasks, pruning.sessions, pruning.events, freed, pruning.longest_s * 1000, pruning.messages,
        pruning.lanes,
    )  # fmt: skip
