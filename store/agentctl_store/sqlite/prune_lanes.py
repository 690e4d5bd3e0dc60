"""Forgetting lanes that no task refers to any more, so that a queue may meet any number of different needs in its life.

The newest lane stays: the number that the next one gets comes after it, and none is given twice. A connection that
still knows a lane that is gone finds that out before it names it again (sqlite/routing.py).
"""

from __future__ import annotations

from ..domain.event import KINDS
from ..jsontext import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .pruning import Pruning
    from .transaction import Transaction

_DROPPED = KINDS["lane.dropped"]
LANES_AT_ONCE = 100  #: between two looks at what other processes did meanwhile


def forget_lanes(pruning: Pruning) -> None:
    """Forget the lanes of no task; `pruning.lanes` counts them.

    Which are asked for is looked up once, beside the work that goes on, and what has asked since is in the history.
    """
    file, sql = pruning.file, pruning.sql
    seen = file.rows(pruning.read["last_event"])[0][0]
    lanes = [row[0] for row in file.rows("SELECT id FROM lane ORDER BY id")][:-1]
    used = {row[0] for row in file.rows(sql["lanes_used"])} if lanes else set()

    def forget(tx: Transaction, lane: int) -> None:
        if lane not in {row[0] for row in tx.execute(sql["lanes_asked"], (seen,))}:
            tx.execute("DELETE FROM lane WHERE id = ?", (lane,))
            tx.event(_DROPPED, data=dumps({"id": lane}))
            pruning.lanes += 1

    for first in range(0, len(lanes), LANES_AT_ONCE):
        last = file.rows(pruning.read["last_event"])[0][0]
        used.update(row[0] for row in file.rows(sql["lanes_asked"], (seen,)))
        seen = last
        pruning.steps([lane for lane in lanes[first : first + LANES_AT_ONCE] if lane not in used], forget)
        pruning.progress("lanes", pruning.lanes)
