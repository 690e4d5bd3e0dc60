"""`agentctl doctor`: what of this machine and this fleet could spoil a night."""

from __future__ import annotations

import os
import sys

from agentctl_store.errors import AgentctlError, BadConfig, NotFound
from agentctl_store.text import one_line
from agentctl_store.upkeep import check_place

from .call import FLEET_FILE, Call
from .diagnostics import counted
from .table import Column
from .verb import verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Finding = tuple[str, str, str]  # verdict, what was found, what to do

MIN_FREE_BYTES = 1 << 30
MIN_FILES = 1_024
_COLUMNS = (Column("check"), Column("verdict"), Column("found"), Column("remedy"))


@verb(
    "doctor",
    summary="Check this machine, the configuration and the store for what spoils a night.",
    details="Exit code 1 when something fails; a warning does not count.",
    reads=True,
)
def doctor(call: Call) -> int:
    """Run every check."""
    failed = False

    def fetch() -> list[dict[str, Any]]:
        nonlocal failed
        rows = []
        for name, check in CHECKS:
            for verdict, found, remedy in _run(check, call):
                failed = failed or verdict == "fail"
                rows.append({"check": name, "verdict": verdict, "found": found, "remedy": remedy})
        return rows

    call.show(_COLUMNS, fetch)
    return 1 if failed else 0


def _run(check: Callable[[Call], Iterator[Finding]], call: Call) -> Iterator[Finding]:
    try:
        yield from check(call)
    except AgentctlError as error:
        yield "fail", one_line(error.message, 2_000), error.remedy
    except OSError as error:
        yield "fail", str(error.strerror or error), "Check the folder's permissions"


def _python(call: Call) -> Iterator[Finding]:
    found = ".".join(map(str, sys.version_info[:3]))
    yield ("ok" if sys.version_info >= (3, 11) else "fail"), f"Python {found}", ""
    if sys.platform == "win32":
        yield "fail", "Windows", "Use WSL: agentctl needs signals, file locks and Unix sockets"
    elif not sys.platform.startswith("linux"):
        yield (
            "warn",
            f"{sys.platform}: no child subreaper, no pidfds",
            "Agents that hide from their process group may outlive a stop",
        )


def _library(call: Call) -> Iterator[Finding]:
    from agentctl_store.store import library_version

    yield "ok", f"SQLite {library_version()}", ""


def _configuration(call: Call) -> Iterator[Finding]:
    from agentctl.config import find_config, load_config

    try:
        path = find_config()
    except NotFound as error:
        yield "warn", error.message, error.remedy
        return
    config = load_config(path)
    yield "ok", f"{os.path.relpath(path)}: {counted(len(config.agent), 'agent')}", ""
    import shutil

    root = os.path.dirname(path)
    for name, section in config.agent.items():
        cwd = os.path.join(root, section.cwd)
        for key, words in (("command", section.command), ("verify", section.verify)):
            program = words[0] if words else ""
            found = not program or shutil.which(program)
            if not (found or ("/" in program and os.access(os.path.join(cwd, program), os.X_OK))):
                what = f"agent {name}: {program!r} is not found or not executable"
                yield "fail", what, f"Install it, or mend its {key}"
        if not os.path.isdir(cwd):
            yield "fail", f"agent {name}: its folder {section.cwd!r} does not exist", "Make it, or mend cwd"


def _sandbox(call: Call) -> Iterator[Finding]:
    from agentctl.config import find_config, load_config
    from agentctl.supervisor import sandbox

    why = sandbox.why_not()
    what, _, remedy = why.partition("; ")
    if not why:
        yield "ok", f"Landlock ABI {sandbox.abi()}: agents can have a sandbox", ""
    try:
        path = find_config()
        config = load_config(path)
    except (NotFound, BadConfig):  # the configuration's check tells
        path, refused = "", []
    else:
        refused = list(sandbox.refusals(config, path, call.place()[0]))
    if why:
        yield ("fail" if refused else "ok"), f"no agent can have a sandbox: {what}", remedy if refused else ""
    for name, reason in refused:
        what, _, remedy = reason.partition("; ")
        yield "fail", f"agent {name}: {what}", remedy[:1].upper() + remedy[1:]


