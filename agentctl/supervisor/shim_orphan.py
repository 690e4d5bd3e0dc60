"""Whether somebody supervises this session, and for how long nobody has."""

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agentctl.supervisor import proctree, shim_text
else:
    import proctree
    import shim_text

LOOK_LONGEST_S = 5.0
LOOK_SHORTEST_S = 0.1
POLL_WITHOUT_PIDFD_S = 2.0


class Guardian:
    """The supervisor as the shim sees it: (pid, start), watched through a pidfd where there is one.

    When it is gone, the lock file beside the store names its successor, if there is one. Without
    `orphan_grace_s` there is nothing to find out: the agent may run unsupervised for ever.
    """

    def __init__(self, spec: "dict[str, object]") -> None:
        self._grace_s: float | None = spec.get("orphan_grace_s")  # type: ignore[assignment]
        folder = str(spec["dir"]).rpartition("/")[0].rpartition("/")[0]
        self._lock = folder + "/supervisor.lock"
        self._who: tuple[int, int] | None = None
        self._fd = -1
        self._lost_at: float | None = None
        self.due: float | None = None
        """When to `look` again (monotonic seconds), or None."""
        if self._grace_s is None:
            return
        named = spec.get("supervisor")
        if not (isinstance(named, dict) and self._watch(named.get("pid"), named.get("start"))):
            self.due = 0.0

    def fileno(self) -> int:
        """Readable when the supervisor has died; -1: none is being watched by descriptor."""
        return self._fd

    def lost(self, now: float) -> None:
        """The descriptor became readable: the supervisor is gone."""
        if self._fd >= 0:
            posix.close(self._fd)
        self._fd = -1
        self._who = None
        self.due = now

    def look(self, now: float) -> str:
        """`found` (a descriptor to watch again), `waiting`, or `expired` (stop the agent), once."""
        grace = self._grace_s
        if grace is None:
            self.due = None
            return "waiting"
        if self._who is not None and proctree.start_of(self._who[0]) == self._who[1]:
            self.due = now + POLL_WITHOUT_PIDFD_S
            return "waiting"
        holder = shim_text.read_object(self._lock)
        if holder and holder.get("boot") == proctree.boot_id() and self._watch(holder.get("pid"), holder.get("start")):
            self._lost_at = None
            self.due = None if self._fd >= 0 else now + POLL_WITHOUT_PIDFD_S
            return "found" if self._fd >= 0 else "waiting"
        if self._lost_at is None:
            self._lost_at = now
        if now - self._lost_at >= grace:
            self.due = None
            return "expired"
        step = min(LOOK_LONGEST_S, max(LOOK_SHORTEST_S, grace / 10))
        self.due = min(now + step, self._lost_at + grace)
        return "waiting"

    def _watch(self, pid: object, start: object) -> bool:
        if not isinstance(pid, int) or not isinstance(start, int) or pid <= 0:
            return False
        if not proctree.LINUX:
            if proctree.start_of(pid) != start:
                return False
            self._who = (pid, start)
            self.due = 0.0
            return True
        try:
            fd = posix.pidfd_open(pid)
        except OSError:
            return False
        if proctree.start_of(pid) != start:
            posix.close(fd)
            return False
        self._fd = fd
        self._who = (pid, start)
        return True
