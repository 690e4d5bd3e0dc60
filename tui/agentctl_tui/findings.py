"""The most important finding about the fleet, in one sentence with its remedy. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from agentctl_store.read.models import FleetSummary, InstanceRow
from agentctl_tui import units
from agentctl_tui.cells import Line, clean, cut, piece, raw
from agentctl_tui.glyphs import Glyphs
from agentctl_tui.render import short


def finding(summary: FleetSummary, worst: Sequence[InstanceRow], glyphs: Glyphs, size: int) -> Line:
    """Return what a person should do next, or that nothing needs one. `worst` comes worst health first."""
    now_ms = summary.now_ms
    first = worst[0] if worst else None
    dead, ready = summary.count("dead"), summary.count("ready")
    if not summary.supervisor.running and (ready or summary.instances()):
        seen = summary.supervisor.since_ms
        ago = f" since {units.age(now_ms - seen)}" if seen is not None else ""
        return _say("red", glyphs, size, f"No supervisor{ago}: nothing new is started.", "Run `agentctl run`.")
    if summary.supervisor.stopped:
        pid = summary.supervisor.pid
        return _say("red", glyphs, size, f"Supervisor {pid} is stopped: nothing is supervised.", f"`kill -CONT {pid}`")
    if first is not None and (first.latched or first.phase == "failed"):
        why = short(first.reason) or "it hit its start limit"
        return _say("red", glyphs, size, f"{first.instance} failed: {why}.", "Fix the cause; s starts it.")
    if first is not None and first.health == "unhealthy":
        why = short(first.reason) or "no reason given"
        return _say("red", glyphs, size, f"{first.instance} is unhealthy: {why}.", "Press r to restart it.")
    stuck = [queue for queue in summary.paused_queues if ready]
    if stuck:
        return _say(
            "amber",
            glyphs,
            size,
            f"Queue {stuck[0]} is paused.",
            f"`agentctl queue resume {stuck[0]}` opens it.",
        )
    asked = summary.count("waiting")
    if asked:
        have = "A task waits" if asked == 1 else f"{units.plural(asked, 'task')} wait"
        return _say("amber", glyphs, size, f"{have} for a person's answer.", "See `agentctl inbox`.")
    if summary.unroutable:
        what = f"{units.plural(summary.unroutable, 'task')} cannot be taken: {short(summary.why)}."
        return _say("amber", glyphs, size, what, "See `agentctl queue list`.")
    if first is not None and first.health == "degraded":
        why = short(first.reason) or "no reason given"
        held = units.since(first.since_ms, now_ms)
        return _say("amber", glyphs, size, f"{first.instance} is degraded for {held}: {why}.", "l shows its log.")
    if dead:
        have = "1 task is" if dead == 1 else f"{units.count(dead)} tasks are"
        return _say("amber", glyphs, size, f"{have} dead.", "Press 3 to read why and requeue.")
    if ready and not summary.instances("healthy", "degraded", "starting"):
        return _say("amber", glyphs, size, f"{units.plural(ready, 'task')} ready, but no agent runs.", "Press s.")
    if not summary.instances():
        return ()
    return (raw(f" {glyphs.health['healthy']} ", "green"), raw("Nothing needs you.", "dim"))


def _say(role: str, glyphs: Glyphs, size: int, what: str, remedy: str) -> Line:
    sign = glyphs.health["unhealthy" if role == "red" else "degraded"]
    # On a narrow screen the cause is cut, never the remedy.
    what = cut(clean(what.replace("..", ".")), size - len(remedy) - 5, glyphs.more)
    return (raw(f" {sign} ", role), piece(what, role), piece(f" {remedy}", "text"))
