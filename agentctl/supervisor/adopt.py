"""Taking over what an earlier supervisor left: sessions that run, have ended, vanished or never began."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agentctl.policy.outcome import SessionFacts
from agentctl.supervisor import observe, recover
from agentctl.supervisor.facts import Exited, Fact
from agentctl.supervisor.session_files import FactsReader
from agentctl.supervisor.sessions import Live
from agentctl.supervisor.slot import Run
from agentctl_store.errors import Conflict, NotFound, StoreError, StoreFull
from agentctl_store.store import sessions_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agentctl_store.clock import Moment
    from agentctl_store.domain.agent import Session
    from agentctl_store.store import Store

NEVER = "the supervisor ended before it was started"


@dataclass(frozen=True, slots=True)
class Adopted:
    """A session as it was found: the run to put into its slot, and what to tell that slot then."""

    live: Live
    run: Run
    facts: tuple[Fact, ...]
    runs: bool


def keep_leases(store: Store, sessions: Iterable[Session], lease_ms: Callable[[Session], int]) -> None:
    """Extend the leases of all sessions with a task, before anything is decided.

    They may have run out while nobody supervised, and the first claim would take every one of these tasks for lost:
    agents that work, and results that wait on disk.
    """
    for session in sessions:
        if session.task is not None and session.attempt is not None:
            try:
                store.heartbeat(session.task, session.attempt, lease_ms=lease_ms(session))
            except (Conflict, NotFound, StoreError):
                continue


def adopt(store: Store, session: Session, now: Moment) -> Adopted:
    """Find out what became of an open session. Ends what a lost keeper left running; safe to repeat."""
    folder = sessions_folder(store.directory, session.id)
    task = None if session.task is None else store.task(session.task)
    run = Run(
        session.id,
        session.nonce,
        now.boot_ms,
        task=session.task,
        n=session.attempt,
        timeout_ms=None if task is None else task.timeout_ms,
    )
    key = (session.agent, session.slot)
    live = Live(key, session.id, session.nonce, folder, None, FactsReader(folder), noted=session.pid is not None)
    found: recover.Adoption = recover.NeverStarted()
    if os.path.isdir(folder):
        try:
            found = recover.adopt(folder, session.nonce)
        except OSError as error:
            raise StoreFull(
                f"the session folder {folder} cannot be written: {error.strerror}",
                "Make room on this disk or mend the folder's permissions, then start again; nothing is lost",
            ) from None
    if isinstance(found, recover.Running):
        live.shim = found.shim
        # Everything it said since its beginning is read again: totals and progress are as they were.
        return Adopted(live, _stop_asked(run, folder, now), tuple(live.news(now)), True)
    news = live.news(now) if isinstance(found, recover.Ended | recover.Vanished) else []
    retry_after_ms = max((getattr(fact, "retry_after_ms", None) or 0 for fact in news), default=0) or None
    if isinstance(found, recover.Ended):
        end = observe.session_end(folder, found.exit, retry_after_ms)
    elif isinstance(found, recover.Vanished):
        why = "the machine restarted" if found.rebooted else "it vanished while nobody supervised it"
        end = SessionFacts(vanished=f"{why}; {found.killed} of its processes were ended" if found.killed else why)
    else:
        end = SessionFacts(spawn_error=NEVER, never=True)
    live.over = True
    return Adopted(live, run, (*news, Exited(end)), False)


def _stop_asked(run: Run, folder: str, now: Moment) -> Run:
    """A stop that was asked for goes on; it is asked again at once if it does not end."""
    from agentctl.supervisor.session_dir import stop_reason

    reason = stop_reason(folder)
    return replace(run, stop=reason, kill_ms=now.boot_ms + 1_000) if reason else run
