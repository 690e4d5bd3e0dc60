"""Words of a finding: cleaned, cut and free of secrets, for what agents wrote is in them."""

from __future__ import annotations

import re

from ..ids import write_id
from ..text import one_line, redact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

EXAMPLES = 5  #: tasks and events named as evidence
MAX_QUOTE = 160
MAX_NAME = 64
MAX_READ = 2_000  #: characters of an error that are looked at
MAX_SIGNATURE = 300
_QUOTED = re.compile(r"'[^']{0,200}'|\"[^\"]{0,200}\"")
_NUMBERED = re.compile(r"[0-9A-Za-z_]{0,64}[0-9][0-9A-Za-z_]{0,64}")
_PLAIN = re.compile(r"[A-Za-z][A-Za-z ._-]{4,60}[A-Za-z]")
_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"))


def quoted(text: str) -> str:
    """Return what somebody wrote as one harmless line."""
    return one_line(redact(text[:MAX_READ]), MAX_QUOTE)


def named(text: str) -> str:
    """Return a name that may not be one."""
    return one_line(text, MAX_NAME) or "-"


def counted(number: int, what: str) -> str:
    """Return `3 tasks`, `1 task`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def span(length_ms: int) -> str:
    """Write a length of time with its two largest units: `1h 20m`."""
    left, parts = max(length_ms, 0), list[str]()
    for size, unit in _UNITS:
        if left >= size and len(parts) < 2:
            parts.append(f"{left // size}{unit}")
            left %= size
    return " ".join(parts) or "0s"


def share(part: float, whole: float) -> str:
    """Write a share in per cent."""
    return f"{100 * part / whole:.0f}%" if whole else "0%"


def ratio(part: float, whole: float) -> float:
    """Return a share of 1, as exact as is worth reading."""
    return round(part / whole, 4) if whole else 0.0


def tally(counts: Mapping[str, int]) -> str:
    """Return the largest of some counts by name: `coder 12, mailer 3`."""
    largest = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:EXAMPLES]
    return ", ".join(f"{named(name)} {number:,}" for name, number in largest)


def task_ids(tasks: Iterable[int]) -> tuple[str, ...]:
    """Return the first EXAMPLES of some tasks as people see them."""
    return tuple(write_id(task) for task in list(dict.fromkeys(tasks))[:EXAMPLES])


def some(numbers: Sequence[int]) -> tuple[int, ...]:
    """Return the first and the last of some event numbers, EXAMPLES in all."""
    if len(numbers) <= EXAMPLES:
        return tuple(numbers)
    return (*numbers[: EXAMPLES - 1], numbers[-1])


def agent_of(actor: str) -> str:
    """Return the agent of an instance: `reviewer` of `reviewer/2`."""
    return actor.partition("/")[0]


def signature(error: str) -> str:
    """Return what errors of one cause have in common: the first line, without quoted texts, numbers and ids."""
    line = next((line for line in error[:MAX_READ].splitlines() if line.strip()), "")
    line = _NUMBERED.sub("#", _QUOTED.sub("…", line[:MAX_SIGNATURE]))
    return " ".join(line.split())


def searched(errors_signature: str) -> str:
    """Return a text that stands in all errors of a signature and is harmless on a command line; empty if none does."""
    found: list[str] = _PLAIN.findall(errors_signature)
    return max(found, key=len, default="")
