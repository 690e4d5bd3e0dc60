"""Verbs on tasks that people use: list, cancel, retry, wait."""

from __future__ import annotations

import time

from agentctl_store.errors import TimedOut
from agentctl_store.ids import write_id
from agentctl_store.read.models import TASK_SORTS, Filter

from .acts import each
from .call import Call, actor
from .given import task_id, task_name
from .table import Column
from .times import read_span
from .verb import AT_MOST, arg, opt, verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from agentctl_store.domain.machine import State
    from agentctl_store.domain.task import Ended, Task
    from agentctl_store.read.models import TaskRow

STATES = ("blocked", "scheduled", "ready", "active", "waiting", "done", "dead", "cancelled")
ENDED = ("done", "dead", "cancelled")
PAGE = 1_000
_LOOK_S = 60.0  #: how long one call waits for news of a task
_LIST = (
    Column("task"),
    Column("queue"),
    Column("state"),
    Column("priority", "number"),
    Column("attempts", "number"),
    Column("created_at", "time", title="created"),
    Column("available_at", "time", title="available", wide=True),
    Column("finished_at", "time", title="finished", wide=True),
    Column("agent"),
    Column("mark"),
    Column("needs", "list", wide=True),
    Column("unroutable", wide=True),
    Column("degraded", "flag", wide=True),
    Column("reason", wide=True),
    Column("class", wide=True),
    Column("error", wide=True),
    Column("correlation", wide=True),
    Column("title"),
)
_WAITED = (Column("task"), Column("state"), Column("reason"), Column("result", "json"))
_TASKS = "The tasks, by id or the beginning of it."


