"""How a finished session is judged: the contract of an executable's exit, and why it was stopped."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from agentctl.quantities import show_duration
from agentctl_store.domain.retry import Failure

if TYPE_CHECKING:
    from agentctl_store.domain.retry import ErrorClass

EXIT_THROTTLED = 75  #: EX_TEMPFAIL
BUDGET = "budget"  #: how a stop's reason begins when a budget is spent; which one follows
EXIT_PERMANENT = (65, 78)  #: EX_DATAERR, EX_CONFIG
MAX_ERROR_CHARACTERS = 2_000

StopReason = Literal[
    "timeout",
    "silence",
    "heartbeat",
    "watchdog",
    "liveness",
    "cancel",
    "drain",
    "stop",
    "restart",
    "reload",
    "lost",
    "budget",
    "verify",
]
#: why a session was stopped → how its task ends
STOPPED_TASK: dict[str, Literal["release", "cancel"] | ErrorClass] = {
    "timeout": "timeout",
    "silence": "timeout",
    "heartbeat": "timeout",
    "watchdog": "crashed",
    "liveness": "crashed",
    "cancel": "cancel",
    BUDGET: "policy",
    "drain": "release",
    "stop": "release",
    "restart": "release",
    "reload": "release",
    "lost": "release",
    "verify": "verify",
}


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What a finished session left: its exit, why it was stopped, and what it said."""

    code: int | None = None
    signal: int | None = None
    spawn_error: str | None = None
    stop_reason: str = ""  #: empty when nobody asked it to stop
    vanished: str = ""  #: how it disappeared without an exit record, or empty
    orphaned: bool = False
    for_good: bool = False  #: the spawn error will be the same next time
    never: bool = False  #: nothing ran, by no fault of the agent: `spawn_error` says why
    hold_ms: int = 0  #: how long to wait before the next start, when nothing could be started
    ran_ms: int = 0
    stderr_tail: str = ""
    retry_after_ms: int | None = None
    needs_result: bool = False  #: a success must leave a result
    verify: SessionFacts | None = None  #: how the check of its success ended


@dataclass(frozen=True, slots=True)
class Done:
    """The attempt succeeded; its result is to be read."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Released:
    """The task goes back without burning a try."""

    reason: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The attempt ended because a cancel was asked."""


Outcome = Done | Failed | Released | Cancelled


def judge_exit(facts: SessionFacts) -> Outcome:
    """Say how the task of a finished session ends.

    A process that was asked to stop and still finished with 0 is believed: its work is done.
    """
    if facts.spawn_error is not None:
        return Released(f"the agent could not be started: {facts.spawn_error}")
    if facts.vanished:
        return Failed(Failure("lost", _text(facts, facts.vanished)))
    if facts.code == 0:
        return Done() if facts.verify is None else _judge_verify(facts, facts.verify)
    if facts.orphaned:
        return Released("stopped because nobody supervised it any more")
    if facts.stop_reason:
        reason, _, which = facts.stop_reason.partition(": ")
        verdict = STOPPED_TASK.get(reason, "release")
        if verdict == "cancel":
            return Cancelled()
        if verdict == "release":
            return Released(f"stopped ({facts.stop_reason}) after {show_duration(facts.ran_ms)}")
        said = f"{which or f'stopped for {reason}'} after {show_duration(facts.ran_ms)}"
        return Failed(Failure(verdict, _text(facts, said), facts.code))
    if facts.signal is not None:
        return Failed(Failure("crashed", _text(facts, f"killed by {_signal(facts.signal)}"), 128 + facts.signal))
    kind: ErrorClass = "transient"
    if facts.code == EXIT_THROTTLED:
        kind = "throttled"
    elif facts.code in EXIT_PERMANENT:
        kind = "permanent"
    retry_after_ms = facts.retry_after_ms if kind in ("throttled", "transient") else None
    return Failed(Failure(kind, _text(facts, f"exit {facts.code}"), facts.code, retry_after_ms))


def _judge_verify(facts: SessionFacts, verify: SessionFacts) -> Outcome:
    """Say whether a success is believed. A check that was interrupted says nothing of it: the work is done again."""
    if verify.vanished:
        return Failed(Failure("lost", f"its verify vanished: {verify.vanished}", facts.code))
    if verify.code == 0:
        return Done()
    if verify.never or verify.orphaned:
        return Released(f"its result could not be verified: {verify.spawn_error or 'nobody supervised it any more'}")
    if verify.stop_reason == "cancel":
        return Cancelled()
    if verify.stop_reason and verify.stop_reason != "verify":
        return Released(f"stopped ({verify.stop_reason}) before its result was verified")
    if verify.spawn_error is not None:
        how = f"verify could not be run: {verify.spawn_error}"
    elif verify.stop_reason:
        how = f"verify did not end within {show_duration(verify.ran_ms)}"
    elif verify.signal is not None:
        how = f"verify was killed by signal {verify.signal}"
    else:
        how = f"verify exit {verify.code}"
    return Failed(Failure("verify", _text(verify, how), facts.code))


def describe_end(facts: SessionFacts) -> str:
    """Say in a few words how a session ended: `exit 127 "mail: not found"`."""
    if facts.spawn_error is not None:
        return facts.spawn_error
    if facts.vanished:
        return facts.vanished
    last = facts.stderr_tail.strip().rpartition("\n")[2].strip()[:200]
    how = _signal(facts.signal) if facts.signal is not None else f"exit {facts.code}"
    if facts.stop_reason:
        reason, _, which = facts.stop_reason.partition(": ")
        how += f", stopped: {which or reason}"
    return f'{how} "{last}"' if last and facts.code != 0 else how


def _signal(number: int) -> str:
    """Name a signal, and what it means where the kernel sends it for a limit that agentctl.toml may have set."""
    return f"signal {number}" + (" (its processor time is used up: limits.cpu)" if number == signal.SIGXCPU else "")


def _text(facts: SessionFacts, how: str) -> str:
    """Return what the attempt failed of. Lists show the first line: it holds the last thing that was said."""
    tail = facts.stderr_tail.strip()
    if len(tail) > MAX_ERROR_CHARACTERS:
        tail = "…" + tail[-MAX_ERROR_CHARACTERS:]
    if "\n" not in tail:
        return f"{how}: {tail}" if tail else how
    return f"{how}: {tail.rpartition(chr(10))[2].strip()}\n{tail}"
