"""`agentctl task show --tree`: a piece of work as a tree, for people with branches, for machines nested."""

from __future__ import annotations

import time

from agentctl_store.errors import NotFound
from agentctl_store.ids import write_id

from .call import Call
from .diagnostics import counted
from .table import Column
from .tasks import mark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from agentctl_store.read.models import TreeRow

    Branches = dict[str | None, list[TreeRow]]  #: by the task they stand under

MAX_LINES, MAX_NODES = 1_000, 10_000  #: tasks shown to people, and told to machines
MAX_DEPTH = 100
_NODE = (
    Column("queue"),
    Column("state"),
    Column("mark"),
    Column("agent"),
    Column("took_ms", "span"),
    Column("finished_at", "time", title="finished", wide=True),
    Column("after", "list"),
)
_LINES = (Column("branch", "branch", title="task"), *_NODE, Column("why", wide=True), Column("title"))
_FLAT = [
    Column("task"), Column("under"), *_NODE, Column("unroutable"), Column("degraded", "flag"),
    Column("created_at", "time"), Column("claimed_at", "time"), Column("title"), Column("more", "number"),
]  # fmt: skip
_NESTED = [column for column in _FLAT if column.name != "under"]
_NESTED.append(Column("children", "rows", parts=_NESTED))


def show_tree(call: Call, number: int) -> int:
    """Show a task and all below it. NotFound."""
    if call.output in ("table", "wide") and call.fields is None:
        call.show(_LINES, lambda: _lines(_branches(call, number, MAX_LINES)))
        creator = call.store.task(number).creator
        if creator is not None:
            call.note(f"{write_id(creator)} added it: agentctl task show {write_id(creator)} --tree")
        return 0
    if call.output in ("jsonl", "csv") or call.fields is not None:
        return call.show(_FLAT, lambda: _flat(_branches(call, number, MAX_NODES)))
    return call.show_one(_NESTED, lambda: next(_nested(_branches(call, number, MAX_NODES), None, MAX_DEPTH)))


def _branches(call: Call, number: int, limit: int) -> Branches:
    branches: Branches = {}
    for one in call.reader.tree(write_id(number), limit):
        branches.setdefault(one.home, []).append(one)
    if not branches:
        raise NotFound(f"there is no task {write_id(number)}", "Look for it with: agentctl task list")
    return branches


def _values(one: TreeRow) -> dict[str, Any]:
    row, now_ms = one.row, time.time_ns() // 1_000_000
    running = row.state == "active" and one.claimed_ms is not None
    until_ms = one.ended_ms if one.ended_ms is not None else now_ms if running else None
    took = None if until_ms is None or one.claimed_ms is None else max(0, until_ms - one.claimed_ms)
    return {
        "task": row.task, "under": one.home, "queue": row.queue, "state": row.state, "mark": mark(row),
        "agent": row.agent, "took_ms": took, "finished_at": row.finished_ms, "after": one.after,
        "unroutable": row.unroutable, "degraded": row.degraded, "created_at": row.created_ms,
        "claimed_at": one.claimed_ms, "title": row.title, "more": one.more, "why": row.unroutable or row.reason,
    }  # fmt: skip


def _walk(branches: Branches) -> Iterator[tuple[str, str, TreeRow]]:
    """Yield each task with the branch that leads to it and the one that goes on below it, depth first."""
    stack = [("", "", one) for one in reversed(branches[None])]
    while stack:
        branch, below, one = stack.pop()
        yield branch, below, one
        under = branches.get(one.row.task, [])
        for place, child in reversed(list(enumerate(under))):
            last = place == len(under) - 1 and not one.more
            stack.append((below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "), child))


def _lines(branches: Branches) -> Iterator[dict[str, Any]]:
    waiting: list[tuple[str, int]] = []  # what was left out, told after the last task below
    for branch, below, one in _walk(branches):
        while waiting and not branch.startswith(waiting[-1][0]):
            yield _left_out(*waiting.pop())
        values = _values(one)
        yield values | {"branch": branch + one.row.task, "after": _short(one.after)}
        if one.more:
            waiting.append((below, one.more))
    while waiting:
        yield _left_out(*waiting.pop())


def _short(after: tuple[str, ...]) -> tuple[str, ...]:
    return after if len(after) <= 2 else (after[0], f"… {len(after):,} in all")


def _left_out(below: str, more: int) -> dict[str, Any]:
    empty: dict[str, Any] = dict.fromkeys([column.name for column in _LINES])
    return empty | {"branch": f"{below}└─ … {counted(more, 'more task')}"}


def _flat(branches: Branches) -> Iterator[dict[str, Any]]:
    for _, _, one in _walk(branches):
        yield _values(one)


def _nested(branches: Branches, home: str | None, depth: int) -> Iterator[dict[str, Any]]:
    for one in branches.get(home, []):
        below = list(_nested(branches, one.row.task, depth - 1)) if depth else []
        yield _values(one) | {"children": below}
