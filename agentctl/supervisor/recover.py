"""Stop sessions, adopt those of an earlier supervisor, and sweep what a lost shim left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection
from dataclasses import dataclass

from agentctl.supervisor import proctree, shim_text
from agentctl.supervisor.process import Shim
from agentctl.supervisor.session_files import Exit, ShimRecord, read_exit, read_shim

STARTING_WITHIN_S = 5.0
"""How long `adopt` waits for a shim that has begun and not yet written shim.json."""
SWEEP_WITHIN_S = 5.0
EXEC_WITHIN_S = 0.05
VOID = "void"


@dataclass(frozen=True, slots=True)
class Running:
    """The session goes on. `record` is None while a slow disk still keeps shim.json back."""

    shim: Shim
    record: ShimRecord | None


@dataclass(frozen=True, slots=True)
class Ended:
    """The session has ended properly."""

    exit: Exit


@dataclass(frozen=True, slots=True)
class NeverStarted:
    """No agent was ever started for this directory, and none will be."""


@dataclass(frozen=True, slots=True)
class Vanished:
    """The shim is gone without an exit record; its agent has been ended too.

    `killed` processes were still there, `survivors` would not die, `rebooted`: the machine
    restarted since, so there was nothing to look for.
    """

    killed: int
    survivors: int
    rebooted: bool
    record: ShimRecord | None


Adoption = Running | Ended | NeverStarted | Vanished


def adopt(session_dir: str, nonce: str) -> Adoption:
    """What became of a session that another supervisor launched, or meant to launch.

    Safe to repeat, also after being killed midway. May take STARTING_WITHIN_S, or SWEEP_WITHIN_S
    when a shim was killed. Raises OSError when the directory cannot be written.
    """
    deadline = time.monotonic() + STARTING_WITHIN_S
    while True:
        ended = read_exit(session_dir)
        if ended is not None:
            return Ended(ended)
        record = read_shim(session_dir)
        who = _keeper(session_dir, record)
        if who is None:
            return NeverStarted()
        if who.boot != proctree.boot_id():
            return Vanished(0, 0, True, record)
        shim = who.open()
        if shim is None:
            ended = read_exit(session_dir)  # it may have ended between the two looks
            if ended is not None:
                return Ended(ended)
            killed, survivors = sweep(nonce, record)
            if record is None:  # a spawn may have been half way: its process shows the nonce after exec
                time.sleep(EXEC_WITHIN_S)
                later, survivors = sweep(nonce)
                killed += later
            return Vanished(killed, survivors, False, record)
        if record is not None or time.monotonic() > deadline:
            return Running(shim, record)
        shim.close()
        time.sleep(0.005)


@dataclass(frozen=True, slots=True)
class _Keeper:
    """The shim that a directory names."""

    pid: int
    start: int
    boot: str
    tag: str

    def open(self) -> Shim | None:
        """A handle on it if this very process lives: pid, start time and the tag it was given."""
        pidfd = -1
        if proctree.LINUX:
            try:
                pidfd = os.pidfd_open(self.pid)
            except OSError:
                return None
        if proctree.start_of(self.pid) == self.start and self._tagged():
            return Shim(self.pid, self.start, pidfd, own=proctree.parent_of(self.pid) == os.getpid())
        if pidfd >= 0:
            os.close(pidfd)
        return None

    def _tagged(self) -> bool:
        if not self.tag or not proctree.LINUX:
            return True
        try:
            with open(f"/proc/{self.pid}/cmdline", "rb") as file:
                return self.tag.encode() in file.read().split(b"\0")
        except OSError:
            return False


def _keeper(session_dir: str, record: ShimRecord | None) -> _Keeper | None:
    """Who runs the directory; None: nobody, and from now on nobody can."""
    if record is not None:
        return _Keeper(record.pid, record.start, record.boot, record.tag)
    link = os.path.join(session_dir, "begun")
    try:
        os.symlink(VOID, link)
        return None
    except FileExistsError:
        text = os.readlink(link)
    if text == VOID:
        return None
    pid, start, boot, tag = text.split(":", 3)
    return _Keeper(int(pid), int(start), boot, tag)


def never_begun(session_dir: str) -> bool:
    """Whether nothing was ever started for the directory; once true, nothing will be. Its shim must be gone."""
    try:
        return read_shim(session_dir) is None and _keeper(session_dir, None) is None
    except OSError:  # the folder is gone, or takes no link
        return False


def stop(session_dir: str, grace_s: float, reason: str, shim: Shim | None = None) -> bool:
    """Ask a session to end within `grace_s` seconds (0: now); False when its shim is gone.

    Returns at once; the end is seen as the shim's. `shim` is needed only before shim.json is there.
    A session that has not spawned its agent yet will not.
    """
    path = os.path.join(session_dir, "stop.json")
    shim_text.write_whole(path, shim_text.dumps({"grace_s": grace_s, "reason": reason}), durable=False)
    signum = signal.SIGTERM if grace_s > 0 else signal.SIGINT
    if shim is not None:
        return shim.send(signum)
    record = read_shim(session_dir)
    if record is None or record.boot != proctree.boot_id():
        return False
    found = _Keeper(record.pid, record.start, record.boot, record.tag).open()
    if found is None:
        return False
    try:
        return found.send(signum)
    finally:
        found.close()


def sweep(nonce: str, record: ShimRecord | None = None) -> tuple[int, int]:
    """Kill every process that carries the nonce, or belongs to the recorded agent's tree or session.

    Returns (killed, survivors after SWEEP_WITHIN_S). Killed children of ours are reaped.
    """
    agents: set[proctree.Process] = set()
    if record is not None and record.child_start is not None:
        agents.add((record.child_pid, record.child_start))

    def find() -> list[proctree.Process]:
        found = set(proctree.carriers(nonce))
        for pid, start in agents:
            found |= set(proctree.session_members(pid, start))
            if proctree.start_of(pid) == start:
                found.add((pid, start))
        for pid, _ in list(found):
            found |= set(proctree.descendants(pid))
        return sorted(found)

    touched: set[int] = set()

    def reap() -> None:
        touched.update(pid for pid, _ in find())
        for pid in touched:
            _reap_one(pid)

    killed, left = proctree.end_all(find, reap, SWEEP_WITHIN_S)
    for pid, _ in killed:
        _reap_one(pid)
    return len(killed), len(left)


def reap_orphans(keep: Collection[int]) -> int:
    """Collect ended children of ours that nobody waits for; never one whose pid is in `keep`.

    A supervisor that is a subreaper inherits the tree of a shim that was killed. `keep` names the
    children that other code waits for (shims, probes).
    """
    return sum(_reap_one(pid) for pid in proctree.children(os.getpid()) if pid not in keep)


def _reap_one(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return False
