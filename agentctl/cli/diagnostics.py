"""The only writer to stderr: what went wrong, what is being done, what is asked."""

from __future__ import annotations

import os
import sys

from agentctl_store.errors import AgentctlError, BadInput
from agentctl_store.text import cut, printable

INTERRUPTED = 130
MAX_SENTENCE = 2_000
_KEPT_REPORTS = 20


def narrate(text: str) -> None:
    """Tell a person what is being done. Lost when nobody can read it."""
    try:
        sys.stderr.write(printable(text, lines=True) + "\n")
    except (OSError, ValueError, AttributeError):
        pass


def counted(number: int, what: str) -> str:
    """Return `3 agents`, `1 agent`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def report(error: BaseException) -> int:
    """Say what went wrong in one sentence and return the exit code that belongs to it."""
    if isinstance(error, SystemExit):
        if isinstance(error.code, str):
            narrate(error.code)
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return 0
    if isinstance(error, AgentctlError):
        if len(getattr(error, "problems", ())) > 1:
            narrate("agentctl: " + cut(error.message, MAX_SENTENCE * 10))
        else:
            narrate("agentctl: " + _sentence(error))
        return error.exit_code
    if isinstance(error, OSError) and error.strerror and _is_outside(error):
        where = f"{os.fsdecode(error.filename)!r}: " if isinstance(error.filename, str | bytes) else ""
        narrate(f"agentctl: {where}{error.strerror}.{_mend(error)}")
        return 1
    narrate("agentctl: " + _unexpected(error))
    return 1


def confirm(question: str, *, yes: bool, no_input: bool) -> bool:
    """Ask a person before something that cannot be undone. Raises BadInput where nobody can answer."""
    if yes:
        return True
    if no_input or not sys.stdin or not sys.stdin.isatty():
        raise BadInput(f"nobody can confirm this here: {question.rstrip('?')}", "If it is meant, add --yes")
    sys.stderr.write(printable(question) + " [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _sentence(error: AgentctlError) -> str:
    message = " ".join(error.message.split()).rstrip(".")
    remedy = " ".join(error.remedy.split()).rstrip(".")
    place = getattr(error, "file", "")
    if place and place not in error.message:
        line = getattr(error, "line", 0)
        message = f"{place}{f':{line}' if line else ''}: {message}"
    ended = [part if part.endswith(("?", "!")) else f"{part}." for part in (message, remedy) if part]
    return cut(" ".join(ended), MAX_SENTENCE)


def _is_outside(error: OSError) -> bool:
    import errno

    return error.errno in (
        errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOENT,
        errno.EISDIR, errno.ENOTDIR, errno.EMFILE, errno.ENFILE, errno.ENAMETOOLONG, errno.ELOOP,
        errno.ENOMEM, errno.EFBIG,
    )  # fmt: skip


def _mend(error: OSError) -> str:
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return " Free some disk space."
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM) and error.filename:
        return " Check its permissions and mount options."
    if error.errno == errno.ENOENT and not error.filename:  # as os.getcwd() has it
        return " The folder you are in is gone: change to another one."
    return ""


def _unexpected(error: BaseException) -> str:
    import traceback

    from agentctl_store.text import redact

    name = type(error).__name__
    try:
        message = redact(" ".join(str(error)[:2000].split()))
        frames = traceback.extract_tb(error.__traceback__)
        place = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
        text = redact("".join(traceback.format_exception(error))[-100_000:])
    except Exception:
        message, place, text = "", "", name
    try:
        kept = f"Details are in {_keep(text)}"
    except OSError as problem:
        kept = f"Details could not be written ({problem.strerror})"
    said = f"{name}{place}" + (f": {cut(message, 200)}" if message else "")
    return f"this should not have happened: {said}. {kept}; please report it."


def _keep(text: str) -> str:
    import time

    base = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    folder = os.path.join(base, "agentctl")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    old = sorted(name for name in os.listdir(folder) if name.startswith("crash-"))
    for name in old[: -_KEPT_REPORTS + 1]:
        os.unlink(os.path.join(folder, name))
    path = os.path.join(folder, f"crash-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}.txt")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", errors="backslashreplace") as file:
        file.write(text)
    return path
