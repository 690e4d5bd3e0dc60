"""Saying what is wrong in agentctl.toml: where it stands, what it is, what to write instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from agentctl_store.errors import BadConfig

_HEADER = re.compile(r"\s*\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_WORD = r"""(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)"""
_KEY = re.compile(rf"\s*({_WORD}(?:\s*\.\s*{_WORD})*)\s*=")
_PART = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*(?:\.|$)""")
_SYNTAX_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)")
_LONG_NUMBER = re.compile(r"\b[0-9](?:_?[0-9]){4000,}")
MAX_NESTING = 100  #: more than any table here needs together with the deepest JSON document
_INT_BITS = 64  #: TOML's own range
_WANTED = {
    "string_type": "is not a text; put it in quotes",
    "int_type": "is not a whole number",
    "float_type": "is not a number",
    "bool_type": "is not true or false",
    "dict_type": "is not a table of KEY = value",
    "model_type": "is not a table of KEY = value",
    "model_attributes_type": "is not a table of KEY = value",
}


class BadConfigs(BadConfig):
    """Every problem of one file, as `problems`; reads as one when there is one."""

    def __init__(self, problems: Sequence[BadConfig]) -> None:
        first = problems[0]
        if len(problems) == 1:
            message, remedy = first.message, first.remedy
        else:
            lines = [f"{first.file} has {len(problems)} problems"]
            lines += [f"  {problem}" for problem in problems]
            message, remedy = "\n".join(lines), ""
        super().__init__(message, remedy, file=first.file, line=first.line, key=first.key)
        self.problems = list(problems)


def syntax_problem(reason: str, text: str, file: str) -> BadConfig:
    """Explain why the file is not TOML."""
    match, long_number = _SYNTAX_PLACE.search(reason), _LONG_NUMBER.search(text)
    if match is None and long_number is not None and "digits" in reason:
        line = text.count("\n", 0, long_number.start()) + 1
        told = f"{file}:{line}: holds a number of thousands of digits"
        return BadConfig(told, "Write a smaller number, or put it in quotes", file=file, line=line)
    line = int(match[1]) if match else text.count("\n") + 1
    column = f", column {match[2]}" if match else ""
    what = _SYNTAX_PLACE.sub("", reason).replace("(at end of document)", "at the end of the file").strip()
    return BadConfig(
        f"{file}:{line}: is not TOML: {what[:1].lower()}{what[1:200]}{column}",
        'Write KEY = "text", KEY = 3 or [table] on this line',
        file=file,
        line=line,
    )


