"""The lines of `task add --jsonl`: one task each, as an object of what the options of `task add` say."""

from __future__ import annotations

from agentctl_store.domain.task import MAX_BATCH
from agentctl_store.errors import BadInput
from agentctl_store.jsontext import dumps, loads

from .given import read_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: field → its type, and how a person calls that
_KINDS: dict[str, tuple[type, str]] = {
    "queue": (str, "a text"),
    "priority": (int, "a whole number"),
    "key": (str, "a text"),
    "on_parent_failure": (str, "fail, run or cancel"),
    "at": (str, "a time as text"),
    "in": (str, "a duration as text"),
    "max_attempts": (int, "a whole number"),
    "timeout": (str, "a duration as text"),
    "deadline": (str, "a time or duration as text"),
    "correlation": (str, "a text"),
}
#: field that holds several texts → how it is written
_LISTS = {"after": '["ID", "key:KEY"]', "needs": '["python", "browser"]'}


def task_lines(path: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the place and the fields of each line, `payload` as JSON text. Raises BadInput naming the line."""
    found = []
    for number, line in enumerate(read_lines(path, MAX_BATCH), 1):
        place = f"task {number} of {path[:80]!a}"
        asked = loads(line, place)
        if not isinstance(asked, dict):
            raise BadInput(f"{place} is not an object", 'Write a line as {"payload": …, "queue": "…"}')
        _check(asked, place)
        asked["payload"] = dumps(asked.get("payload"))
        found.append((place, asked))
    return found


def _check(asked: dict[str, Any], place: str) -> None:
    for field, value in asked.items():
        if field == "payload":
            continue
        if field in _LISTS:
            if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
                raise BadInput(f'{place}: "{field}" is not a list of texts', f"Write {_LISTS[field]}")
        elif field not in _KINDS:
            known = ", ".join(("payload", *_KINDS, *_LISTS))
            raise BadInput(f"{place}: no field is called {field[:40]!a}", f"Fields are: {known}")
        elif not isinstance(value, _KINDS[field][0]) or isinstance(value, bool):
            raise BadInput(f'{place}: "{field}" is not {_KINDS[field][1]}', "Correct it; nothing was added")
