"""Reading a store for screens and verbs: rows (`models`), what is asked of a store (`port`), and who answers."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .port import Reader


def open_reader(directory: str) -> Reader:
    """Open the store in `directory` for reading alone. NotFound, StoreError and its kinds say what is wrong.

    It works while the disk is full or the folder read-only, and holds nothing between calls.
    """
    from ..sqlite.reader import SqliteReader

    return SqliteReader(directory)
