"""What an agent says through sd_notify(3), read from the datagrams the shim kept."""

from __future__ import annotations

from agentctl_store.text import printable

MAX_STATUS = 300


def read_notify(text: str) -> dict[str, object]:
    """Return the fields of `facts.Said` that a datagram sets. Unknown assignments are passed over."""
    said: dict[str, object] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if not equals:
            continue
        if name == "READY" and value == "1":
            said["ready"] = True
        elif name == "STOPPING" and value == "1":
            said["stopping"] = True
        elif name == "STATUS":
            said["status"] = printable(value)[:MAX_STATUS]
        elif name == "WATCHDOG" and value == "1":
            said["watchdog"] = True
        elif name == "WATCHDOG" and value == "trigger":
            said["watchdog_trigger"] = True
        elif name == "WATCHDOG_USEC" and (usec := _microseconds(value)) is not None:
            said["watchdog_ms"] = max(usec // 1000, 1)
        elif name == "EXTEND_TIMEOUT_USEC" and (usec := _microseconds(value)) is not None:
            said["extend_ms"] = usec // 1000
    return said


def _microseconds(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and 0 < len(text) <= 15 else None
