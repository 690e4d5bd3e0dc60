"""Sessions as processes, seen from the supervisor: launch them and watch them. See also recover.py.

Any two steps here may be the last ones before a `kill -9` of the supervisor. What makes that safe:
the shim starts nothing before it has its whole spec, and claims the session directory by a link
named `begun` before it spawns the agent. A later supervisor that finds no such link makes it
itself, and so knows that the session never started and never will.

Linux uses pidfds. On macOS there are none: `Shim.fileno()` is -1, so poll `Shim.ended()`, and
signals go to a pid after its start time was compared.
"""

from __future__ import annotations

import os
import secrets
import select
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agentctl.supervisor import proctree, shim_text

SHIM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "shim.py")
SPEC_WITHIN_S = 10.0
"""How long a shim may take to read its spec before it counts as broken."""
EXIT_WITHIN_S = 0.5

become_subreaper = proctree.become_subreaper
descendants = proctree.descendants


class LaunchError(Exception):
    """The shim itself could not be started; the text says why. Nothing of the session runs."""


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """All that a session needs. `env` is the agent's whole environment; paths are absolute.

    `sandbox` is what shim_sandbox.inside takes, None: the agent is not confined.
    `limits` may hold memory_bytes (private writable memory of each process), cpu_s, files,
    processes. `orphan_grace_s` None: the agent may run without a supervisor for ever.
    """

    session_dir: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    nonce: str
    stdin: str | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    segment_bytes: int = 8 << 20
    segments: int = 8
    wake: str | None = None
    orphan_grace_s: float | None = None
    grace_s: float = 10.0
    notify: bool = True
    sandbox: Mapping[str, Sequence[str]] | None = None

    def line(self) -> bytes:
        """The spec as the shim reads it."""
        session = os.path.basename(self.session_dir)
        env = {"AGENTCTL_SESSION": session, **self.env, "AGENTCTL_NONCE": self.nonce}
        pid = os.getpid()
        spec: dict[str, object] = {
            "dir": self.session_dir,
            "argv": list(self.argv),
            "env": env,
            "cwd": self.cwd,
            "stdin": self.stdin,
            "nonce": self.nonce,
            "limits": dict(self.limits),
            "spool": {"segment_bytes": self.segment_bytes, "segments": self.segments},
            "wake": self.wake,
            "supervisor": {"pid": pid, "start": proctree.start_of(pid)},
            "orphan_grace_s": self.orphan_grace_s,
            "grace_s": self.grace_s,
            "notify": self.notify,
        }
        if self.sandbox is not None:
            spec["sandbox"] = dict(self.sandbox)
        return shim_text.dumps(spec).encode() + b"\n"


class Shim:
    """A shim process, ours or adopted. Close it when its end has been seen."""

    def __init__(self, pid: int, start: int, pidfd: int, *, own: bool) -> None:
        self.pid = pid
        self.start = start
        self._pidfd = pidfd
        self._own = own
        self._ended = False

    def fileno(self) -> int:
        """A descriptor that becomes readable when the shim ends; -1 where there are no pidfds."""
        return self._pidfd

    def ended(self) -> bool:
        """Whether the shim is gone; reaps it when it is our child. Never blocks."""
        if self._ended:
            return True
        if self._own:
            try:
                self._ended = os.waitpid(self.pid, os.WNOHANG)[0] != 0
            except ChildProcessError:
                self._ended = True
        elif self._pidfd >= 0:
            self._ended = bool(select.select([self._pidfd], [], [], 0)[0])
        else:
            self._ended = proctree.start_of(self.pid) != self.start
        return self._ended

    def wait(self, timeout_s: float) -> bool:
        """Block until the shim has ended or the time is over; whether it has ended."""
        deadline = time.monotonic() + timeout_s
        while not self.ended():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if self._pidfd >= 0:
                poll = select.poll()
                poll.register(self._pidfd, select.POLLIN)
                poll.poll(left * 1000)
            else:
                time.sleep(min(left, 0.02))
        return True

    def send(self, signum: int) -> bool:
        """Signal exactly this shim; False when it has ended."""
        if self.ended():
            return False
        return proctree.signal_exact((self.pid, self.start), signum)

    def close(self) -> None:
        """Give the descriptor back. The shim goes on if it still runs."""
        self.ended()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


