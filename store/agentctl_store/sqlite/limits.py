"""Setting limits, budgets and breakers; see agentctl_store.limitsdriver."""

from __future__ import annotations

from ..domain.breaker import SETTINGS, Breaker, reset
from ..domain.budget import Budget, day_of
from ..domain.event import KINDS
from ..domain.limits import Bound, Hold, interval_us, named
from ..errors import BadInput, NotFound
from ..jsontext import dumps
from ..record import as_dict, fields_of, replace
from .limiting import SQL, Limits, breaker_from, save_breaker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..clock import Moment
    from .connection import Connection
    from .transaction import Transaction

    Known = dict[tuple[Any, ...], dict[str, Any]]  #: rows of a table as they stand, by their keys

_COLUMNS = {"bound": (*fields_of(Bound), "full_us"), "budget": fields_of(Budget)}
_KEYS = {"bound": ("scope", "name"), "budget": ("scope", "name", "measure", "per"), "breaker": ("scope", "name")}
_NOUN = {"bound": "limit", "budget": "budget", "breaker": "breaker"}


class SqliteLimits:
    """See LimitsDriver, whose words these are."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    def set_bound(self, bound: Bound, *, actor: str, now: Moment) -> Bound:
        with self._conn.write(now) as tx:
            before = _rows(tx, "bound").get((bound.scope, bound.name), {})
            kept = {name: before.get(name) for name in ("concurrency", "max_depth") if getattr(bound, name) is None}
            if bound.starts is None:
                kept.update({name: before.get(name) for name in ("starts", "period_ms")})
            if bound.burst is None and kept.get("starts", bound.starts) is not None:
                kept["burst"] = before.get("burst")
            bound = replace(bound, **kept)
            if bound.burst is not None and bound.starts is None:
                raise BadInput("a burst goes with a rate, and there is none", "Give both: --rate 30/min --burst 5")
            _save(tx, "bound", as_dict(bound) | {"full_us": _full(bound, before, now)}, before, actor)
        return bound

    def remove_bound(self, scope: str, target: str, *, actor: str, now: Moment) -> bool:
        with self._conn.write(now) as tx:
            return _remove(tx, "bound", (scope, target), actor)

    def assign(self, agent: str, provider: str | None, *, actor: str, now: Moment) -> bool:
        with self._conn.write(now) as tx:
            return _assign(tx, agent, provider, "operator", actor)

    def set_budget(self, budget: Budget, *, actor: str, now: Moment) -> Budget:
        with self._conn.write(now) as tx:
            return _set_budget(tx, budget, _rows(tx, "budget"), actor)

    def remove_budget(self, scope: str, target: str, measure: str, per: str, *, actor: str, now: Moment) -> bool:
        with self._conn.write(now) as tx:
            return _remove(tx, "budget", (scope, target, measure, per), actor)

    def set_breaker(self, breaker: Breaker, *, actor: str, now: Moment) -> Breaker:
        with self._conn.write(now) as tx:
            return _set_breaker(tx, breaker, _breakers(tx), actor)

    def remove_breaker(self, scope: str, target: str, *, actor: str, now: Moment) -> bool:
        with self._conn.write(now) as tx:
            return _remove(tx, "breaker", (scope, target), actor)

    def reset_breaker(self, scope: str, target: str, *, actor: str, now: Moment) -> bool:
        with self._conn.write(now) as tx:
            known = _breakers(tx)
            before = known.get((scope, target))
            if before is None:
                there = ", ".join(named(*key) for key in known) or "none"
                raise NotFound(f"{named(scope, target)} has no breaker", f"There is: {there}")
            if before.state == "closed" and not before.spaced:
                return False
            save_breaker(tx, KINDS["breaker.reset"], reset(before, now.wall_ms), before, actor)
            tx.conn.limits = None
        return True

    def configure(
        self,
        bounds: Sequence[Bound],
        members: Sequence[tuple[str, str]],
        budgets: Sequence[Budget],
        breakers: Sequence[Breaker],
        *,
        actor: str,
        now: Moment,
    ) -> None:
        with self._conn.write(now) as tx:
            known = _rows(tx, "bound")
            for bound in _drop(tx, "bound", known, bounds, actor):
                before = known.get((bound.scope, bound.name), {})
                _save(tx, "bound", as_dict(bound) | {"full_us": _full(bound, before, now)}, before, actor)
            old = {agent: origin for agent, _, origin in tx.rows(SQL["members"])}
            wanted = dict(members)
            for agent, origin in old.items():
                if origin == "config" and agent not in wanted:
                    _assign(tx, agent, None, "config", actor)
            for agent, provider in wanted.items():
                if old.get(agent) != "operator":
                    _assign(tx, agent, provider, "config", actor)
            spent = _rows(tx, "budget")
            for budget in _drop(tx, "budget", spent, budgets, actor):
                _set_budget(tx, budget, spent, actor)
            stand = _breakers(tx)
            set_now = {(row.scope, row.name) for row in breakers}
            used = {provider for _, provider, _ in tx.rows(SQL["members"])}
            usual = [
                Breaker("provider", name, origin="config") for name in sorted(used) if ("provider", name) not in set_now
            ]
            rows: Known = {key: {"origin": row.origin} for key, row in stand.items()}
            for breaker in _drop(tx, "breaker", rows, [*breakers, *usual], actor):
                _set_breaker(tx, breaker, stand, actor)

    def overspent(self, now_ms: int) -> list[tuple[int, int, int, str]]:
        rows = self._conn.rows
        if not rows(SQL["spends"])[0][0]:
            return []
        limits = Limits(rows)
        found = [(*row, limits.stop(rows, row[1], row[2], now_ms)) for row in rows(SQL["of_sessions"])]
        return [(session, task, n, why) for session, task, n, why in found if why is not None]

    def hold(self, queues: Sequence[str], agent: str, now_ms: int) -> Hold | None:
        if self._conn.limits is False:  # as of its last write: whoever asks has just tried to claim
            return None
        rows = self._conn.rows
        waits = [queue for queue in queues if (found := rows(SQL["waits"], (queue, now_ms))) and found[0][0]]
        if not waits:
            return None  # who waits for work asks each second: before the limits are read
        limits = Limits(rows)
        running = limits.running(rows, now_ms)
        held = limits.hold(agent, now_ms, running)
        if held is None:
            # What waits in the others is not for this agent: it has just tried to claim.
            shut = [one for queue in waits if (one := limits.hold_queue(queue, now_ms, running)) is not None]
            held = min(shut, key=lambda one: one.until_ms or 1 << 62, default=None)
        return None if held is None else replace(held, agent=agent)


def _full(bound: Bound, before: dict[str, Any], now: Moment) -> int:
    """Return when a bucket is full that is set anew: no later than an empty one of its new rate."""
    full: int = before.get("full_us", 0)
    if bound.starts is None or bound.period_ms is None:
        return full
    return min(full, now.wall_ms * 1000 + (bound.burst or 1) * interval_us(bound.starts, bound.period_ms))


def _rows(tx: Transaction, table: str) -> Known:
    columns, width = _COLUMNS[table], len(_KEYS[table])
    return {tuple(row[:width]): dict(zip(columns, row, strict=True)) for row in tx.rows(SQL[table + "s"])}


def _breakers(tx: Transaction) -> dict[tuple[str, str], Breaker]:
    return {(row[0], row[1]): breaker_from(row) for row in tx.rows(SQL["breakers"])}


def _save(tx: Transaction, table: str, row: dict[str, Any], before: dict[str, Any], actor: str) -> None:
    if row == before:
        return
    tx.execute(SQL[f"save_{table}"], tuple(row.values()))
    tx.event(KINDS[f"{_NOUN[table]}.set"], actor=actor, data=dumps(row))
    tx.conn.limits = None


def _remove(tx: Transaction, table: str, key: tuple[str, ...], actor: str) -> bool:
    where = " AND ".join(f"{name} = ?" for name in _KEYS[table])
    gone = tx.execute(f"DELETE FROM {table} WHERE {where} RETURNING 1", key).fetchone()  # noqa: S608 - names of our own
    if gone:
        told = dict(zip(_KEYS[table], key, strict=True))
        tx.event(KINDS[f"{_NOUN[table]}.removed"], actor=actor, data=dumps(told))
        tx.conn.limits = None
    return bool(gone)


def _drop(tx: Transaction, table: str, known: Known, wanted: Sequence[Any], actor: str) -> list[Any]:
    """Remove what the configuration set and does not set any more; return what it sets and no person did."""
    keys = {tuple(getattr(one, name) for name in _KEYS[table]): one for one in wanted}
    for key, row in known.items():
        if row["origin"] == "config" and key not in keys:
            _remove(tx, table, key, actor)
    return [one for key, one in keys.items() if known.get(key, {}).get("origin") != "operator"]


def _assign(tx: Transaction, agent: str, provider: str | None, origin: str, actor: str) -> bool:
    old = {row[0]: row[1:] for row in tx.rows(SQL["members"])}.get(agent)
    if old == (None if provider is None else (provider, origin)):
        return False
    if provider is None:
        tx.execute("DELETE FROM member WHERE agent = ?", (agent,))
    else:
        tx.execute(SQL["save_member"], (agent, provider, origin))
        if origin == "operator" and ("provider", provider) not in (known := _breakers(tx)):
            _set_breaker(tx, Breaker("provider", provider), known, actor)
    told = {"agent": agent, "provider": provider, "origin": origin}
    tx.event(KINDS["limit.assigned"], actor=actor, data=dumps(told))
    tx.conn.limits = None
    return True


def _set_budget(tx: Transaction, budget: Budget, known: Known, actor: str) -> Budget:
    before = known.get((budget.scope, budget.name, budget.measure, budget.per), {})
    if before and (budget.per != "day" or before["zone"] == budget.zone):
        kept = {name: before[name] for name in ("from_ms", "until_ms", "spent")}
    else:
        begun, ends = day_of(tx.now.wall_ms, budget.zone) if budget.per == "day" else (tx.now.wall_ms, 0)
        kept = {"from_ms": begun, "until_ms": ends, "spent": before.get("spent", 0)}
    budget = replace(budget, **kept)
    _save(tx, "budget", as_dict(budget), before, actor)
    return budget


def _set_breaker(tx: Transaction, breaker: Breaker, known: dict[tuple[str, str], Breaker], actor: str) -> Breaker:
    before = known.get((breaker.scope, breaker.name))
    if before is None:
        after = replace(breaker, since_ms=tx.now.wall_ms)
    else:
        after = replace(before, **{name: getattr(breaker, name) for name in SETTINGS})
    if after != before:
        save_breaker(tx, KINDS["breaker.set"], after, before, actor)
        tx.conn.limits = None
    return after
