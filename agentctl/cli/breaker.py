"""Verbs on circuit breakers."""

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

    from agentctl_store.domain.breaker import Breaker

_LIST = (
    Column("target"),
    Column("state"),
    Column("since_at", "time", title="since"),
    Column("probe_at", "time", title="next probe"),
    Column("probe", title="probing task"),
    Column("failed", "number"),
    Column("ended", "number"),
    Column("opened", "number", wide=True),
    Column("window_ms", "span", wide=True),
    Column("min_calls", "number", wide=True),
    Column("failure_share", "number", wide=True),
    Column("open_ms", "span", wide=True),
    Column("cap_ms", "span", wide=True),
    Column("stagger_ms", "span", wide=True),
    Column("set_by", wide=True),
    Column("reason"),
)
_TARGET = "Whose: agent:NAME or provider:NAME."


@verb(
    "breaker list",
    summary="List circuit breakers and how they stand.",
    details="closed: all may start. open: nothing of that agent or provider starts until the next probe. half_open: "
    "one attempt of the whole fleet probes.",
    reads=True,
)
def list_breakers(call: Call) -> int:
    """List breakers."""
    return call.show(_LIST, lambda: [_row(one) for one in call.reader.breakers()], empty="No breakers.")


def _row(one: Breaker) -> dict[str, Any]:
    from agentctl_store.domain.limits import named
    from agentctl_store.ids import write_id

    return {
        "target": named(one.scope, one.name),
        "state": one.state,
        "since_at": one.since_ms,
        "probe_at": one.until_ms if one.state == "open" else None,
        "probe": None if one.probe is None else write_id(one.probe),
        "failed": sum(failed for _, _, failed in one.calls),
        "ended": sum(ended for _, ended, _ in one.calls),
        "opened": one.opened,
        **{name: getattr(one, name) for name in ("window_ms", "min_calls", "open_ms", "cap_ms", "stagger_ms")},
        "failure_share": one.share / 100,
        "set_by": one.origin,
        "reason": one.reason,
    }


@verb(
    "breaker reset",
    summary="Close a breaker: its agents may start again at once.",
    target=arg(_TARGET, "TARGET", complete="breakers"),
)
def reset(call: Call, *, target: str) -> int:
    """Reset a breaker."""
    from agentctl_store.domain.breaker import BREAKER_SCOPES

    scope, name = read_target(target, BREAKER_SCOPES)
    closed = call.store.limits.reset_breaker(scope, name, actor=actor())
    output.say(f"{target} closed" if closed else f"{target} was closed already")
    return 0


@verb(
    "breaker set",
    summary="Give an agent or provider a breaker, or set how it works; how it stands stays.",
    details="A provider has one from its first agent on. What is not named gets its default.",
    target=arg(_TARGET, "TARGET", complete="breakers"),
    window=opt(help="Attempts that ended within it count (default 5m).", metavar="DURATION"),
    min_calls=opt(help="With fewer it stays closed (default 5).", metavar="N"),
    failure_share=opt(help="The share of failures at which it opens (default 0.5).", metavar="SHARE"),
    open=opt(help="For how long at first; it doubles with each failed probe (default 30s).", metavar="DURATION"),
    cap=opt(help="The longest (default 10m).", metavar="DURATION"),
    stagger=opt(help="From one start to the next after it closed (default 1s).", metavar="DURATION"),
)
def set_breaker(
    call: Call,
    *,
    target: str,
    window: str | None = None,
    min_calls: int | None = None,
    failure_share: float | None = None,
    open: str | None = None,
    cap: str | None = None,
    stagger: str | None = None,
) -> int:
    """Set a breaker."""
    from agentctl.quantities import read_duration_ms
    from agentctl_store.domain.breaker import BREAKER_SCOPES, Breaker

    scope, name = read_target(target, BREAKER_SCOPES)
    if failure_share is not None and not 0.01 <= failure_share <= 1:
        raise BadInput("--failure-share is out of range", "Use 0.01 to 1")
    given = {
        "window_ms": read_value(read_duration_ms, window, "--window"),
        "min_calls": min_calls,
        "share": None if failure_share is None else round(failure_share * 100),
        "open_ms": read_value(read_duration_ms, open, "--open"),
        "cap_ms": read_value(read_duration_ms, cap, "--cap"),
        "stagger_ms": read_value(read_duration_ms, stagger, "--stagger"),
    }
    asked = Breaker(scope, name, **{field: value for field, value in given.items() if value is not None})
    now = call.store.limits.set_breaker(asked, actor=actor())
    output.say(f"{target} opens at {now.share} % failures of at least {now.min_calls}; it is {now.state}")
    return 0


@verb("breaker remove", summary="Take a breaker away.", target=arg(_TARGET, "TARGET", complete="breakers"))
def remove(call: Call, *, target: str) -> int:
    """Remove a breaker."""
    from agentctl_store.domain.breaker import BREAKER_SCOPES

    scope, name = read_target(target, BREAKER_SCOPES)
    if not call.store.limits.remove_breaker(scope, name, actor=actor()):
        raise NotFound(f"{target} has no breaker", "List them with: agentctl breaker list")
    output.say(f"{target} has no breaker any more")
    return 0
