"""Verbs on limits: rates, how many at once, how deep a queue may be, and whose account an agent spends."""

from __future__ import annotations

from agentctl_store.errors import BadInput, NotFound

from . import output
from .call import Call, actor
from .limits import read_target, read_value
from .table import Column
from .verb import arg, opt, verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentctl_store.domain.limits import Bound

_LIST = (
    Column("target"),
    Column("rate"),
    Column("burst", "number"),
    Column("concurrency", "number"),
    Column("max_depth", "number"),
    Column("agents", "list"),
    Column("set_by"),
)
_TARGET = "What it is for: queue:NAME, agent:NAME, provider:NAME or fleet."


@verb("limit list", summary="List what bounds starts: rates, attempts at once, depths of queues.", reads=True)
def list_limits(call: Call) -> int:
    """List limits."""

    def fetch() -> list[dict[str, Any]]:
        members = call.reader.members()
        shown = [_row(bound, members) for bound in call.reader.bounds()]
        named = {row["target"] for row in shown}
        for provider in sorted(set(members.values())):
            if f"provider:{provider}" not in named:
                shown.append(_row_of(f"provider:{provider}", _of(members, provider)))
        return shown

    return call.show(_LIST, fetch, empty="No limits. Set one with: agentctl limit set")


def _of(members: dict[str, str], provider: str) -> tuple[str, ...]:
    return tuple(sorted(agent for agent, whose in members.items() if whose == provider))


def _row(bound: Bound, members: dict[str, str]) -> dict[str, Any]:
    from agentctl.quantities import write_rate
    from agentctl_store.domain.limits import named

    agents = _of(members, bound.name) if bound.scope == "provider" else ()
    rate = None if bound.starts is None else write_rate((bound.starts, bound.period_ms or 0))
    return _row_of(named(bound.scope, bound.name), agents) | {
        "rate": rate,
        "burst": bound.burst if bound.burst is not None or rate is None else 1,
        "concurrency": bound.concurrency,
        "max_depth": bound.max_depth,
        "set_by": bound.origin,
    }


def _row_of(target: str, agents: tuple[str, ...]) -> dict[str, Any]:
    return dict.fromkeys(("rate", "burst", "concurrency", "max_depth", "set_by")) | {"target": target, "agents": agents}


@verb(
    "limit set",
    summary="Bound a queue, an agent, a provider or the fleet.",
    details="What is not named stays as it is. It holds from the next claim on, for all processes, and goes before "
    "what agentctl.toml sets for the same target.",
    target=arg(_TARGET, "TARGET", complete="targets"),
    rate=opt(help="So many starts in so long: 30/min, 5/10s.", metavar="RATE"),
    burst=opt(help="How many may start together after a pause (default: 1, evenly spaced).", metavar="N"),
    concurrency=opt(help="How many attempts at once.", metavar="N"),
    max_depth=opt(help="Of a queue: refuse new tasks while so many wait.", metavar="N"),
    provider=opt(help="Of an agent: whose account it spends.", metavar="NAME"),
)
def set_limit(
    call: Call,
    *,
    target: str,
    rate: str | None = None,
    burst: int | None = None,
    concurrency: int | None = None,
    max_depth: int | None = None,
    provider: str | None = None,
) -> int:
    """Set a limit."""
    from agentctl_store.domain.limits import SCOPES

    scope, name = read_target(target, SCOPES)
    if provider is not None:
        if scope != "agent":
            raise BadInput("only an agent has a provider", "Write agent:NAME")
        call.store.limits.assign(name, provider, actor=actor())
        output.say(f"{name} spends the account of {provider}")
    values = (rate, burst, concurrency, max_depth)
    if provider is None or any(value is not None for value in values):
        bound(call, scope, name, *values)
    return 0


def bound(
    call: Call,
    scope: Any,
    name: str,
    rate: str | None,
    burst: int | None,
    concurrency: int | None,
    max_depth: int | None,
) -> None:
    """Set one bound and say what holds now."""
    from agentctl.quantities import read_rate, write_rate
    from agentctl_store.domain.limits import Bound, named

    if rate is None and burst is None and concurrency is None and max_depth is None:
        raise BadInput("which limit?", "Give --rate, --concurrency, --burst or --max-depth")
    starts, period_ms = read_value(read_rate, rate, "--rate") or (None, None)
    asked = Bound(scope, name, starts, period_ms, burst, concurrency, max_depth)
    now = call.store.limits.set_bound(asked, actor=actor())
    parts = []
    if now.starts is not None:
        parts.append(f"{write_rate((now.starts, now.period_ms or 0))}, burst {now.burst or 1}")
    parts += [f"{now.concurrency} at once"] if now.concurrency is not None else []
    parts += [f"at most {now.max_depth:,} waiting"] if now.max_depth is not None else []
    output.say(f"{named(scope, name)}: {'; '.join(parts)}")


@verb(
    "limit remove",
    summary="Lift all limits of a target.",
    details="Those of agentctl.toml come back with the next run or reload.",
    target=arg(_TARGET, "TARGET", complete="targets"),
    provider=opt(help="Of an agent: it spends nobody's account any more; its limits stay."),
)
def remove(call: Call, *, target: str, provider: bool = False) -> int:
    """Remove a limit."""
    from agentctl_store.domain.limits import SCOPES

    scope, name = read_target(target, SCOPES)
    if provider and scope != "agent":
        raise BadInput("only an agent has a provider", "Write agent:NAME")
    if provider:
        gone = call.store.limits.assign(name, None, actor=actor())
    else:
        gone = call.store.limits.remove_bound(scope, name, actor=actor())
    if not gone:
        raise NotFound(f"{target} has none", "List them with: agentctl limit list")
    output.say(f"{target} has no {'provider' if provider else 'limit'} any more")
    return 0
