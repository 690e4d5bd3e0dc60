"""Whether a supervisor runs on a store, as its lock file tells. Asking never touches the lock itself: a supervisor
that starts at that moment would find it taken.
"""

from __future__ import annotations

import os

from ..clock import boot_id
from ..errors import AgentctlError
from ..jsontext import loads
from .models import SupervisorRow

LOCK = "supervisor.lock"
_boot: list[str] = []


def supervisor_row(directory: str, last_seen_ms: int | None = None) -> SupervisorRow:
    """Return who supervises the store in `directory`; when nobody does, `since_ms` is `last_seen_ms`."""
    try:
        descriptor = os.open(os.path.join(directory, LOCK), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return SupervisorRow(False, None, last_seen_ms)
    try:
        text = os.read(descriptor, 4096)
    finally:
        os.close(descriptor)
    try:
        told = loads(text, LOCK)
        pid, start, since = told["pid"], told.get("start"), told.get("since")
        fleet = str(told.get("fleet") or "")
    except (AgentctlError, KeyError, TypeError, AttributeError):
        return SupervisorRow(False, None, last_seen_ms)
    state = _state(pid, start, told.get("boot")) if isinstance(pid, int) else None
    if state is None:
        return SupervisorRow(False, None, last_seen_ms, fleet)
    return SupervisorRow(True, pid, since if isinstance(since, int) else None, fleet, state == b"T")


def _state(pid: int, start: object, boot: object) -> bytes | None:
    """Return the kernel's letter for the process of that start time (proc(5)), empty where there is no /proc.

    None when it does not live: a pid alone may belong to somebody else by now. `T` is stopped by a signal; what a
    debugger holds is `t` and no matter for a signal.
    """
    if not _boot:
        _boot.append(boot_id())
    if boot not in (None, _boot[0]):
        return None
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        if os.path.isdir("/proc/self"):
            return None
        try:
            os.kill(pid, 0)
        except PermissionError:
            return b""
        except OSError:
            return None
        return b""
    lives = fields[0] not in (b"Z", b"X") and (start is None or int(fields[19]) == start)
    return fields[0] if lives else None
