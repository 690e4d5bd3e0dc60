"""Landlock: starting a process that can reach neither the store nor agentctl.toml (landlock(7), prctl(2)).

Landlock knows rights that are granted below a folder, and no exceptions from them. "Everything but the store" is
therefore said from the other side: of each folder above the store every other entry is granted, the folder itself
is not. So these folders cannot be listed, and nothing can be made, renamed or removed directly in them; entries that
are made there later stay closed to a sandbox that began before.

Restrictions belong to a thread and to what it starts. One thread takes them upon itself, starts the agent and ends:
no second program is executed for it, and the process around it stays free.

A leaf module: importable both from the package and, with the folder on `sys.path`, by the shim.
"""

import _thread
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""System call numbers, the same on all machines but Alpha (landlock_create_ruleset(2) and its siblings)."""
PATH_BENEATH = 1
GET_VERSION = 1
ABI_NEEDED = 6
"""Linux 6.12: the first that keeps a sandbox from signalling processes outside (LANDLOCK_SCOPE_SIGNAL)."""
EXECUTE, WRITE_FILE, READ_FILE, TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 14
ALL = (1 << 15) - 1 - EXECUTE
"""Every right of ABI 3 but to execute, which without the right to read gives nothing away. What later kernels can
restrict (ioctl on devices, connecting to socket files) stays free: an agent must reach the broker's socket."""
ON_FILES = WRITE_FILE | READ_FILE | TRUNCATE
SCOPE_ABSTRACT_SOCKETS, SCOPE_SIGNALS = 1 << 0, 1 << 1
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
CAP_SYS_ADMIN, CAP_PERFMON = 21, 38
"""Either lets root read the environment of any process since Linux 6.15 (may_access_mm), past Landlock."""
MOST_ENTRIES = 20_000
"""Of one folder above the store: each is a system call or two at every start."""

Rule = tuple[str, int]
Mount = tuple[str, str, str]


class SandboxError(Exception):
    """The sandbox cannot be made; the text says why and what to do. Trying again does not help."""


def abi() -> int:
    """The kernel's Landlock ABI, a number above zero; less: there is none, it is off, or forbidden here."""
    return _syscall(CREATE_RULESET, None, 0, GET_VERSION) if sys.platform == "linux" else -1


def inside(box: "dict[str, list[str]]", do: "Callable[[], object]") -> object:
    """Call `do` in a sandbox of its own; what it starts stays in it. Raises SandboxError, or what `do` raises.

    `box` holds absolute paths without symbolic links: `hide` (folders), `read` (files that cannot be written),
    `open` (folders that are granted although they may lie in a hidden one, or where nothing can be listed). An
    abstract socket that `do` makes can be reached from inside and from the outside of all sandboxes.
    """
    done = _thread.allocate_lock()
    answer: list[object] = []
    wrong: list[BaseException] = []

    def work() -> None:
        try:
            _restrict(rules(box["hide"], box["read"], box["open"]))
            answer.append(do())
        except BaseException as error:
            wrong.append(error)
        finally:
            done.release()

    done.acquire()
    _thread.start_new_thread(work, ())
    done.acquire()
    if wrong:
        raise wrong[0]
    return answer[0]


def rules(hide: "Iterable[str]", read: "Iterable[str]", granted: "Iterable[str]") -> "list[Rule]":
    """(path, rights) of everything that is left to a sandbox. Raises SandboxError."""
    now = mounts()
    hidden = {one for path in hide for one in names_of(path, now)}
    kept = {one for path in read for one in names_of(path, now)}
    above = {folder for path in hidden | kept for folder in folders_above(path) if not lies_in(folder, hidden)}
    found: list[Rule] = [(path, READ_FILE) for path in kept]
    found += [(path, ALL) for path in granted if path not in above]
    for folder in above:
        try:
            with posix.scandir(folder) as entries:
                for count, entry in enumerate(entries):
                    if count >= MOST_ENTRIES:
                        raise SandboxError(
                            f"the sandbox must name every entry beside the store, and {folder} has more than "
                            f"{MOST_ENTRIES:,}; keep agentctl.toml and its store in another folder"
                        )
                    path = entry.path
                    if path not in above and path not in hidden and path not in kept and not entry.is_symlink():
                        found.append((path, ALL if entry.is_dir(follow_symlinks=False) else ON_FILES))
        except OSError:  # a folder one may pass through and not list, such as /home of some machines
            continue
    return found