def sorts(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return what --sort accepts: each name, and with a dash the other way round."""
    return (*names, *("-" + name for name in names))


def windows(fetch: Callable[[int, int], Sequence[Any]], limit: int) -> Iterator[Any]:
    """Read a list window by window until `limit` rows or its end."""
    offset = 0
    while offset < limit:
        size = min(PAGE, limit - offset)
        window = fetch(offset, size)
        yield from window
        offset += len(window)
        if len(window) < size:
            return


def _listed(call: Call, limit: int, sort: str, narrowed: Filter) -> Iterator[TaskRow]:
    """Read the first `limit` tasks. Of many their ids first: windows would sort anew, and shift while work goes on.

    What matches no more by the time that its row is read is left out.
    """
    if limit <= PAGE:
        yield from windows(lambda offset, size: call.reader.tasks(offset, size, sort, narrowed), limit)
        return
    ids = call.reader.task_ids(limit, sort, narrowed)
    for start in range(0, len(ids), PAGE):
        yield from call.reader.tasks_of(ids[start : start + PAGE], narrowed)


@verb(
    "task list",
    summary="List tasks, the newest first.",
    reads=True,
    queue=opt("-q", help="Only of this queue.", complete="queues"),
    state=opt("-s", help="Only in this state.", choices=STATES),
    agent=opt(help="Only what this agent holds.", complete="agents"),
    text=opt("-t", help="Only where this stands in an id, payload or error.", metavar="TEXT"),
    sort=opt(help="By what, with a dash the other way round.", choices=sorts(TASK_SORTS), metavar="FIELD"),
    limit=AT_MOST,
)
def list_tasks(
    call: Call,
    *,
    queue: str | None = None,
    state: str | None = None,
    agent: str | None = None,
    text: str = "",
    sort: str = "-id",
    limit: int | None = None,
) -> int:
    """List tasks."""
    wanted: State | None = state  # type: ignore[assignment] # one of STATES
    narrowed = Filter(text, queue, agent, None, wanted)

    def fetch(most: int) -> list[dict[str, Any]]:
        found = _listed(call, most, sort, narrowed)
        return [
            {
                "task": row.task,
                "queue": row.queue,
                "state": row.state,
                "priority": row.priority,
                "attempts": row.attempts,
                "created_at": row.created_ms,
                "available_at": row.available_ms,
                "finished_at": row.finished_ms,
                "agent": row.agent,
                "mark": mark(row),
                "needs": row.needs,
                "unroutable": row.unroutable,
                "degraded": row.degraded,
                "reason": row.reason,
                "class": row.error_class,
                "error": row.error,
                "correlation": row.correlation,
                "title": row.title,
            }
            for row in found
        ]

    return call.show_first(_LIST, limit, fetch, empty="No tasks.")


def mark(row: TaskRow) -> str:
    """Return in a word what is out of the ordinary with a task."""
    return "unroutable" if row.unroutable else "degraded" if row.degraded else ""


def _ended(task: int, ended: Ended) -> str:
    return f"{write_id(task)} {ended.state}" + (f" ({ended.reason})" if ended.reason else "")


@verb(
    "task cancel",
    summary="Cancel tasks; a running one is asked to end.",
    dry=True,
    tasks=arg(_TASKS, "TASK...", complete="tasks"),
    reason=opt(help="Why, for the history.", metavar="TEXT"),
)
def cancel(call: Call, *, tasks: tuple[str, ...], reason: str = "cancelled") -> int:
    """Cancel tasks."""

    def act(text: str) -> str:
        number = task_id(call.store, text)
        ended = call.store.cancel(number, reason=reason, actor=actor())
        if ended.state == "active":
            return f"{write_id(number)} active (asked to end)"
        return _ended(number, ended)

    return each(call, tasks, act, would="cancel", look=lambda text: task_name(call.store, text))


@verb(
    "task retry",
    summary="Run tasks now that wait for their time, or are dead letters.",
    dry=True,
    tasks=arg(_TASKS, "TASK...", complete="tasks"),
)
def retry(call: Call, *, tasks: tuple[str, ...]) -> int:
    """Hasten scheduled tasks, requeue dead ones."""

    def act(text: str) -> str:
        number = task_id(call.store, text)
        if call.store.task(number).state == "dead":
            return _ended(number, call.store.requeue(number, actor=actor()))
        return _ended(number, call.store.hasten(number, actor=actor()))

    return each(call, tasks, act, would="retry", look=lambda text: task_name(call.store, text))


@verb(
    "task wait",
    summary="Wait until tasks have ended, and print how.",
    details="Exit code 0 when all are done, 1 when one is dead or cancelled, 5 when the time is up.",
    prints="table",
    tasks=arg(_TASKS, "TASK...", complete="tasks"),
    timeout=opt(help="Wait no longer than this.", metavar="DURATION"),
)
def wait(call: Call, *, tasks: tuple[str, ...], timeout: str | None = None) -> int:
    """Wait for tasks to end."""
    call.stays = True
    store = call.store
    numbers = [task_id(store, text) for text in tasks]
    until = None if timeout is None else time.monotonic() + read_span(timeout, "--timeout") / 1000
    ended: dict[int, Task] = {}
    for number in dict.fromkeys(numbers):
        asking = 0  #: the attempt whose question was told
        while number not in ended:  # one after the other: all must end, in whatever order
            seen = store.changed(task=number)
            task = store.task(number)
            if task.state in ENDED:
                ended[number] = task
                break
            if task.state == "waiting" and asking != task.attempts:
                asking = task.attempts
                call.note(f"{write_id(number)} waits for a person's answer. See what it asks: agentctl inbox")
            left_s = _LOOK_S if until is None else min(_LOOK_S, until - time.monotonic())
            if left_s <= 0:
                late = [one for one in dict.fromkeys(numbers) if store.task(one).state not in ENDED]
                names = ", ".join(write_id(one) for one in late[:3])
                raise TimedOut(f"{len(late)} of {len(numbers)} tasks have not ended: {names}", "Wait longer")
            store.changed(seen, task=number, wait_ms=int(left_s * 1000) + 1)
    rows = [
        {"task": write_id(n), "state": ended[n].state, "reason": ended[n].reason, "result": ended[n].result}
        for n in dict.fromkeys(numbers)
    ]
    call.show(_WAITED, lambda: rows)
    return 0 if all(row["state"] == "done" for row in rows) else 1
