"""One parallel slot of an agent as the supervisor knows it, and when something of it is due."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from agentctl.policy.health import ProbeState, Signals
from agentctl.policy.restart import History

if TYPE_CHECKING:
    from agentctl.config import AgentSection, ProbeSection
    from agentctl.policy.outcome import SessionFacts
    from agentctl_store.domain.agent import Desired, Phase

RUNNING: tuple[Phase, ...] = ("starting", "busy", "draining", "stopping")  #: phases with a session
PROBES = ("startup", "liveness", "readiness")
LOOK_MS = 10_000  #: how often a running session with a memory limit or a silence timeout is looked at
LOOK_SELDOM_MS = 60_000  #: and one without
STUCK_STOP_MS = 5_000  #: a stop that has not ended this long after its grace is asked for again, at once
LEASE_SHARE = 3  #: a lease is extended this many times in its length
OVERSPENT_KEPT = 64  #: attempts of a worker that were told of a spent budget
PROGRESS_MS = 1_000  #: new progress is written at most this often


@dataclass(frozen=True, slots=True)
class Want:
    """What is wanted of a slot: by its configuration, by people, by the end of the supervisor."""

    section: AgentSection
    desired: Desired = "running"
    gone: bool = False  #: not in the configuration any more, or beyond the scale
    restart_seq: int = 0
    reset_seq: int = 0
    lease_ms: int = 60_000
    drain_ms: int = 30_000  #: how long a drain lets the current task finish
    shutdown: str = ""  #: drain or now: the supervisor is ending


@dataclass(frozen=True, slots=True)
class Run:
    """The session a slot is living through. Times are on the boot clock."""

    session: int
    nonce: str
    opened_ms: int
    task: int | None = None
    n: int | None = None
    timeout_ms: int | None = None
    restart_seq: int = 0  #: the newest `agent restart` when it was opened
    pid: int | None = None
    started_ms: int | None = None
    output_ms: int = 0
    heard_ms: int = 0
    look_ms: int = 0  #: when its files were last looked at
    extended_ms: int = 0  #: when its lease was last extended
    ready: bool | None = None
    status: str = ""
    progress: str = ""
    unsent: bool = False  #: progress or usage the store has not seen
    input_tokens: int = 0
    output_tokens: int = 0
    cost_microusd: int = 0
    retry_after_ms: int | None = None
    ask: str | None = None  #: the last line that asked a person
    watchdog_ms: int | None = None
    watchdog_at_ms: int = 0
    extra_ms: int = 0  #: EXTEND_TIMEOUT_USEC: added to its timeout
    memory_bytes: int | None = None
    #: of a worker's attempts that were seen to run on a spent budget the last ones: task, attempt, since when
    overspent: tuple[tuple[int, int, int], ...] = ()
    stop: str = ""  #: why it was asked to stop, the first reason
    kill_ms: int = 0  #: when the stop must have ended it
    drain_until_ms: int = 0  #: when a drain stops waiting for the current task
    end: SessionFacts | None = None  #: how it ended; the record is still to be written
    passed: SessionFacts | None = None  #: how it ended, well; whether that is believed is still being checked
    passed_ms: int = 0


@dataclass(frozen=True, slots=True)
class ProbeRun:
    """One probe of the slot: its verdict, when it runs next (boot clock), whether it runs now."""

    state: ProbeState = field(default_factory=ProbeState)
    due_ms: int = 0
    running: bool = False


@dataclass(frozen=True, slots=True)
class Slot:
    """All that is known of one slot."""

    agent: str
    number: int
    want: Want
    phase: Phase = "stopped"
    since_ms: int = 0  #: boot clock
    history: History = field(default_factory=History)
    run: Run | None = None
    why: str = ""
    held: str = ""
    held_until_ms: int = 0
    limited: str = ""  #: which limit, budget or breaker keeps it from work, where a person should know
    limited_until_ms: int = 0  #: boot clock; when that is looked at again, 0: nothing keeps it
    spent: bool = False  #: that is a budget which does not come back by itself
    due_ms: int = 0  #: boot clock of the next start, in backoff
    probes: tuple[tuple[str, ProbeRun], ...] = ()

    @property
    def name(self) -> str:
        return f"{self.agent}/{self.number}"

    @property
    def takes_tasks(self) -> bool:
        """Whether a process of its is started for each task."""
        return self.want.section.mode == "task"

    @property
    def welcome(self) -> bool:
        """Whether new work may start here."""
        return self.want.desired == "running" and not self.want.gone and not self.want.shutdown

    def probe(self, kind: str) -> ProbeRun | None:
        return dict(self.probes).get(kind)

    def with_probe(self, kind: str, probe: ProbeRun) -> Slot:
        return replace(self, probes=tuple((k, probe if k == kind else p) for k, p in self.probes))


def probe_section(slot: Slot, kind: str) -> ProbeSection | None:
    """Return the configuration of one probe."""
    found: ProbeSection | None = getattr(slot.want.section.probe, kind)
    return found


def fresh_probes(slot: Slot, now_ms: int) -> Slot:
    """Begin all configured probes anew, as at the start of a process."""
    probes = []
    for kind in PROBES:
        section = probe_section(slot, kind)
        if section is not None:
            probes.append((kind, ProbeRun(due_ms=now_ms + section.initial_delay_ms)))
    return replace(slot, probes=tuple(probes))


def probe_waits(slot: Slot, kind: str) -> bool:
    """Whether this probe has nothing to run against now."""
    if kind == "startup":
        return slot.run is None or slot.run.pid is None or slot.run.passed is not None or _startup_over(slot)
    if kind == "readiness" and slot.takes_tasks and slot.run is None:
        return not slot.welcome or slot.phase != "idle"
    run = slot.run
    return run is None or run.pid is None or bool(run.stop) or run.passed is not None or not _startup_over(slot)


def _startup_over(slot: Slot) -> bool:
    startup = slot.probe("startup")
    return startup is None or startup.state.ok is True


def claims_now(slot: Slot) -> bool:
    """Whether a claim may be tried: idle, wanted, ready, not held."""
    readiness = slot.probe("readiness")
    ready = readiness is None or readiness.state.ok is True
    return slot.takes_tasks and slot.phase == "idle" and slot.welcome and ready


def limits_of(slot: Slot, run: Run) -> Iterator[tuple[int, str]]:
    """Yield (boot time, stop reason) of everything that would stop the running session, were nothing to happen."""
    section, started_ms = slot.want.section, run.started_ms
    if run.end is not None or run.stop or started_ms is None:
        return
    if slot.phase == "draining" and run.drain_until_ms:
        yield run.drain_until_ms, "drain"
    if run.passed is not None:
        yield run.passed_ms + section.verify_timeout_ms, "verify"
        return
    timeout_ms = run.timeout_ms or section.timeout_ms
    if timeout_ms and run.task is not None:
        yield started_ms + timeout_ms + run.extra_ms, "timeout"
    if section.silence_timeout_ms:
        yield max(run.output_ms, run.heard_ms, started_ms) + section.silence_timeout_ms, "silence"
    if section.heartbeat_timeout_ms:
        yield max(run.heard_ms, started_ms) + section.heartbeat_timeout_ms, "heartbeat"
    watchdog_ms = run.watchdog_ms or section.watchdog_ms
    if watchdog_ms and (run.ready is not False or section.ready == "none"):
        yield max(run.watchdog_at_ms, started_ms) + watchdog_ms, "watchdog"


def look_every_ms(slot: Slot) -> int:
    """Return how often a running session is looked at: often enough to tell of its silence before it is stopped."""
    section = slot.want.section
    if section.silence_timeout_ms:
        return min(LOOK_MS, max(section.silence_timeout_ms // 4, 100))
    return LOOK_MS if section.limits.memory_bytes else LOOK_SELDOM_MS


def next_due_ms(slot: Slot) -> int | None:
    """Return the boot time at which the slot needs a tick, or None."""
    due: list[int] = []
    run = slot.run
    if slot.phase == "backoff":
        due.append(max(slot.due_ms, slot.held_until_ms))
    if slot.phase == "idle" and slot.held:
        due.append(slot.held_until_ms)
    if slot.phase == "idle" and slot.limited_until_ms:
        due.append(slot.limited_until_ms)
    if run is not None and run.end is None:
        due += [at for at, _ in limits_of(slot, run)]
        if run.stop:
            due.append(run.kill_ms)
        if run.pid is not None:
            due.append(run.look_ms + look_every_ms(slot))
        if run.task is not None:
            lease_share_ms = slot.want.lease_ms // LEASE_SHARE
            due.append(run.extended_ms + (min(PROGRESS_MS, lease_share_ms) if run.unsent else lease_share_ms))
    due += [probe.due_ms for kind, probe in slot.probes if not probe.running and not probe_waits(slot, kind)]
    return min(due, default=None)


def signals_of(slot: Slot, now_ms: int) -> Signals:
    """Gather what health is judged by."""
    run, section = slot.run, slot.want.section
    alive = run is not None and run.pid is not None and run.end is None
    states = {kind: probe.state for kind, probe in slot.probes}
    if slot.takes_tasks and run is None:
        states.pop("startup", None)
        states.pop("liveness", None)
    signals = Signals(
        slot.phase,
        "paused" if slot.want.desired == "paused" else "running",
        why=slot.why,
        alive=alive,
        startup=states.get("startup"),
        liveness=states.get("liveness"),
        readiness=states.get("readiness"),
        streak=slot.history.streak,
        held=slot.held or slot.limited,
    )
    if run is None or not alive or run.stop or run.passed is not None:
        return signals
    started_ms = run.started_ms or now_ms
    return replace(
        signals,
        ready=run.ready if section.ready == "notify" else None,
        silence_ms=now_ms - max(run.output_ms, run.heard_ms, started_ms),
        silence_timeout_ms=section.silence_timeout_ms,
        heartbeat_age_ms=now_ms - max(run.heard_ms, started_ms),
        heartbeat_timeout_ms=section.heartbeat_timeout_ms,
        watchdog_age_ms=now_ms - max(run.watchdog_at_ms, started_ms),
        watchdog_ms=run.watchdog_ms or section.watchdog_ms,
        throttled=run.retry_after_ms is not None,
        memory_bytes=run.memory_bytes,
        memory_limit_bytes=section.limits.memory_bytes,
    )
