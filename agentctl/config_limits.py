"""`[limits]`, `[budget]` and `[breaker]` of agentctl.toml: what may start, what may be spent, who is left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from agentctl_store.domain.breaker import Breaker
from agentctl_store.domain.budget import Budget, zone_of
from agentctl_store.domain.limits import Bound
from agentctl_store.errors import BadInput, BadName
from agentctl_store.ids import check_name
from agentctl_store.settings import check_bound, check_breaker, check_budget

from .config_values import Duration, Section, ShortDuration
from .quantities import read_count, read_rate, write_rate


def provider_name(value: str) -> str:
    """Return the name of a provider, or of anything else that is named. Raises ValueError."""
    try:
        return check_name(value, "provider")
    except BadName as error:
        raise ValueError(f"{error.message}; {error.remedy}") from None


def _zone(value: str) -> str:
    try:
        zone_of(value)
    except BadInput as error:
        raise ValueError(f"= {value!r}: {error.message}; {error.remedy}") from None
    return value


def _kept(check: Callable[[Any], Any], row: Any) -> None:
    """Raise ValueError for what the store would refuse."""
    try:
        check(row)
    except BadInput as error:
        raise ValueError(f"is refused: {error.message}; {error.remedy}") from None


Provider = Annotated[str, AfterValidator(provider_name)]
Rate = Annotated[
    tuple[int, int],
    BeforeValidator(read_rate, json_schema_input_type=str),
    PlainSerializer(write_rate, when_used="json"),
]
Count = Annotated[int, BeforeValidator(read_count, json_schema_input_type=str | int)]


class BoundSection(Section):
    """`[limits.agent.NAME]`, `[limits.provider.NAME]`, `[limits.fleet]`."""

    rate: Rate | None = None
    burst: int | None = Field(None, ge=1, le=1_000_000, description="how many may start together after a pause")
    concurrency: int | None = Field(None, ge=0, le=1_000_000, description="attempts at once")

    @model_validator(mode="after")
    def _of_a_rate(self) -> BoundSection:
        if self.burst is not None and self.rate is None:
            raise ValueError('has a burst but no rate; add a rate like "30/min"')
        _kept(check_bound, self.bound("queue", "any"))
        return self

    def bound(self, scope: str, name: str) -> Bound:
        """Return it as the store takes it."""
        starts, period_ms = self.rate or (None, None)
        depth = getattr(self, "max_depth", None)
        return Bound(scope, name, starts, period_ms, self.burst, self.concurrency, depth, "config")  # type: ignore[arg-type]


class QueueBoundSection(BoundSection):
    """`[limits.queue.NAME]`."""

    max_depth: int | None = Field(None, ge=0, description="`task add` is refused while so many tasks wait")


class LimitsTable(Section):
    """`[limits]`."""

    queue: dict[str, QueueBoundSection] = Field({})
    agent: dict[str, BoundSection] = Field({})
    provider: dict[str, BoundSection] = Field({})
    fleet: BoundSection | None = None

    def bounds(self) -> list[Bound]:
        """Return what the store must know, in the file's order."""
        found = [
            section.bound(scope, name)
            for scope, table in (("queue", self.queue), ("agent", self.agent), ("provider", self.provider))
            for name, section in table.items()
        ]
        if self.fleet is not None:
            found.append(self.fleet.bound("fleet", ""))
        return [one for one in found if not one.empty]


class SpendSection(Section):
    """How much may be spent, of each measure that is named."""

    tokens: Count | None = Field(None, ge=0, description="input and output together")
    usd: float | None = Field(None, ge=0, le=1_000_000_000, strict=False)
    wall_time_ms: Duration | None = Field(None, alias="wall_time", description="of all attempts together")
    attempts: Count | None = Field(None, ge=0, description="starts, also those of retries and requeues")

    @model_validator(mode="after")
    def _in_range(self) -> SpendSection:
        for one in self.budgets("fleet", "", "total", "UTC"):
            _kept(check_budget, one)
        return self

    def budgets(self, scope: str, name: str, per: str, zone: str) -> Iterator[Budget]:
        """Yield one budget for each measure."""
        usd = None if self.usd is None else round(self.usd * 1_000_000)
        amounts = {"tokens": self.tokens, "usd": usd, "wall_time": self.wall_time_ms, "attempts": self.attempts}
        for measure, amount in amounts.items():
            if amount is not None:
                yield Budget(scope, name, measure, per, amount, "config", zone)  # type: ignore[arg-type]


