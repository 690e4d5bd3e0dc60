"""`agentctl ps`: every instance and what it does now."""

from __future__ import annotations

import time

from agentctl_store.read.models import INSTANCE_SORTS, Filter

from .acts import supervisor
from .call import Call
from .diagnostics import counted
from .limits import why_held
from .table import Column
from .tasks import sorts, windows
from .verb import opt, verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentctl_store.domain.agent import Health
    from agentctl_store.read.models import InstanceRow

HEALTHS = ("healthy", "degraded", "unhealthy", "starting", "stopped", "paused", "draining")
_GLYPHS = {"healthy": "●", "degraded": "◐", "unhealthy": "✖", "starting": "◌", "draining": "◑", "paused": "‖"}
_COLUMNS = (
    Column("instance"),
    Column("health"),
    Column("phase"),
    Column("task"),
    Column("started_at", "time", title="up since"),
    Column("output_at", "time", title="output", wide=True),
    Column("heartbeat_at", "time", title="heartbeat", wide=True),
    Column("restarts", "number"),
    Column("done", "number"),
    Column("pid", "text", wide=True),
    Column("session", wide=True),
    Column("attempt", "number", wide=True),
    Column("mode", wide=True),
    Column("desired", wide=True),
    Column("memory_bytes", "number", title="memory", wide=True),
    Column("next_start_at", "time", title="next start", wide=True),
    Column("latched", "flag", wide=True),
    Column("progress", wide=True),
    Column("now"),
)


def _idles(row: InstanceRow) -> bool:
    """Whether an instance could start something: an idle one, or a worker that holds no task."""
    return row.task is None and row.phase in ("idle", "busy") and row.mode != "service"


@verb(
    "ps",
    summary="List the fleet's instances, their health and what they do.",
    reads=True,
    agent=opt("-a", help="Only of this agent.", complete="agents"),
    health=opt(help="Only in this health.", choices=HEALTHS),
    sort=opt(help="By what, with a dash the other way round.", choices=sorts(INSTANCE_SORTS), metavar="FIELD"),
)
def ps(call: Call, *, agent: str | None = None, health: str | None = None, sort: str = "instance") -> int:
    """List instances."""
    wanted: Health | None = health  # type: ignore[assignment] # one of HEALTHS
    narrowed = Filter(agent=agent, health=wanted)

    def fetch() -> list[dict[str, Any]]:
        found = windows(lambda offset, size: call.reader.instances(offset, size, sort, narrowed), 100_000)
        now_ms = time.time_ns() // 1_000_000
        held = why_held(call.reader.holds(now_ms), now_ms).agents
        glyphs = call.output == "table" and call.fields is None
        return [
            {
                "instance": row.instance,
                "health": f"{_GLYPHS.get(row.health, '○')} {row.health}" if glyphs else row.health,
                "phase": row.phase,
                "task": row.task,
                "started_at": row.started_ms,
                "output_at": row.output_ms,
                "heartbeat_at": row.heartbeat_ms,
                "restarts": row.restarts,
                "done": row.done,
                "pid": row.pid,
                "session": row.session,
                "attempt": row.attempt,
                "mode": row.mode,
                "desired": row.desired,
                "memory_bytes": row.memory_bytes,
                "next_start_at": row.next_start_ms,
                "latched": row.latched,
                "progress": row.progress,
                "now": row.reason or row.progress or row.title or (held.get(row.agent, "") if _idles(row) else ""),
            }
            for row in found
        ]

    code = call.show(_COLUMNS, fetch, empty="No instances yet. Start the fleet with: agentctl run")
    if call.output == "table" and call.fields is None:
        row = supervisor(call)
        if not row.running:
            call.note("No supervisor runs now: this is what the last one saw. Start one with: agentctl run")
        elif row.stopped:
            call.note(f"Supervisor {row.pid} is stopped: nothing is supervised. Let it go on: kill -CONT {row.pid}")
        for queue in call.reader.queues():
            if queue.unroutable:
                call.note(f"{counted(queue.unroutable, 'task')} in queue {queue.queue} cannot be taken: {queue.why}")
    return code
