"""The verbs of the driver as calls: the order of their arguments, and what a lost answer means for each.

`now` is never sent: the server stamps the moment, so that nobody can outlive a lease by lying about the time.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: verb → its arguments in the order of a frame; `noun.verb` is a verb of the driver's part `noun`
WRITES: dict[str, tuple[str, ...]] = {
    "add": ("tasks", "actor"),
    "claim": ("queues", "agent", "slot", "session", "open_session", "lease_ms", "limit", "wait_ms"),
    "heartbeat": ("task", "n", "lease_ms", "progress", "usage"),
    "complete": ("task", "n", "result", "usage", "exit_code", "end_session"),
    "complete_and_claim": ("task", "n", "result", "usage", "queues", "agent", "slot", "session", "lease_ms"),
    "fail": ("task", "n", "failure", "usage", "jitter", "end_session"),
    "release": ("task", "n", "reason", "end_session"),
    "cancel": ("task", "reason", "actor"),
    "cancelled": ("task", "n", "end_session", "usage"),
    "hasten": ("task", "actor"),
    "requeue": ("task", "payload", "run_at_ms", "note", "actor"),
    "discard": ("task", "reason", "actor"),
    "sweep": ("limit", "jitter"),
    "pause_queue": ("queue", "reason", "actor"),
    "resume_queue": ("queue", "actor"),
    "declare_agents": ("specs", "actor"),
    "set_desired": ("agent", "desired", "actor"),
    "restart_agent": ("agent", "actor"),
    "scale_agent": ("agent", "instances", "actor"),
    "save_instances": ("changed",),
    "drop_instances": ("gone",),
    "open_session": ("session",),
    "session_started": ("session", "pid"),
    "end_session": ("end",),
    "note": ("kind", "actor", "data"),
    "limits.set_bound": ("bound", "actor"),
    "limits.remove_bound": ("scope", "target", "actor"),
    "limits.assign": ("agent", "provider", "actor"),
    "limits.set_budget": ("budget", "actor"),
    "limits.remove_budget": ("scope", "target", "measure", "per", "actor"),
    "limits.set_breaker": ("breaker", "actor"),
    "limits.remove_breaker": ("scope", "target", "actor"),
    "limits.reset_breaker": ("scope", "target", "actor"),
    "limits.configure": ("bounds", "members", "budgets", "breakers", "actor"),
}
#: the same, of verbs that take no moment and no transaction
READS: dict[str, tuple[str, ...]] = {
    "task": ("task",),
    "find_tasks": ("low", "high", "limit"),
    "task_by_key": ("key",),
    "attempts": ("task",),
    "unfinished": ("queues",),
    "parents": ("task",),
    "agents": (),
    "instances": (),
    "open_sessions": (),
    "session": ("session",),
    "held_tasks": ("session",),
    "events": ("after", "limit", "task", "kinds", "newest_first"),
    "changed": ("after", "task", "wait_ms"),
    "version": (),
    "receipt": ("client", "request"),
    "limits.overspent": ("now_ms",),
    "limits.hold": ("queues", "agent", "now_ms"),
}

ORDER = WRITES | READS
#: Said twice these do it twice, so their answers are kept until the caller's next one: a caller who lost one asks for
#: it. The other writes name an attempt, a session or a whole state, and saying them again changes nothing.
ONCE = frozenset(WRITES) - {
    "heartbeat", "complete", "fail", "release", "cancelled", "sweep", "declare_agents", "save_instances",
    "drop_instances", "session_started", "end_session", "limits.configure",
}  # fmt: skip
#: verbs whose answers name claims: only those that still stand are given again
CLAIMS = frozenset(("claim", "complete_and_claim"))


def reach(driver: Any, verb: str) -> Any:
    """Return a driver's method by the name of its call."""
    noun, _, name = verb.rpartition(".")
    return getattr(getattr(driver, noun) if noun else driver, name)