class BudgetsSection(Section):
    """`[budget.agent.NAME]`, `[budget.provider.NAME]`, `[budget.fleet]`."""

    task: SpendSection | None = Field(None, description="of each task")
    day: SpendSection | None = None
    total: SpendSection | None = None


class BudgetTable(Section):
    """`[budget]`."""

    timezone: Annotated[str, AfterValidator(_zone)] = Field("UTC", description="whose midnight ends a day")
    task: SpendSection | None = Field(None, description="of each task, whoever works on it")
    agent: dict[str, BudgetsSection] = Field({})
    provider: dict[str, BudgetsSection] = Field({})
    fleet: BudgetsSection | None = None

    def budgets(self) -> list[Budget]:
        """Return what the store must know."""
        found: list[Budget] = []
        if self.task is not None:
            found += self.task.budgets("task", "", "task", self.timezone)
        fleet = {} if self.fleet is None else {"": self.fleet}
        for scope, table in (("agent", self.agent), ("provider", self.provider), ("fleet", fleet)):
            for name, section in table.items():
                for per in ("task", "day", "total"):
                    spend: SpendSection | None = getattr(section, per)
                    found += () if spend is None else spend.budgets(scope, name, per, self.timezone)
        return found


class BreakerSection(Section):
    """`[breaker.agent.NAME]`, `[breaker.provider.NAME]`."""

    window_ms: ShortDuration = Field(300_000, alias="window", description="attempts that ended in it count")
    min_calls: int = Field(5, ge=1, le=1_000, description="with fewer it stays closed")
    failure_share: float = Field(0.5, ge=0.01, le=1, strict=False, description="of them, at which it opens")
    open_ms: ShortDuration = Field(30_000, alias="open", description="for how long at first; it doubles")
    cap_ms: ShortDuration = Field(600_000, alias="cap")
    stagger_ms: Duration = Field(1_000, alias="stagger", description="from one start to the next after it closed")

    @model_validator(mode="after")
    def _ordered(self) -> BreakerSection:
        if self.cap_ms < self.open_ms:
            raise ValueError("has a cap below open; make cap at least as long")
        _kept(check_breaker, self.breaker("agent", "any"))
        return self

    def breaker(self, scope: str, name: str) -> Breaker:
        """Return it as the store takes it."""
        share = round(self.failure_share * 100)
        return Breaker(
            scope, name, self.window_ms, self.min_calls, share, self.open_ms, self.cap_ms, self.stagger_ms, "config"  # type: ignore[arg-type]
        )  # fmt: skip


class BreakerTable(Section):
    """`[breaker]`."""

    agent: dict[str, BreakerSection] = Field({})
    provider: dict[str, BreakerSection] = Field({})

    def breakers(self) -> list[Breaker]:
        """Return what the store must know."""
        tables = (("agent", self.agent), ("provider", self.provider))
        return [section.breaker(scope, name) for scope, table in tables for name, section in table.items()]


def name_problems(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Find names under these tables that are none, or that nothing else in the file bears, as validation errors."""
    agents = document.get("agent")
    agents = agents if isinstance(agents, dict) else {}
    sections = [one for one in agents.values() if isinstance(one, dict)]
    providers = {one["provider"] for one in sections if isinstance(one.get("provider"), str)}
    problems = []
    for table in ("limits", "budget", "breaker"):
        found = document.get(table)
        tables = found if isinstance(found, dict) else {}
        for scope in ("queue", "agent", "provider"):
            names = tables.get(scope)
            for name in names if isinstance(names, dict) else ():
                place = (table, scope, name)
                try:
                    check_name(name, scope)
                except BadName as error:
                    problems.append({"type": "name", "loc": place, "msg": str(error)})
                    continue
                if scope == "agent" and name not in agents:
                    told = f"no agent of this file has that name. It names {', '.join(agents) or 'none'}"
                    problems.append({"type": "name", "loc": place, "msg": told})
                elif scope == "provider" and name not in providers:
                    told = (
                        f'no agent has this provider. Add a line `provider = "{name}"` to those that spend its account'
                    )
                    problems.append({"type": "name", "loc": place, "msg": told})
    return problems
