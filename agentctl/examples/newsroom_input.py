"""What the newsroom reads: real texts of this machine, one too long for the wire service, and one no text at all."""

from __future__ import annotations

import os
import py_compile
import shutil
import sysconfig
from dataclasses import dataclass
from importlib import metadata
from itertools import islice
from typing import TYPE_CHECKING

from agentctl_store.errors import BadInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDINGS = (".md", ".rst", ".txt")
FOLDER = "texts"
LONG = "python-help-topics.txt"
BINARY = "the-zen-of-python.pyc"
LEAST, MOST = 400, 60_000  #: characters of a text that the wire service sums up
MAX_FOUND = 10_000  #: files of a tree that are looked at, at most


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts under FOLDER, as the planner will find them."""

    count: int  #: with the long one and the one that is none
    source: str  #: where they come from, for a person
    long: str
    binary: str

    @property
    def tasks(self) -> int:
        """How many tasks an issue takes: the plan, a task per text, the writer's, the editor's, the publisher's."""
        return 1 + self.count + 3


def gather_texts(path: str | None, directory: str, most: int) -> Texts:
    """Write up to `most` texts of the tree `path` to `directory`/texts, and beside them the two that make trouble.

    Without a `path`, what the Python packages installed here say of themselves is taken. Raises NotFound, BadInput,
    OSError.
    """
    target = os.path.join(directory, FOLDER)
    os.makedirs(target)
    found = _packages() if path is None else _files(path)
    count = 0
    for name, text in islice(found, most):
        with open(os.path.join(target, name), "x", encoding="utf-8") as file:
            file.write(text)
        count += 1
    if not count:
        raise BadInput(f"there are no texts ({', '.join(ENDINGS)}) in {path!r}", "Name a folder that has some")
    library = sysconfig.get_path("stdlib")
    shutil.copyfile(os.path.join(library, "pydoc_data", "topics.py"), os.path.join(target, LONG))
    py_compile.compile(os.path.join(library, "this.py"), os.path.join(target, BINARY), doraise=True)
    source = "what the Python packages installed here say of themselves" if path is None else os.path.abspath(path)
    return Texts(count + 2, source, os.path.join(FOLDER, LONG), os.path.join(FOLDER, BINARY))


def _packages() -> Iterator[tuple[str, str]]:
    """Yield a file name and the text for each installed package that says enough of itself."""
    told = {}
    for package in metadata.distributions():
        text = str(package.metadata.json.get("description", ""))
        if LEAST <= len(text) <= MOST and _encodes(text):
            told[package.metadata["Name"].lower()] = text
    for name in sorted(told):
        yield f"{name}.md", told[name]


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _files(path: str) -> Iterator[tuple[str, str]]:
    """Yield a file name and the text of each text below `path`."""
    if not os.path.isdir(path):
        raise NotFound(f"there is no folder {path!r}", "Name a folder with texts: agentctl demo newsroom PATH")
    names: set[str] = set()
    seen = 0
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            seen += 1
            if seen > MAX_FOUND:
                return
            if not name.lower().endswith(ENDINGS) or name.startswith(".") or not name.isprintable() or name in names:
                continue
            try:
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    text = file.read(MOST + 1)
            except (OSError, UnicodeDecodeError):
                continue
            if LEAST <= len(text) <= MOST:
                names.add(name)
                yield name, text
