"""What screens show of running sessions from second to second: memory, ages, probes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentctl.supervisor import observe, session_dir
from agentctl_store.read.vitals import Vitals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentctl.supervisor.sessions import Key, Live
    from agentctl.supervisor.slot import Slot
    from agentctl_store.clock import Moment


def vitals_of(slots: Mapping[Key, Slot], live: Mapping[int, Live], now: Moment) -> dict[str, Vitals]:
    """Look at every session that runs; instances without one have no entry, but for what their probe says."""
    found: dict[str, Vitals] = {}
    for slot in slots.values():
        probe = probe_text(slot)
        session = None if slot.run is None else live.get(slot.run.session)
        if slot.run is None or session is None or session.pid is None:
            if probe:
                found[slot.name] = Vitals(probe=probe)
            continue
        heard_ms = slot.run.heard_ms
        found[slot.name] = Vitals(
            observe.memory_bytes(session.pid),
            now.wall_ms - (now.boot_ms - heard_ms) if heard_ms else None,
            session_dir.output_wall_ms(session.folder),
            probe,
        )
    return found


def probe_text(slot: Slot) -> str:
    """Say what the probes found: `ready`, or the first that is not content; nothing without probes."""
    for kind, probe in slot.probes:
        if probe.state.ok is not True:
            said = probe.state.detail or "no answer yet"
            return f"not ready: {kind} {said}" if kind != "liveness" or probe.state.ok is False else "not probed yet"
    return "ready" if slot.probes else ""