def _store(call: Call) -> Iterator[Finding]:
    try:
        directory, may_make = call.place()
    except NotFound:
        return  # outside a fleet, which the configuration's check has told: the machine is still worth a look
    if may_make and not os.path.isdir(directory):
        folder = os.path.dirname(directory)
        if os.access(folder, os.W_OK | os.X_OK):
            yield "ok", "no store yet; the first task or run makes it", ""
        else:
            yield "fail", f"no store can be made in {folder}", "Check its permissions and mount options"
        return
    call.reader.version()
    yield "ok", f"{directory} can be read", ""
    for path in (directory, os.path.join(directory, "store.db")):
        mode = os.stat(path).st_mode & 0o077
        if mode:
            yield "warn", f"{path} is open to others (mode {mode:03o})", f"chmod go= {path}"
    if not os.access(directory, os.W_OK):
        yield "fail", f"{directory} cannot be written", "Check its permissions and mount options"
    check_place(directory)


def _space(call: Call) -> Iterator[Finding]:
    try:
        place = call.place()[0]
    except NotFound:
        place = os.getcwd()
    while not os.path.isdir(place):
        place = os.path.dirname(os.path.abspath(place))
    found = os.statvfs(place)
    free = found.f_bavail * found.f_frsize
    text = f"{free / 1e9:,.1f} GB free"
    if free < MIN_FREE_BYTES:
        yield "warn", text, "A night of output needs more; free some space"
    else:
        yield "ok", text, ""


def _limits(call: Call) -> Iterator[Finding]:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    verdict = "ok" if soft >= MIN_FILES or soft < 0 else "warn"
    yield verdict, f"{soft:,} open files allowed", "" if verdict == "ok" else "Raise it: ulimit -n 4096"


def _supervisor(call: Call) -> Iterator[Finding]:
    from .acts import supervisor

    try:
        row = supervisor(call)
    except NotFound:
        return
    if row.stopped:
        yield "fail", f"supervisor {row.pid} is stopped: nothing is supervised", f"kill -CONT {row.pid}"
    else:
        yield "ok", f"process {row.pid} supervises this store" if row.running else "no supervisor runs now", ""


def _fleet(call: Call) -> Iterator[Finding]:
    try:
        directory, _ = call.place()
    except NotFound:
        return
    if not os.path.isdir(directory):
        return
    for one in call.store.instances():
        if one.latched:
            yield (
                "warn",
                f"{one.agent}/{one.slot} is latched: {one_line(one.reason, 300)}",
                f"agentctl agent start {one.agent}",
            )
    served = {queue for agent in call.store.agents() if agent.declared for queue in agent.queues}
    for row in call.reader.queues():
        if row.unroutable:
            tasks = counted(row.unroutable, "unroutable task")
            yield "warn", f"{tasks} in queue {row.queue}: {row.why}", f"Let an agent of {FLEET_FILE} do it"
        elif row.ready and row.queue not in served:
            tasks = counted(row.ready, "task")
            yield "warn", f"{tasks} in queue {row.queue}, which no agent serves", f"Name it in {FLEET_FILE}"
        if row.paused:
            yield "warn", f"queue {row.queue} is paused", f"agentctl queue resume {row.queue}"
    dead = sum(row.dead for row in call.reader.queues())
    if dead:
        yield "warn", counted(dead, "dead letter"), "agentctl dlq list"


def _findings(call: Call) -> Iterator[Finding]:
    from .findings import SINCE, look, since_of, thresholds

    try:
        directory, _ = call.place()
    except NotFound:
        return
    if not os.path.isdir(directory):
        return
    found, _ = look(call, since_of(SINCE), thresholds(call))
    if found:
        kinds = ", ".join(dict.fromkeys(one.kind for one in found))
        yield "warn", f"{counted(len(found), 'finding')} within {SINCE}: {kinds}", "agentctl findings"
    else:
        yield "ok", f"nothing found within {SINCE}", ""


CHECKS: tuple[tuple[str, Callable[[Call], Iterator[Finding]]], ...] = (
    ("python", _python),
    ("sqlite", _library),
    ("config", _configuration),
    ("sandbox", _sandbox),
    ("store", _store),
    ("space", _space),
    ("limits", _limits),
    ("supervisor", _supervisor),
    ("fleet", _fleet),
    ("findings", _findings),
)
