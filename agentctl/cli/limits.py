"""What a line of the command line sets a limit, a budget or a breaker for, and how limits are shown."""

from __future__ import annotations

from agentctl_store.errors import BadInput
from agentctl_store.ids import check_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from agentctl_store.domain.limits import Hold


def read_target(text: str, scopes: Sequence[str]) -> tuple[Any, str]:
    """Return scope and name of `fleet`, `provider:acme` and the like. Raises BadInput."""
    scope, colon, name = text.partition(":")
    bare = [one for one in scopes if one in ("fleet", "task")]
    if scope in bare and not colon:
        return scope, ""
    if scope not in scopes or scope in bare or not colon:
        shapes = [one if one in bare else f"{one}:NAME" for one in scopes]
        raise BadInput(f"{text[:80]!a} is nothing to set this for", f"Write {', '.join(shapes)}")
    return scope, check_name(name, scope)


def read_value(read: Callable[[object], Any], text: str | None, option: str) -> Any:
    """Return what `read` makes of an option's text, None of none. Raises BadInput."""
    if text is None:
        return None
    try:
        return read(text)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from None


class Held:
    """What holds queues and agents back now, in words."""

    def __init__(self) -> None:
        self.queues: dict[str, str] = {}
        self.agents: dict[str, str] = {}


def why_held(holds: Iterable[Hold], now_ms: int) -> Held:
    """Say of each queue and agent that is held back why that is."""
    found = Held()
    for hold in holds:
        table, name = (found.queues, hold.queue) if hold.agent is None else (found.agents, hold.agent)
        table[name or ""] = hold_words(hold, now_ms)
    return found


def hold_words(hold: Hold, now_ms: int) -> str:
    """Say why nothing starts, and when something may: `rate limit of provider acme: next in 12 s`."""
    from agentctl.quantities import show_duration

    if hold.until_ms is None:
        return hold.why
    left_ms = max(hold.until_ms - now_ms, 0)
    when = show_duration(left_ms if left_ms < 10_000 else left_ms // 1000 * 1000)
    return f"{hold.why}{'; again' if hold.by in ('budget', 'breaker', 'throttled') else ': next'} in {when}"
