"""The fast path: match an argv against a declaration without importing typer.

It accepts only what leaves no doubt and answers None to everything else: the typer command then parses
the same argv and words the error, the help or the completion. A property test holds both to the same
values.
"""

from __future__ import annotations

from .verb import Param, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAX_DIGITS = 18


def match(verb: Verb, words: list[str]) -> dict[str, Any] | None:
    """Return the value of every parameter of `verb`, or None when typer has to look at `words`."""
    values: dict[str, Any] = {}
    places: list[str] = []
    at, end = 0, len(words)
    while at < end:
        word = words[at]
        at += 1
        if word[:1] != "-" or word == "-":
            places.append(word)
            continue
        flag, equals, text = word.partition("=")
        param = verb.options.get(flag)
        if param is None or (equals and word[1] != "-"):
            return None
        if param.kind == "bool":
            if equals:
                return None
            values[param.name] = True
            continue
        if not equals:
            if at == end:
                return None
            text = words[at]
            at += 1
        value = _read(param, text)
        if value is None or (param.name in values and not param.many):
            return None
        values[param.name] = (*values.get(param.name, ()), value) if param.many else value
    if not _place(verb, places, values):
        return None
    for param in verb.params:
        if param.name not in values:
            if param.required:
                return None
            values[param.name] = param.default
    return values


def _place(verb: Verb, places: list[str], values: dict[str, Any]) -> bool:
    for param in verb.places:
        if not places:
            break
        taken, places = (places, []) if param.many else (places[:1], places[1:])
        found = [_read(param, text) for text in taken]
        if None in found:
            return False
        values[param.name] = tuple(found) if param.many else found[0]
    return not places


def _read(param: Param, text: str) -> Any:
    if not text or (text[0] == "-" and text != "-") or (param.choices and text not in param.choices):
        return None
    if param.kind == "str":
        return text
    if not (text.isascii() and text.isdigit()) or len(text) > _MAX_DIGITS:
        return None
    return int(text) if param.kind == "int" else float(text)
