"""May another process start now? The floors of memory and disk, and starts spread so that they do not stampede."""

from __future__ import annotations

from dataclasses import dataclass

from agentctl.quantities import show_size

RETRY_MS = 1_000  #: a start held back for memory or disk is considered again after this
BURST = 8  #: starts of long-lived agents that may happen together
GAP_MS = 50  #: between starts beyond the burst
STAGGERED = "its start is staggered"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Not now: why, and when to ask again."""

    reason: str
    retry_ms: int


def memory(free_bytes: int | None, floor_bytes: int) -> Refusal | None:
    """Hold every start while less than the floor is free. An unknown figure holds nothing."""
    return _floor("memory", free_bytes, floor_bytes, "stop something or lower fleet.min_free_memory")


def disk(free_bytes: int | None, floor_bytes: int) -> Refusal | None:
    """Hold every start while less than the floor is free: the rest is for the results of what runs already."""
    return _floor("disk space", free_bytes, floor_bytes, "free some or lower fleet.min_free_disk")


def _floor(what: str, free_bytes: int | None, floor_bytes: int, remedy: str) -> Refusal | None:
    if free_bytes is None or free_bytes >= floor_bytes:
        return None
    # Without the free bytes: they change all the time, and each new reason would be an event of each instance.
    return Refusal(f"waits for {what}: less than {show_size(floor_bytes)} is free; {remedy}", RETRY_MS)


def stagger(recent_starts_ms: tuple[int, ...], now_ms: int) -> Refusal | None:
    """Let BURST starts through at once, then one each GAP_MS."""
    recent = [start for start in recent_starts_ms if start > now_ms - BURST * GAP_MS]
    if len(recent) < BURST:
        return None
    wait_ms = max(1, min(recent) + BURST * GAP_MS - now_ms)
    return Refusal(STAGGERED, min(wait_ms, GAP_MS))


def free_memory_bytes(meminfo: str) -> int | None:
    """Read MemAvailable from the text of /proc/meminfo; None where it is not told."""
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            fields = line.split()
            return int(fields[1]) * 1024 if len(fields) >= 2 and fields[1].isdigit() else None
    return None
