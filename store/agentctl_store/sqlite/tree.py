"""The tree of a piece of work: who added whom, and who waits for whom, from one task on."""

from __future__ import annotations

from ..ids import write_id
from ..jsontext import dumps
from ..read.models import TreeRow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..read.models import TaskRow
    from .readfile import ReadFile

MAX_AFTER = 50  #: tasks named that one waits for


def tree(
    file: ReadFile, sql: dict[str, str], top: int, limit: int, rows_of: Callable[[list[int]], list[TaskRow]]
) -> tuple[TreeRow, ...]:
    """See Reader.tree. Level by level, so that what is left out is what is furthest away."""
    found, beyond = _reached(file, sql, top, limit)
    rows = {row.task: row for row in rows_of(sorted(found))}
    after: dict[int, list[int]] = {}
    for child, parent in file.rows(sql["waits_for"], (dumps(sorted(found)), MAX_AFTER * limit)):
        after.setdefault(child, []).append(parent)
    times = {number: rest for number, *rest in file.rows(sql["nodes"], (dumps(sorted(found)),))}
    if top not in times:
        return ()
    homes: dict[int, int] = {}
    made = []
    for number in sorted(found, key=lambda one: (one != top, one)):  # an id tells when: who adds comes before the added
        creator, claimed, ended = times[number]
        waits = after.get(number, [])
        if number != top:
            known = [parent for parent in waits if parent in homes or parent == top]
            homes[number] = creator if creator in found else homes.get(known[0], top) if known else top
        home = homes.get(number)
        named = tuple(write_id(parent) for parent in waits[:MAX_AFTER])
        row = rows.get(write_id(number))
        if row is not None:
            more = beyond.get(number, 0)
            made.append(TreeRow(row, None if home is None else write_id(home), named, claimed, ended, more))
    return tuple(made)


def _reached(file: ReadFile, sql: dict[str, str], top: int, limit: int) -> tuple[set[int], dict[int, int]]:
    """Return the tasks of the tree, and how many next to each were left out."""
    found, level = {top}, [top]
    while level and len(found) < limit:
        below: list[int] = []
        for block in ("created_by", "waiting_for"):
            below += [row[1] for row in file.rows(sql[block], (dumps(level), limit))]
        level = [number for number in dict.fromkeys(below) if number not in found][: limit - len(found)]
        found.update(level)
    beyond: dict[int, int] = {}
    if len(found) >= limit:
        shown: dict[int, int] = {}
        for block in ("created_by", "waiting_for"):
            for above, number in file.rows(sql[block], (dumps(sorted(found)), 2 * limit)):
                shown[above] = shown.get(above, 0) + (number in found)
        for number, created, waiting in file.rows(sql["branches"], (dumps(sorted(found)),)):
            beyond[number] = max(0, created + waiting - shown.get(number, 0))
    return found, beyond
