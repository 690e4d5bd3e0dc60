"""Reading a store for screens and verbs: rows (`models`), what is asked of a store (`port`), and who answers."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..findings.port import Evidence
    from .port import Reader


def open_reader(directory: str) -> Reader:
    """Open the store in `directory` for reading alone. NotFound, StoreError and its kinds say what is wrong.

    It works while the disk is full or the folder read-only, and holds nothing between calls.
    """
    from ..sqlite.reader import SqliteReader

    return SqliteReader(directory)


def open_evidence(directory: str, since_ms: int, until_ms: int) -> Evidence:
    """Open what the detectors of `agentctl_store.findings` ask for: the history from one wall time to another.

    NotFound, StoreError and its kinds say what is wrong. It reads as `open_reader` does.
    """
    from ..sqlite.evidence import SqliteEvidence

    return SqliteEvidence(directory, since_ms, until_ms)
