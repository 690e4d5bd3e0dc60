"""The only writer to stdout: data, in the form that was asked for, safe for a terminal."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def write(text: str) -> None:
    """Write `text` as it is. What came from outside must be cleaned before."""
    if sys.stdout is None:
        raise BrokenPipeError
    try:
        sys.stdout.write(text)
    except UnicodeEncodeError:
        # A terminal that is not UTF-8: what it cannot show is spelled out.
        coding = sys.stdout.encoding or "ascii"
        sys.stdout.write(text.encode(coding, "backslashreplace").decode(coding))


def flush() -> None:
    """Hand over what was written; a reader that follows sees it now."""
    if sys.stdout is not None:
        sys.stdout.flush()


def say(text: str) -> None:
    """Write one cleaned line."""
    from agentctl_store.text import printable

    write(printable(text) + "\n")


def write_json(value: Any) -> None:
    """Write `value` as one line of JSON in which no character can steer a terminal."""
    from agentctl_store.jsontext import dumps

    write(escaped(dumps(value)) + "\n")


def escaped(text: str, *, lines: bool = False) -> str:
    """Return JSON text with every character that could steer a terminal written as its escape.

    `lines`: it is indented, its line breaks stay.
    """
    if text.isprintable():
        return text
    # Outside strings JSON holds only printable ASCII, so every other character may be written as its escape.
    kept = "\n" if lines else ""
    return "".join(c if c.isprintable() or c in kept else _escape(ord(c)) for c in text)


def _escape(code: int) -> str:
    if code > 0xFFFF:
        code -= 0x10000
        return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
    return f"\\u{code:04x}"


def on_terminal() -> bool:
    """Tell whether a person reads stdout."""
    return sys.stdout is not None and sys.stdout.isatty()


def terminal_width() -> int:
    """Return the columns of the terminal on stdout, 80 when it does not say."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError, AttributeError):
        return 80
