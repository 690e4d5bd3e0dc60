"""Facts about processes of this machine and signals that cannot hit the wrong one.

A process is named by (pid, start): the start time in clock ticks since boot, field 22 of
/proc/PID/stat. On macOS there is no /proc: `start` is a checksum of what `ps` calls the start,
parents come from one `ps` call, and a signal goes to the pid after a check, not through a pidfd.

A leaf module without costly imports: the shim loads it with its folder on `sys.path`.
"""

import posix
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
else:
    import _signal

LINUX = sys.platform == "linux"
PR_SET_CHILD_SUBREAPER = 36
FREEZE_PASSES = 20
"""How often a tree is looked through for processes forked while it was being stopped."""

Process = tuple[int, int]


def boot_id() -> str:
    """Names this boot of the machine; pids and start times mean nothing across two of them."""
    if LINUX:
        return _read("/proc/sys/kernel/random/boot_id").decode().strip()
    return _run("sysctl", "-n", "kern.bootsessionuuid").strip()


def start_of(pid: int) -> int | None:
    """Start time of a living process; None when there is none with this pid (a zombie is none)."""
    if not LINUX:
        text = _run("ps", "-o", "stat=,lstart=", "-p", str(pid)).split(None, 1)
        return _checksum(text[1]) if len(text) == 2 and not text[0].startswith("Z") else None
    stat = _stat(pid)
    return stat[1] if stat else None


def parent_of(pid: int) -> int | None:
    """The parent's pid of a living process, or None."""
    if not LINUX:
        text = _run("ps", "-o", "ppid=", "-p", str(pid)).strip()
        return int(text) if text else None
    stat = _stat(pid)
    return stat[0] if stat else None


def descendants(root: int) -> list[Process]:
    """Every living process below `root`, parents first, without `root` itself."""
    if not LINUX:
        return _below(root, _table_ps())
    found: list[Process] = []
    seen = {root}
    queue = [root]
    while queue:
        try:
            below = children(queue.pop(0))
        except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
            return _below(root, _table_proc())
        for pid in below:
            if pid in seen:
                continue
            seen.add(pid)
            queue.append(pid)
            stat = _stat(pid)
            if stat:
                found.append((pid, stat[1]))
    return found


def session_members(leader: int, start: int) -> list[Process]:
    """Living processes of the session that (leader, start) founded, the leader included.

    The kernel keeps a pid from reuse while it names a session, so a number that now belongs to
    another process means that the session is over.
    """
    now = start_of(leader)
    if not LINUX or (now is not None and now != start):
        return []
    found: list[Process] = []
    for name in posix.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            if posix.getsid(int(name)) != leader:
                continue
        except OSError:
            continue
        stat = _stat(int(name))
        if stat and stat[1] >= start:
            found.append((int(name), stat[1]))
    return found


def carriers(nonce: str) -> list[Process]:
    """Every living process of ours whose start environment names the nonce, wherever it hangs."""
    mark = f"AGENTCTL_NONCE={nonce}".encode()
    own = posix.getpid()
    if not LINUX:
        rows = [row.split(None, 1) for row in _run("ps", "-axEww", "-o", "pid=,command=").splitlines()]
        pids = [int(row[0]) for row in rows if len(row) == 2 and mark in row[1].encode()]
    else:
        pids = [int(name) for name in posix.listdir("/proc") if name.isdecimal() and _carries(name, mark)]
    return [(pid, start) for pid in pids if pid != own and (start := start_of(pid)) is not None]


def signal_exact(process: Process, signum: int) -> bool:
    """Send a signal to this very process; False when it is gone or not ours to signal.

    The pidfd is opened first and the start time compared after: the pid cannot be reused between.
    """
    pid, start = process
    try:
        if not LINUX:
            if start_of(pid) != start:
                return False
            posix.kill(pid, signum)
            return True
        fd = posix.pidfd_open(pid)
    except OSError:
        return False
    try:
        if start_of(pid) != start:
            return False
        _signal.pidfd_send_signal(fd, signum)
        return True
    except OSError:
        return False
    finally:
        posix.close(fd)


