"""The sessions a supervisor has in its hands: their folders, keepers and what they said so far."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentctl.policy.outcome import SessionFacts
from agentctl.supervisor import observe, recover, session_dir
from agentctl.supervisor.facts import Exited, Fact, Started, Verified
from agentctl.supervisor.session_files import FactsReader, ShimRecord, read_exit, read_shim

if TYPE_CHECKING:
    from agentctl.supervisor.process import Shim
    from agentctl_store.clock import Moment

Key = tuple[str, int]
KEEPER_RETRY_MS = 2_000  #: before the next start, when a keeper was killed before it began


@dataclass(slots=True)
class Live:
    """One session that has not been recorded as ended. `shim` is None when there never was a process."""

    key: Key
    session: int
    nonce: str
    folder: str
    shim: Shim | None
    reader: FactsReader
    pid: int | None = None  #: of the agent, once it runs
    over: bool = False  #: its end has been told as a fact
    noted: bool = False  #: the store knows that it runs
    verify: str = ""  #: the folder of the check of its success, once that began

    @property
    def place(self) -> str:
        """The folder of what runs now."""
        return self.verify or self.folder

    def take(self, folder: str, shim: Shim | None) -> None:
        """Go on with the check of its success."""
        self.verify, self.shim, self.over = folder, shim, shim is None

    def news(self, now: Moment) -> list[Fact]:
        """Return what is new in its files: that it runs, what it said."""
        found: list[Fact] = []
        if self.pid is None and (record := read_shim(self.folder)) is not None:
            self.pid = record.child_pid
            found.append(Started(record.child_pid, observe.boot_of(record.started_ms, now)))
        said = observe.hear(self.reader, now)
        if said is not None:
            found.append(said)
        return found

    def end(self, retry_after_ms: int | None) -> Exited | Verified:
        """Return how it ended, or its check; its shim must be gone. What a killed shim left behind is ended first."""
        self.over = True
        if self.verify:
            return Verified(self._verify_end())
        record = read_exit(self.folder)
        if record is not None:
            return Exited(observe.session_end(self.folder, record, retry_after_ms))
        if recover.never_begun(self.folder):
            return Exited(never_began(session_dir.stop_reason(self.folder)))
        return vanished(self.folder, self.nonce, read_shim(self.folder))

    def _verify_end(self) -> SessionFacts:
        record = read_exit(self.verify)
        if record is not None:
            return observe.verify_end(self.verify, record)
        if recover.never_begun(self.verify):
            return never_began(session_dir.stop_reason(self.verify))
        return vanished(self.verify, self.nonce, read_shim(self.verify)).end


def never_began(stop_reason: str) -> SessionFacts:
    """Say how a session ended whose keeper was gone before it began: no attempt was made, nobody's try is burnt."""
    if stop_reason:
        return SessionFacts(spawn_error="stopped before it was started", never=True, stop_reason=stop_reason)
    why = "its keeper process was killed before it began"
    return SessionFacts(spawn_error=why, never=True, hold_ms=KEEPER_RETRY_MS)


def vanished(folder: str, nonce: str, record: ShimRecord | None) -> Exited:
    """End what a lost shim left running, and say so."""
    killed, survivors = recover.sweep(nonce, record)
    text = "its keeper process was killed, no exit record was written"
    if not os.path.isdir(folder):
        text = "the session's folder was removed while it ran, and how it ended is lost with it"
    if killed or survivors:
        text += f"; {killed} of its processes were ended" + (f", {survivors} would not die" if survivors else "")
    return Exited(SessionFacts(vanished=text))
