"""What demos have in common: a folder of their own, the real command line in it, a supervisor that is looked on."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from contextlib import closing
from typing import TYPE_CHECKING, Protocol

from agentctl.cli import diagnostics
from agentctl.cli.progress import Progress
from agentctl_store.errors import AgentctlError, BadInput, NotFound, TimedOut
from agentctl_store.read import open_reader
from agentctl_store.store import Store, open_store

if TYPE_CHECKING:
    from agentctl_store.read.port import Reader

LOOK_S = 0.1  #: between two looks at the store
STALLED_S = 60.0  #: no task ended for so long: something is wrong with this machine or with agentctl
CALL_S = 60.0  #: for one command of the demo
STOP_S = 20.0  #: for the supervisor to stop when the demo gives up


class Watcher(Protocol):
    """Who looks on while a demo runs."""

    pause_s: float  #: until the next look

    def look(self, store: Store, reader: Reader, ended: int) -> list[str]:
        """Return what is to be told, in sentences, now that so many tasks have ended."""


class Stage:
    """A demo's folder, and the command line as its user would type it there."""

    def __init__(self, directory: str | None) -> None:
        """Make the folder, which must be new or empty. Raises BadInput, NotFound, OSError."""
        self.command, self._env = _command()
        self.directory = _fresh(directory)
        self.store = os.path.join(self.directory, ".agentctl")
        diagnostics.narrate(f"The demo works in {self.directory} and leaves it there to look at.")

    @property
    def typed(self) -> str:
        """How a person calls `agentctl` from any folder: by its name if the shell finds this very one."""
        found = shutil.which("agentctl")
        return "agentctl" if found and os.path.samefile(found, self.command) else self.command

    def call(self, *words: str) -> None:
        """Run one command of the demo. Raises AgentctlError with what it said when it fails."""
        done = subprocess.run(
            [self.command, *words], cwd=self.directory, env=self._env, capture_output=True, text=True, timeout=CALL_S
        )
        if done.returncode != 0:
            raise AgentctlError(f"`agentctl {shlex.join(words)}` failed: {done.stderr.strip()}")

    def supervise(self, doing: str, tasks: int, watcher: Watcher) -> tuple[int, float]:
        """Run the supervisor until nothing is left to do; return its exit code and how many seconds it took.

        Raises TimedOut.
        """
        with (
            open(os.path.join(self.directory, "run.log"), "xb") as log,
            open_store(self.store) as store,
            closing(open_reader(self.store)) as reader,
        ):
            started = time.monotonic()
            supervisor = subprocess.Popen(
                [self.command, "run", "--until-idle"], cwd=self.directory, env=self._env,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
            try:
                with Progress(doing, tasks) as progress:
                    self._watch(supervisor, store, reader, watcher, progress)
            except KeyboardInterrupt:
                here = shlex.quote(self.directory)
                diagnostics.narrate(f"Stopped. To go on: cd {here}; {shlex.quote(self.typed)} run --until-idle")
                raise
            finally:
                _stop(supervisor)
            return supervisor.returncode, time.monotonic() - started

    def _watch(
        self, supervisor: subprocess.Popen[bytes], store: Store, reader: Reader, watcher: Watcher, progress: Progress
    ) -> None:
        before, moved = -1, time.monotonic()
        while supervisor.poll() is None:
            fleet = reader.summary(store.clock.now().wall_ms)
            ended = sum(fleet.count(state) for state in ("done", "dead", "cancelled"))
            if ended != before:
                before, moved = ended, time.monotonic()
            elif time.monotonic() - moved > STALLED_S:
                raise TimedOut(
                    f"no task has ended for {STALLED_S:.0f} s",
                    f"See why: cd {self.directory}; agentctl ps; cat run.log .agentctl/supervisor.log",
                )
            for sentence in watcher.look(store, reader, ended):
                progress.clear()
                diagnostics.narrate(sentence)
            progress.at(ended, f"{fleet.count('active')} at work, {fleet.count('dead')} dead")
            try:
                supervisor.wait(watcher.pause_s)
            except subprocess.TimeoutExpired:
                continue


def _command() -> tuple[str, dict[str, str]]:
    """Return this installation's own `agentctl` and an environment in which agents find it too."""
    own = sysconfig.get_path("scripts")
    # Nothing of a surrounding fleet, should the demo itself be run by an agent.
    env = {name: value for name, value in os.environ.items() if not name.startswith("AGENTCTL_")}
    if os.path.isfile(os.path.join(own, "agentctl")):
        env["PATH"] = os.pathsep.join(filter(None, (own, env.get("PATH"))))
    command = shutil.which("agentctl", path=env.get("PATH"))
    if command is None:
        raise NotFound(
            f"no `agentctl` command belongs to {sys.executable}",
            "Install the package with pip, or put the folder of `agentctl` on the PATH",
        )
    return command, env


def _fresh(directory: str | None) -> str:
    if directory is None:
        return os.path.realpath(tempfile.mkdtemp(prefix="agentctl-demo-"))
    os.makedirs(directory, exist_ok=True)
    if os.listdir(directory):
        raise BadInput(f"{directory!r} is not empty", "Name a new folder; the demo touches nothing of yours")
    return os.path.realpath(directory)


def _stop(supervisor: subprocess.Popen[bytes]) -> None:
    """End the supervisor if it still runs, as Ctrl-C twice would: no agent of the demo outlives it."""
    for signum in (signal.SIGINT, signal.SIGINT, signal.SIGKILL):
        if supervisor.poll() is not None:
            return
        supervisor.send_signal(signum)
        try:
            supervisor.wait(STOP_S / 2)
        except subprocess.TimeoutExpired:
            continue
