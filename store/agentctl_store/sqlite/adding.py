"""Adding tasks: idempotency keys, parents, the state a new task begins in."""

from __future__ import annotations

from ..domain.event import KINDS
from ..domain.machine import FINAL
from ..domain.task import MAX_PARENTS, Added
from ..errors import BadInput, NotFound
from ..ids import in_order, write_id
from ..jsontext import dumps
from ..later import later
from ..record import as_dict
from .transaction import MOST_KNOWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..domain.machine import State
    from ..domain.task import NewTask
    from . import limiting, routing
    from .routing import Unrouted
    from .transaction import Transaction
else:
    later(globals(), __package__, "limiting", "routing")

_ADDED = KINDS["task.added"]
MOST_ANSWERED = 16 << 20  #: characters of results that one call answers: ten thousand may name one key
SERVED_MS = 100  #: for so long it is believed that a queue has agents: another process may declare others
_PLAIN = (None, None, None, None, 0, None)  #: no deadline, timeout, retry policy, creator, lane or chain


def add(tx: Transaction, sql: dict[str, str], tasks: Sequence[NewTask], actor: str | None) -> list[Added]:
    """Add all of `tasks` in order; later ones may name earlier ones as parents by key."""
    limits = tx.conn.limited()
    if limits and limits.depths:
        fresh = [one for one in tasks if _known(tx, sql, one) is None]
        new = {one.key or number: one for number, one in reversed([*enumerate(fresh)])}  # a key twice is one task
        limiting.check_depth(tx, limits, [one.queue for one in new.values()])
    added, answered = [], 0
    unrouted: list[Unrouted] = []  # one, once there is a task that nobody can take
    for task in tasks:
        added.append(_known(tx, sql, task) or _add(tx, sql, task, actor, unrouted))
        answered += len(added[-1].result or "")
        if answered > MOST_ANSWERED:
            raise BadInput(
                f"the results of tasks that were added before under these keys are more than {MOST_ANSWERED >> 20} MiB",
                "Add them in parts",
            )
    for one in unrouted:
        one.tell()
    return added


def _known(tx: Transaction, sql: dict[str, str], task: NewTask) -> Added | None:
    if task.key is None:
        return None
    row = tx.execute(sql["by_key"], (task.key,)).fetchone()
    return None if row is None else Added(row[0], False, row[1], row[2])


def _add(tx: Transaction, sql: dict[str, str], task: NewTask, actor: str | None, unrouted: list[Unrouted]) -> Added:
    parents = _parents(tx, sql, task) if task.after else []
    still_open = sum(state not in FINAL for _, state in parents) if parents else 0
    failed = [parent for parent, state in parents if state in ("dead", "cancelled")] if parents else []
    now = tx.now.wall_ms
    available = max(now, task.run_at_ms or now)
    state: State = "blocked" if still_open else "scheduled" if available > now else "ready"
    body, body_digest = tx.body(task.payload)
    number, correlation = in_order(tx.conn.last_task, task.id), bytes.fromhex(task.correlation)
    if number != task.id and correlation[:8] == task.id.to_bytes(8, "big"):
        correlation = number.to_bytes(8, "big") + correlation[8:]
    fallback = None if task.on_parent_failure == "fail" else task.on_parent_failure
    retry = None if task.retry is None else dumps(as_dict(task.retry))
    queue = tx.number("queue", task.queue)
    plain = task.creator is None and not task.needs
    lane, chain = (0, None) if plain else routing.placed(tx, sql, task, actor)
    values = (
        queue, state, body, correlation, task.priority, available, task.key, fallback,
        still_open, task.deadline_ms, task.timeout_ms, retry, task.creator, lane, chain,
    )  # fmt: skip
    number = tx.conn.last_task = _insert(tx, sql, number, values)
    why = ""
    if lane or not _served(tx, sql, task.queue):
        if not unrouted:
            unrouted.append(routing.Unrouted(tx))
        why = unrouted[0].why(number, task.queue, lane)
    for parent, parent_state in parents:
        tx.execute(sql["insert_edge"], (parent, number, 1 if parent_state in FINAL else None))
    if parents or task.key or task.priority or fallback or available > now or values[9:] != _PLAIN:
        told = _told(task, available if available > now else None, fallback, still_open, parents, lane, chain)
    else:
        told = None
    # A trace that begins here has this id as its first half. And nothing was tried yet: the attempt's column has room
    # for the queue.
    trace = correlation[8:] if correlation[:8] == number.to_bytes(8, "big") else correlation
    tx.event(_ADDED, number, queue, actor, told, body=body, body_digest=body_digest, correlation=trace)
    if failed and fallback != "run":
        from .settling import end_child_alone

        state = end_child_alone(tx, sql, number, state, failed[0], fallback, actor)
    return Added(number, True, state, None, why)


def _served(tx: Transaction, sql: dict[str, str], queue: str) -> bool:
    """Whether a declared agent takes from a queue; so does somebody, where none is declared."""
    conn = tx.conn
    if tx.now.boot_ms - conn.served_ms > SERVED_MS or len(conn.served) > MOST_KNOWN:
        conn.served.clear()
        conn.served_ms = tx.now.boot_ms
    known = conn.served.get(queue)
    if known is None:
        declared, serving = tx.execute(sql["served"], (f'"{queue}"',)).fetchone()
        known = conn.served[queue] = not declared or bool(serving)
    return known


def _told(
    task: NewTask,
    run_at: int | None,
    fallback: str | None,
    still_open: int,
    parents: list[tuple[int, State]],
    lane: int,
    chain: int | None,
) -> str:
    """Return what the history must know of a new task beside its payload and correlation id, as JSON text."""
    told: dict[str, Any] = {
        "priority": task.priority or None,
        "run_at": run_at,
        "key": task.key,
        "after": [parent for parent, _ in parents] or None,
        "ended": [parent for parent, parent_state in parents if parent_state in FINAL] or None,
        "open": still_open or None,
        "on_parent_failure": fallback,
        "deadline": task.deadline_ms,
        "timeout": task.timeout_ms,
        "retry": None if task.retry is None else as_dict(task.retry),
        "creator": task.creator,
        "lane": lane or None,
        "chain": chain,
    }
    return dumps({name: value for name, value in told.items() if value is not None})


def _insert(tx: Transaction, sql: dict[str, str], number: int, values: tuple[Any, ...]) -> int:
    try:
        tx.execute(sql["insert"], (number, *values))
    except tx.conn.library.IntegrityError:
        taken = number
        while tx.execute(sql["parent"], (number,)).fetchone() is not None:
            number += 1  # two of one millisecond drew the same 20 random bits
        if number == taken:
            raise
        tx.execute(sql["insert"], (number, *values))
    return number


def _parents(tx: Transaction, sql: dict[str, str], task: NewTask) -> list[tuple[int, State]]:
    if len(task.after) > MAX_PARENTS:
        raise BadInput(f"a task may wait for at most {MAX_PARENTS:,} others, not {len(task.after):,}")
    found: dict[int, State] = {}
    for named in dict.fromkeys(task.after):
        block = "parent" if isinstance(named, int) else "parent_by_key"
        row = tx.execute(sql[block], (named,)).fetchone()
        if row is None:
            shown = f"task {write_id(named)}" if isinstance(named, int) else f"a task with key {named!r}"
            raise NotFound(
                f"cannot wait for {shown}: there is none",
                "Add the parents first; a key must stand on an earlier line",
            )
        found[row[0]] = row[1]
    return list(found.items())