def no_reader_takes(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield, as validation errors, whole numbers beyond TOML's 64 bits and what is nested too deeply to be walked."""
    left: list[tuple[tuple[str, ...], int, Any]] = [((), 0, document)]
    while left:
        path, depth, value = left.pop()
        if isinstance(value, int) and not -(1 << _INT_BITS - 1) <= value < 1 << _INT_BITS - 1:
            message = f"is a whole number beyond {_INT_BITS} bits. Write a smaller number, or put it in quotes"
            yield {"type": "value", "loc": path, "msg": message}
        elif isinstance(value, (dict, list)) and depth > MAX_NESTING:
            message = f"is nested more than {MAX_NESTING} levels deep. Write it flatter"
            yield {"type": "value", "loc": path[:3], "msg": message}
        elif isinstance(value, dict):
            left += [((*path, key), depth + 1, one) for key, one in reversed(value.items())]
        elif isinstance(value, list):
            left += [(path, depth + 1, one) for one in reversed(value)]


def explain(errors: Iterable[Mapping[str, Any]], root: type[BaseModel], text: str, file: str) -> list[BadConfig]:
    """Turn a validation's errors into problems with file, line, key and remedy."""
    places = lines_of(text)
    errors = _without_consequences(list(errors))
    problems: dict[tuple[str, str], BadConfig] = {}
    for error in errors:
        path = tuple(part for part in error["loc"] if isinstance(part, str) and not part.startswith("function-"))
        key = ".".join(path)
        line = _line(places, path)
        what, remedy = _sentence(error, path, root)
        problem = BadConfig(f"{file}:{line}: {what}", remedy, file=file, line=line, key=key)
        problems.setdefault((key, what), problem)
    return list(problems.values())


def _without_consequences(errors: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Leave out that a key is missing where the same table holds a misspelling of it."""
    strangers: dict[tuple[Any, ...], list[str]] = {}
    for error in errors:
        if error["type"] == "extra_forbidden":
            strangers.setdefault(tuple(error["loc"][:-1]), []).append(str(error["loc"][-1]))
    return [
        error
        for error in errors
        if error["type"] != "missing"
        or not difflib.get_close_matches(str(error["loc"][-1]), strangers.get(tuple(error["loc"][:-1]), []), 1, 0.6)
    ]


def lines_of(text: str) -> dict[tuple[str, ...], int]:
    """Return the 1-based line on which each table and key of a TOML text first stands.

    The parser of the standard library keeps no positions, so the text is read once more, line by line; what
    stands inside a value of several lines is passed over.
    """
    places: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    fence = ""
    for number, line in enumerate(text.splitlines(), 1):
        if fence:
            fence = "" if fence in line else fence
            continue
        header = _HEADER.match(line)
        if header and "=" not in header[1]:
            table = _split(header[1])
            for end in range(1, len(table) + 1):
                places.setdefault(table[:end], number)
            continue
        match = _KEY.match(line)
        if match is None:
            continue
        key = table + _split(match[1])
        for end in range(len(table) + 1, len(key) + 1):
            places.setdefault(key[:end], number)
        rest = line[match.end() :]
        fence = next((mark for mark in ('"""', "'''") if rest.count(mark) == 1), "")
    return places


def _split(dotted: str) -> tuple[str, ...]:
    # No deeper than what can be asked for: the caller keeps every beginning of it.
    return tuple(a or b or c for a, b, c in _PART.findall(dotted)[:MAX_NESTING])


def _line(places: Mapping[tuple[str, ...], int], path: tuple[str, ...]) -> int:
    while path and path not in places:
        path = path[:-1]
    return places.get(path, 1)


def _sentence(error: Mapping[str, Any], path: tuple[str, ...], root: type[BaseModel]) -> tuple[str, str]:
    kind, key = error["type"], ".".join(path)
    inside = ".".join(path[:-1])
    if kind == "extra_forbidden":
        known = _known_keys(root, path[:-1])
        close = difflib.get_close_matches(path[-1], known, 1, 0.6)
        remedy = f"Did you mean {close[0]!r}?" if close else f"Known here: {', '.join(known)}"
        return f"unknown key {path[-1]!r}" + (f" in [{inside}]" if inside else ""), remedy
    if kind == "missing":
        return f"[{inside}] has no {path[-1]!r}", f"Add a line `{path[-1]} = …` to [{inside}]"
    if kind in ("name", "value"):  # the first says whose name it is itself
        what, _, remedy = error["msg"].partition(". ")
        return f"{key}{':' if kind == 'name' else ''} {what}", remedy or "Rename it"
    if kind == "literal_error":
        allowed = str(error["ctx"]["expected"]).replace(" or ", ", ")
        words = re.findall(r"'([^']*)'", allowed)
        close = difflib.get_close_matches(str(error.get("input")), words, 1, 0.6)
        hint = f"Did you mean {close[0]!r}?" if close else f"Write one of {', '.join(words)}"
        return f"{key} = {error.get('input')!r} is not known", hint
    if kind == "value_error":
        reason = str(error["ctx"]["error"])
        what, _, remedy = reason.partition("; ")
        return f"{key} {what}", f"{remedy[:1].upper()}{remedy[1:]}" if remedy else "Correct this value"
    if kind == "string_pattern_mismatch":
        example = {"http": "http://127.0.0.1:8080/health", "tcp": "127.0.0.1:5432"}.get(path[-1], "…")
        return f"{key} = {error.get('input')!r} has the wrong form", f'Write it like "{example}"'
    reason = _WANTED.get(kind) or f"= {error.get('input')!r}: {error['msg'][:1].lower()}{error['msg'][1:]}"
    return f"{key} {reason}", "Correct this value"


def _known_keys(root: type[BaseModel], path: tuple[str, ...]) -> list[str]:
    model = root
    for part in path:
        found: type[BaseModel] | None = None
        for name, field in model.model_fields.items():
            if (field.alias or name) == part:
                found = _model_in(field.annotation)
        # The names of agents are free: a part that is no field is the key of a table of tables.
        model = found or model
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _model_in(argument)
        if found is not None:
            return found
    return None