def folders_above(path: str) -> "list[str]":
    """Every folder above an absolute path, the root last."""
    found = []
    while path != "/":
        path = path.rpartition("/")[0] or "/"
        found.append(path)
    return found


def lies_in(path: str, folders: "Iterable[str]") -> bool:
    """Whether an absolute path is one of the folders or below one."""
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)


def names_of(path: str, known: "list[Mount]") -> "list[str]":
    """Every path that leads to the same place: the given one, and those through bind mounts of its file system."""
    found = [path]
    over = [one for one in reversed(known) if lies_in(path, [one[2]])]  # of two at one point the later one counts
    home = max(over, key=lambda one: len(one[2]), default=None)
    if home is None:
        return found
    device, root, point = home
    inner = root.rstrip("/") + path[len(point.rstrip("/")) :]  # the place's path within its file system
    for other, root, point in known:
        if other != device:
            continue
        if lies_in(inner, [root]):
            name = (point.rstrip("/") + inner[len(root.rstrip("/")) :]) or "/"
        elif lies_in(root, [inner]):
            name = point  # only a part of what is to be hidden is mounted there
        else:
            continue
        if name not in found:
            found.append(name)
    return found


def mounts() -> "list[Mount]":
    """(device, root within it, mount point) of each mount (proc_pid_mountinfo(5))."""
    try:
        fd = posix.open("/proc/self/mountinfo", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return []
    try:
        data = b""
        while part := posix.read(fd, 65_536):
            data += part
    finally:
        posix.close(fd)
    rows = [line.split(b" ", 5) for line in data.splitlines()]
    return [(row[2].decode(), _plain(row[3]), _plain(row[4])) for row in rows if len(row) == 6]


def _plain(word: bytes) -> str:
    for mark, byte in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        word = word.replace(mark, byte)
    return word.decode(sys.getfilesystemencoding(), "surrogateescape")


def _restrict(granted: "list[Rule]") -> None:
    """Confine the calling thread for good. Raises SandboxError, and then nothing may be started by it."""
    if (found := abi()) < ABI_NEEDED:
        raise SandboxError(f"this kernel has Landlock ABI {max(0, found)}, the sandbox needs {ABI_NEEDED} (Linux 6.12)")
    attributes = _u64(ALL) + _u64(0) + _u64(SCOPE_ABSTRACT_SOCKETS | SCOPE_SIGNALS)
    ruleset = _syscall(CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        raise SandboxError("the kernel refuses a Landlock ruleset (landlock_create_ruleset); see agentctl doctor")
    try:
        for path, rights in granted:
            _grant(ruleset, path, rights)
        for capability in (CAP_SYS_ADMIN, CAP_PERFMON):  # refused to those who have none to give up
            _prctl(PR_CAPBSET_DROP, capability)
        if _prctl(PR_SET_NO_NEW_PRIVS, 1) or _syscall(RESTRICT_SELF, ruleset, 0):
            raise SandboxError(
                "the kernel refuses the sandbox (landlock_restrict_self); more than 16 lie in each other?"
            )
    finally:
        posix.close(ruleset)


def _grant(ruleset: int, path: str, rights: int) -> None:
    """Add a rule; a path that is gone, or whose file system takes none, stays closed."""
    try:
        fd = posix.open(path, posix.O_PATH | posix.O_NOFOLLOW | posix.O_CLOEXEC)
    except OSError:
        return
    try:
        _syscall(ADD_RULE, ruleset, PATH_BENEATH, _u64(rights) + fd.to_bytes(4, sys.byteorder), 0)
    finally:
        posix.close(fd)


def _u64(value: int) -> bytes:
    return value.to_bytes(8, sys.byteorder)


def _syscall(number: int, *words: "int | bytes | None") -> int:
    return _call("syscall", (number, *words))


def _prctl(option: int, value: int) -> int:
    return _call("prctl", (option, value, 0, 0, 0))


def _call(name: str, words: "tuple[int | bytes | None, ...]") -> int:
    """Call a function of the C library; -1 where it cannot be called at all."""
    try:  # the C half of ctypes alone: importing ctypes costs as much as half a start of Python
        import _ctypes

        return int(_ctypes.call_function(_ctypes.dlsym(_ctypes.dlopen(None, 0), name), words))  # type: ignore[arg-type]
    except (ImportError, AttributeError, OSError):
        pass
    try:
        import ctypes

        return int(getattr(ctypes.CDLL(None), name)(*words))
    except (ImportError, AttributeError, OSError):
        return -1
