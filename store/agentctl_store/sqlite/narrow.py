"""What a list is narrowed to and sorted by, as SQL. Values are always parameters, never text."""

from __future__ import annotations

from ..domain.machine import STATES
from ..errors import BadInput
from ..ids import ALPHABET, LENGTH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..read.models import Filter

_ID = " || ".join(f"substr('{ALPHABET}', ((t.id >> {shift}) & 31) + 1, 1)" for shift in range(5 * (LENGTH - 1), -1, -5))
#: texts of a task that a filter's text is looked for in
_TEXTS = ("q.name", "t.state", "p.text", "t.reason", "t.error", "t.key", "a.name", "t.error_class")

TASK_KEYS = {
    "id": "t.id",
    "queue": "q.name",
    "state": "t.state",
    "priority": "t.priority",
    "available": "t.available_ms",
    "finished": "t.finished_ms",
    "attempts": "t.attempts",
}
DEAD_KEYS = {
    "died": "t.finished_ms",
    "queue": "q.name",
    "reason": "t.reason",
    "agent": "a.name",
    "attempts": "t.attempts",
    "id": "t.id",
}


def sort_key(sort: str, keys: dict[str, Any]) -> tuple[Any, bool]:
    """Return what `sort` sorts by, and whether the order is turned round. Raises BadInput."""
    name, descending = sort.removeprefix("-"), sort.startswith("-")
    if name not in keys:
        raise BadInput(f"cannot sort by {sort!r}", f"Sort by one of: {', '.join(keys)}; a leading - turns it round")
    return keys[name], descending


def order_by(sort: str, keys: dict[str, str], *, few: bool = False) -> str:
    """Return the ORDER BY terms of `sort`; ties are broken by id.

    `few` says that the filter leaves a small part of all tasks: then sorting that part is cheaper than walking all
    tasks in order, which the planner, knowing no numbers, would do.
    """
    key, descending = sort_key(sort, keys)
    direction = "DESC" if descending else "ASC"
    if key == "t.id" and few:
        return f"+t.id {direction}"
    return f"t.id {direction}" if key == "t.id" else f"{key} {direction}, t.id {direction}"


def where(filter: Filter, *, dead: bool = False) -> tuple[str, list[Any]]:
    """Return the condition for tasks that match `filter`, and its parameters. Raises BadInput."""
    conditions, values = [], []
    if dead:
        conditions.append("t.state = 'dead'")
    if filter.state is not None:
        if filter.state not in STATES:
            raise BadInput(f"there is no state {filter.state!r}", f"States are: {', '.join(STATES)}")
        conditions.append(f"t.state = '{filter.state}'")  # a literal, so that partial indexes serve
        if filter.state in ("done", "cancelled"):
            conditions.append("t.state IN ('done', 'cancelled')")
    if filter.queue is not None:
        conditions.append("t.queue = (SELECT id FROM queue WHERE name = ?)")
        values.append(filter.queue)
    if filter.agent is not None:
        conditions.append("a.name = ?")
        values.append(filter.agent)
    if filter.reason is not None:
        conditions.append("t.reason = ?")
        values.append(filter.reason)
    if filter.text:
        found, needles = _contains(filter.text)
        conditions.append(found)
        values.extend(needles)
    return " AND ".join(conditions) or "1", values


def _contains(text: str) -> tuple[str, list[Any]]:
    # LIKE is blind to case for ASCII, which ids and names are; other alphabets match as written.
    pattern = "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    tests = [f"{column} LIKE ? ESCAPE '\\'" for column in _TEXTS]
    values: list[Any] = [pattern] * len(tests)
    low = text.lower()
    if set(low) <= set("0123456789abcdef"):
        tests.append("hex(t.correlation) LIKE ?")
        values.append(pattern)
    if len(low) <= LENGTH and set(low) <= set(ALPHABET):
        tests.append(f"({_ID}) LIKE ?")
        values.append(pattern)
    return f"({' OR '.join(tests)})", values


def before(key: Any, descending: bool, value: Any, task: int) -> tuple[str, list[Any]]:
    """Return the condition for tasks that come before (`value`, `task`) in an order; None sorts lowest."""
    sign = ">" if descending else "<"
    if key == "t.id":
        return f"t.id {sign} ?", [task]
    if value is None:
        lower = f"({key} IS NULL AND t.id {sign} ?)"
        return (f"({key} IS NOT NULL OR {lower})" if descending else lower), [task]
    nulls = "" if descending else f"{key} IS NULL OR "
    return f"({nulls}{key} {sign} ? OR ({key} = ? AND t.id {sign} ?))", [value, value, task]
