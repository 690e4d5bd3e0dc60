"""What limits, budgets and breakers say to a start, a heartbeat and an end: asked inside their transactions.

A connection keeps what it read for as long as nobody else writes (Connection.limits), so a store that sets none of
these pays for one look at an attribute, and the broker, through which all writes come, for reading them once.
"""

from __future__ import annotations

from ..clock import GRACE_MS
from ..domain.breaker import Breaker, Seen, begin, end, hold, sign_of
from ..domain.budget import Budget, day_now, spent_words
from ..domain.event import KINDS
from ..domain.limits import Bound, Hold, interval_us, next_start_us, started_us, words
from ..errors import QueueFull
from ..jsontext import dumps, loads
from ..record import as_dict
from . import sqltext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from ..domain.retry import Failure
    from ..domain.task import Outcome, Used
    from .transaction import Transaction

    Key = tuple[str, str]  #: scope and name
    Rows = Callable[..., list[Any]]
    Running = list[Any]  #: (agent, queue, attempts, tokens, millionths of a dollar, ms) of what runs now

MOST_SPENT = 1 << 62  #: of one budget: agents report what they like, and the store holds 64 bits
SQL = sqltext.load("limits")
_NOTICED = "SELECT at_ms, data ->> '$.grace', data ->> '$.shift' FROM event WHERE kind = ? ORDER BY seq"
_GAP = KINDS["clock.gap"]
_COUNTED, _SPENT = KINDS["limit.counted"], KINDS["budget.spent"]
_PROBED, _SPACED = KINDS["breaker.probed"], KINDS["breaker.spaced"]
_CHANGES = {
    "counted": KINDS["breaker.counted"], "opened": KINDS["breaker.opened"], "closed": KINDS["breaker.closed"],
    "again": KINDS["breaker.released"],
}  # fmt: skip
_PLACE = {"tokens": 3, "usd": 4, "wall_time": 5}  #: of a measure in a row of `running`
_TRIED = {"tokens": 1, "usd": 2, "wall_time": 3}  #: and in one of `tried`


