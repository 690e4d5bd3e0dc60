"""What a sandbox of an agent closes and leaves open, and why there can be none; shim_sandbox.py makes it.

It closes the store's folder, whose broker.sock stays within reach, and writing to agentctl.toml. Everything else stays
as it was, but for what Landlock cannot say: see shim_sandbox.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, TypeVar, cast

from agentctl.supervisor import shim_sandbox
from agentctl.supervisor.shim_sandbox import ABI_NEEDED, SandboxError

if TYPE_CHECKING:
    from agentctl.config import Config

__all__ = ["Fence", "SandboxError", "abi", "inside", "refusals", "why_not"]

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


class Fence:
    """What is closed to the sandboxed agents of one fleet, under every name that leads there now."""

    def __init__(self, store: str, config_path: str) -> None:
        mounts = shim_sandbox.mounts()
        self._hide, self._read = (_places(path) for path in (store, config_path))
        self._store, self._config = (
            [name for path in paths for name in shim_sandbox.names_of(path, mounts)]
            for paths in (self._hide, self._read)
        )

    def refusal(self, cwd: str) -> str:
        """Say why an agent that works in `cwd` cannot be sandboxed, and what would help, or nothing."""
        if why := why_not():
            return f'sandbox = "landlock": {why}'
        folder = os.path.realpath(cwd)
        if shim_sandbox.lies_in(folder, self._store):
            return f'sandbox = "landlock": its folder {cwd} lies in the store, which it closes; set another cwd'
        for what, names in (("agentctl.toml", self._config), ("the store", self._store)):
            if any(shim_sandbox.lies_in(name, [folder]) for name in names):
                return (
                    f'sandbox = "landlock" would close its folder {os.path.normpath(cwd)}, which holds {what}; '
                    'give it a folder of its own, such as cwd = "work"'
                )
        return ""

    def temporary(self, env: Mapping[str, str]) -> bool:
        """Whether an agent's folder for temporary files lies above what is closed, and it needs one of its own."""
        folder = os.path.realpath(env.get("TMPDIR") or TEMPORARY)
        return any(shim_sandbox.lies_in(name, [folder]) for name in (*self._store, *self._config))

    def box(self, own: str | None, cwd: str, env: Mapping[str, str]) -> dict[str, list[str]]:
        """Return what shim_sandbox.inside wants to know. `own` is the part of the store that stays open, if any."""
        wanted = [os.path.realpath(path) for path in (cwd, env.get("HOME"), env.get("TMPDIR") or TEMPORARY) if path]
        granted = [path for path in wanted if not shim_sandbox.lies_in(path, self._store)]
        if own is not None:
            granted.append(os.path.realpath(own))
        return {"hide": self._hide, "read": self._read, "open": granted}


def _places(path: str) -> list[str]:
    """Where a path leads, and where its name stands, be it a link: nobody may put another one there either."""
    folder, name = os.path.split(os.path.abspath(path))
    return sorted({os.path.realpath(path), os.path.join(os.path.realpath(folder), name)})


def refusals(config: Config, config_path: str, store: str) -> Iterator[tuple[str, str]]:
    """Yield (agent, why) for each agent of a configuration that asks for a sandbox it cannot have."""
    root, fence = os.path.dirname(os.path.abspath(config_path)), Fence(store, config_path)
    for name, section in config.agent.items():
        if section.sandbox != "none" and (why := fence.refusal(os.path.join(root, section.cwd))):
            yield name, why
