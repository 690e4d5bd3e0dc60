"""Running probes (exec, http, tcp, log) outside the loop's thread, in a small pool."""

from __future__ import annotations

import os
import queue
import re
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentctl.supervisor import sandbox
from agentctl.supervisor.facts import Probed
from agentctl.supervisor.spool import Stream
from agentctl_store.text import one_line

if TYPE_CHECKING:
    from agentctl.config import ProbeSection
    from agentctl.supervisor.doorbell import Bell

THREADS = 4
MAX_DETAIL = 200
LOG_READ_BYTES = 1 << 20  #: looked through per log probe and stream, the newest
Looked = dict[str, tuple[int, int]]  #: by stream: where the last line began that is not whole yet, and its end


@dataclass(frozen=True, slots=True)
class Job:
    """One probe to run. `key` names the slot, `session` the life it is about (0: none)."""

    key: tuple[str, int]
    session: int
    kind: str
    section: ProbeSection
    folder: str | None
    env: Mapping[str, str]
    cwd: str
    box: Mapping[str, Sequence[str]] | None = None  #: the agent's sandbox, which a command of a probe shares


class Prober:
    """Runs jobs and keeps their answers until the loop asks. Nothing starts before the first job."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._pool: ThreadPoolExecutor | None = None
        self._running = 0
        self._answers: queue.SimpleQueue[tuple[Job, Probed]] = queue.SimpleQueue()
        self._looked: dict[tuple[str, int], tuple[int, Looked]] = {}

    def run(self, job: Job) -> None:
        """Start a job; its answer rings the bell."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, "probe")
        self._running += 1
        self._pool.submit(self._one, job)

    def _one(self, job: Job) -> None:
        try:
            detail = check(job, self._before(job))
        except Exception as error:  # a probe that breaks is a probe that fails, never a dead supervisor
            detail = f"{type(error).__name__}: {error}"
        self._answers.put((job, Probed(job.kind, not detail, one_line(detail, MAX_DETAIL))))
        self._bell.ring()

    def _before(self, job: Job) -> Looked | None:
        """Return how far the streams were looked through, for liveness: a line of long ago is no sign of life."""
        if job.kind != "liveness" or job.section.log is None:
            return None
        session, looked = self._looked.get(job.key, (0, {}))
        if session != job.session:
            looked = {}
            self._looked[job.key] = job.session, looked
        return looked

    def answers(self) -> list[tuple[Job, Probed]]:
        """Return what was answered since the last time."""
        found: list[tuple[Job, Probed]] = []
        while True:
            try:
                found.append(self._answers.get_nowait())
                self._running -= 1
            except queue.Empty:
                return found

    @property
    def busy(self) -> bool:
        """Whether a probe runs, or its answer was not taken yet."""
        return self._running > 0

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def check(job: Job, looked: Looked | None = None) -> str:
    """Run one probe; an empty text is success, any other says what failed. `looked` is kept from one to the next."""
    section = job.section
    if section.exec is not None:
        return _exec(section.exec, job, section.timeout_ms / 1000)
    if section.http is not None:
        return _http(section.http, section.timeout_ms / 1000)
    if section.tcp is not None:
        return _tcp(section.tcp, section.timeout_ms / 1000)
    assert section.log is not None
    return _log(section.log, job.folder, looked)


def _exec(command: tuple[str, ...], job: Job, timeout_s: float) -> str:
    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command, env=dict(job.env), cwd=job.cwd, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    try:
        # What the agent may write, a probe of it may run: outside the sandbox that would be a way out of it.
        process = start() if job.box is None else sandbox.inside(job.box, start)
    except sandbox.SandboxError as error:
        return f"cannot run {command[0]}: {error}"
    except OSError as error:
        return f"cannot run {command[0]}: {error.strerror}"
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"{command[0]} did not end within {timeout_s:g} s"
    finally:
        if process.stdout is not None:
            process.stdout.close()
    said = output.decode(errors="replace").strip().rpartition("\n")[2]
    return "" if process.returncode == 0 else f"{command[0]} exit {process.returncode} {said}".strip()


def _http(url: str, timeout_s: float) -> str:
    import urllib.error
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout_s) as answer:
            status = int(answer.status)
    except urllib.error.HTTPError as error:
        status = error.code
    except (OSError, ValueError) as error:
        return f"{url}: {getattr(error, 'reason', error)}"
    return "" if 200 <= status < 400 else f"{url}: status {status}"


def _tcp(address: str, timeout_s: float) -> str:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]") or "127.0.0.1", int(port)), timeout_s).close()
    except (OSError, OverflowError) as error:
        return f"{address}: {error}"
    return ""


def _log(pattern: str, folder: str | None, looked: Looked | None) -> str:
    wanted, found = re.compile(pattern), False
    for name in ("out", "err") if folder is not None else ():
        stream = Stream(str(folder), name)
        first, end = stream.extent()
        begun, before = (0, 0) if looked is None else looked.get(name, (0, 0))
        if before and end == before:
            continue
        start, data = stream.span(max(first, end - LOG_READ_BYTES, begun), end)
        found = found or any(wanted.search(line) for line in data.decode(errors="replace").splitlines())
        if looked is not None:
            looked[name] = start + data.rfind(b"\n") + 1, end
    if found:
        return ""
    return f"no {'line' if looked is None else 'new line'} of its output matches {pattern!r}"
