"""What the shell offers after Tab: live names from the store. Silent when there is no store or it is busy."""

from __future__ import annotations


def offer(source: str, incomplete: str) -> list[tuple[str, str]]:
    """Return (word, description) pairs that begin with `incomplete`."""
    return []
