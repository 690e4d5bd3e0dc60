"""Verbs on queues."""

from __future__ import annotations

import time

from . import output
from .call import Call, actor
from .limits import why_held
from .table import Column
from .verb import arg, opt, verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_COUNTS = ("ready", "active", "scheduled", "blocked", "waiting", "dead", "done", "cancelled")
_LIST = (
    Column("queue"),
    Column("state"),
    *(Column(name, "number") for name in _COUNTS),
    Column("unroutable", "number"),
    Column("why", wide=True),
    Column("oldest_ready_at", "time", title="oldest ready"),
    Column("agents", "list"),
    Column("held", title="held back by"),
)


@verb("queue list", summary="List queues with what they hold.", reads=True)
def list_queues(call: Call) -> int:
    """List queues."""

    def fetch() -> list[dict[str, Any]]:
        now_ms = time.time_ns() // 1_000_000
        held = why_held(call.reader.holds(now_ms), now_ms)
        return [
            {
                "queue": row.queue,
                "state": "paused" if row.paused else "open",
                **{name: getattr(row, name) for name in _COUNTS},
                "unroutable": row.unroutable,
                "why": row.why,
                "oldest_ready_at": row.oldest_ready_ms,
                "agents": row.agents,
                "held": held.queues.get(row.queue) or _all_held(row.agents, held.agents),
            }
            for row in call.reader.queues()
        ]

    return call.show(_LIST, fetch, empty="No queues.")


def _all_held(agents: tuple[str, ...], held: dict[str, str]) -> str:
    """Say what holds a queue back none of whose agents may start anything."""
    return held[agents[0]] if agents and all(agent in held for agent in agents) else ""


@verb(
    "queue limit",
    summary="Bound a queue: the rate of its starts, attempts at once, tasks that wait.",
    details="The same as limit set queue:NAME. It holds from the next claim on.",
    queue=arg("The queue.", "QUEUE", complete="queues"),
    rate=opt(help="So many starts in so long: 30/min, 5/10s.", metavar="RATE"),
    burst=opt(help="How many may start together after a pause (default: 1, evenly spaced).", metavar="N"),
    concurrency=opt(help="How many attempts at once.", metavar="N"),
    max_depth=opt(help="Refuse new tasks while so many wait.", metavar="N"),
)
def limit(
    call: Call,
    *,
    queue: str,
    rate: str | None = None,
    burst: int | None = None,
    concurrency: int | None = None,
    max_depth: int | None = None,
) -> int:
    """Limit a queue."""
    from agentctl_store.ids import check_name

    from .limit import bound

    bound(call, "queue", check_name(queue, "queue"), rate, burst, concurrency, max_depth)
    return 0


@verb(
    "queue pause",
    summary="Stop claims from a queue; running tasks go on.",
    queue=arg("The queue.", "QUEUE", complete="queues"),
    reason=opt(help="Why, shown to everybody who looks.", metavar="TEXT"),
)
def pause(call: Call, *, queue: str, reason: str = "") -> int:
    """Pause a queue."""
    changed = call.store.pause_queue(queue, reason=reason, actor=actor())
    output.say(f"{queue} paused" if changed else f"{queue} was paused already")
    row = next((one for one in call.reader.queues() if one.queue == queue), None)
    if row is not None and not row.agents and not any(getattr(row, name) for name in _COUNTS):
        call.note(f"{queue} holds no task and no agent serves it: if it is a slip, agentctl queue resume {queue}")
    return 0


@verb(
    "queue resume",
    summary="Let claims from a queue go on.",
    queue=arg("The queue.", "QUEUE", complete="queues"),
)
def resume(call: Call, *, queue: str) -> int:
    """Resume a queue."""
    changed = call.store.resume_queue(queue, actor=actor())
    output.say(f"{queue} open" if changed else f"{queue} was not paused")
    return 0