def end_all(
    find: "Callable[[], list[Process]]", reap: "Callable[[], object]", within_s: float
) -> tuple[set[Process], list[Process]]:
    """Kill everything `find` returns until it returns nothing: (killed, still there after within_s).

    The processes are stopped before they are killed, so that none forks away from the search.
    """
    killed: set[Process] = set()
    deadline = time.monotonic() + within_s
    pause = 0.001
    while True:
        found = find()
        if not found:
            return killed, []
        frozen: set[Process] = set()
        for _ in range(FREEZE_PASSES):
            fresh = [one for one in found if one not in frozen]
            if not fresh:
                break
            for one in fresh:
                signal_exact(one, _signal.SIGSTOP)
                frozen.add(one)
            found = find()
        for one in frozen:
            if signal_exact(one, _signal.SIGKILL):
                killed.add(one)
        reap()
        if time.monotonic() > deadline:
            return killed, find()
        time.sleep(pause)
        pause = min(pause * 2, 0.02)
        reap()


def become_subreaper() -> bool:
    """Have orphaned descendants hang below this process (Linux); False where that does not exist."""
    if not LINUX:
        return False
    try:  # the C half of ctypes alone: importing ctypes costs as much as half a start of Python
        import _ctypes

        prctl = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type]
        return bool(_ctypes.call_function(prctl, (PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)) == 0)
    except (ImportError, AttributeError, OSError):
        pass
    try:
        import ctypes

        return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (ImportError, AttributeError, OSError):
        return False


def _read(path: str) -> bytes:
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        data = posix.read(fd, 65536)
        while len(data) and len(data) % 4096 == 0:  # /proc hands out whole pages until the end
            more = posix.read(fd, 65536)
            if not more:
                break
            data += more
        return data
    finally:
        posix.close(fd)


def _stat(pid: int) -> tuple[int, int] | None:
    """(parent, start) of a living process."""
    try:
        data = _read(f"/proc/{pid}/stat")
    except OSError:
        return None
    fields = data[data.rfind(b")") + 2 :].split()
    # A zombie with other threads is a process whose first thread ended: alive.
    if len(fields) < 20 or (fields[0] in (b"Z", b"X") and int(fields[17]) <= 1):
        return None
    return int(fields[1]), int(fields[19])


def children(pid: int) -> list[int]:
    """Pids of the direct children, zombies included; raises FileNotFoundError on odd kernels."""
    try:
        threads = posix.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    found: list[int] = []
    for thread in threads:
        try:
            found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
        except FileNotFoundError:
            if _stat(pid) and thread == str(pid):
                raise
        except OSError:
            pass
    return found


def _carries(pid: str, mark: bytes) -> bool:
    try:
        data = _read(f"/proc/{pid}/environ")
    except OSError:
        return False
    return data.startswith(mark + b"\0") or b"\0" + mark + b"\0" in data


def _table_proc() -> dict[int, tuple[int, int]]:
    rows = ((int(name), _stat(int(name))) for name in posix.listdir("/proc") if name.isdecimal())
    return {pid: stat for pid, stat in rows if stat}


def _table_ps() -> dict[int, tuple[int, int]]:
    table = {}
    for row in _run("ps", "-axo", "pid=,ppid=,stat=,lstart=").splitlines():
        pid, parent, state, started = row.split(None, 3)
        if not state.startswith("Z"):
            table[int(pid)] = (int(parent), _checksum(started))
    return table


def _below(root: int, table: dict[int, tuple[int, int]]) -> list[Process]:
    found: list[Process] = []
    queue = [root]
    while queue:
        parent = queue.pop(0)
        below = [pid for pid, (above, _) in table.items() if above == parent and pid != parent]
        queue += below
        found += [(pid, table[pid][1]) for pid in below]
    return found


def _checksum(text: str) -> int:
    import binascii

    return binascii.crc32(" ".join(text.split()).encode())


def _run(*argv: str) -> str:
    import subprocess  # macOS only: there is no cheaper way to ask

    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout
