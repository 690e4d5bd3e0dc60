"""Flapping: an instance that goes down again and again, too seldom for its start limit or until it hit that."""

from __future__ import annotations

from .model import Finding
from .telling import agent_of, counted, named, quoted, some, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .model import Change
    from .port import Evidence
    from .thresholds import Thresholds

LOOKED_AT = 50_000  #: newest changes of the window
MOST = 20  #: instances told


def flapping_instances(evidence: Evidence, limits: Thresholds) -> list[Finding]:
    """Find instances that went down too often within the window, and those that stay down for it."""
    downs: dict[str, list[Change]] = {}
    newest: dict[str, Change] = {}
    last_down: dict[str, Change] = {}
    for change in evidence.changes(LOOKED_AT):
        before = newest.get(change.instance)
        newest[change.instance] = change
        if _is_down(change) and (before is None or not _is_down(before)):
            downs.setdefault(change.instance, []).append(change)
        if _is_down(change):
            last_down[change.instance] = change
    found = []
    for instance, change in newest.items():
        worst = densest(downs.get(instance, []), limits.flapping_window_ms)
        if change.latched or len(worst) >= limits.flapping_times:
            found.append(_told(instance, change, worst or [change], last_down.get(instance, change)))
    found.sort(key=lambda one: (one.severity != "critical", -one.count))
    return found[:MOST]


def _is_down(change: Change) -> bool:
    return change.phase in ("backoff", "failed") or change.health == "unhealthy"


def densest(changes: list[Change], window_ms: int) -> list[Change]:
    """Return the longest run of changes that lie within one window."""
    best: list[Change] = []
    start = 0
    for end, change in enumerate(changes):
        while change.at_ms - changes[start].at_ms >= window_ms:
            start += 1
        if end - start + 1 > len(best):
            best = changes[start : end + 1]
    return best


def _told(instance: str, now: Change, worst: list[Change], down: Change) -> Finding:
    agent = named(agent_of(instance))
    why = quoted(down.reason) or "no reason was told"
    if now.latched:
        summary = f"it stays down, having gone down {counted(len(worst), 'time')}: {why}"
        remedy = f"Mend the cause, then: agentctl agent start {agent}"
    else:
        lasted = span(worst[-1].at_ms - worst[0].at_ms)
        summary = f"it went down {counted(len(worst), 'time')} within {lasted}: {why}"
        remedy = f"See why: agentctl logs {agent}; raise `base` in [agent.{agent}.restart] of agentctl.toml"
    return Finding(
        "flapping",
        "critical" if now.latched else "warning",
        named(instance),
        summary,
        remedy,
        len(worst),
        worst[0].at_ms,
        max(now.at_ms, worst[-1].at_ms),
        events=some([change.seq for change in worst]),
        evidence=(("latched", "yes" if now.latched else "no"), ("phase", named(now.phase))),
    )
