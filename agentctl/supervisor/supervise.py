"""One supervisor from start to end: takes the store, adopts, watches what is wanted, ends with nothing left running."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from agentctl.config import Config, load_config
from agentctl.quantities import show_duration
from agentctl.supervisor import facts as seen
from agentctl.supervisor import fleet, recover
from agentctl.supervisor.adopt import adopt, keep_leases
from agentctl.supervisor.cancels import CancelNews
from agentctl.supervisor.declare import changes, declare
from agentctl.supervisor.doorbell import Bell, Doorbell, SignalPipe
from agentctl.supervisor.keeping import Keeper
from agentctl.supervisor.lock import SupervisorLock
from agentctl.supervisor.loop import Loop
from agentctl.supervisor.narrate import Happening, OnEvent, plural
from agentctl.supervisor.owner import Owner
from agentctl.supervisor.perform import Hands
from agentctl.supervisor.probes import Prober
from agentctl.supervisor.process import WarmPool, become_subreaper
from agentctl.supervisor.record import Recorder
from agentctl.supervisor.reload import ConfigWatch
from agentctl.supervisor.slot import Slot, fresh_probes
from agentctl.supervisor.vital import vitals_of
from agentctl_store.clock import Clock
from agentctl_store.errors import AgentctlError, BadName, StoreCorrupt, StoreError, StoreTooNew
from agentctl_store.ids import read_id
from agentctl_store.read.vitals import write_vitals
from agentctl_store.store import open_store

if TYPE_CHECKING:
    from agentctl.supervisor.sessions import Key
    from agentctl.supervisor.slot import Want
    from agentctl_store.domain.agent import Agent, Instance

POLL_MS = 1_000  #: the safety look at the store
HEAR_MS = 4_000  #: the safety look at the sessions' files, and how often vitals.json is written
TIDY_MS = 5_000  #: ended sessions' output can fill a small disk in less than a minute
PROGRESS_MS = 10_000  #: how often finished tasks are told, in one line for all
MAX_SPARES = 4  #: shims started ahead
ACTOR = "supervisor"


class Supervisor:
    """Owns the store of one fleet for as long as it lives."""

    def __init__(
        self,
        config_path: str,
        store: str,
        *,
        until_idle: bool,
        on_event: OnEvent,
        step: Callable[[str], None],
        clock: Clock | None = None,
    ) -> None:
        """Read the configuration, take the lock, open the store. Raises BadConfig, AlreadyRunning, StoreError."""
        self._clock = clock or Clock()
        self._config = load_config(config_path)
        self._path = os.path.abspath(config_path)
        self._root = os.path.dirname(self._path)
        self._until_idle = until_idle
        self._on_event = on_event
        self._shutdown, self._drained_ms = "", 0  #: how it is to end, and when what the store refuses is left as it is
        self._idle, self._patience = False, fleet.Patience()
        self._trouble = False  #: the store could not be used at the last look
        os.makedirs(store, mode=0o700, exist_ok=True)
        since_ms = self._clock.now().wall_ms
        self._lock = SupervisorLock(store, root=self._root, since_ms=since_ms, fleet=self._config.fleet.name)
        try:
            self._store = open_store(store, create=True, clock=self._clock, own=True)
            self._owner = Owner(store, self._clock)
        except BaseException:
            self._lock.release()
            raise
        self._doorbell = Doorbell(store)
        self._bell = Bell()
        self._prober = Prober(self._bell)
        spares = min(MAX_SPARES, sum(one.instances for one in self._config.agent.values() if one.mode == "task"))
        self._pool = WarmPool(spares, os.path.join(store, "supervisor.log"))
        bell, mint = self._doorbell.path, self._owner.token
        self._hands = Hands(
            self._store, self._config, self._path, self._clock, self._pool, self._prober, bell, mint, step
        )
        self._recorder = Recorder(self._store, self._clock, step)
        self._keeper = Keeper(store, lambda text: self._tell("note", text))
        self._loop = Loop(self._hands, self._recorder, self._pool, self._clock, on_event)
        self._version, self._asked = -1, CancelNews(self._store)
        self._agents: dict[str, Agent] = {}
        self._sweep_ms = self._poll_ms = self._hear_ms = self._prune_ms = 0
        self._progress_ms, self._told = self._clock.now().boot_ms + PROGRESS_MS, 0

    # --- life -------------------------------------------------------------------------------------------------
    def run(self, ready: Callable[[], None] | None = None) -> int:
        """Supervise until told to end (or, with until_idle, until there is no more work); return the exit code."""
        signals = SignalPipe()
        watch = ConfigWatch(self._path, self._bell)
        become_subreaper()  # so that what a killed shim leaves comes to us, not to init
        try:
            self._begin()
            self._loop.listen(self._doorbell.fileno(), self._rung)
            self._loop.listen(signals.fileno(), lambda: self._signalled(signals))
            self._loop.listen(self._bell.fileno(), lambda: self._belled(watch))
            if ready is not None:
                self._loop.flush()  # whoever looks next must not see what the last supervisor left
                ready()
            now_ms = self._clock.now().boot_ms
            while not (self._shutdown and (self._loop.settled or (now_ms >= self._drained_ms and self._loop.over))):
                self._loop.wait(min(self._poll_ms, self._sweep_ms))
                now_ms = self._clock.now().boot_ms
                if now_ms >= min(self._poll_ms, self._sweep_ms):
                    self._poll(now_ms)
                elif self._until_idle:
                    self._end_when_idle()
            if self._loop.storeless:
                return 1
            self._loop.flush()
            self._progress()
            if self._recorder.left:
                self._tell("note", self._recorder.left)
            self._note("supervisor.stopped")
            failed = any(slot.phase == "failed" for slot in self._loop.slots.values())
            return 1 if failed and self._until_idle else 0
        finally:
            self._close(signals, watch)

    def _begin(self) -> None:
        declare(self._store, self._config, ACTOR)
        self._note("supervisor.started")
        self._asked.begin()
        memos = {(row.agent, row.slot): row for row in self._store.instances()}
        self._loop.saved = dict(memos)
        wanted = self._wants()
        adopted = self._adopt(wanted, memos)
        # Between the two: who is adopted is known by now, and who is started finds the socket, and has its rights only.
        self._owner.serve(self._hands.live.values, lambda text: self._tell("supervisor", text))
        for key in [key for key in memos if key not in wanted and key not in self._loop.slots]:
            self._hands.drop(key)
        for key, want in wanted.items():
            if key not in self._loop.slots:
                self._loop.slots[key] = fleet.new_slot(key, want, memos.get(key))
            self._loop.tell(key, seen.Wanted(want))
        for key in [key for key in self._loop.slots if key not in wanted]:
            self._loop.tell(key, seen.Wanted(fleet.gone(self._loop.slots[key], self._shutdown)))
        self._version = self._store.version()
        self._loop.warm()
        agents, queues = len(self._config.agent), {q for n in self._config.agent for q in self._config.queues_of(n)}
        text = f"supervising {plural(len(wanted), 'instance')} of {plural(agents, 'agent')} on "
        text += plural(len(queues), "queue") + (f"; adopted {plural(adopted, 'running session')}" if adopted else "")
        self._tell("supervisor", text)
        self._tell_stranded()

    def _tell_stranded(self) -> None:
        text = fleet.unroutable(self._store)
        if text:
            self._tell("note", text)

    def _adopt(self, wanted: dict[Key, Want], memos: dict[Key, Instance]) -> int:
        now, running = self._clock.now(), 0
        sessions = self._store.open_sessions()
        default_ms = self._config.fleet.lease_ms
        keep_leases(
            self._store,
            sessions,
            lambda s: wanted[s.agent, s.slot].lease_ms if (s.agent, s.slot) in wanted else default_ms,
        )
        for session in sessions:
            found = adopt(self._store, session, now)
            key = found.live.key
            while key in self._loop.slots:  # two lives of one slot: the second is brought to its end beside it
                key = (key[0], key[1] + fleet.BESIDE)
            found.live.key = key
            want = wanted.get(key) or fleet.stray_want(self._config)
            slot = fleet.new_slot(key, want, memos.get(key))
            # Only an `agent restart` that came after its start is still to be obeyed.
            run = replace(found.run, restart_seq=slot.history.restart_seq)
            slot = Slot(
                slot.agent,
                slot.number,
                want,
                phase="stopping" if run.stop else "starting",
                since_ms=now.boot_ms,
                history=slot.history,
                run=run,
                why=run.stop,
            )
            self._loop.slots[key] = fresh_probes(slot, now.boot_ms)
            self._hands.live[session.id] = found.live
            self._loop.watch(found.live)
            running += found.runs
            for fact in found.facts:
                self._loop.tell(key, fact)
        return running

    def _close(self, signals: SignalPipe, watch: ConfigWatch) -> None:
        watch.close()
        self._owner.close()
        self._loop.close()
        self._prober.close()
        self._pool.close()
        self._doorbell.close()
        self._store.close()
        self._lock.release()
        signals.close()  # last: who asks once more must not interrupt the end

    # --- what comes in ----------------------------------------------------------------------------------------
    def _rung(self) -> None:
        words = self._doorbell.words()
        for word in words:
            if word.startswith("s "):
                try:
                    live = self._hands.live.get(read_id(word[2:], "session id"))
                except BadName:
                    continue
                if live is not None:
                    self._loop.hear(live)
        if any(not word.startswith("s ") for word in words):
            self._sweep_ms = min(self._sweep_ms, self._clock.now().boot_ms + 50)
            if "agent" in words:
                self._want()
            if "cancel" in words:
                self._cancels()
            self._loop.work()

    def _signalled(self, signals: SignalPipe) -> None:
        for number in signals.numbers():
            if number == signal.SIGHUP:
                self._tell("note", "the terminal went away; supervising goes on (end it with: agentctl down)")
            elif number == signal.SIGINT and self._shutdown == "drain":
                self.end("now")
            elif number in (signal.SIGINT, signal.SIGTERM) and not self._shutdown:
                self.end("drain")

    def _belled(self, watch: ConfigWatch) -> None:
        self._bell.hush()
        for job, answer in self._prober.answers():
            slot = self._loop.slots.get(job.key)
            if slot is not None and (0 if slot.run is None else slot.run.session) == job.session:
                self._loop.tell(job.key, answer)
        for news in watch.news():
            if isinstance(news, Config):
                self._reload(news)
            else:
                self._tell("config", f"the changed configuration is refused, the old one stays. {news}")

    def _reload(self, config: Config) -> None:
        old, self._config, self._hands.config = self._config, config, config
        try:
            declare(self._store, config, ACTOR)
        except AgentctlError as error:
            self._tell("config", f"the changed configuration could not be stored: {error.message}")
        self._tell("config", f"configuration read again; {changes(old, config)}")
        self._tell_stranded()
        self._want()
        self._loop.work()

    def end(self, how: str) -> None:
        """Begin to end: `drain` lets current tasks finish within the fleet's grace, `now` does not."""
        if how == self._shutdown:
            return
        grace_ms = self._config.fleet.grace_ms
        self._shutdown, self._drained_ms = how, self._clock.now().boot_ms + (grace_ms if how == "drain" else 0)
        if not self._idle:
            drain = f"draining: current tasks may finish within {show_duration(grace_ms)} (again to end now)"
            self._tell("supervisor", drain if how == "drain" else "ending now")
        self._want()

    # --- what is looked at ------------------------------------------------------------------------------------
    def _poll(self, now_ms: int) -> None:
        self._poll_ms = now_ms + POLL_MS
        if self._store_is_gone():
            return
        try:
            version = self._store.version()
            if version != self._version or self._recorder.moved:  # the version is not changed by our own writes
                self._version, self._recorder.moved = version, False
                self._want()
                self._cancels()
                self._sweep_ms = now_ms
                self._loop.work()
            if self._loop.clock_was_set() or now_ms >= self._sweep_ms:
                self._sweep(now_ms)
            if self._trouble:
                self._trouble = False
                self._tell("note", "the store takes writes again")
        except (StoreCorrupt, StoreTooNew):
            if not self._store_is_gone():  # moved in the middle of this look
                raise
        except StoreError as error:
            if not self._trouble:
                self._trouble = True
                self._tell("note", f"the store cannot be used now, what runs goes on: {error}")
            self._sweep_ms = now_ms + POLL_MS
        self._loop.overspent(fleet.overspent(self._store))
        if now_ms >= self._hear_ms:
            self._hear_ms = now_ms + HEAR_MS
            for live in list(self._hands.live.values()):
                self._loop.hear(live)
            write_vitals(self._store.directory, vitals_of(self._loop.slots, self._hands.live, self._clock.now()))
        if now_ms >= self._prune_ms:
            self._prune_ms = now_ms + (0 if self._tidy() else TIDY_MS)
        if now_ms >= self._progress_ms:
            self._progress_ms = now_ms + PROGRESS_MS
            self._progress()
        if self._until_idle:
            self._end_when_idle()

    def _store_is_gone(self) -> bool:
        """Notice that the store was deleted or moved: its agents end, for nothing they do could be recorded."""
        if not self._loop.storeless and self._lock.lost:
            self._loop.storeless, self._shutdown, self._drained_ms = True, "now", 0
            gone = f"the store at {self._store.directory} was deleted or moved: its agents are ended, and so is this"
            self._tell("supervisor", gone)
            for key, slot in list(self._loop.slots.items()):
                self._loop.tell(key, seen.Wanted(replace(slot.want, shutdown="now")))
        return self._loop.storeless

    def _tidy(self) -> bool:
        """Remove old session folders, some at a time; whether there are more."""
        more = self._keeper.tidy(self._hands.live, self._config.fleet.keep_output_bytes)
        if not self._prober.busy:  # the pool waits for its own children
            shims = [live.shim.pid for live in self._hands.live.values() if live.shim is not None]
            recover.reap_orphans(shims)
        return more

    def _progress(self) -> None:
        done = self._loop.counts["task"]
        if done != self._told:
            runs = sum(slot.run is not None and slot.takes_tasks for slot in self._loop.slots.values())
            self._tell("progress", f"{plural(done, 'task')} done" + (f", {runs} running" if runs else ""))
        self._told = done

    def _sweep(self, now_ms: int) -> None:
        self._loop.catch_up()
        swept = self._store.sweep()
        self._sweep_ms = fleet.next_sweep_ms(swept, self._clock.now())
        if swept.overdue:
            self._loop.recheck()
        if swept.promoted or swept.expired or swept.kept:
            self._loop.work()
        if swept.grace_ms:
            self._tell("note", f"the machine slept; every lease got {show_duration(swept.grace_ms)} more")

    def _cancels(self) -> None:
        wanted = self._asked.news()
        for key, slot in list(self._loop.slots.items()):
            if slot.run is not None and slot.run.task is not None and slot.run.task in wanted:
                self._loop.tell(key, seen.CancelAsked(slot.run.task))

    def _end_when_idle(self) -> None:
        slots = self._loop.slots.values()
        if self._shutdown or any(slot.run is not None and slot.takes_tasks for slot in slots):
            return
        if fleet.unfinished(self._store, self._config, slots):
            if waits := self._patience.news(self._store, slots, self._clock.now().boot_ms):
                self._tell("supervisor", waits)
            return
        self._idle = True
        self._progress()
        told = fleet.spent(slots) or fleet.forgotten(self._store, self._config, slots) or "idle: no task is left to do"
        self._tell("supervisor", told)
        self.end("drain")

    # --- what is wanted ---------------------------------------------------------------------------------------
    def _wants(self) -> dict[Key, Want]:
        try:
            self._agents = {row.name: row for row in self._store.agents()}
        except StoreError:
            pass  # as last seen: a store in trouble stops nobody, and the next look tells
        return fleet.wants(self._config, self._agents, self._shutdown, self._config.fleet.grace_ms)

    def _want(self) -> None:
        """Tell every slot what is wanted of it, where that has changed."""
        wanted = self._wants()
        for key, want in wanted.items():
            if key not in self._loop.slots:
                self._loop.slots[key] = fleet.new_slot(key, want, None)
                self._loop.tell(key, seen.Wanted(want))
            elif self._loop.slots[key].want != want:
                self._loop.tell(key, seen.Wanted(want))
        for key in [key for key in self._loop.slots if key not in wanted]:
            slot = self._loop.slots[key]
            want = fleet.gone(slot, self._shutdown)
            if want != slot.want:
                self._loop.tell(key, seen.Wanted(want))

    def _note(self, kind: str) -> None:
        try:
            self._store.note(kind, actor=ACTOR, data={"pid": os.getpid(), "root": self._root})
        except AgentctlError:
            pass

    def _tell(self, kind: str, text: str) -> None:
        self._on_event(Happening(self._clock.now().wall_ms, kind, text))