class Spare:
    """A shim that waits for its spec. Closing its pipe makes it leave."""

    def __init__(self, log: str | None = None) -> None:
        """Start it; its own complaints go to the file `log`. Raises LaunchError."""
        try:
            read_end, self._write_end = os.pipe()
        except OSError as error:
            raise LaunchError(f"cannot start a shim: {error.strerror}; raise ulimit -n") from None
        try:
            pid = _spawn(read_end, log)
            try:
                # Our own child: the pid stays its until we reap it, so neither step can hit another.
                pidfd = os.pidfd_open(pid) if proctree.LINUX else -1
            except OSError:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise
        except OSError as error:
            os.close(self._write_end)
            reason = f"cannot start a shim with {sys.executable}: {error.strerror}"
            raise LaunchError(f"{reason}; check free memory, ulimit -n and -u, and {log or 'Python'}") from None
        finally:
            os.close(read_end)
        self.shim = Shim(pid, proctree.start_of(pid) or 0, pidfd, own=True)

    def give(self, line: bytes) -> Shim:
        """Hand over the spec. Raises LaunchError: the shim did not take it, nothing was started."""
        os.set_blocking(self._write_end, False)
        deadline = time.monotonic() + SPEC_WITHIN_S
        view = memoryview(line)
        try:
            while view:
                try:
                    view = view[os.write(self._write_end, view) :]
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise LaunchError(f"shim {self.shim.pid} does not read its spec") from None
                    select.select([], [self._write_end], [], 0.1)
        except (LaunchError, OSError) as error:
            self.shim.send(signal.SIGKILL)
            self.shim.wait(EXIT_WITHIN_S)
            self.shim.close()
            raise LaunchError(f"the shim went away: {error}; see supervisor.log") from None
        finally:
            os.close(self._write_end)
            self._write_end = -1
        return self.shim

    def close(self) -> None:
        """Let an unused spare leave."""
        if self._write_end >= 0:
            os.close(self._write_end)
            self._write_end = -1
        if not self.shim.wait(EXIT_WITHIN_S):
            self.shim.send(signal.SIGKILL)
            self.shim.wait(EXIT_WITHIN_S)
        self.shim.close()


def _spawn(stdin: int, log: str | None) -> int:
    actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_DUP2, stdin, 0),
        (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, log or "/dev/null", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
    ]
    untouchable = {signal.SIGKILL, signal.SIGSTOP}
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", "-X", "utf8", SHIM, secrets.token_hex(8)],
        {"PATH": os.defpath},
        file_actions=actions,
        setsid=True,
        setsigmask=[],
        setsigdef=[s for s in signal.valid_signals() if s not in untouchable],
    )


class WarmPool:
    """Spare shims started ahead, so that a launch does not wait for Python to start.

    `fill` starts at most one per call: call it when there is time.
    """

    def __init__(self, size: int, log: str | None = None) -> None:
        self._size = size
        self._log = log
        self._spares: list[Spare] = []

    def __len__(self) -> int:
        return len(self._spares)

    def fill(self) -> bool:
        """Start a spare if one is missing; whether another is still missing, and can be started."""
        if len(self._spares) < self._size:
            try:
                self._spares.append(Spare(self._log))
            except LaunchError:
                return False  # nobody waits for it: whoever needs one is told why there is none
        return len(self._spares) < self._size

    def take(self) -> Spare:
        """The oldest living spare, or a fresh one. Raises LaunchError."""
        while self._spares:
            spare = self._spares.pop(0)
            if not spare.shim.ended():
                return spare
            spare.close()
        return Spare(self._log)

    def close(self) -> None:
        """Let all spares leave."""
        while self._spares:
            self._spares.pop().close()


def launch(spec: LaunchSpec, pool: WarmPool | None = None, *, log: str | None = None) -> Shim:
    """Start a session; its directory must exist and be fresh. Raises LaunchError.

    Returns before the agent runs: that it runs, or why it could not be started, is in shim.json or
    exit.json, for which the shim sends a datagram to `wake`.
    """
    spare = pool.take() if pool is not None else Spare(log)
    return spare.give(spec.line())
