"""`agentctl demo`: the review team at work on real files, through the real command line.

What a user would do by hand, step by step: write the example, add a task, run the supervisor. On the way one
reviewer is killed, and one file cannot be parsed: the demo shows what becomes of both.
"""

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
from typing import TYPE_CHECKING

from agentctl.cli import diagnostics
from agentctl.cli.progress import Progress
from agentctl_store.errors import AgentctlError, BadInput, NotFound, TimedOut
from agentctl_store.read import open_reader
from agentctl_store.store import Store, open_store

from . import demo_input, demo_summary
from .demo_kill import Killed, kill_one
from .demo_summary import Run

if TYPE_CHECKING:
    from agentctl_store.read.port import Reader

MAX_FILES = 300  #: of a tree, unless the caller says otherwise; about half a minute on two cores
LOOK_S = 0.1  #: between two looks at the store
HUNT_S = 0.01  #: the same while a reviewer is to be caught at work
STALLED_S = 60.0  #: no task ended for so long: something is wrong with this machine or with agentctl
CALL_S = 60.0  #: for one command of the demo
STOP_S = 20.0  #: for the supervisor to stop when the demo gives up
KILL_AFTER = 12  #: tasks that have ended before a reviewer is killed; a quarter of them if that is less


def run_demo(path: str | None = None, *, directory: str | None = None, max_files: int = MAX_FILES) -> int:
    """Review the Python files below `path` (default: a part of the standard library) with the review team.

    It works in `directory`, which must not exist or be empty (default: a fresh one among the temporary files),
    and leaves it there to look at. Returns 0 when the report was written and only files that cannot be parsed
    became dead letters, else 1. Raises BadInput, NotFound, TimedOut, OSError.
    """
    if max_files < 1:
        raise BadInput(f"{max_files} files cannot be reviewed", "Use 1 or more")
    command, env = _command()
    directory = _fresh(directory)
    diagnostics.narrate(f"The demo works in {directory} and leaves it there to look at.")
    _call([command, "init", "--example", "review", "."], env, directory)
    given = demo_input.gather(path, directory, max_files)
    diagnostics.narrate(f"{given.files:,} Python files to review: {given.source}.")
    if given.left_out:
        diagnostics.narrate(f"{given.left_out:,} more are left out: unreadable, or beyond --files {max_files}.")
    diagnostics.narrate(f"{given.broken} cannot be parsed; {given.broken_source}.")
    try:
        run = _supervise(command, env, directory, given)
    except KeyboardInterrupt:
        typed = shlex.quote(_as_typed(command))
        diagnostics.narrate(f"Stopped. To go on: cd {shlex.quote(directory)}; {typed} run --until-idle")
        raise
    with open_store(_store_path(directory)) as store, closing(open_reader(_store_path(directory))) as reader:
        summary = demo_summary.read(store, reader, run)
    return demo_summary.show(summary, given, run, directory, _as_typed(command))


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


def _as_typed(command: str) -> str:
    """Return how a person calls `agentctl` from any folder: by its name if the shell finds this very one."""
    found = shutil.which("agentctl")
    return "agentctl" if found and os.path.samefile(found, command) else command


def _fresh(directory: str | None) -> str:
    if directory is None:
        return os.path.realpath(tempfile.mkdtemp(prefix="agentctl-demo-"))
    os.makedirs(directory, exist_ok=True)
    if os.listdir(directory):
        raise BadInput(f"{directory!r} is not empty", "Name a new folder; the demo touches nothing of yours")
    return os.path.realpath(directory)


def _supervise(command: str, env: dict[str, str], directory: str, given: demo_input.Input) -> Run:
    """Give the team its task and run the supervisor until there is nothing left to do."""
    payload = f'{{"path": "{given.folder}"}}'
    _call([command, "task", "add", "--queue", "plan", payload], env, directory)
    path = _store_path(directory)
    with (
        open(os.path.join(directory, "run.log"), "xb") as log,
        open_store(path) as store,
        closing(open_reader(path)) as reader,
    ):
        started = time.monotonic()
        supervisor = subprocess.Popen(
            [command, "run", "--until-idle"], cwd=directory, env=env,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            killed = _watch(supervisor, store, reader, directory, given)
        finally:
            _stop(supervisor)
        return Run(supervisor.returncode, time.monotonic() - started, killed)


def _call(words: list[str], env: dict[str, str], directory: str) -> None:
    """Run one command of the demo. Raises AgentctlError with what it said when it fails."""
    done = subprocess.run(words, cwd=directory, env=env, capture_output=True, text=True, timeout=CALL_S)
    if done.returncode != 0:
        raise AgentctlError(f"`agentctl {shlex.join(words[1:])}` failed: {done.stderr.strip()}")


def _store_path(directory: str) -> str:
    return os.path.join(directory, ".agentctl")


def _watch(
    supervisor: subprocess.Popen[bytes],
    store: Store,
    reader: Reader,
    directory: str,
    given: demo_input.Input,
) -> Killed | None:
    """Show progress until the supervisor ends; kill one reviewer on the way. Raises TimedOut."""
    killed: Killed | None = None
    kill_after = min(KILL_AFTER, given.tasks // 4)
    before, moved = -1, time.monotonic()
    with Progress("Reviewing", given.tasks) as progress:
        while supervisor.poll() is None:
            fleet = reader.summary(store.clock.now().wall_ms)
            ended = sum(fleet.count(state) for state in ("done", "dead", "cancelled"))
            if ended != before:
                before, moved = ended, time.monotonic()
            elif time.monotonic() - moved > STALLED_S:
                raise TimedOut(
                    f"no task has ended for {STALLED_S:.0f} s",
                    f"See why: cd {directory}; agentctl ps; cat run.log .agentctl/supervisor.log",
                )
            hunting = killed is None and ended >= kill_after
            if hunting and (killed := kill_one(store, "reviewer")) is not None:
                progress.clear()
                diagnostics.narrate(killed.sentence)
            progress.at(ended, f"{fleet.count('active')} at work, {fleet.count('dead')} dead")
            try:
                supervisor.wait(HUNT_S if hunting else LOOK_S)
            except subprocess.TimeoutExpired:
                continue
    return killed


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