class Limits:
    """All that is set, and how it stands."""

    def __init__(self, rows: Rows, noticed: Sequence[tuple[int, int]] = ()) -> None:
        self.bounds: dict[Key, Bound] = {}
        self.full_us: dict[Key, int] = {}
        for *given, full in rows(SQL["bounds"]):
            bound = Bound(*given)
            self.bounds[bound.scope, bound.name] = bound
            self.full_us[bound.scope, bound.name] = full
        self.members: dict[str, str] = {agent: provider for agent, provider, _ in rows(SQL["members"])}
        self.budgets = [Budget(*row) for row in rows(SQL["budgets"])]
        self.breakers = {(row[0], row[1]): breaker_from(row) for row in rows(SQL["breakers"])}
        self._accounts = {_key(one): (one.from_ms, one.until_ms, one.spent) for one in self.budgets}
        self._spends = [one for one in self.budgets if one.measure != "attempts"]
        self._starts = [one for one in self.budgets if one.measure == "attempts" and one.per != "task"]
        self._per_task = [one for one in self.budgets if one.per == "task"]
        #: (wall ms, how much later it was than before without anybody having worked), oldest first
        timed = any(one.measure == "wall_time" for one in self.budgets)
        self._gaps = [*_gaps(rows), *noticed] if timed else []
        self._gaps_told = dumps(self._gaps)
        self._caps = any(one.concurrency is not None for one in self.bounds.values())
        self.depths = {name: one.max_depth for (_, name), one in self.bounds.items() if one.max_depth is not None}

    # --- who is meant -----------------------------------------------------------------------------------------
    def keys(self, agent: str) -> tuple[Key, ...]:
        """Return what an attempt of this agent counts for, beside its queue."""
        provider = self.members.get(agent)
        if provider is None:
            return ("fleet", ""), ("agent", agent)
        return ("fleet", ""), ("provider", provider), ("agent", agent)

    def _concerns(self, budget: Budget, agent: str) -> bool:
        if budget.scope in ("task", "fleet"):
            return True
        return budget.name == (agent if budget.scope == "agent" else self.members.get(agent))

    def running(self, rows: Rows, now_ms: int) -> Running:
        """Return what runs now, if anything that is set asks for it."""
        return rows(SQL["running"], (now_ms, self._gaps_told)) if self._caps or self._spends else []

    # --- before a start ---------------------------------------------------------------------------------------
    def hold(self, agent: str, now_ms: int, running: Running) -> Hold | None:
        """Return what holds every start of an agent back."""
        keys = self.keys(agent)
        for key in keys[1:]:
            breaker = self.breakers.get(key)
            if breaker is not None and (held := hold(breaker, now_ms)) is not None:
                return held
        for budget in self.budgets:
            if budget.per != "task" and self._concerns(budget, agent):
                total = self.total(budget, now_ms, running)
                if total >= budget.amount:
                    return Hold("budget", _spent(budget, total), self.account(budget, now_ms)[1] or None)
        return self._full(keys, now_ms, running)

    def hold_queue(self, queue: str, now_ms: int, running: Running) -> Hold | None:
        """Return what holds every start from a queue back."""
        return self._full((("queue", queue),), now_ms, running)

    def _full(self, keys: Sequence[Key], now_ms: int, running: Running) -> Hold | None:
        for key in keys:
            bound = self.bounds.get(key)
            if bound is not None and bound.concurrency is not None:
                at_once = sum(row[2] for row in running if self._counts(key, row))
                if at_once >= bound.concurrency:
                    told = f"concurrency of {words(*key)}: {at_once} of {bound.concurrency} attempts run"
                    return Hold("concurrency", told)
        for key in keys:
            bound = self.bounds.get(key)
            if bound is not None and bound.starts is not None and bound.period_ms is not None:
                interval = interval_us(bound.starts, bound.period_ms)
                due = next_start_us(interval, bound.burst or 1, self.full_us[key], now_ms * 1000)
                if due > now_ms * 1000:
                    return Hold("rate", f"rate limit of {words(*key)}", -(-due // 1000))
        return None

    def _counts(self, key: Key, row: Any) -> bool:
        scope, name = key
        if scope == "queue":
            return bool(row[1] == name)
        return scope == "fleet" or name == (row[0] if scope == "agent" else self.members.get(row[0]))

    def account(self, budget: Budget, now_ms: int) -> tuple[int, int, int]:
        """Return what a budget counts now: begin and end of its day (0 without one), and what was spent of it."""
        known = self._accounts[_key(budget)]
        return day_now(*known, now_ms, budget.zone) if budget.per == "day" else known

    def total(self, budget: Budget, now_ms: int, running: Running) -> int:
        """Return what was spent by what has ended, and by what runs."""
        spent, place = self.account(budget, now_ms)[2], _PLACE.get(budget.measure)
        if place is None:
            return spent
        return spent + sum(int(row[place]) for row in running if self._concerns(budget, row[0]))

    def task_spent(self, rows: Rows, task: int, agent: str, now_ms: int, running: bool = False) -> str:
        """Say which budget per task this one has spent; empty when none.

        Of a task that `running` says runs, its attempts are spent by what they used alone.
        """
        mine = [one for one in self._per_task if self._concerns(one, agent)]
        tried = rows(SQL["tried"], (task, now_ms, self._gaps_told)) if mine else ()
        for budget in mine:
            own = [row for row in tried if self._concerns(budget, row[0])]
            place = _TRIED.get(budget.measure)
            if place is None and running:
                continue
            spent = len(own) if place is None else sum(row[place] for row in own)
            if spent >= budget.amount:
                return _spent(budget, spent)
        return ""

    # --- while it runs ----------------------------------------------------------------------------------------
    def stop(self, rows: Rows, task: int, n: int, now_ms: int) -> str | None:
        """Return why a running attempt is to end now: a budget that it counts for is spent."""
        found = rows(SQL["whose"], (task, n)) if self._spends else []
        if not found:
            return None
        agent = found[0][0]
        running = self.running(rows, now_ms)
        for budget in self._spends:
            if budget.per != "task" and self._concerns(budget, agent):
                total = self.total(budget, now_ms, running)
                if total >= budget.amount:
                    return _spent(budget, total)
        return self.task_spent(rows, task, agent, now_ms, running=True) or None

    # --- what changes -----------------------------------------------------------------------------------------
    def started(self, tx: Transaction, agent: str, queue: str, task: int, n: int) -> None:
        """Count a start that was let through."""
        now_ms, keys, full = tx.now.wall_ms, self.keys(agent), []
        for key in (*keys, ("queue", queue)):
            bound = self.bounds.get(key)
            if bound is not None and bound.starts is not None and bound.period_ms is not None:
                interval = interval_us(bound.starts, bound.period_ms)
                at = started_us(interval, bound.burst or 1, self.full_us[key], now_ms * 1000)
                self.full_us[key] = at
                tx.execute(SQL["set_full"], (at, *key))
                full.append([*key, at])
        if full:
            tx.event(_COUNTED, data=dumps({"full": full}))
        self._spend(tx, [(one, 1) for one in self._starts if self._concerns(one, agent)])
        for key in keys[1:]:
            breaker = self.breakers.get(key)
            after = None if breaker is None else begin(breaker, task, n, now_ms)
            if after is not None:
                self._become(tx, _PROBED if after.state == "half_open" else _SPACED, after)

    def ended(
        self,
        tx: Transaction,
        task: int,
        n: int,
        outcome: Outcome,
        failure: Failure | None,
        used: Used,
        jitter: float,
    ) -> None:
        """Count what an attempt used, and what its end says of its agent and provider."""
        now_ms = tx.now.wall_ms
        agent, claimed_ms = tx.execute(SQL["whose"], (task, n)).fetchone()
        worked_ms = now_ms - claimed_ms - sum(span for at, span in self._gaps if at > claimed_ms)
        tokens = (used[0] or 0) + (used[1] or 0)
        amounts = {"tokens": tokens, "usd": used[2] or 0, "wall_time": max(worked_ms, 0)}
        spent = [(one, amounts[one.measure]) for one in self._spends if one.per != "task"]
        self._spend(tx, [(one, amount) for one, amount in spent if amount and self._concerns(one, agent)])
        if not self.breakers:
            return
        kind, why = (None, "") if failure is None else (failure.kind, failure.message)
        after_ms = None if failure is None else failure.retry_after_ms
        seen = Seen(sign_of(outcome, kind), task, n, why, after_ms)
        keys = [key for key in self.keys(agent)[1:] if key in self.breakers]
        # Its agent may have got another provider meanwhile: who was probed is told all the same.
        keys += [key for key, one in self.breakers.items() if (one.probe, one.probe_n) == (task, n) and key not in keys]
        for place, key in enumerate(keys):
            told = seen
            if seen.sign == "throttled" and place:
                told = Seen("neutral", task, n)  # its provider's breaker has it
            change = end(self.breakers[key], told, now_ms, jitter)
            if change is not None:
                self._become(tx, _CHANGES[change[0]], change[1])

    def used_late(self, tx: Transaction, task: int, n: int, more: list[int]) -> None:
        """Count what an attempt that has ended had used beyond what was known: tokens in and out, microdollars."""
        agent, _ = tx.execute(SQL["whose"], (task, n)).fetchone()
        amounts = {"tokens": more[0] + more[1], "usd": more[2], "wall_time": 0}
        spent = [(one, amounts[one.measure]) for one in self._spends if one.per != "task"]
        self._spend(tx, [(one, amount) for one, amount in spent if amount and self._concerns(one, agent)])

    def _spend(self, tx: Transaction, spent: list[tuple[Budget, int]]) -> None:
        told = []
        for budget, amount in spent:
            begun, ends, before = self.account(budget, tx.now.wall_ms)
            key, row = _key(budget), (begun, ends, min(before + amount, MOST_SPENT))
            self._accounts[key] = row
            tx.execute(SQL["set_spent"], (*row, *key))
            told.append([*key, *row])
        if told:
            tx.event(_SPENT, data=dumps({"spent": told}))

    def _become(self, tx: Transaction, kind: int, after: Breaker, actor: str | None = None) -> None:
        before = self.breakers.get((after.scope, after.name))
        self.breakers[after.scope, after.name] = after
        save_breaker(tx, kind, after, before, actor)


def _gaps(rows: Rows) -> list[tuple[int, int]]:
    """Return when the machine had slept or its clock was set, and how far the wall clock ran ahead by that: in ms."""
    return [(at, (grace - GRACE_MS if grace else 0) + (shift or 0)) for at, grace, shift in rows(_NOTICED, (_GAP,))]


def check_depth(tx: Transaction, limits: Limits, queues: list[str]) -> None:
    """Raise QueueFull if a queue would hold more tasks than it may with one more for each time it is named."""
    for queue in dict.fromkeys(queues):
        most = limits.depths.get(queue)
        if most is None:
            continue
        depth: int = tx.execute(SQL["depth"], (tx.number("queue", queue), most + 1)).fetchone()[0]
        more = queues.count(queue)
        if depth + more > most:
            room = "is full" if depth >= most else f"has room for {most - depth:,} more, not for {more:,}"
            raise QueueFull(
                f"queue {queue} {room}: {min(depth, most):,} of {most:,} tasks wait in it",
                "Add it again when some of them are done, or allow more: "
                f"agentctl queue limit {queue} --max-depth {2 * most or 1}",
            )


def breaker_from(row: Any) -> Breaker:
    """Make a Breaker from the block `breakers`."""
    values: list[Any] = [*row]
    values[16] = tuple((bucket, ends, bad) for bucket, ends, bad in loads(row[16], "breaker"))
    return Breaker(*values)


def breaker_row(breaker: Breaker) -> dict[str, Any]:
    """Return a breaker as its columns."""
    return as_dict(breaker) | {"calls": dumps(breaker.calls)}


def save_breaker(tx: Transaction, kind: int, after: Breaker, before: Breaker | None, actor: str | None = None) -> None:
    """Write a breaker's row, and tell what of it is new."""
    row, old = breaker_row(after), {} if before is None else breaker_row(before)
    tx.execute(SQL["save_breaker"], tuple(row.values()))
    told = {name: value for name, value in row.items() if name in ("scope", "name") or old.get(name, ...) != value}
    tx.event(kind, actor=actor, data=dumps(told))


def _key(budget: Budget) -> tuple[str, str, str, str]:
    return budget.scope, budget.name, budget.measure, budget.per


def _spent(budget: Budget, spent: int) -> str:
    return spent_words(budget.scope, budget.name, budget.measure, budget.per, spent, budget.amount)


def holds(limits: Limits, rows: Rows, takers: dict[str, Sequence[str]], now_ms: int) -> Iterator[Hold]:
    """Yield why nothing starts where work waits: of each queue with ready tasks, and of each agent that serves one.

    `takers` are the agents with their queues.
    """
    running, waits = limits.running(rows, now_ms), {}
    for queue in {queue for queues in takers.values() for queue in queues}:
        found = rows(SQL["waits"], (queue, now_ms))
        waits[queue] = bool(found and found[0][0])
    shut: dict[str, Hold | None] = {q: limits.hold_queue(q, now_ms, running) for q in sorted(waits) if waits[q]}
    for queue, held in shut.items():
        if held is not None:
            yield Hold(held.by, held.why, held.until_ms, None, queue)
    for agent, queues in sorted(takers.items()):
        mine = [queue for queue in queues if queue in shut]
        if mine:
            held = limits.hold(agent, now_ms, running)
            if held is None and all(shut[queue] is not None for queue in mine):
                held = shut[mine[0]]
            if held is not None:
                yield Hold(held.by, held.why, held.until_ms, agent)
