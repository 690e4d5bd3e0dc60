"""What the supervisor sees of its processes from second to second, in a small file beside the store.

Memory and ages change all the time and are worth nothing afterwards: as rows they would be most of what is written.
The supervisor replaces `vitals.json` as a whole, at most once a second and only when something changed; readers take it
for as long as it is fresh.
"""

from __future__ import annotations

import os

from ..errors import AgentctlError
from ..jsontext import dumps, loads
from ..record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

FILE = "vitals.json"
FRESH_MS = 15_000  #: a supervisor that writes rewrites at least every 5 s
MAX_BYTES = 4 << 20


@record
class Vitals:
    """One instance. Times are wall milliseconds; None means not known."""

    memory_bytes: int | None = None  #: of all its processes
    heartbeat_ms: int | None = None
    output_ms: int | None = None
    probe: str = ""  #: "ready", "not ready: …"; empty without a probe


def write_vitals(directory: str, seen: Mapping[str, Vitals]) -> None:
    """Replace what is known of the instances (`reviewer/2` → Vitals). A full disk is ignored: the next one may fit."""
    told = {}
    for name, vitals in seen.items():
        values = (vitals.memory_bytes, vitals.heartbeat_ms, vitals.output_ms, vitals.probe or None)
        told[name] = list(values)
    path = os.path.join(directory, FILE)
    building = path + ".new"
    try:
        descriptor = os.open(building, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, dumps(told).encode())
        finally:
            os.close(descriptor)
        os.rename(building, path)
    except OSError:
        pass


def written_ns(directory: str) -> int:
    """Return when the file was last written, 0 if never: a change of it is a change of what is shown."""
    try:
        return os.stat(os.path.join(directory, FILE)).st_mtime_ns
    except OSError:
        return 0


def read_vitals(directory: str, now_ms: int) -> dict[str, Vitals]:
    """Return what is known of the instances; nothing when the file is old, gone or not readable."""
    if now_ms - written_ns(directory) // 1_000_000 > FRESH_MS:
        return {}
    try:
        with open(os.path.join(directory, FILE), "rb") as file:
            told = loads(file.read(MAX_BYTES + 1), FILE, MAX_BYTES)
        return {name: _vitals(values) for name, values in told.items()}
    except (OSError, AgentctlError, AttributeError, TypeError, ValueError):
        return {}


def _vitals(values: Any) -> Vitals:
    memory, heartbeat, output, probe = values
    return Vitals(_whole(memory), _whole(heartbeat), _whole(output), str(probe or ""))


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
