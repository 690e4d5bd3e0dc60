"""Running a fleet in the foreground or detached, and ending it from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from agentctl.supervisor import lock, proctree
from agentctl.supervisor.narrate import VOICE, OnEvent, to_stderr
from agentctl.supervisor.perform import no_step
from agentctl_store.clock import Clock
from agentctl_store.errors import AgentctlError, NoSupervisor, TimedOut

STORE_FOLDER = ".agentctl"
LOG = "supervisor.log"
READY_WITHIN_S = 30.0
LOOK_S = 0.02
INSIST_S = 0.25


def store_of(config_path: str) -> str:
    """Return the folder of the store that belongs to a configuration file."""
    return os.path.join(os.path.dirname(os.path.abspath(config_path)), STORE_FOLDER)


def run_fleet(
    config_path: str,
    *,
    store: str | None = None,
    until_idle: bool = False,
    detach: bool = False,
    on_event: OnEvent = to_stderr,
    step: Callable[[str], None] = no_step,
    clock: Clock | None = None,
    ready: Callable[[], None] | None = None,
) -> int:
    """Supervise the fleet of `config_path` until it is ended; return the exit code.

    Main thread only (signals): SIGINT once or SIGTERM drains, SIGINT twice ends now. With `detach` a process of its
    own does so, and this returns once that has taken over. Raises BadConfig, AlreadyRunning, StoreError.
    """
    folder = store or os.environ.get("AGENTCTL_STORE") or store_of(config_path)
    folder = os.path.abspath(folder)
    if detach:
        return _detach(config_path, folder, until_idle)
    from agentctl.supervisor.supervise import Supervisor

    supervisor = Supervisor(config_path, folder, until_idle=until_idle, on_event=on_event, step=step, clock=clock)
    try:
        return supervisor.run(ready)
    finally:
        VOICE.flush()


def down(store: str, *, now: bool = False, timeout_s: float = 60.0) -> lock.Holder:
    """End the store's supervisor and wait until it has: a drain, or at once. Raises NoSupervisor, TimedOut."""
    holder = lock.running(store)
    if holder is None:
        raise NoSupervisor(f"no supervisor runs for the store at {store}", "Start one with: agentctl run")
    process = (holder.pid, holder.start)
    for number in (signal.SIGINT, signal.SIGINT) if now else (signal.SIGTERM,):
        proctree.signal_exact(process, number)
        proctree.signal_exact(process, signal.SIGCONT)  # one that is stopped hears nothing
        time.sleep(LOOK_S)
    deadline, again = time.monotonic() + timeout_s, time.monotonic() + INSIST_S
    while lock.running(store) is not None:
        if now and time.monotonic() > again:  # one that could not look between the two has heard one
            proctree.signal_exact(process, signal.SIGINT)
            again = time.monotonic() + INSIST_S
        if time.monotonic() > deadline:
            raise TimedOut(
                f"supervisor {holder.pid} has not ended within {timeout_s:g} s",
                "Its agents may still be finishing; end it at once with: agentctl down --now",
            )
        time.sleep(LOOK_S)
    return holder


def _detach(config_path: str, store: str, until_idle: bool) -> int:
    os.makedirs(store, mode=0o700, exist_ok=True)
    read_end, write_end = os.pipe()
    code = "from agentctl.supervisor.run import detached; detached()"
    words = [sys.executable, "-c", code, os.path.abspath(config_path), store, str(write_end), str(int(until_idle))]
    log = os.open(os.path.join(store, LOG), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=[write_end]
        )
    finally:
        os.close(log)
        os.close(write_end)
    with open(read_end, encoding="utf-8") as pipe:
        answer = pipe.read()
    if answer == "ready":
        process.returncode = 0  # it lives on without us: nobody waits for it, and no warning is due
        return 0
    code_text, _, message = answer.partition(" ")
    process.wait(READY_WITHIN_S)
    error = AgentctlError(message.removesuffix("."))  # it says itself what to do
    if not message:
        error = AgentctlError("the supervisor ended before it was ready", f"Look into {os.path.join(store, LOG)}")
    error.exit_code = int(code_text) if code_text.isdigit() else 1
    raise error


def detached() -> None:
    """Entry of the process that `--detach` starts: config, store, descriptor to answer on, until_idle.

    What keeps it from supervising is told to whoever waits for its answer, and to nobody else: the log is the
    supervisor's, which may be another.
    """
    config_path, store, answer, until_idle = sys.argv[1:5]
    channel = int(answer)
    os.set_inheritable(channel, False)
    supervises = False
    VOICE.log = os.path.join(store, LOG)

    def ready() -> None:
        nonlocal supervises
        supervises = True
        os.write(channel, b"ready")
        os.close(channel)

    try:
        sys.exit(run_fleet(config_path, store=store, until_idle=until_idle == "1", ready=ready))
    except AgentctlError as error:
        if supervises:
            print(f"agentctl: {error}", file=sys.stderr)  # noqa: T201 - there is no command line around this process
        else:
            try:
                os.write(channel, f"{error.exit_code} {error}".encode())
            except OSError:
                pass  # who asked has gone
        sys.exit(error.exit_code)
