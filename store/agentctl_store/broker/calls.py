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
    "claim": ("queues", "agent", "slot", "session", "open_session", "lease_ms", "limit", "can", "wait_ms"),
    "heartbeat": ("task", "n", "lease_ms", "progress", "usage"),
    "complete": ("task", "n", "result", "usage", "exit_code", "end_session"),
    "complete_and_claim": ("task", "n", "result", "usage", "queues", "agent", "slot", "session", "lease_ms", "can"),
    "fail": ("task", "n", "failure", "usage", "jitter", "end_session"),
    "release": ("task", "n", "reason", "end_session", "usage"),
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
    "end_session": ("end", "usage"),
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
    "messages.send": ("message", "actor"),
    "messages.read": ("agent", "reader", "limit", "ack_ms", "wait_ms"),
    "messages.ack": ("message", "n"),
    "messages.refuse": ("message", "n", "error"),
    "messages.give_back": ("message", "n"),
    "messages.requeue": ("message", "payload", "note", "actor"),
    "messages.discard": ("message", "reason", "actor"),
    "messages.subscribe": ("topic", "agent", "actor"),
    "messages.unsubscribe": ("topic", "agent", "actor"),
    "messages.set_schema": ("scope", "schema", "actor"),
    "messages.remove_schema": ("scope", "actor"),
    "messages.configure": ("damping", "actor"),
    "questions.ask": ("task", "n", "question", "usage", "exit_code", "end_session"),
    "questions.answer": ("task", "n", "answer", "actor"),
    "questions.reject": ("task", "n", "reason", "actor"),
    "schedules.add": ("spec", "actor", "jitter"),
    "schedules.declare": ("specs", "actor", "jitter"),
    "schedules.remove": ("name", "actor"),
    "schedules.pause": ("name", "reason", "actor"),
    "schedules.resume": ("name", "actor", "jitter"),
    "schedules.run": ("name", "actor", "jitter"),
}
#: the same, of verbs that take no moment and no transaction
READS: dict[str, tuple[str, ...]] = {
    "task": ("task",),
    "find_tasks": ("low", "high", "limit"),
    "task_by_key": ("key",),
    "attempts": ("task",),
    "unfinished": ("queues", "agents"),
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
    "messages.message": ("message",),
    "messages.find": ("low", "high", "limit"),
    "messages.list": ("filter", "limit"),
    "messages.thread": ("conversation", "party", "limit"),
    "messages.topics": (),
    "messages.schemas": (),
    "messages.damping": (),
    "questions.open": ("limit",),
    "questions.of_task": ("task",),
    "schedules.all": (),
    "schedules.one": ("name",),
}

ORDER = WRITES | READS
#: Said twice these do it twice, so their answers are kept until the caller's next one: a caller who lost one asks for
#: it. The other writes name an attempt, a session or a whole state, and saying them again changes nothing.
ONCE = frozenset(WRITES) - {
    "heartbeat", "complete", "fail", "release", "cancelled", "sweep", "declare_agents", "save_instances",
    "drop_instances", "session_started", "end_session", "limits.configure",
    "messages.ack", "messages.refuse", "messages.give_back",
    "messages.subscribe", "messages.unsubscribe", "messages.set_schema", "messages.remove_schema", "messages.configure",
    "questions.ask", "schedules.declare",
}  # fmt: skip
#: verbs whose answers name claims: only those that still stand are given again
CLAIMS = frozenset(("claim", "complete_and_claim"))


def reach(driver: Any, verb: str) -> Any:
    """Return a driver's method by the name of its call."""
    noun, _, name = verb.rpartition(".")
    return getattr(getattr(driver, noun) if noun else driver, name)
