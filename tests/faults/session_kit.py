"""Real sessions for the fault tests: launch a shell or Python agent, wait for what it does."""

from __future__ import annotations

import ctypes
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from faults.store_kit import until

from agentctl.supervisor import proctree
from agentctl.supervisor.process import LaunchSpec, Shim, WarmPool, launch
from agentctl.supervisor.recover import stop, sweep
from agentctl.supervisor.session_files import Exit, read_exit, read_shim

WITHIN_S = 15.0


def spec_for(store: Path, argv: list[str], **more: Any) -> LaunchSpec:
    """A spec with a fresh session directory below `store`."""
    nonce = secrets.token_hex(16)
    folder = store / "sessions" / nonce[:13]
    folder.mkdir(parents=True, mode=0o700)
    more.setdefault("env", {"PATH": os.environ["PATH"]})
    more.setdefault("cwd", str(store))
    return LaunchSpec(session_dir=str(folder), argv=argv, nonce=nonce, **more)


class Session:
    """One launched session."""

    def __init__(self, spec: LaunchSpec, shim: Shim) -> None:
        self.spec = spec
        self.shim = shim
        self.dir = Path(spec.session_dir)

    def started(self) -> int:
        """Wait until the agent was spawned; its pid."""
        record = until(lambda: read_shim(self.spec.session_dir), "shim.json")
        return int(record.child_pid)

    def ended(self, within_s: float = WITHIN_S) -> Exit:
        """Wait for the shim's end; the exit record, which must be there by then."""
        assert self.shim.wait(within_s), f"the shim still runs after {within_s} s"
        record = read_exit(self.spec.session_dir)
        assert record is not None, "the shim ended without an exit record"
        return record

    def output(self, stream: str = "out") -> bytes:
        """The bytes that are in the ring."""
        return b"".join(p.read_bytes() for p in sorted(self.dir.glob(f"{stream}.[0-9]*")))

    def prints(self, text: bytes) -> None:
        """Wait until stdout contains the text."""
        until(lambda: text in self.output(), f"{text!r} on stdout")

    def remains(self) -> list[proctree.Process]:
        """Processes of this session that are alive."""
        return proctree.carriers(self.spec.nonce)


@contextmanager
def session(store: Path, argv: list[str], pool: WarmPool | None = None, **more: Any) -> Iterator[Session]:
    """A launched session that leaves nothing behind, whatever the test does."""
    spec = spec_for(store, argv, **more)
    one = Session(spec, launch(spec, pool))
    try:
        yield one
    finally:
        if not one.shim.ended():
            stop(spec.session_dir, 0, "end of test", one.shim)
            if not one.shim.wait(WITHIN_S):
                one.shim.send(9)
        sweep(spec.nonce)
        one.shim.close()


@contextmanager
def subreaper() -> Iterator[None]:
    """This process inherits orphans, as a supervisor does, for the time of one test."""
    assert proctree.become_subreaper()
    try:
        yield
    finally:
        ctypes.CDLL(None).prctl(proctree.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


@contextmanager
def nested(place: Path, depth: int) -> Iterator[None]:
    """Make folders, each in the one before, deeper than a path can name; in the last one a file.

    What the test leaves of them is removed: what clears the folders of old tests away would fall over it.
    """
    here = os.open(place, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("deeper", dir_fd=here)
        fd = os.open("deeper", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = fd
    os.close(os.open("deepest", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    try:
        yield
    finally:
        subprocess.run(["rm", "-rf", place / "deeper"], check=True)
