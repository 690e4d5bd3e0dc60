"""The dashboard's outside: the store's reader, the acts of a person and the output of sessions."""

from __future__ import annotations

import gc
import sys
import time
from threading import Thread
from typing import TYPE_CHECKING

from agentctl.supervisor.spool import Follower
from agentctl_store.errors import AgentctlError, BadInput, Conflict
from agentctl_store.ids import read_id
from agentctl_store.read.models import Filter
from agentctl_store.store import read_session_id, sessions_folder
from agentctl_tui.ports import LogLine, Receipt

from .acts import holds_later
from .call import Call, actor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agentctl_store.domain.agent import Desired
    from agentctl_store.read.port import Reader
    from agentctl_store.store import Store

TAIL_BYTES = 1 << 18
READS = 8  #: that come to the end of it
MAX_SAID = 300


class FleetOperator:
    """What a person does in the dashboard, written to the store as the same verbs of the command line would."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def requeue(self, tasks: Sequence[str], payload: str | None = None) -> Receipt:
        """Send dead letters back, with `payload` when one is given."""
        return self._each(
            tasks, lambda store, one: store.requeue(read_id(one), payload=payload, note="dashboard", actor=actor())
        )

    def discard(self, tasks: Sequence[str]) -> Receipt:
        """Give dead letters up."""
        return self._each(
            tasks, lambda store, one: store.discard(read_id(one), reason="discarded in the dashboard", actor=actor())
        )

    def start(self, targets: Sequence[str]) -> Receipt:
        """Start agents; clears a start-limit latch."""
        return self._want(targets, "running")

    def stop(self, targets: Sequence[str]) -> Receipt:
        """Stop agents now."""
        return self._want(targets, "stopped")

    def drain(self, targets: Sequence[str]) -> Receipt:
        """Let agents finish, then stop them."""
        return self._want(targets, "draining")

    def pause(self, targets: Sequence[str]) -> Receipt:
        """Let agents claim nothing more."""
        return self._want(targets, "paused")

    def resume(self, targets: Sequence[str]) -> Receipt:
        """Let agents work again."""
        return self._want(targets, "running")

    def restart(self, targets: Sequence[str]) -> Receipt:
        """Replace every session of agents."""
        agents = _agents(targets)
        return self._noted(self._each(agents, lambda store, one: store.restart_agent(one, actor=actor())), targets)

    def _want(self, targets: Sequence[str], desired: Desired) -> Receipt:
        agents = _agents(targets)
        done = self._each(agents, lambda store, one: store.set_desired(one, desired, actor=actor()))
        return self._noted(done, targets)

    def _noted(self, receipt: Receipt, targets: Sequence[str]) -> Receipt:
        notes = [receipt.note] if receipt.note else []
        if any("/" in target for target in targets) and receipt.done:
            notes.append("It holds for the whole agent.")
        if receipt.done and (later := holds_later(self._call)):
            notes.append(later)
        return Receipt(receipt.done, " ".join(notes))

    def _each(self, targets: Sequence[str], act: Callable[[Store, str], object]) -> Receipt:
        # A store of its own per act: the dashboard calls from whichever thread is free.
        from agentctl_store.store import open_store

        done, refused = 0, ""
        with open_store(self._call.place()[0]) as store:
            for target in targets:
                try:
                    act(store, target)
                    done += 1
                except BadInput:
                    raise
                except AgentctlError as error:
                    refused = refused or str(error)[:MAX_SAID]
        if refused and not done:
            raise Conflict(refused)
        return Receipt(done, refused)


class SessionLogs:
    """The output files of sessions."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def tail(self, session: str, lines: int, until_ms: int | None = None) -> Sequence[LogLine]:
        """Return at most the last `lines` lines, oldest first; none when the session's files are gone."""
        folder = sessions_folder(self._directory, read_session_id(session))
        follower = Follower.tail(folder, TAIL_BYTES, facts=False)
        found = list(follower.read_on(READS, ended=True))
        if until_ms is not None:
            found = [line for line in found if line.wall_ms is not None and line.wall_ms <= until_ms]
        return [LogLine(line.wall_ms, line.stream, line.text) for line in found[len(found) - min(lines, len(found)) :]]


def _agents(targets: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(target.partition("/")[0] for target in targets))


def need_terminal() -> None:
    """Raise BadInput unless a person sits at a terminal."""
    # Textual draws on the standard error stream: redirected, the screen would stay blank.
    if not all(stream and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise BadInput("the dashboard needs a terminal", "Use agentctl ps, or agentctl ps --watch")


def show_dashboard(call: Call, *, theme: str, ascii_only: bool) -> int:
    """Run the dashboard on a terminal until a person leaves it."""
    need_terminal()
    reader = call.reader
    first_look = Thread(target=_first_look, args=(reader,), name="first look", daemon=True)
    first_look.start()
    gc.disable()  # until the first frame: there is no garbage yet, and looking for it is a tenth of the start-up
    from agentctl_tui.app import run_app

    return run_app(
        reader,
        FleetOperator(call),
        SessionLogs(call.place()[0]),
        theme_name=theme,
        ascii_only=True if ascii_only else None,
        after=first_look.join,
    )


def _first_look(reader: Reader) -> None:
    """Have the tasks counted while Textual is loaded, which takes as long as counting a million of them."""
    try:
        reader.summary(time.time_ns() // 1_000_000)
        reader.instances(0, 1, "instance", Filter())
    except Exception:  # the dashboard reads it again, and tells what is wrong
        pass
