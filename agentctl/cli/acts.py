"""Acting on several things named in one command: each on its own, all reported, the first failure's exit code kept."""

from __future__ import annotations

from agentctl_store.errors import AgentctlError, BadInput, NoSupervisor

from . import output
from .diagnostics import report
from .progress import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agentctl_store.read.models import SupervisorRow

    from .call import Call

_SHOW_PROGRESS_FROM = 50


def each(
    call: Call,
    targets: Sequence[str],
    act: Callable[[str], str],
    *,
    would: str,
    look: Callable[[str], str] | None = None,
) -> int:
    """Run `act` on each target and print the line it returns; with --dry-run only say what `would` be done.

    `look` finds a target without touching it and returns its name. An expected error of one target is told and
    does not stop the others.
    """
    code = 0
    if call.dry_run:
        seen = look or str

        def act(target: str) -> str:
            return f"would {would} {seen(target)}"

    with Progress(would.capitalize(), len(targets) if len(targets) >= _SHOW_PROGRESS_FROM else 0) as progress:
        for done, target in enumerate(targets, 1):
            try:
                output.say(act(target))
            except BadInput:
                raise
            except AgentctlError as error:
                code = code or report(error)
            if len(targets) >= _SHOW_PROGRESS_FROM:
                progress.at(done)
    return code


def supervisor(call: Call) -> SupervisorRow:
    """Tell who supervises this store now."""
    from agentctl_store.read.presence import supervisor_row

    return supervisor_row(call.place()[0])


def supervised(call: Call) -> bool:
    """Tell whether a supervisor runs on this store now."""
    return supervisor(call).running


def holds_later(call: Call) -> str:
    """Return from when on holds what was just asked of an agent; empty while a supervisor is there to obey."""
    row = supervisor(call)
    if not row.running:
        return "No supervisor runs now; it holds from the next `agentctl run` on."
    if row.stopped:
        return f"Supervisor {row.pid} is stopped; it holds once that goes on. Let it: kill -CONT {row.pid}"
    return ""


def need_supervisor(call: Call, what: str) -> None:
    """Raise NoSupervisor unless one runs."""
    if not supervised(call):
        raise NoSupervisor(f"no supervisor runs on this store, so nobody can {what}", "Start one with: agentctl run")
