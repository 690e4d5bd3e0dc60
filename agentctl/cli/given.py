"""What a person or a script hands over: JSON as an argument, a file or stdin; task and attempt ids."""

from __future__ import annotations

import os
import sys

from agentctl_store.errors import BadInput
from agentctl_store.ids import LENGTH, read_id, write_id
from agentctl_store.jsontext import MAX_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from agentctl_store.store import Store

MAX_LINES_BYTES = 64 << 20  #: of all lines that are added in one transaction


def json_text(text: str, what: str) -> str:
    """Return the JSON text that `text` gives: itself, `@FILE`, or `-` for stdin. Checked by the store."""
    if text != "-" and text[:1] != "@":
        return text
    raw = read_bytes(text.removeprefix("@"), what, MAX_BYTES)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{what} is not UTF-8 (byte {error.start})", "Send it as UTF-8 text") from None


def read_bytes(path: str, what: str, limit: int) -> bytes:
    """Read a file, or stdin for `-`, of at most `limit` bytes. Raises BadInput."""
    if path == "-":
        if sys.stdin is None:
            raise BadInput(f"{what} should come from stdin, which is closed", "Pipe it in, or name a file with @")
        return _bounded(sys.stdin.buffer, what, limit)
    try:
        with open(path, "rb") as file:
            return _bounded(file, what, limit)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a usable file name"
        raise BadInput(f"{what}: cannot read {_quoted(path)}: {reason}", "Name a readable file") from None


def read_lines(path: str, limit: int) -> list[str]:
    """Return the lines of a JSON lines file, or of stdin for `-`; empty ones are left out. Raises BadInput."""
    name = "stdin" if path == "-" else os.path.basename(path)
    raw = read_bytes(path, name, MAX_LINES_BYTES)
    lines: list[str] = []
    for number, line in enumerate(raw.split(b"\n"), 1):
        if not line.strip():
            continue
        if len(lines) == limit:
            raise BadInput(f"{name} has more than {limit:,} lines", "Add them in parts; nothing was added")
        try:
            lines.append(line.decode())
        except UnicodeDecodeError as error:
            raise BadInput(f"{name}, line {number} is not UTF-8 (byte {error.start})", "Nothing was added") from None
    return lines


def task_id(store: Store, text: str) -> int:
    """Return the task that `text` names: its id, or for people the beginning of it. NotFound, BadName."""
    return read_id(text) if len(text) == LENGTH else store.find_task(text)


def task_name(store: Store, text: str) -> str:
    """Return the whole id of the task that `text` names. NotFound, BadName."""
    return write_id(store.task(task_id(store, text)).id)


def _bounded(file: BinaryIO, what: str, limit: int) -> bytes:
    raw = file.read(limit + 1)
    if len(raw) > limit:
        raise BadInput(f"{what} is larger than the limit of {limit:,} bytes", "Store it in a file and send its path")
    return raw


def _quoted(text: str) -> str:
    return ascii(text if len(text) <= 80 else text[:80] + "...")
