"""Payloads as a person edits them: indented JSON that no character of can steer a terminal. Pure."""

from __future__ import annotations

import json

from agentctl_store import jsontext
from agentctl_store.errors import BadJson
from agentctl_tui.cells import clean


def pretty(text: str) -> str:
    """Return a stored payload indented, hostile characters as JSON escapes, so that it reads back unchanged.

    A text that is no JSON document comes back with every unprintable character replaced.
    """
    try:
        value = json.loads(text)
        shown = json.dumps(value, indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return "\n".join(clean(part) for part in text.split("\n"))
    if shown.isascii() and "\x7f" not in shown:
        return shown
    # Outside strings JSON is ASCII, so whatever is escaped here stands inside a string.
    return "".join(c if c == "\n" or (c.isprintable() and clean(c) == c) else _escaped(c) for c in shown)


def problem(text: str) -> str:
    """Return why `text` is not an acceptable payload; empty when it is."""
    try:
        jsontext.loads(text, "this")
    except BadJson as error:
        return clean(str(error))
    return ""


def compact(text: str) -> str:
    """Return an edited payload as it is stored. Raises BadJson."""
    return jsontext.dumps(jsontext.loads(text))


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
