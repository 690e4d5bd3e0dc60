"""Killing a session of the demo's fleet while it works, to see that its task survives."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass

from agentctl.supervisor import session_files
from agentctl.supervisor.proctree import signal_exact
from agentctl_store.ids import write_id
from agentctl_store.jsontext import loads
from agentctl_store.store import Store, sessions_folder

_EXIT_WAIT_S = 2.0  #: for the shim to write down how the killed process ended


@dataclass(frozen=True, slots=True)
class Killed:
    """A process that was killed at work."""

    instance: str
    pid: int
    task: str
    n: int  #: the attempt
    path: str  #: the file it was reviewing

    @property
    def sentence(self) -> str:
        """What happened, for a person."""
        return f"Killed {self.instance} (pid {self.pid}, SIGKILL) while it reviewed {self.path}."


def kill_one(store: Store, agent: str) -> Killed | None:
    """Kill a process of `agent` that is at work. None when none was, or it was quicker."""
    for session in store.open_sessions():
        if session.agent != agent or session.task is None or session.attempt is None:
            continue
        folder = sessions_folder(store.directory, session.id)
        record = session_files.read_shim(folder)
        if record is None or record.child_start is None or session_files.read_exit(folder) is not None:
            continue
        if not signal_exact((record.child_pid, record.child_start), signal.SIGKILL) or not _died(folder):
            continue
        path = loads(store.task(session.task).payload)["path"]
        instance = f"{session.agent}/{session.slot}"
        return Killed(instance, record.child_pid, write_id(session.task), session.attempt, path)
    return None


def _died(folder: str) -> bool:
    """Say whether the session's process died of the signal, not of itself just before."""
    until = time.monotonic() + _EXIT_WAIT_S
    while (ended := session_files.read_exit(folder)) is None:
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return ended.signal == signal.SIGKILL
