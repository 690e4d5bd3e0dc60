"""From a spec to a running agent process: find the command, set limits, spawn, say what went wrong."""

import errno
import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal

    from agentctl.supervisor import proctree
else:
    import _signal

    import proctree

DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
SMALLEST_SHARED_LIMIT = 256 * 1024 * 1024
"""A memory limit below this is set on the agent only: the shim itself could not spawn under it."""
CPU_GRACE_S = 5
"""Between SIGXCPU (soft limit) and SIGKILL (hard limit), so that an agent can say why it ends."""


class SpawnError(Exception):
    """The agent could not be started; the text says why and what to do. `for_good`: trying again cannot help."""

    for_good = False


def find_command(name: str, env: "dict[str, str]", cwd: str) -> str:
    """The file to execute, looked up as a shell in `cwd` with the agent's own PATH would."""
    if not name:
        raise SpawnError("the command is empty; set `command` in agentctl.toml")
    if "/" in name:
        path = name if name.startswith("/") else f"{cwd}/{name}"
        _must_be_executable(path, name)
        return path
    folders = env.get("PATH", DEFAULT_PATH)
    for folder in folders.split(":"):
        path = f"{folder or cwd}/{name}" if folder.startswith("/") or not folder else f"{cwd}/{folder}/{name}"
        if posix.access(path, posix.X_OK) and not _is_folder(path):
            return path
    raise SpawnError(f"command not found: {name!r} is in none of PATH={folders}; install it or give its full path")


def _must_be_executable(path: str, name: str) -> None:
    try:
        posix.stat(path)
    except OSError as error:
        raise SpawnError(f"cannot start {name!r}: {path}: {error.strerror}; check `command` and `cwd`") from None
    if _is_folder(path):
        raise SpawnError(f"cannot start {name!r}: {path} is a folder, not a program")
    if not posix.access(path, posix.X_OK):
        raise SpawnError(f"cannot start {name!r}: {path} is not executable; run chmod +x {path}")


def _is_folder(path: str) -> bool:
    return posix.stat(path).st_mode & 0o170000 == 0o040000


def explain(error: OSError, path: str, size: int) -> str:
    """Why the kernel refused to run a file that exists and may be executed."""
    if error.errno == errno.ENOENT:
        first = _first_line(path)
        if first.startswith("#!") and first[2:].strip():
            interpreter = first[2:].split(None, 1)[0]
            return f"cannot start {path}: its interpreter {interpreter!r} is missing; mend its first line"
        return f"cannot start {path}: its dynamic loader is missing (built for another system?)"
    if error.errno == errno.ENOEXEC:
        return f"cannot start {path}: neither a program for this machine nor a #! script; add #!/bin/sh"
    if error.errno == errno.E2BIG:
        return f"cannot start {path}: arguments and environment are {size} bytes, more than the system takes"
    return f"cannot start {path}: {error.strerror}"


def _first_line(path: str) -> str:
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return posix.read(fd, 256).split(b"\n", 1)[0].decode("utf-8", "replace")
    finally:
        posix.close(fd)


def spawn(
    argv: "list[str]",
    env: "dict[str, str]",
    cwd: str,
    files: "tuple[int, int, int]",
    limits: "dict[str, int]",
) -> int:
    """Start the agent in its own session with (stdin, stdout, stderr) and limits; its pid.

    Changes the working directory of this process to `cwd`. Raises SpawnError.
    """
    try:
        posix.chdir(cwd)
    except OSError as error:
        raise SpawnError(f"cannot enter the working directory {cwd}: {error.strerror}; create it") from None
    if not argv:
        raise SpawnError("the command is empty; set `command` in agentctl.toml")
    path = find_command(argv[0], env, cwd)
    actions = [(posix.POSIX_SPAWN_DUP2, fd, to) for to, fd in enumerate(files)]
    defaults = [n for n in range(1, 32) if n not in (_signal.SIGKILL, _signal.SIGSTOP)]
    bounds = _bounds(limits) if limits else []
    before = [(kind, _getrlimit(kind)) for kind, _, _, shared in bounds if shared]
    try:
        for kind, soft, _, shared in bounds:
            if shared:
                _setrlimit(kind, (soft, _getrlimit(kind)[1]))
        pid = posix.posix_spawn(path, argv, env, file_actions=actions, setsid=True, setsigmask=[], setsigdef=defaults)
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, OSError):
            size = sum(map(len, argv)) + sum(len(k) + len(v) for k, v in env.items())
            raise SpawnError(explain(error, path, size)) from None
        raise SpawnError(f"cannot start {path}: {error}") from None
    finally:
        for kind, pair in before:
            _setrlimit(kind, pair)
    _bind(pid, bounds)
    return pid


def _bounds(limits: "dict[str, int]") -> "list[tuple[int, int, int, bool]]":
    """(resource, soft, hard, also set in the shim before the spawn) for each limit asked for.

    Memory is RLIMIT_DATA (private writable memory): RLIMIT_AS would refuse the address space that
    V8, Go and the JVM reserve without using it. Processes: the kernel counts those of the user, so
    the bound is what the user runs now plus the allowance; it stops fork bombs, it is no exact cap.
    """
    import resource

    bounds = []
    if memory := limits.get("memory_bytes"):
        kind = resource.RLIMIT_DATA if proctree.LINUX else resource.RLIMIT_AS
        bounds.append((kind, memory, memory, memory >= SMALLEST_SHARED_LIMIT))
    if cpu := limits.get("cpu_s"):
        bounds.append((resource.RLIMIT_CPU, cpu, cpu + CPU_GRACE_S, True))
    if files := limits.get("files"):
        bounds.append((resource.RLIMIT_NOFILE, files, files, True))
    if processes := limits.get("processes"):
        allowed = _threads_of_user() + processes
        bounds.append((resource.RLIMIT_NPROC, allowed, allowed, True))
    capped = []
    for kind, soft, hard, shared in bounds:
        top = resource.getrlimit(kind)[1]
        if top != resource.RLIM_INFINITY:
            soft, hard = min(soft, top), min(hard, top)
        capped.append((kind, soft, hard, shared))
    return capped


def _bind(pid: int, bounds: "list[tuple[int, int, int, bool]]") -> None:
    """Lower the hard limits too, so that the agent cannot raise its soft ones (Linux)."""
    if not bounds:
        return
    import resource

    if not hasattr(resource, "prlimit"):
        return
    for kind, soft, hard, _ in bounds:
        try:
            resource.prlimit(pid, kind, (soft, hard))
        except (OSError, ValueError):  # it has ended already
            return


def _threads_of_user() -> int:
    uid = posix.getuid()
    count = 0
    if not proctree.LINUX:
        return 512
    for name in posix.listdir("/proc"):
        if name.isdecimal():
            try:
                if posix.stat(f"/proc/{name}").st_uid == uid:
                    count += len(posix.listdir(f"/proc/{name}/task"))
            except OSError:
                pass
    return count


def _getrlimit(kind: int) -> "tuple[int, int]":
    import resource

    return resource.getrlimit(kind)


def _setrlimit(kind: int, pair: "tuple[int, int]") -> None:
    import resource

    resource.setrlimit(kind, pair)
