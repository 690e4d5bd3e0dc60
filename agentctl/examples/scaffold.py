"""Write an example fleet into a folder of the user's."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

from agentctl_store.errors import Conflict, NotFound

_HERE = os.path.dirname(os.path.abspath(__file__))

#: name → what it shows, in a line
EXAMPLES: dict[str, str] = {
    "minimal": "one shell script that answers tasks",
    "newsroom": "agents that talk to each other, over a provider that limits and fails them",
    "review": "a planner, reviewers, a shell script and an aggregator review Python files",
}


@dataclass(frozen=True, slots=True)
class Written:
    """What `write_example` did, as paths."""

    created: tuple[str, ...]
    replaced: tuple[str, ...]  #: their former text is kept beside them, with `.orig` at the end
    unchanged: tuple[str, ...]  #: were there already, with the same text


def example_files(name: str) -> list[str]:
    """Return the file names of an example, agentctl.toml first. Raises NotFound."""
    if name not in EXAMPLES:
        *others, last = sorted(EXAMPLES)
        raise NotFound(f"no example is called {name!r}", f"There are {', '.join(others)} and {last}")
    names = [entry.name for entry in os.scandir(os.path.join(_HERE, name)) if entry.is_file()]
    return sorted(names, key=lambda file: (file != "agentctl.toml", file))


def write_example(name: str, directory: str, force: bool = False) -> Written:
    """Write the files of example `name` into `directory`, which is made if it is not there.

    A file that is there with another text is never lost: without `force` nothing is written and Conflict
    names it, with `force` it is kept as `<file>.orig`. Raises NotFound, Conflict, OSError.
    """
    pairs = [(os.path.join(_HERE, name, file), os.path.join(directory, file)) for file in example_files(name)]
    present = [(source, target) for source, target in pairs if os.path.lexists(target)]
    differing = {target for source, target in present if not _same(source, target)}
    if differing and not force:
        raise Conflict(
            f"{', '.join(sorted(differing))} would be overwritten",
            "Choose an empty folder, or say --force: the files are then kept with .orig at the end",
        )

    os.makedirs(directory, exist_ok=True)
    created, replaced, unchanged = [], [], []
    for source, target in pairs:
        if target in differing:
            os.replace(target, _free_name(target + ".orig"))
            replaced.append(target)
        elif os.path.lexists(target):
            unchanged.append(target)
            continue
        else:
            created.append(target)
        _copy_new(source, target)
    return Written(tuple(created), tuple(replaced), tuple(unchanged))


def _same(source: str, target: str) -> bool:
    try:
        with open(source, "rb") as one, open(target, "rb") as other:
            return one.read() == other.read()
    except OSError:  # a folder, or not ours to read: somebody else's in any case
        return False


def _free_name(path: str) -> str:
    """Return `path`, or the first of `path.1`, `path.2` … that does not exist."""
    name, number = path, 0
    while os.path.lexists(name):
        number += 1
        name = f"{path}.{number}"
    return name


def _copy_new(source: str, target: str) -> None:
    # "x" fails if somebody made the file since we looked, and never follows a link.
    with open(source, "rb") as one, open(target, "xb") as other:
        shutil.copyfileobj(one, other)
    mode = 0o755 if os.access(source, os.X_OK) or source.endswith(".sh") else 0o644
    os.chmod(target, mode & ~_umask())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
