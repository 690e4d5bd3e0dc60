"""What an attempt holds: the reading that guards its end, and the heartbeat that extends it."""

from __future__ import annotations

from ..domain.event import KINDS
from ..domain.task import Lease
from ..errors import NotFound, StaleAttempt
from ..ids import write_attempt, write_id
from ..jsontext import dumps
from .rows import policy_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..domain.retry import Failure, RetryPolicy
    from ..domain.task import Usage, Used
    from .transaction import Transaction

    Body = tuple[int | None, bytes]  #: its number and digest


_USED = KINDS["task.used"]


class Held:
    """A task and its attempt `n`, read inside the transaction that is to end it."""

    __slots__ = (
        "agent", "agent_retry", "attempts", "burnt", "cancel_asked", "chain", "degraded", "fallback", "lane", "n",
        "outcome", "queue", "retry", "state", "task", "throttled",
    )  # fmt: skip

    def __init__(self, tx: Transaction, sql: dict[str, str], task: int, n: int) -> None:
        row = tx.execute(sql["held"], (n, task)).fetchone()
        if row is None:
            raise NotFound(f"there is no task {write_id(task)}", "Look for it with: agentctl task list")
        self.task, self.n = task, n
        (
            self.state, self.attempts, self.burnt, self.throttled,
            self.retry, self.cancel_asked, self.agent_retry, self.outcome, self.agent, self.fallback,
            self.degraded, self.queue, self.lane, self.chain,
        ) = row  # fmt: skip

    @property
    def owns(self) -> bool:
        """Whether this attempt owns its task now."""
        return bool(self.state == "active" and self.attempts == self.n)

    def policy(self) -> RetryPolicy:
        """Return the task's retry policy, else its agent's, else the default."""
        from ..domain.retry import RetryPolicy

        return policy_from(self.retry) or policy_from(self.agent_retry) or RetryPolicy()

    def stale(self, verb: str) -> StaleAttempt:
        """Return the refusal, saying who owns the task now."""
        if self.n > self.attempts:
            why = f"the task was claimed {self.attempts} times" if self.attempts else "the task was never claimed"
        elif self.n < self.attempts:
            why = f"it was claimed again as attempt {write_attempt(self.task, self.attempts)}"
        else:
            why = f"the task is {self.state}"
        return StaleAttempt(
            f"attempt {write_attempt(self.task, self.n)} cannot {verb}: {why}",
            "Drop this work: its lease ran out, or the task ended without it",
        )


def heartbeat(
    tx: Transaction,
    sql: dict[str, str],
    task: int,
    n: int,
    lease_ms: int,
    progress: str | None,
    usage: Usage | None,
) -> Lease:
    """Extend the lease; leave progress and usage on the attempt's row."""
    row = tx.execute(sql["heartbeat"], (tx.now.boot_ms + lease_ms, task, n)).fetchone()
    if row is None:
        raise Held(tx, sql, task, n).stale("extend its lease")
    if progress is not None or usage is not None:
        tx.execute(sql["report"], (progress, *used_columns(usage), task, n))
    limits = row[2] and tx.conn.limited()
    return Lease(row[0], bool(row[1]), limits.stop(tx.rows, task, n, tx.now.wall_ms) if limits else None)


def kept_partial(tx: Transaction, held: Held, failure: Failure) -> Body:
    """Keep with an attempt what it had got to, if it said that; return the body for the event of its end."""
    if failure.partial is None:
        return None, b""
    partial = tx.body(failure.partial)
    tx.execute("UPDATE attempt SET partial = ? WHERE task = ? AND n = ?", (partial[0], held.task, held.n))
    return partial


def more_of(one: Sequence[int | None], other: Used) -> Used:
    """Return what was used in all: what was said once stays said, whoever says less of it later."""
    inp, out, cost = [b if a is None else a if b is None else max(a, b) for a, b in zip(one, other, strict=True)]
    return inp, out, cost


def used_late(tx: Transaction, task: int, n: int, usage: Usage) -> None:
    """Count what is told of an attempt's usage after it ended: its agent ended it, its keeper heard all it said."""
    *said, _ = tx.execute(tx.conn.sql["used"], (task, n)).fetchone()
    used = more_of(said, used_columns(usage))
    if used == tuple(said):
        return
    tx.execute(tx.conn.sql["report"], (None, *used, task, n))
    tx.event(_USED, task, n, None, dumps({"usage": list(used)}))
    limits = tx.conn.limited()
    if limits:
        limits.used_late(tx, task, n, [(late or 0) - (before or 0) for late, before in zip(used, said, strict=True)])


def used_by_session(tx: Transaction, session: int, usage: Usage) -> None:
    """Count what is told of the usage of a session's attempt as the session ends: the attempt has ended before."""
    row = tx.execute(
        "SELECT x.task, x.n FROM session s JOIN attempt x ON (x.task, x.n) = (s.task, s.attempt) WHERE s.id = ?",
        (session,),
    ).fetchone()
    if row is not None:
        used_late(tx, row[0], row[1], usage)


def used_columns(usage: Usage | None) -> Used:
    """Return usage as its three columns, empty where nothing was said."""
    return (None,) * 3 if usage is None else (usage.input_tokens, usage.output_tokens, usage.cost_microusd)
