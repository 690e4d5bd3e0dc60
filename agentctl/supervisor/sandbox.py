"""What a sandbox of an agent closes and leaves open, and why there can be none; shim_sandbox.py makes it.

It closes the store's folder, whose broker.sock stays within reach, and writing to agentctl.toml. Everything else stays
as it was, but for what Landlock cannot say: see shim_sandbox.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TypeVar, cast

from agentctl.supervisor import shim_sandbox
from agentctl.supervisor.shim_sandbox import ABI_NEEDED, SandboxError

__all__ = ["SandboxError", "abi", "box", "inside", "refusal", "temporary", "why_not"]

_Made = TypeVar("_Made")
TEMPORARY = "/tmp"


def inside(limits: Mapping[str, Sequence[str]], do: Callable[[], _Made]) -> _Made:
    """Call `do` in a sandbox of its own. Raises SandboxError, or what `do` raises."""
    return cast(_Made, shim_sandbox.inside({name: list(paths) for name, paths in limits.items()}, do))


@cache
def abi() -> int:
    """Return the kernel's Landlock ABI; 0: there is none to be used."""
    return max(0, shim_sandbox.abi())


@cache
def why_not() -> str:
    """Say why this machine cannot make a sandbox and what would help, or nothing."""
    if sys.platform != "linux":
        return f"Landlock is a part of Linux, and this is {sys.platform}"
    if abi() >= ABI_NEEDED:
        return ""
    release = os.uname().release
    if abi():
        return (
            f"the Landlock of kernel {release} (ABI {abi()}) cannot keep an agent from signalling other processes; "
            f"Linux 6.12 or newer can (ABI {ABI_NEEDED})"
        )
    reason = _errno()
    if reason == errno.EOPNOTSUPP:
        return f"the Landlock of kernel {release} is switched off; put landlock into its lsm= boot parameter"
    if reason == errno.EPERM:
        return "Landlock is forbidden here, by a container's seccomp profile perhaps; allow the landlock_* system calls"
    return f"kernel {release} has no Landlock; Linux 6.12 or newer has, when built with CONFIG_SECURITY_LANDLOCK"


def _errno() -> int:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(shim_sandbox.CREATE_RULESET, None, 0, shim_sandbox.GET_VERSION)
    return ctypes.get_errno()


def refusal(cwd: str, store: str, config_path: str) -> str:
    """Say why an agent that works in `cwd` cannot be sandboxed, and what would help, or nothing."""
    if why := why_not():
        return f'sandbox = "landlock": {why}'
    folder = os.path.realpath(cwd)
    closed = _names(store)
    if shim_sandbox.lies_in(folder, closed):
        return f'sandbox = "landlock": its folder {cwd} lies in the store, which it closes; set another cwd'
    for what, places in (("agentctl.toml", _names(config_path)), ("the store", closed)):
        if any(shim_sandbox.lies_in(place, [folder]) for place in places):
            return (
                f'sandbox = "landlock" closes the folders above agentctl.toml and the store, and its folder {cwd} '
                f'holds {what}; give it a folder of its own, such as cwd = "work"'
            )
    return ""


def temporary(env: Mapping[str, str], store: str, config_path: str) -> bool:
    """Whether an agent's folder for temporary files lies above what is closed, and it needs one of its own."""
    folder = os.path.realpath(env.get("TMPDIR") or TEMPORARY)
    return any(shim_sandbox.lies_in(place, [folder]) for place in (*_names(store), *_names(config_path)))


def box(own: str | None, cwd: str, env: Mapping[str, str], store: str, config_path: str) -> dict[str, list[str]]:
    """Return what shim_sandbox.inside wants to know. `own` is the part of the store that stays open, if any."""
    wanted = [os.path.realpath(path) for path in (cwd, env.get("HOME"), env.get("TMPDIR") or TEMPORARY) if path]
    closed = _names(store)
    granted = [path for path in wanted if not shim_sandbox.lies_in(path, closed)]
    if own is not None:
        granted.append(os.path.realpath(own))
    hide, read = ({os.path.realpath(path), _unlinked(path)} for path in (store, config_path))
    return {"hide": sorted(hide), "read": sorted(read), "open": granted}


def _names(path: str) -> list[str]:
    return [*shim_sandbox.names_of(os.path.realpath(path)), _unlinked(path)]


def _unlinked(path: str) -> str:
    """Where the name itself stands, be it a link: nobody may put another file there either."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(folder), name)
