"""What the demo reviews: a copy of real Python files, one of which no Python can parse."""

from __future__ import annotations

import ast
import os
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from agentctl_store.errors import BadInput, NotFound

#: Parts of the standard library that every build of Python ships; about a hundred files.
LIBRARY_PARTS = ("asyncio", "email", "http", "json", "logging", "urllib", "xml")
#: Files that the standard library ships to test Python's own parser, where they are installed.
LIBRARY_BROKEN = (
    os.path.join("test", "tokenizedata", "badsyntax_3131.py"),
    os.path.join("test", "badsyntax_3131.py"),
    os.path.join("lib2to3", "tests", "data", "py2_test_grammar.py"),
)
MADE_BROKEN = os.path.join("added_by_the_demo", "cannot_be_parsed.py")
_MADE_TEXT = "# Written by `agentctl demo`: no Python can parse this file.\ndef broken(:\n    pass\n"
MAX_FILE_BYTES = 4 << 20
MAX_FOUND = 10_000  #: files of a tree that are looked at, at most


@dataclass(frozen=True, slots=True)
class Input:
    """The files under `folder`, as the planner will find them."""

    folder: str
    files: int
    folders: int
    left_out: int  #: files of the tree that were not copied: beyond the limit, or unreadable
    source: str  #: where they come from, for a person
    broken: str  #: a file that cannot be parsed, as the reviewer will be given it
    broken_source: str  #: where that one comes from, for a person

    @property
    def tasks(self) -> int:
        """How many tasks the review of it takes: the plan, a task per file and folder, the report."""
        return 1 + self.files + self.folders + 1


def gather(path: str | None, directory: str, max_files: int) -> Input:
    """Copy up to `max_files` Python files of the tree `path` to `directory`/input, and see that one is broken.

    Without a `path`, a part of the standard library is taken. The tree itself is only read. Raises NotFound,
    BadInput, OSError.
    """
    if path is None:
        root, parts = sysconfig.get_path("stdlib"), list(LIBRARY_PARTS)
        source = f"Python {sys.version_info.major}.{sys.version_info.minor}'s own {', '.join(parts)}"
    else:
        tree = os.path.abspath(path)
        root, parts, source = os.path.dirname(tree), [os.path.basename(tree)], tree
        if not os.path.isdir(tree):
            raise NotFound(f"there is no folder {path!r}", "Name a folder with Python files: agentctl demo PATH")
    found = [name for part in parts for name in islice(_python_files(root, part), MAX_FOUND)]
    if not found:
        raise BadInput(
            f"there are no Python files (*.py) in {path or root!r}",
            "Name a folder that has some: agentctl demo PATH",
        )
    copied = [name for name in found[:max_files] if _copy(os.path.join(root, name), directory, name)]
    broken, broken_source = _broken(root if path is None else None, copied, directory)
    everything = {*copied, broken}
    return Input(
        folder="input",
        files=len(everything),
        folders=len({os.path.dirname(name) for name in everything}),
        left_out=len(found) - len(copied),
        source=source,
        broken=os.path.join("input", broken),
        broken_source=broken_source,
    )


def _python_files(root: str, part: str) -> Iterator[str]:
    """Yield the Python files under root/part as names relative to root; hidden folders and files are left out."""
    for folder, folders, names in os.walk(os.path.join(root, part)):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        for name in sorted(names):
            path = os.path.join(folder, name)
            if name.endswith(".py") and name[0] != "." and path.isprintable() and os.path.isfile(path):
                yield os.path.relpath(path, root)


def _copy(source: str, directory: str, name: str) -> bool:
    try:
        with open(source, "rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except OSError:
        return False
    if len(text) <= MAX_FILE_BYTES:
        _write(directory, name, text)
    return len(text) <= MAX_FILE_BYTES


def _write(directory: str, name: str, text: bytes) -> None:
    target = os.path.join(directory, "input", name)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "xb") as file:
        file.write(text)


def _broken(library: str | None, copied: Iterable[str], directory: str) -> tuple[str, str]:
    """Return a file of the input that cannot be parsed, added if there is none, and where it comes from."""
    if library is not None:
        for name in LIBRARY_BROKEN:
            path = os.path.join(library, name)
            if os.path.isfile(path) and not parses(path) and _copy(path, directory, name):
                return name, "the standard library ships it to test Python's parser"
    else:
        for name in copied:
            if not parses(os.path.join(directory, "input", name)):
                return name, "it is one of yours"
    _write(directory, MADE_BROKEN, _MADE_TEXT.encode())
    return MADE_BROKEN, "the demo added it, since every other file can be parsed"


def parses(path: str) -> bool:
    """Say whether this Python can parse the file."""
    with open(path, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about escapes in strings: not ours to mention
        try:
            ast.parse(file.read())
        except (SyntaxError, ValueError, RecursionError):
            return False
    return True
