"""The append-only history. Each verb appends one event in its own transaction; folding them rebuilds the tables."""

from __future__ import annotations

from ..record import record

#: event kind → its code in the store; codes are never reused
KINDS: dict[str, int] = {
    "task.added": 1,
    "task.unblocked": 2,
    "task.promoted": 3,
    "task.hastened": 4,
    "task.claimed": 5,
    "task.completed": 6,
    "task.retried": 7,
    "task.released": 8,
    "task.asked": 9,
    "task.answered": 10,
    "task.cancel_asked": 11,
    "task.cancelled": 12,
    "task.buried": 13,
    "task.requeued": 14,
    "task.discarded": 15,
    "task.deferred": 18,
    "task.carried": 16,
    "task.pruned": 17,
    "lane.named": 19,
    "chain.named": 20,
    "task.fell_back": 21,
    "task.stood_in": 22,
    "route.lost": 23,
    "route.found": 24,
    "task.used": 25,
    "lane.dropped": 26,
    "queue.paused": 30,
    "queue.resumed": 31,
    "agent.declared": 40,
    "agent.withdrawn": 41,
    "agent.desired": 42,
    "agent.scaled": 43,
    "instance.changed": 50,
    "instance.removed": 51,
    "session.opened": 60,
    "session.started": 61,
    "session.ended": 62,
    "supervisor.started": 70,
    "supervisor.stopped": 71,
    "supervisor.noted": 72,
    "clock.gap": 80,
    "store.backed_up": 90,
    "store.restored": 91,
    "store.pruned": 92,
    "store.named": 93,
    "access.refused": 95,
    "limit.set": 130,
    "limit.removed": 131,
    "limit.counted": 132,
    "limit.assigned": 133,
    "budget.set": 140,
    "budget.removed": 141,
    "budget.spent": 142,
    "breaker.set": 150,
    "breaker.removed": 151,
    "breaker.counted": 152,
    "breaker.opened": 153,
    "breaker.probed": 154,
    "breaker.released": 155,
    "breaker.closed": 156,
    "breaker.spaced": 157,
    "breaker.reset": 158,
    "message.sent": 100,
    "message.delivered": 101,
    "message.acked": 102,
    "message.returned": 103,
    "message.expired": 104,
    "message.buried": 105,
    "message.requeued": 106,
    "message.discarded": 107,
    "message.carried": 108,
    "message.pruned": 109,
    "message.damped": 110,
    "message.configured": 111,
    "message.crowded": 112,
    "topic.subscribed": 115,
    "topic.unsubscribed": 116,
    "schema.set": 120,
    "schema.removed": 121,
    "schedule.added": 160,
    "schedule.changed": 161,
    "schedule.removed": 162,
    "schedule.paused": 163,
    "schedule.resumed": 164,
    "schedule.fired": 165,
    "schedule.skipped": 166,
    "schedule.moved": 167,
}
NAMES: dict[int, str] = {code: kind for kind, code in KINDS.items()}
#: code → the word that the supervisor is woken with when such an event was committed
WAKES: dict[int, bytes] = {
    **{
        KINDS[kind]: b"task"
        for kind in (
            "task.added", "task.unblocked", "task.deferred", "task.promoted", "task.hastened", "task.retried",
            "task.released", "task.requeued", "task.answered", "queue.resumed", "limit.set", "limit.removed",
            "budget.set", "budget.removed", "breaker.removed", "breaker.closed", "breaker.reset",
            "task.released", "task.requeued", "task.answered", "task.fell_back", "queue.resumed",
            "task.asked", "schedule.added", "schedule.changed", "schedule.resumed",
        )
    },
    KINDS["task.cancel_asked"]: b"cancel",
    **{KINDS[kind]: b"agent" for kind in ("agent.desired", "agent.scaled")},
}  # fmt: skip


@record
class Event:
    """One line of history. `data` is JSON text; `hash` covers every other field, the body and the previous hash."""

    seq: int
    at_ms: int
    kind: str
    task: int | None
    attempt: int | None
    actor: str | None  #: who did it: an agent, an instance or a person
    data: str | None
    hash: bytes
    session: int | None = None
    body: int | None = None  #: number of the payload or result this event brought
    correlation: str | None = None
