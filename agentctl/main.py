"""The console entry point: finds the module of the verb, runs it, ends the process with its exit code.

Start-up is a promise here (`agentctl task add` costs what `import sqlite3` costs), so this module imports
only `sys` and `os`, which the interpreter has loaded anyway, and then the one module that holds the verb.
Whatever the fast path does not match beyond doubt goes to typer, made from the same declarations.
"""

from __future__ import annotations

import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from .cli.verb import Verb

#: verb → the module of agentctl/cli that declares it
TABLE: dict[str, str] = {
    "init": "init",
    "demo": "demo",
    **dict.fromkeys(("run", "down", "tui"), "fleet"),
    "ps": "ps",
    "logs": "logs",
    "doctor": "doctor",
    **dict.fromkeys(("task add", "task claim", "task show"), "task"),
    **dict.fromkeys(("task heartbeat", "task complete", "task fail", "task release"), "attempt"),
    **dict.fromkeys(("task list", "task cancel", "task retry", "task wait"), "tasks"),
    **dict.fromkeys(("inbox list", "inbox show", "task ask", "task answer"), "inbox"),
    **dict.fromkeys(("dlq list", "dlq show", "dlq requeue", "dlq discard", "dlq export"), "dlq"),
    **dict.fromkeys(("agent list", "agent show", "agent start", "agent stop", "agent drain"), "agent"),
    **dict.fromkeys(("agent pause", "agent resume", "agent restart", "agent scale"), "agent"),
    **dict.fromkeys(("queue list", "queue pause", "queue resume", "queue limit"), "queue"),
    **dict.fromkeys(("limit list", "limit set", "limit remove"), "limit"),
    **dict.fromkeys(("budget list", "budget set", "budget remove"), "budget"),
    **dict.fromkeys(("breaker list", "breaker reset", "breaker set", "breaker remove"), "breaker"),
    **dict.fromkeys(("schedule add", "schedule list", "schedule show", "schedule pause"), "schedule"),
    **dict.fromkeys(("schedule resume", "schedule remove", "schedule run"), "schedule"),
    **dict.fromkeys(("msg send", "msg read", "msg ack", "msg refuse", "msg reply", "msg publish"), "msg"),
    **dict.fromkeys(("msg list", "msg show", "msg thread", "msg topics", "msg subscribe", "msg unsubscribe"), "msgs"),
    **dict.fromkeys(("schema list", "schema set", "schema remove"), "msgs"),
    **dict.fromkeys(("event list", "event follow", "event verify"), "event"),
    **dict.fromkeys(("store info", "store check", "store backup"), "store"),
    **dict.fromkeys(("store restore", "store prune", "store migrate"), "store"),
    **dict.fromkeys(("config check", "config show", "config schema"), "config"),
    "findings": "findings",
    "completion": "completion",
}
NOUNS = frozenset(path.partition(" ")[0] for path in TABLE if " " in path)


def main() -> NoReturn:
    """Run sys.argv and end the process."""
    if sys.platform == "win32":
        sys.exit("agentctl: Windows is not supported (no file locks, process groups or signals). Run it in WSL 2.")
    if None in (sys.stdin, sys.stdout, sys.stderr):
        _fill_closed()
    gc.disable()  # importing makes much and drops nothing; whoever works for longer switches it on again
    try:
        code = dispatch(sys.argv[1:])
    except BaseException as error:
        from .cli.diagnostics import report

        code = report(error)
    _end(code)


def _fill_closed() -> None:
    """Open what of stdin, stdout and stderr is closed on nothing: the next file to be opened would take its number."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)  # the lowest free one: they go from 0 to 2
            os.set_inheritable(number, True)
            if name != "stdin":  # who reads that is told that it is closed
                setattr(sys, name, open(number, "w", encoding="utf-8"))  # noqa: SIM115 - to the end


def dispatch(words: list[str]) -> int:
    """Run the verb that `words` name and return its exit code. Raises what the verb raises."""
    if words == ["--version"]:
        from . import __version__
        from .cli.output import write

        write(f"agentctl {__version__}\n")
        return 0
    if words[:1] == ["inbox"] and words[1:2] not in (["list"], ["show"], ["-h"], ["--help"]):
        words = ["inbox", "list", *words[1:]]  # what is typed daily is short
    path, rest = split(words)
    if path and "_AGENTCTL_COMPLETE" not in os.environ:
        __import__(f"agentctl.cli.{TABLE[path]}")
        from .cli.fast import match
        from .cli.verb import VERBS

        found = VERBS[path]
        values = match(found, rest)
        if values is not None:
            return _run(found, values)
    from .cli.typer_app import run_typer

    if not words or (len(words) == 1 and words[0] in NOUNS):
        words = [*words, "--help"]
    return run_typer(words, TABLE, _run)


def split(words: list[str]) -> tuple[str, list[str]]:
    """Return the verb's path that begins `words` and what follows; the path is empty when there is none."""
    for length in (2, 1):
        path = " ".join(words[:length])
        if len(words) >= length and path in TABLE:
            return path, words[length:]
    return "", words


def _run(found: Verb, values: dict[str, Any]) -> int:
    from .cli.call import run

    if TABLE[found.path] not in ("task", "attempt"):
        gc.enable()
    return run(found, values)


def _end(code: int) -> NoReturn:
    try:
        sys.stdout.flush()
    except BaseException as error:
        from .cli.diagnostics import report

        code = code or report(error)
    try:
        sys.stderr.flush()
    except OSError:
        pass
    if "threading" in sys.modules:
        # Something may have to be joined or cleaned up at exit. A lost stdout must not be flushed once more.
        try:
            sys.stdout.flush()
        except (OSError, ValueError):
            os._exit(code)
        sys.exit(code)
    # Tearing an interpreter down costs 2 ms; the store needs no farewell, its commits are durable.
    os._exit(code)
