"""SQL lives in .sql files as blocks that begin with `-- name: NAME`; this reads them.

`@sources(verb)` and `@target(verb)` in a block become the states of domain.machine, or of another machine, so that no
SQL spells a transition on its own and the planner still sees literals, which partial indexes need.
"""

from __future__ import annotations

import os

from ..domain import machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HERE = os.path.join(os.path.dirname(__file__), "sql")


def load(name: str, states: Any = machine) -> dict[str, str]:
    """Return the blocks of `sql/<name>.sql` by name, with the states that the module `states` has."""
    with open(os.path.join(_HERE, name + ".sql"), encoding="utf-8") as file:
        text = file.read()
    for verb in states.VERBS:
        if f"({verb})" in text:
            known = ", ".join(f"'{state}'" for state in states.sources(verb))
            text = text.replace(f"@sources({verb})", known).replace(f"@target({verb})", f"'{states.target(verb)}'")
    blocks = {}
    for block in text.split("-- name: ")[1:]:
        title, _, body = block.partition("\n")
        lines = [line for line in body.splitlines() if not line.startswith("--")]
        blocks[title.strip()] = "\n".join(lines).strip().rstrip(";")
    return blocks
