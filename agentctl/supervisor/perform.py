"""Doing: from actions to the store, to processes, to probes. Answers with the facts that follow."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from agentctl.policy import admission
from agentctl.policy.outcome import SessionFacts
from agentctl.supervisor import observe, recover, sandbox, session_dir
from agentctl.supervisor.actions import Extend, Probe, Stop
from agentctl.supervisor.facts import CancelAsked, Exited, Fact, Held, Limited, Opened, Outlived, Overspent
from agentctl.supervisor.probes import Job
from agentctl.supervisor.process import LaunchError, LaunchSpec, launch
from agentctl.supervisor.session_files import FactsReader
from agentctl.supervisor.sessions import Key, Live
from agentctl_store.errors import AgentctlError, Conflict, NotFound, StoreError
from agentctl_store.ids import session_nonce
from agentctl_store.store import sessions_folder

if TYPE_CHECKING:
    from agentctl.config import Config
    from agentctl.supervisor.probes import Prober
    from agentctl.supervisor.process import Shim, WarmPool
    from agentctl.supervisor.slot import Run, Slot
    from agentctl_store.clock import Clock, Moment
    from agentctl_store.domain.agent import Instance
    from agentctl_store.domain.task import Claim as Won
    from agentctl_store.domain.task import Usage
    from agentctl_store.store import Store

ROOM_FRESH_MS = 250  #: free memory and disk space are read at most this often
FENCE_FRESH_MS = 1_000  #: the machine's mounts are read at most this often, for sandboxes
STORE_RETRY_MS = 1_000
LIMIT_LOOK_MS = 5_000  #: a limit that keeps a slot from work is looked at again by then: clocks are set, too
PREPARE_RETRY_MS = 2_000  #: after the supervisor itself could not start a session (disk full, no processes)


def no_step(name: str) -> None:
    """Called between any two steps that leave a trace; fault tests end the process here."""


class Hands:
    """Carries out what was decided."""

    def __init__(
        self,
        store: Store,
        config: Config,
        config_path: str,
        clock: Clock,
        pool: WarmPool,
        prober: Prober,
        wake: str,
        token: Callable[[str, int, int], str],
        step: Callable[[str], None] = no_step,
    ) -> None:
        self.store = store
        self.config = config
        self.live: dict[int, Live] = {}
        self._config_path = config_path
        self._root = os.path.dirname(config_path)
        self._clock = clock
        self.pool = pool
        self._prober = prober
        self._wake = wake
        self._token = token
        self.step = step
        self._bin = os.path.dirname(sys.executable)
        self._room: tuple[int | None, int | None] = (None, None)  #: free bytes of memory and of the store's disk
        self._looked_ms = -ROOM_FRESH_MS
        self._fence: tuple[int, sandbox.Fence] | None = None
        self._starts_ms: tuple[int, ...] = ()

    # --- starting ---------------------------------------------------------------------------------------------
    def claim(self, slot: Slot) -> list[Fact]:
        """Take a task and launch it; an empty list when there is none."""
        now = self._clock.now()
        refusal = self._no_room(now.boot_ms)
        if refusal is not None:
            return [Held(refusal.reason, now.boot_ms + refusal.retry_ms)]
        self.step("claim")
        try:
            won = self.store.claim(
                self.config.queues_of(slot.agent),
                agent=slot.agent,
                slot=slot.number,
                open_session=True,
                lease_ms=slot.want.lease_ms,
            )
        except StoreError as error:
            return [Held(f"the store takes no writes: {error.message}", now.boot_ms + STORE_RETRY_MS)]
        if not won or (one := won[0]).session is None:
            return self._limited(slot, now)
        self.step("claimed")
        nonce = session_nonce(one.session, one.task.correlation)
        opened = Opened(one.session, nonce, one.task.id, one.n, one.task.timeout_ms, one.task.queue)
        return [opened, *self._launch(slot, opened, one)]

    def _limited(self, slot: Slot, now: Moment) -> list[Fact]:
        """Say what kept a claim from work that waits; nothing when there was none."""
        try:
            held = self.store.limits.hold(self.config.queues_of(slot.agent), slot.agent, now_ms=now.wall_ms)
        except StoreError:
            return []
        if held is None:
            return []
        until_ms = now.boot_ms + LIMIT_LOOK_MS
        if held.until_ms is not None:
            until_ms = min(until_ms, now.boot_ms + max(held.until_ms - now.wall_ms, 1))
        if held.by in ("rate", "concurrency"):
            return [Limited("", until_ms)]  # as it should be: no news for anybody
        again = "" if held.until_ms is None else f"; again at {iso(held.until_ms)}"
        return [Limited(held.why + again, until_ms, held.by == "budget" and held.until_ms is None)]

    def open(self, slot: Slot) -> list[Fact]:
        """Open and launch a session without a task."""
        now = self._clock.now()
        refusal = self._no_room(now.boot_ms) or admission.stagger(self._starts_ms, now.boot_ms)
        if refusal is not None:
            return [Held(refusal.reason, now.boot_ms + refusal.retry_ms)]
        self._starts_ms = (*self._starts_ms[-admission.BURST :], now.boot_ms)
        nonce = secrets.token_hex(16)
        self.step("open")
        try:
            session = self.store.open_session(slot.agent, slot.number, nonce)
        except StoreError as error:
            return [Held(f"the store takes no writes: {error.message}", now.boot_ms + STORE_RETRY_MS)]
        self.step("opened")
        opened = Opened(session.id, nonce)
        return [opened, *self._launch(slot, opened, None)]

    def _launch(self, slot: Slot, opened: Opened, won: Won | None) -> list[Fact]:
        folder = sessions_folder(self.store.directory, opened.session)
        shim: Shim | None = None
        failed: list[Fact] = []
        boxed = slot.want.section.sandbox != "none"
        try:
            if boxed and (why := self._fenced().refusal(self.cwd(slot))):
                raise sandbox.SandboxError(why)
            parents = self.store.parents(won.task.id) if won else ()
            answers = self.store.questions.of_task(won.task.id) if won and won.n > 1 else ()
            session_dir.make(folder, won, parents, answers, sandboxed=boxed)
            self.step("folder")
            shim = launch(self._spec(slot, opened, folder, won), self.pool)
            self.step("launched")
        except sandbox.SandboxError as error:
            failed = [Exited(SessionFacts(spawn_error=str(error), for_good=True))]
        except (OSError, LaunchError, AgentctlError) as error:
            why = f"the session could not be prepared: {error}"
            failed = [Exited(SessionFacts(spawn_error=why, never=True, hold_ms=PREPARE_RETRY_MS))]
        key = (slot.agent, slot.number)
        live = Live(key, opened.session, opened.nonce, folder, shim, FactsReader(folder), over=bool(failed))
        self.live[opened.session] = live
        return failed

    def spec_of(self, slot: Slot, session: int, nonce: str, folder: str, won: Won) -> LaunchSpec:
        """Return how the check of an attempt's success is launched."""
        spec = self._spec(slot, Opened(session, nonce), folder, won)
        return replace(spec, argv=slot.want.section.verify or ())

    def _spec(self, slot: Slot, opened: Opened, folder: str, won: Won | None) -> LaunchSpec:
        section, limits = slot.want.section, slot.want.section.limits
        bounds = {
            "memory_bytes": limits.memory_bytes,
            "cpu_s": None if limits.cpu_ms is None else max(1, limits.cpu_ms // 1000),
            "files": limits.files,
            "processes": limits.processes,
        }
        orphan_ms = self.config.fleet.orphan_grace_ms
        env = self.environment(slot, opened.session, folder, won)
        return LaunchSpec(
            session_dir=folder,
            argv=section.command,
            env=env,
            cwd=self.cwd(slot),
            nonce=opened.nonce,
            stdin=os.path.join(session_dir.files(folder), session_dir.PAYLOAD) if won else None,
            limits={name: value for name, value in bounds.items() if value is not None},
            wake=self._wake,
            orphan_grace_s=orphan_ms / 1000 if orphan_ms else None,
            grace_s=section.grace_ms / 1000,
            sandbox=self._box(slot, folder, env),
        )

    def _box(self, slot: Slot, folder: str | None, env: dict[str, str]) -> dict[str, list[str]] | None:
        if slot.want.section.sandbox == "none":
            return None
        own = None if folder is None else session_dir.own(folder)
        return self._fenced().box(own, self.cwd(slot), env)

    def _fenced(self) -> sandbox.Fence:
        boot_ms = self._clock.now().boot_ms
        if self._fence is None or boot_ms - self._fence[0] >= FENCE_FRESH_MS:
            self._fence = boot_ms, sandbox.Fence(self.store.directory, self._config_path)
        return self._fence[1]

    def environment(self, slot: Slot, session: int, folder: str, won: Won | None) -> dict[str, str]:
        """Return the environment of one of the slot's sessions."""
        who = session_dir.Identity(self.store.directory, slot.agent, slot.number, session)
        env = session_dir.environment(who, folder, slot.want.section, os.environ, self._bin, won)
        if session:
            env["AGENTCTL_TOKEN"] = self._token(slot.agent, slot.number, session)
            env["AGENTCTL_LEASE"] = f"{slot.want.lease_ms}ms"
        own = session_dir.own(folder)
        if own is not None and self._fenced().temporary(env):
            env["TMPDIR"] = session_dir.temporary(own)
        return env

    def cwd(self, slot: Slot) -> str:
        """Return the agent's working folder; a relative one is below the configuration's."""
        return os.path.normpath(os.path.join(self._root, slot.want.section.cwd))

    def _no_room(self, boot_ms: int) -> admission.Refusal | None:
        """Say why the machine has no room for another start, if so."""
        if boot_ms - self._looked_ms >= ROOM_FRESH_MS:
            self._looked_ms = boot_ms
            self._room = observe.free_memory(), observe.free_disk(self.store.directory)
        (memory, disk), fleet = self._room, self.config.fleet
        return admission.memory(memory, fleet.min_free_memory_bytes) or admission.disk(disk, fleet.min_free_disk_bytes)

    # --- running ----------------------------------------------------------------------------------------------
    def note_start(self, session: int, pid: int) -> bool:
        """Write that the session's process runs; a busy store does not matter, adoption does not need it."""
        try:
            self.step("started")
            self.store.session_started(session, pid=pid)
        except StoreError:
            return False
        return True

    def extend(self, action: Extend, run: Run) -> list[Fact]:
        """Extend a lease with what the attempt said."""
        try:
            lease = self.store.heartbeat(
                action.task, action.n, lease_ms=action.lease_ms, progress=run.progress or None, usage=usage_of(run)
            )
        except (Conflict, NotFound):
            return [Outlived(action.task, action.n)]
        except StoreError:
            return []  # tried twice more before the lease is over
        if lease.cancel_asked:
            return [CancelAsked(action.task)]
        return [] if lease.stop is None else [Overspent(action.task, action.n, lease.stop)]

    def stop(self, action: Stop) -> list[Fact]:
        """Ask a session to end. One whose shim is gone already ends by that."""
        live = self.live.get(action.session)
        if live is None or live.shim is None:
            return []
        self.step("stop")
        try:
            recover.stop(live.place, action.grace_ms / 1000, action.reason, live.shim)
        except OSError:  # the reason cannot be written (disk full): the stop goes out all the same
            live.shim.send(signal.SIGTERM if action.grace_ms else signal.SIGINT)
        return []

    def look(self, session: int) -> list[Fact]:
        """Look at a session's files and memory."""
        live = self.live.get(session)
        if live is None:
            return []
        now = self._clock.now()
        return [*live.news(now), observe.look(live.folder, live.pid, now)]

    def probe(self, slot: Slot, action: Probe) -> None:
        """Hand a probe to the pool."""
        section = getattr(slot.want.section.probe, action.kind)
        live = None if slot.run is None else self.live.get(slot.run.session)
        folder = None if live is None else live.folder
        session = 0 if slot.run is None else slot.run.session
        env = self.environment(slot, session, folder or self.store.directory, None)
        key: Key = (slot.agent, slot.number)
        box = self._box(slot, folder, env)
        self._prober.run(Job(key, session, action.kind, section, folder, env, self.cwd(slot), box))

    # --- rows -------------------------------------------------------------------------------------------------
    def save(self, rows: list[Instance]) -> bool:
        """Write instance rows; False when the store would not take them now."""
        try:
            self.store.save_instances(rows)
        except StoreError:
            return False
        return True

    def drop(self, key: Key) -> None:
        """Remove an instance's row; one that stays for a while is dropped by the next supervisor."""
        try:
            self.store.drop_instances([key])
        except StoreError:
            pass


def iso(wall_ms: int) -> str:
    """Write a moment for people, to the second, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(wall_ms / 1000))


def usage_of(run: Run) -> Usage | None:
    """Return what the attempt has used, or None when it said nothing of it."""
    from agentctl_store.domain.task import Usage

    if not (run.input_tokens or run.output_tokens or run.cost_microusd):
        return None
    return Usage(run.input_tokens, run.output_tokens, run.cost_microusd)
