"""A disk that loses power: a worker's I/O as strace saw it, and what may be left of it at any moment.

What was synced before the moment is there. Of what was not, each 512-byte sector holds what some moment since the last
sync had put there, each on its own: so writes are dropped, torn and reordered. Names (made, moved, removed) are kept
up to some moment since their folder was last synced: syncing a file does not sync its name, though many file systems
do. The -shm file is memory, and gone.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from agentctl_store.clock import boot_id

SECTOR = 512
CHANGES = "pwrite64,fsync,fdatasync,ftruncate,truncate,unlink,rename,link,mkdir,openat,write"
#: calls this disk does not know: they are recorded to fail the test rather than to be overlooked
UNKNOWN = (
    "pwritev,pwritev2,writev,fallocate,sync_file_range,copy_file_range,sendfile,unlinkat,renameat,renameat2,rmdir,"
    "linkat,symlink,symlinkat,mkdirat,creat,splice"
)
_CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)\) += (-?\d+)(.*)$")
_HANDLE = re.compile(r"^\d+<(.*?)>")
_PLACE = re.compile(r"<((?:\\x[0-9a-f]{2})+)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


class Call(NamedTuple):
    """One call that succeeded: `path` is what it was done to, `text` what was written (or the new name)."""

    name: str
    path: str
    text: bytes
    number: int


def need_strace() -> None:
    """Skip the test, saying why, where nobody's calls can be recorded."""
    if sys.platform != "linux":
        pytest.skip("P1 NOT PROVED HERE: power cuts are replayed from strace, which is Linux only")
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("P1 NOT PROVED HERE: strace is missing; install it (apt install strace, dnf install strace)")
    tried = subprocess.run([strace, "-f", "-o", os.devnull, "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(
            "P1 NOT PROVED HERE: strace may not trace; allow ptrace (docker run --cap-add SYS_PTRACE, "
            f"kernel.yama.ptrace_scope=1): {tried.stderr.strip()[:200]}"
        )


def record(command: list[str], trace: Path) -> None:
    """Run a command to its end and record its calls."""
    wanted = f"trace={CHANGES},{UNKNOWN}"
    subprocess.run(
        ["strace", "-f", "-y", "-xx", "-s", "70000", "-e", wanted, "-e", "signal=none", "-o", str(trace), *command],
        check=True,
        timeout=60,
    )


def calls(trace: Path, root: str, said: str) -> Iterator[Call]:
    """Yield what was done below `root`, and each write to the file `said`, in order."""
    with trace.open(encoding="ascii", errors="surrogateescape") as lines:
        for line in lines:
            found = _CALL.match(line)
            if found is None:
                assert "<unfinished" not in line, f"two threads at once, their order is unknown: {line[:300]}"
                continue
            name, arguments, result, after = found[1], found[2], int(found[3]), found[4]
            if result < 0:
                continue
            arguments = _PLACE.sub(_readable, arguments)
            texts = [_bytes(text[1]) for text in _TEXT.finditer(arguments)]
            assert '"...' not in arguments, f"cut short: {line[:200]}"
            handle = _HANDLE.match(arguments)
            if name == "openat":
                path = _readable(_PLACE.search(after))[1:-1]
                number = ("O_CREAT" in arguments) + 2 * ("O_TRUNC" in arguments)
            elif handle:
                path = handle[1]
                number = int(arguments.rsplit(", ", 1)[1]) if name in ("pwrite64", "ftruncate") else 0
            else:
                path = os.fsdecode(texts[0]) if texts else ""
                number = int(arguments.rsplit(", ", 1)[1]) if name == "truncate" else 0
            if path == said and name == "write":
                yield Call("said", path, texts[0], 0)
            if not path.startswith(root) or path.endswith("-shm") or "(deleted)" in arguments + after:
                continue
            text = texts[-1] if texts and name in ("pwrite64", "rename", "link") else b""
            yield Call(name, path, text[:result] if name == "pwrite64" else text, number)


def _readable(place: re.Match[str] | None) -> str:
    return "<" + (os.fsdecode(_bytes(place[1])) if place else "") + ">"


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


class File:
    """What of a file is synced, and what was done to it since: (offset, bytes), or (length, None) for a cut."""

    def __init__(self) -> None:
        self.synced = bytearray()
        self.since: list[tuple[int, bytes | None]] = []

    def sync(self) -> None:
        """Make all of it durable."""
        for offset, written in self.since:
            _write(self.synced, offset, written)
        self.since.clear()

    def left(self, dice: random.Random) -> bytes:
        """What a power cut may leave."""
        content = bytearray(self.synced)
        fate = dice.choice(("none", "all", "first", "writes", "sectors", "sectors"))
        if fate == "none":
            return bytes(content)
        last = dice.randrange(len(self.since) + 1) if fate == "first" else len(self.since)
        loss = 0.0 if fate in ("all", "first") else dice.choice((0.02, 0.2, 0.5, 0.9))
        old: set[int] = set()  # sectors that never saw the rest
        for offset, written in self.since[:last]:
            if written is None:
                if dice.random() >= loss:
                    _write(content, offset, None)
                continue
            sectors = range(offset // SECTOR, (offset + len(written) - 1) // SECTOR + 1)
            if fate == "writes" and dice.random() < loss:
                old.update(sectors)
            elif fate == "sectors":
                old.update(sector for sector in sectors if dice.random() < loss)
            for sector in sectors:
                if sector not in old:
                    start, end = max(offset, sector * SECTOR), min(offset + len(written), (sector + 1) * SECTOR)
                    _write(content, start, written[start - offset : end - offset])
        return bytes(content)


def _write(content: bytearray, offset: int, written: bytes | None) -> None:
    end = offset if written is None else offset + len(written)
    if written is None:
        del content[end:]
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if written is not None:
        content[offset:end] = written


class Disk:
    """The folder `root` as the calls made it; it was empty and durable before the first."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.names: dict[str, File | None] = {root: None}  #: None: a folder
        self.synced: dict[str, File | None] = {root: None}
        self.since: dict[str, list[dict[str, File | bool | None]]] = {}  #: by folder; False: the name is gone

    def do(self, call: Call) -> None:
        """Let one call happen."""
        name, path = call.name, call.path
        if name == "openat":
            if path not in self.names:
                assert call.number & 1, f"{path} was opened, but nobody made it"
                self._name({path: File()})
            if call.number & 2:
                self._file(path).since.append((0, None))
        elif name == "pwrite64":
            self._file(path).since.append((call.number, call.text))
        elif name in ("ftruncate", "truncate"):
            self._file(path).since.append((call.number, None))
        elif name in ("fsync", "fdatasync"):
            node = self.names[path]
            if node is not None:
                node.sync()
            for change in self.since.pop(path, []) if node is None else []:
                _rename(self.synced, change)
        elif name == "mkdir":
            self._name({path: None})
        elif name == "unlink":
            self._name({path: False})
        elif name == "link":
            self._name({os.fsdecode(call.text): self._file(path)})
        elif name == "rename":
            new = os.fsdecode(call.text)
            assert os.path.dirname(new) == os.path.dirname(path), "a move between folders is not known here"
            self._name({path: False, new: self._file(path)})
        else:
            raise AssertionError(f"this disk does not know {name} of {path}")

    def _file(self, path: str) -> File:
        node = self.names[path]
        assert node is not None, f"{path} is a folder"
        return node

    def _name(self, change: dict[str, File | bool | None]) -> None:
        _rename(self.names, change)
        self.since.setdefault(os.path.dirname(next(iter(change))), []).append(change)

    def cut(self, dice: random.Random, target: Path) -> None:
        """Write to the new folder `target` what a power cut now may leave, as found after the next boot."""
        names = dict(self.synced)
        for changes in self.since.values():
            for change in changes[: dice.choice((0, len(changes), dice.randrange(len(changes) + 1)))]:
                _rename(names, change)
        boot = boot_id().encode()
        for path in sorted(names):
            node, place = names[path], target / os.path.relpath(path, self.root)
            if node is None and place.parent.is_dir():
                place.mkdir(exist_ok=True)
            elif node is not None and place.parent.is_dir():
                left = node.left(dice)
                place.write_bytes(left.replace(boot, b"-" * len(boot)) if place.name == "write.lock" else left)
                place.chmod(0o600)  # as all files of a store are


def _rename(names: dict[str, File | None], change: dict[str, File | bool | None]) -> None:
    for path, node in change.items():
        if node is False:
            names.pop(path, None)
        else:
            assert node is not True
            names[path] = node
