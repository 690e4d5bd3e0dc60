"""Fleets with sandboxed agents: a place that is not below the folder for temporary files, and what an agent tries."""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agentctl.supervisor import sandbox

PLACE = os.environ.get("AGENTCTL_SANDBOX_PLACE", "/var/tmp")


def need_landlock() -> None:
    """Skip, loudly, where the kernel cannot make a sandbox."""
    if why := sandbox.why_not():
        pytest.skip(f"P15 NOT PROVED HERE: a sandbox needs Landlock ABI {sandbox.ABI_NEEDED} (Linux 6.12): {why}")


@contextmanager
def place() -> Iterator[Path]:
    """A folder for a fleet, outside the folder for temporary files: what lies above a store is closed to its agents."""
    root = Path(tempfile.mkdtemp(prefix="agentctl-sandbox-", dir=PLACE)).resolve()
    (root / "work").mkdir()
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


TRY = """
import json, os, socket, sys

def attempt(name, act):
    try:
        said = act()
        found[name] = "ok" if said is None else said
    except OSError as error:
        found[name] = type(error).__name__
    except Exception as error:
        found[name] = "broken: " + repr(error)

def write(path, text="x", mode="w"):
    with open(path, mode) as file:
        file.write(text)

def read(path):
    with open(path) as file:
        return file.read()

def stream(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(b"hello")
        return client.recv(100).decode()

def datagram(name, text=b"STATUS=hello"):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(text, "\\0" + name[1:] if name.startswith("@") else name)

found = {}
given = json.load(open("given.json"))
store = given["store"]
"""
"""Begins an agent that tries things: attempt(name, act) notes "ok", what `act` returned, or the error's class."""


def without_landlock(code: str) -> str:
    """Python code that runs `code` where the kernel answers as one without Landlock (seccomp(2): ENOSYS)."""
    return f"{_SECCOMP}\n{code}"


_SECCOMP = """
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)
# load the number of the system call; is it landlock_create_ruleset (444)? then answer ENOSYS (38), else let it pass
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, 444), (0x06, 0, 0, 0x00050000 | 38), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0, "seccomp is not to be had"
"""


def prlimit_reads(pid: int) -> bool:
    """Whether limits of another process can be read: what Landlock does not restrict."""
    return ctypes.CDLL(None).prlimit(pid, 4, None, None) == 0
