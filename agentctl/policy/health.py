"""From an instance's separate signals to one health and a reason a person can act on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentctl.quantities import show_duration, show_size

if TYPE_CHECKING:
    from agentctl_store.domain.agent import Desired, Health, Phase

SILENT_NOTICE_FACTOR = 0.5  #: a running task silent for this share of its silence timeout is degraded
MEMORY_NOTICE_FACTOR = 0.9  #: of the memory limit
RESTARTS_NOTICE = 2  #: ends in a row without a stable run that make a running instance degraded


@dataclass(frozen=True, slots=True)
class ProbeState:
    """Where one probe of an instance stands. `ok` is None before the first verdict."""

    ok: bool | None = None
    failures: int = 0  #: in a row
    successes: int = 0  #: in a row
    detail: str = ""  #: what the last failure said


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known of an instance; ages in milliseconds, None where the signal does not apply."""

    phase: Phase
    desired: Desired
    why: str = ""  #: why it is in that phase, where the phase needs one (latch, backoff, rest)
    alive: bool = False
    heartbeat_age_ms: int | None = None
    heartbeat_timeout_ms: int | None = None
    silence_ms: int | None = None
    silence_timeout_ms: int | None = None
    watchdog_age_ms: int | None = None
    watchdog_ms: int | None = None
    ready: bool | None = None  #: None: the agent does not say when it is ready
    startup: ProbeState | None = None
    liveness: ProbeState | None = None
    readiness: ProbeState | None = None
    throttled: bool = False
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    streak: int = 0
    held: str = ""  #: why nothing is started although the instance could (memory floor …)


def assess(signals: Signals) -> tuple[Health, str]:
    """Return the health and, unless it is plain, the reason with what to do about it."""
    settled = _settled(signals)
    if settled is not None:
        return settled
    bad = _unhealthy(signals)
    if bad:
        return "unhealthy", bad
    if signals.phase == "starting" or signals.ready is False:
        return "starting", "" if signals.ready is None else "waits for READY=1 of the agent"
    if signals.startup is not None and signals.startup.ok is not True:
        return "starting", _probe("startup", signals.startup)
    soft = _degraded(signals)
    if soft:
        return "degraded", soft
    if signals.desired == "paused":
        return "paused", "paused; `agentctl agent resume` lets it claim again"
    return "healthy", ""


def _settled(signals: Signals) -> tuple[Health, str] | None:
    if signals.phase == "failed":
        return "unhealthy", f"start limit: {signals.why}. Fix the cause, then `agentctl agent start`"
    if signals.phase == "backoff":
        return "degraded", signals.held or f"restarts after a pause: {signals.why}"
    if signals.phase == "stopped":
        return "stopped", signals.why
    if signals.phase == "stopping":
        return "draining", f"is being stopped ({signals.why})" if signals.why else ""
    if signals.phase == "draining":
        return "draining", signals.why
    return None


def _unhealthy(signals: Signals) -> str:
    if signals.liveness is not None and signals.liveness.ok is False:
        return f"liveness probe failed: {signals.liveness.detail}"
    if _over(signals.watchdog_age_ms, signals.watchdog_ms):
        return f"no WATCHDOG=1 for {show_duration(signals.watchdog_age_ms or 0)}; it is being restarted"
    if _over(signals.heartbeat_age_ms, signals.heartbeat_timeout_ms):
        return f"no heartbeat for {show_duration(signals.heartbeat_age_ms or 0)}; look at its log"
    if _over(signals.silence_ms, signals.silence_timeout_ms):
        return f"no output for {show_duration(signals.silence_ms or 0)}; look at its log"
    return ""


def _degraded(signals: Signals) -> str:
    if signals.readiness is not None and signals.readiness.ok is not True:
        return _probe("readiness", signals.readiness) + "; no new claims"
    if signals.held:
        return signals.held
    if signals.throttled:
        return "the provider throttles it; tasks wait for their Retry-After"
    if signals.memory_limit_bytes and (signals.memory_bytes or 0) > MEMORY_NOTICE_FACTOR * signals.memory_limit_bytes:
        return (
            f"memory {show_size(signals.memory_bytes or 0)} of {show_size(signals.memory_limit_bytes)}; "
            "raise limits.memory or give it smaller tasks"
        )
    silent_ms, limit_ms = signals.silence_ms or 0, signals.silence_timeout_ms or 0
    if limit_ms and silent_ms > SILENT_NOTICE_FACTOR * limit_ms:
        left_ms = limit_ms - silent_ms
        return f"no output for {show_duration(silent_ms)}; it is stopped in {show_duration(left_ms)}"
    if signals.streak >= RESTARTS_NOTICE:
        return f"fell {signals.streak} times in a row" + (f", last: {signals.why}" if signals.why else "")
    return ""


def _over(age_ms: int | None, limit_ms: int | None) -> bool:
    return age_ms is not None and limit_ms is not None and age_ms >= limit_ms


def _probe(name: str, state: ProbeState) -> str:
    if state.ok is None and not state.detail:
        return f"{name} probe has no answer yet"
    return f"{name} probe fails: {state.detail or 'no answer'}"


def probed(state: ProbeState, ok: bool, detail: str, *, failures: int, successes: int) -> ProbeState:
    """Fold one probe result in: a verdict turns only after so many equal results in a row (Kubernetes)."""
    if ok:
        row = state.successes + 1
        return ProbeState(True if row >= successes else state.ok, 0, row, "")
    row = state.failures + 1
    return ProbeState(False if row >= failures else state.ok, row, 0, detail)
