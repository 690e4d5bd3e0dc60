"""`agentctl run`, `down` and `tui`: the supervisor in the foreground, detached or behind the dashboard."""

from __future__ import annotations

import os

from agentctl_store.errors import BadInput

from .call import FLEET_FILE, Call, operators
from .times import read_span
from .verb import opt, verb


def _config(given: str | None) -> str:
    from agentctl.config import find_config

    if given is None:
        return find_config(otherwise="name it with --config")
    return os.path.join(given, FLEET_FILE) if os.path.isdir(given) else given


@verb(
    "run",
    summary="Supervise the fleet of agentctl.toml until it is ended.",
    details="Ctrl-C once lets current tasks finish, twice ends now. Killed, it leaves its agents running, and the "
    "next `agentctl run` adopts them. The file is read again whenever it is saved.",
    config=opt("-c", help="The fleet's file (default: the nearest agentctl.toml).", metavar="FILE"),
    until_idle=opt(help="End when no task is left that could run."),
    detach=opt("-d", help="Run in the background; agentctl down ends it."),
    tui=opt(help="Show the dashboard; leaving it ends the fleet."),
)
def run(
    call: Call, *, config: str | None = None, until_idle: bool = False, detach: bool = False, tui: bool = False
) -> int:
    """Run the fleet."""
    from agentctl.supervisor.run import run_fleet

    if tui and (detach or until_idle):
        raise BadInput("--tui goes with neither --detach nor --until-idle", "Leave one of them out")
    path = _config(config)
    if not tui:
        code = run_fleet(path, store=call.store_path, until_idle=until_idle, detach=detach)
        if detach and code == 0:
            call.note("The fleet runs. Look: agentctl ps, agentctl tui, agentctl logs -f. End it: agentctl down")
        return code
    return _with_dashboard(call, path)


def _with_dashboard(call: Call, path: str) -> int:
    from agentctl.supervisor.run import down, run_fleet, store_of

    from .dashboard import need_terminal, show_dashboard

    need_terminal()
    call.store_path = call.store_path or store_of(path)
    run_fleet(path, store=call.store_path, detach=True)
    try:
        return show_dashboard(call, theme="dark", ascii_only=False)
    finally:
        call.note("Current tasks may finish; Ctrl-C leaves them to the background (agentctl down --now ends them).")
        down(call.store_path, timeout_s=3600)


@verb(
    "down",
    summary="End the supervisor; current tasks may finish first.",
    details="Exit code 6 when none runs, 5 when it has not ended in time.",
    now=opt(help="Do not let them finish; what they were doing goes back to its queue."),
    timeout=opt(help="How long to wait for the end.", metavar="DURATION"),
)
def down(call: Call, *, now: bool = False, timeout: str = "60s") -> int:
    """End the fleet."""
    from agentctl.supervisor.run import down as end

    directory = call.place()[0]
    operators("end the supervisor", directory)
    holder = end(directory, now=now, timeout_s=read_span(timeout, "--timeout") / 1000)
    call.note(f"Supervisor {holder.pid} has ended.")
    return 0


@verb(
    "tui",
    summary="Show the fleet live in the terminal.",
    details="Looking never blocks an agent; it works with or without a supervisor.",
    theme=opt(help="The colours.", choices=("dark", "light")),
    ascii_only=opt("--ascii", help="Use ASCII signs only."),
)
def tui(call: Call, *, theme: str = "dark", ascii_only: bool = False) -> int:
    """Show the dashboard."""
    from .dashboard import show_dashboard

    return show_dashboard(call, theme=theme, ascii_only=ascii_only)
