"""One session in the shim: begin, the loop while the agent lives, the end on disk."""

import posix
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal

    from agentctl.supervisor import proctree, shim_notify, shim_spawn, shim_spool, shim_text
    from agentctl.supervisor.shim_orphan import Guardian
else:
    import _signal

    import proctree
    import shim_notify
    import shim_spawn
    import shim_spool
    import shim_text
    from shim_orphan import Guardian

CHUNK_BYTES = 65_536
LEFTOVER_S = 1.0
"""After the agent's own end: how long its descendants may still hold the output pipes."""
KILLED_LEFTOVER_S = 0.05
"""The same when the agent was killed: nothing it left is worth waiting for, and its task waits for us."""
KILL_WITHIN_S = 5.0
"""A process that survives SIGKILL this long hangs in the kernel; the exit record counts it."""
RECORD_RETRY_S = 1.0
LONGEST_WAIT_S = 3600.0


class Session:
    """State of the one session this process runs."""

    def __init__(self, spec: "dict[str, object]") -> None:
        self.spec = spec
        self.dir = str(spec["dir"])
        self.nonce = str(spec["nonce"])
        spool: dict[str, int] = spec.get("spool") or {}  # type: ignore[assignment]
        self.segment_bytes, keep = spool.get("segment_bytes", 8 << 20), spool.get("segments", 8)
        self.rings = {name: shim_spool.Ring(self.dir, name, self.segment_bytes, keep) for name in ("out", "err")}
        self.index = shim_spool.Index(self.dir, self.rings)
        self.facts = shim_spool.Facts(self.dir)
        self.scan = shim_spool.LineScan()
        self.poke = shim_notify.Poke(spec.get("wake"), self.dir.rpartition("/")[2])  # type: ignore[arg-type]
        self.notify: shim_notify.NotifySocket | None = None
        self.guardian = Guardian(spec)
        self.poll = select.poll()
        self.pipes: dict[int, str] = {}
        self.signals = -1
        self.child = 0
        self.status: int | None = None
        self.childless = False
        self.subreaper = False
        self.started_ms = 0
        self.max_rss_kb = 0
        self.cpu_s = 0.0
        self.killed: set[proctree.Process] = set()
        self.left: list[proctree.Process] = []
        self.stopped = False
        self.orphaned = False
        self.kill_at: float | None = None
        self.drain_until: float | None = None

    # -- begin ---------------------------------------------------------------------------------

    def begin(self, subreaper: bool, signals: int) -> bool:
        """Start the agent and write shim.json. False: it did not start, exit.json says why."""
        self.subreaper = subreaper
        self.signals = signals
        self.started_ms = _wall_ms()
        try:
            for name in ("shim.json", "exit.json"):
                shim_text.reserve(f"{self.dir}/{name}")
            if shim_text.read_object(self.dir + "/stop.json") is not None:
                self.stopped = True
                raise shim_spawn.SpawnError("stopped before it was started")
            self._spawn_boxed()
        except (shim_spawn.SpawnError, OSError) as error:
            self.record(str(error) or type(error).__name__, for_good=getattr(error, "for_good", False))
            return False
        self.poll.register(signals, select.POLLIN)
        if (watched := self.guardian.fileno()) >= 0:
            self.poll.register(watched, select.POLLIN)
        shim_text.write_whole(
            self.dir + "/shim.json",
            shim_text.dumps(
                {
                    "pid": posix.getpid(),
                    "start": proctree.start_of(posix.getpid()),
                    "boot": proctree.boot_id(),
                    "nonce": self.nonce,
                    "tag": tag(),
                    "segment_bytes": self.segment_bytes,
                    "child_pid": self.child,
                    "child_start": proctree.start_of(self.child),
                    "started_ms": self.started_ms,
                }
            ),
            durable=True,
            reserved=True,
        )
        self.poke.now()
        return True

    def _spawn_boxed(self) -> None:
        """Spawn, in a sandbox if one is asked for: then the socket for sd_notify belongs to it too."""
        box: dict[str, list[str]] | None = self.spec.get("sandbox")  # type: ignore[assignment]
        if box is None:
            self._spawn()
            return
        if TYPE_CHECKING:
            from agentctl.supervisor import shim_sandbox
        else:
            import shim_sandbox  # sessions without a sandbox do not pay for it
        try:
            shim_sandbox.inside(box, self._spawn)
        except shim_sandbox.SandboxError as error:
            refused = shim_spawn.SpawnError(str(error))
            refused.for_good = True
            raise refused from None

    def _spawn(self) -> None:
        spec = self.spec
        env: dict[str, str] = dict(spec.get("env") or {})  # type: ignore[call-overload]
        env["AGENTCTL_NONCE"] = self.nonce
        if spec.get("notify"):
            self.notify = shim_notify.NotifySocket(self.dir, self.nonce)
            env["NOTIFY_SOCKET"] = self.notify.name
            self.poll.register(self.notify.fileno(), select.POLLIN)
        source = str(spec.get("stdin") or "/dev/null")
        try:
            stdin = posix.open(source, posix.O_RDONLY | posix.O_CLOEXEC)
        except OSError as error:
            raise shim_spawn.SpawnError(f"cannot open the input file {source}: {error.strerror}") from None
        out, out_end = posix.pipe()
        err, err_end = posix.pipe()
        argv: list[str] = spec["argv"]  # type: ignore[assignment]
        limits: dict[str, int] = spec.get("limits") or {}  # type: ignore[assignment]
        try:
            self.child = shim_spawn.spawn(argv, env, str(spec["cwd"]), (stdin, out_end, err_end), limits)
        finally:
            for fd in (stdin, out_end, err_end):
                posix.close(fd)
            posix.chdir(self.dir)  # so that the agent's folder is not kept busy
        for fd, name in ((out, "out"), (err, "err")):
            posix.set_blocking(fd, False)
            self.pipes[fd] = name
            self.poll.register(fd, select.POLLIN)

    # -- loop ----------------------------------------------------------------------------------

    def loop(self) -> None:
        """Until the agent has ended and nothing of it is left to read or to wait for."""
        self.reap()
        while not self._over():
            for fd, _ in self.poll.poll(self._timeout_ms()):
                if fd in self.pipes:
                    self._read(fd)
                elif fd == self.signals:
                    self._signals()
                elif self.notify is not None and fd == self.notify.fileno():
                    self._notified()
                elif fd == self.guardian.fileno():
                    self.poll.unregister(fd)
                    self.guardian.lost(time.monotonic())
            self._tick()

    def _over(self) -> bool:
        if self.status is None:
            return False
        if self.childless and not self.pipes:
            return True
        return self.drain_until is not None and time.monotonic() >= self.drain_until

    def _timeout_ms(self) -> float:
        now = time.monotonic()
        due = self.index.due_ms()
        # The wall clock may be set back by hours: a line of the index is never that late.
        waits = [LONGEST_WAIT_S if due is None else min(0.1, (due - _wall_ms()) / 1000)]
        for moment in (self.kill_at, self.drain_until, self.poke.due, self.guardian.due):
            if moment is not None:
                waits.append(moment - now)
        return max(0.0, min(waits)) * 1000 + 1

    def _tick(self) -> None:
        now, wall = time.monotonic(), _wall_ms()
        self.index.settle(wall)
        if self.facts.flush(wall):
            self.poke.soon()
        self.poke.tick(now)
        if self.kill_at is not None and now >= self.kill_at:
            self.kill_at = None
            self._kill()
        if self.guardian.due is not None and now >= self.guardian.due:
            self._look_for_guardian(now)

    def _look_for_guardian(self, now: float) -> None:
        verdict = self.guardian.look(now)
        if verdict == "found":
            self.poll.register(self.guardian.fileno(), select.POLLIN)
        elif verdict == "expired":
            self.orphaned = True
            self.stop(float(self.spec.get("grace_s") or 0))  # type: ignore[arg-type]

    def _read(self, fd: int) -> bool:
        """One chunk; False at the end of the stream or when nothing waits."""
        name = self.pipes[fd]
        try:
            chunk = posix.read(fd, CHUNK_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            chunk = b""
        if not chunk:
            self.poll.unregister(fd)
            posix.close(fd)
            del self.pipes[fd]
            return False
        self.rings[name].write(chunk)
        wall = _wall_ms()
        self.index.note(name, wall)
        if name == "out":
            for line in self.scan.feed(chunk):
                self.facts.line(wall, line)
        return True

    def _notified(self) -> None:
        if self.notify is None:
            return
        texts, fds = self.notify.receive()
        wall = _wall_ms()
        for text, pid in texts:
            self.facts.notify(wall, text, pid)
        if fds:
            self.facts.flush(wall)
            self.poke.soon()
            for fd in fds:
                posix.close(fd)

    def _signals(self) -> None:
        try:
            got = posix.read(self.signals, 4096)
        except BlockingIOError:
            return
        if _signal.SIGCHLD in got:
            self.reap()
        if _signal.SIGINT in got:
            self.stop(0.0)
        elif _signal.SIGTERM in got:
            asked = shim_text.read_object(self.dir + "/stop.json") or {}
            grace = asked.get("grace_s", self.spec.get("grace_s"))
            self.stop(float(grace) if isinstance(grace, (int, float)) else 0.0)

    def reap(self) -> None:
        """Collect every ended child: the agent, and orphans that came to us as their subreaper."""
        while True:
            try:
                pid, status, usage = posix.wait4(-1, posix.WNOHANG)
            except ChildProcessError:
                self.childless = True
                return
            if pid == 0:
                return
            self.cpu_s += usage.ru_utime + usage.ru_stime
            if pid == self.child:
                self.status = status
                self.max_rss_kb = usage.ru_maxrss if proctree.LINUX else usage.ru_maxrss // 1024
                left_s = KILLED_LEFTOVER_S if posix.WIFSIGNALED(status) else LEFTOVER_S
                self.drain_until = time.monotonic() + left_s

    # -- end -----------------------------------------------------------------------------------

    def stop(self, grace_s: float) -> None:
        """Ask the whole tree to end; what is left after `grace_s` seconds is killed."""
        self.stopped = True
        self.kill_at = time.monotonic() + max(0.0, grace_s)
        if grace_s <= 0:
            return
        # Everybody is asked once: to many a program a second TERM means "at once". The group is
        # asked as one, which also reaches what is being forked just now.
        group = self.child if self.status is None else 0
        others = [one for one in proctree.descendants(posix.getpid()) if _group_of(one[0]) != group]
        for signum in (_signal.SIGTERM, _signal.SIGCONT):  # a stopped process takes TERM when it goes on
            if group:
                try:
                    posix.killpg(group, signum)
                except OSError:
                    pass
            for one in others:
                proctree.signal_exact(one, signum)

    def _tree(self) -> "list[proctree.Process]":
        if self.childless and self.subreaper:
            return []
        own = proctree.descendants(posix.getpid())
        return own if self.subreaper else own + [p for p in proctree.carriers(self.nonce) if p not in own]

    def _kill(self) -> None:
        killed, self.left = proctree.end_all(self._tree, self.reap, KILL_WITHIN_S)
        self.killed |= killed
        self.reap()

    def end(self) -> None:
        """Kill what is left, keep the last output, write the exit record. The agent has ended.

        A subreaper without children has no descendants: only a stop, or descendants seen after
        the agent's end, make it worth reading every environment of the machine for the nonce.
        """
        suspicious = self.stopped or not self.subreaper or not self.childless
        if not self.childless or not self.subreaper:
            self._kill()
        if suspicious:
            killed, left = proctree.end_all(lambda: proctree.carriers(self.nonce), self.reap, KILL_WITHIN_S)
            self.killed |= killed
            self.left += left
        for fd in list(self.pipes):
            for _ in range(1024):  # at most 64 MiB: nobody we know of writes any more
                if not self._read(fd):
                    break
        self._notified()
        self.record(None)

    def fail(self, error: BaseException) -> None:
        """The shim itself went wrong: leave no agent without a keeper, and say what happened."""
        sys.excepthook(type(error), error, error.__traceback__)
        if self.child:
            self._kill()
            self.killed |= proctree.end_all(lambda: proctree.carriers(self.nonce), self.reap, KILL_WITHIN_S)[0]
        self.record(f"the session's keeper failed: {type(error).__name__}: {error}; see supervisor.log")

    def record(self, spawn_error: str | None, *, for_good: bool = False) -> None:
        """Write exit.json, the last thing; its space was reserved, a failing disk is waited out."""
        wall = _wall_ms()
        for line in self.scan.rest():
            self.facts.line(wall, line)
        self.index.settle(wall, final=True)
        self.facts.flush(wall, final=True)
        code = None if self.status is None else posix.waitstatus_to_exitcode(self.status)
        text = shim_text.dumps(
            {
                "code": code if code is not None and code >= 0 else None,
                "signal": -code if code is not None and code < 0 else None,
                "spawn_error": spawn_error,
                "for_good": for_good,
                "started_ms": self.started_ms,
                "ended_ms": wall,
                "max_rss_kb": self.max_rss_kb,
                "cpu_s": round(self.cpu_s, 6),
                "out_bytes": self.rings["out"].end,
                "err_bytes": self.rings["err"].end,
                "lost_bytes": self.rings["out"].lost + self.rings["err"].lost,
                "stopped": self.stopped,
                "orphaned": self.orphaned,
                "swept": len({pid for pid, _ in self.killed} - {self.child}),
                "survivors": len(self.left),
                "nonce": self.nonce,
            }
        )
        while True:
            try:
                shim_text.write_whole(self.dir + "/exit.json", text, durable=True, reserved=True)
                break
            except (FileNotFoundError, IsADirectoryError):
                return  # the agent removed the session directory, or put a folder in the way: no wait mends that
            except OSError:
                time.sleep(RECORD_RETRY_S)
        if spawn_error is not None:
            try:
                posix.unlink(self.dir + "/shim.json.tmp")
            except OSError:
                pass
        self.poke.now()


def tag() -> str:
    """Names this process beyond pid and start time; a reader finds it in /proc/PID/cmdline."""
    return sys.argv[1] if len(sys.argv) > 1 else ""


def _group_of(pid: int) -> int:
    try:
        return posix.getpgid(pid)
    except OSError:
        return -1


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
