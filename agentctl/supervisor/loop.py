"""The supervisor's loop: observe, decide, perform. It sleeps until something happens or is due, and never polls busily.

What happens comes as descriptors: wake.sock, the shims' pidfds, signals, a bell for threads. Whatever a notification
may have missed is found by a look at the store once a second: polling is the truth, a notification only a wake-up.
"""

from __future__ import annotations

import selectors
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from agentctl.supervisor import actions as do
from agentctl.supervisor import facts as seen
from agentctl.supervisor.decide import decide
from agentctl.supervisor.fleet import BESIDE, held_back, instance_of, just_begun, same_row
from agentctl.supervisor.narrate import Happening, OnEvent
from agentctl.supervisor.slot import next_due_ms
from agentctl.supervisor.snapshot import Snapshot
from agentctl.supervisor.verifying import end_stray, verify

if TYPE_CHECKING:
    from agentctl.supervisor.perform import Hands
    from agentctl.supervisor.process import WarmPool
    from agentctl.supervisor.record import Recorder
    from agentctl.supervisor.sessions import Key, Live
    from agentctl.supervisor.slot import Slot
    from agentctl_store.clock import Clock
    from agentctl_store.domain.agent import Instance

FLUSH_MS = 200  #: instance rows are written at most this often
FILL_MS = 5  #: between two spare shims that are started ahead
NO_PIDFD_MS = 100  #: how often sessions are looked at where the system has no pidfds
SPIN_MS = 20  #: a deadline that stays in the past is not tried again before this
LATE_MS = 250  #: leases whose extension is overdue by more go before what else has happened
SLEPT_MS = 1_000  #: a longer gap between the boot clock and the awake clock is a sleep of the machine
MAX_FACTS = 10_000  #: facts that one fact may lead to; more is a mistake of ours


class Loop:
    """Holds the slots and carries facts to decisions and actions to hands."""

    def __init__(self, hands: Hands, recorder: Recorder, pool: WarmPool, clock: Clock, on_event: OnEvent) -> None:
        self.hands = hands
        self.slots: dict[Key, Slot] = {}
        self.saved: dict[Key, Instance] = {}
        self.counts: Counter[str] = Counter()
        self.storeless = False  #: the store is gone, nothing can be recorded any more
        self._recorder = recorder
        self._pool = pool
        self._clock = clock
        self._on_event = on_event
        self._selector = selectors.DefaultSelector()
        self._due: dict[Key, int] = {}
        self._dry: set[str] = set()  #: agents whose queues were found empty
        self._limited: dict[str, seen.Limited] = {}  #: what keeps these agents from work, as of the last look
        self._dirty: set[Key] = set()
        self._starts: dict[int, int] = {}  #: pids of sessions whose start is to be written at the next flush
        self._flush_ms = 0
        self._urgent = False
        self._fill_ms = 0
        self._held: set[Key] = set()  #: who is told to be held back
        now = clock.now()
        self._slept_ms = now.boot_ms - now.awake_ms
        self._offset_ms = now.wall_ms - now.boot_ms

    # --- descriptors ------------------------------------------------------------------------------------------
    def listen(self, descriptor: int, handler: Callable[[], None]) -> None:
        """Call `handler` whenever `descriptor` becomes readable."""
        self._selector.register(descriptor, selectors.EVENT_READ, handler)

    def watch(self, live: Live) -> None:
        """See the end of a session's shim."""
        if live.shim is not None and live.shim.fileno() >= 0:
            self._selector.register(live.shim.fileno(), selectors.EVENT_READ, lambda: self.ended(live))

    def wait(self, until_ms: int) -> None:
        """Sleep until something happens or is due, at most until `until_ms` (boot clock), and take it in."""
        now_ms = self._clock.now().boot_ms
        at = min(until_ms, min(self._due.values(), default=until_ms), self._own_due_ms(until_ms))
        ready = self._selector.select(max(0, at - now_ms) / 1000)
        self._notice_sleep()
        for key, _ in ready:
            key.data()
        self._tick()

    def _notice_sleep(self) -> None:
        now = self._clock.now()
        slept_ms, self._slept_ms = now.boot_ms - now.awake_ms - self._slept_ms, now.boot_ms - now.awake_ms
        if slept_ms > SLEPT_MS:
            for key in list(self.slots):
                self.tell(key, seen.Slept(slept_ms))

    def clock_was_set(self) -> bool:
        """Whether somebody set the wall clock since this was asked: what waits for a time may be due."""
        now = self._clock.now()
        before, self._offset_ms = self._offset_ms, now.wall_ms - now.boot_ms
        return abs(self._offset_ms - before) > SLEPT_MS

    def catch_up(self) -> None:
        """Write ends and extend leases that are overdue before a claim or a sweep takes those tasks for lost: this
        process was stopped, or the store took no writes or kept it waiting."""
        now_ms = self._clock.now().boot_ms
        if self._recorder.due:
            self._recorder.hurry(now_ms)
            self._record_again(now_ms)
        for key in [key for key, at in self._due.items() if at <= now_ms - LATE_MS]:
            self.tell(key, seen.Delayed())

    def recheck(self) -> None:
        """Ask of every running attempt whether its task is still its own: some have just passed their deadline."""
        for key, slot in list(self.slots.items()):
            run = slot.run
            if run is not None and run.task is not None and run.n is not None and run.end is None:
                for fact in self.hands.extend(do.Extend(run.task, run.n, slot.want.lease_ms), run):
                    self.tell(key, fact)

    def _own_due_ms(self, until_ms: int) -> int:
        due = [until_ms, *(one.at_ms for one in self._recorder.due.values())]
        if self._dirty:
            due.append(self._flush_ms)
        if self._fill_ms:
            due.append(self._fill_ms)
        if any(live.shim is not None and live.shim.fileno() < 0 for live in self.hands.live.values()):
            due.append(self._clock.now().boot_ms + NO_PIDFD_MS)
        return min(due)

    def _tick(self) -> None:
        now = self._clock.now()
        for key in [key for key, at in self._due.items() if at <= now.boot_ms]:
            self.tell(key, seen.Ticked())
            if self._due.get(key, now.boot_ms + 1) <= now.boot_ms:
                self._due[key] = now.boot_ms + SPIN_MS
        self._record_again(now.boot_ms)
        for live in [one for one in self.hands.live.values() if one.shim is not None and one.shim.fileno() < 0]:
            if live.shim is not None and live.shim.ended():
                self.ended(live)
        if self._dirty and now.boot_ms >= self._flush_ms:
            self.flush()
        if self._fill_ms and now.boot_ms >= self._fill_ms:
            self._fill_ms = now.boot_ms + FILL_MS if self._pool.fill() else 0

    # --- facts ------------------------------------------------------------------------------------------------
    def tell(self, key: Key, fact: seen.Fact) -> None:
        """Take a fact about a slot in, with all that follows from it."""
        pending: deque[tuple[Key, seen.Fact]] = deque([(key, fact)])
        for _ in range(MAX_FACTS):
            if not pending:
                return
            key, fact = pending.popleft()
            slot = self.slots.get(key)
            if slot is None:
                continue
            now = self._clock.now()
            for action in decide(Snapshot(slot, fact, self._clock.random()), now):
                followed = self._perform(key, action)
                pending.extendleft((key, one) for one in reversed(followed))
            self._settle(key)
        raise RuntimeError(f"{key}: {MAX_FACTS} facts followed from one; the last is {fact}")

    def _perform(self, key: Key, action: do.Action) -> list[seen.Fact]:
        slot = self.slots[key]
        match action:
            case do.Become():
                # What counts towards a start limit is written at once: a supervisor killed meanwhile forgets it.
                self._urgent |= action.slot.history != slot.history
                self.slots[key] = action.slot
            case do.Claim():
                return self._claim(key, slot)
            case do.Open():
                return self._opened(self.hands.open(slot))
            case do.NoteStart():
                self._starts[action.session] = action.pid
            case do.Stop():
                return self.hands.stop(action)
            case do.Record():
                return self._record(key, action)
            case do.Verify():
                return self._verify(key, slot)
            case do.Extend() if slot.run is not None:
                return self.hands.extend(action, slot.run)
            case do.Look():
                return self.hands.look(action.session)
            case do.Probe():
                self.hands.probe(slot, action)
            case do.Gone():
                self._forget(key)
            case do.Tell():
                self.narrate(action.kind, action.text)
            case _:
                pass
        return []

    def _claim(self, key: Key, slot: Slot) -> list[seen.Fact]:
        if slot.agent in self._dry:
            return []
        known = self._limited.get(slot.agent)  # what kept another slot of this agent a moment ago keeps this one too
        if known is not None and known.until_ms > self._clock.now().boot_ms:
            return [known]
        self.catch_up()
        found = self.hands.claim(slot)
        if not found:
            self._dry.add(slot.agent)
            return [seen.Limited("", 0)] if slot.limited_until_ms or slot.limited else []
        if isinstance(found[0], seen.Limited):
            self._limited[slot.agent] = found[0]
        return self._opened(found)

    def _opened(self, found: list[seen.Fact]) -> list[seen.Fact]:
        for fact in found:
            if isinstance(fact, seen.Opened):
                self.watch(self.hands.live[fact.session])
                # Spares are replaced when there is time, not before the work.
                self._fill_ms = self._fill_ms or self._clock.now().boot_ms + FILL_MS
        return found

    def _verify(self, key: Key, slot: Slot) -> list[seen.Fact]:
        found = verify(self.hands, slot)
        if not found and slot.run is not None:
            self.watch(self.hands.live[slot.run.session])
            self._fill_ms = self._fill_ms or self._clock.now().boot_ms + FILL_MS
        return found

    def _record(self, key: Key, action: do.Record) -> list[seen.Fact]:
        live, run = self.hands.live.get(action.session), self.slots[key].run
        if live is None or run is None:
            return []
        end_stray(live)
        recorded = self._recorder.record(key, run, action.end, live.folder, self.slots[key].want.lease_ms)
        if recorded is None:
            if not self.storeless:
                self.narrate(
                    "failure", f"{live.key[0]}/{live.key[1]}: the store takes no writes now; its result is kept"
                )
            return []
        self._close(live)
        return [recorded]

    def _record_again(self, now_ms: int) -> None:
        for due, recorded in self._recorder.again(now_ms):
            live = self.hands.live.get(due.run.session)
            if live is not None:
                self._close(live)
            self.tell(due.key, recorded)

    def ended(self, live: Live) -> None:
        """A session's shim has gone: hear its last words, then its end."""
        if live.over:
            return
        if live.shim is not None:
            if live.shim.fileno() >= 0:
                self._selector.unregister(live.shim.fileno())
            live.shim.close()
        for fact in live.news(self._clock.now()):
            if not isinstance(fact, seen.Started):
                self.tell(live.key, fact)
        slot = self.slots.get(live.key)
        retry_after_ms = slot.run.retry_after_ms if slot is not None and slot.run is not None else None
        self.tell(live.key, live.end(retry_after_ms))

    def hear(self, live: Live) -> None:
        """Take in what a session's files say that is new."""
        if not live.over:
            for fact in live.news(self._clock.now()):
                self.tell(live.key, fact)

    def overspent(self, found: list[tuple[int, seen.Overspent]]) -> None:
        """Tell the slots whose running attempts a spent budget is to end."""
        for session, fact in found:
            live = self.hands.live.get(session)
            if live is not None and not live.over:
                self.tell(live.key, fact)

    def work(self, agents: set[str] | None = None) -> None:
        """Work may be there for these agents (None: all): idle slots try to claim, until one finds nothing."""
        self._dry -= self._dry if agents is None else agents
        self._limited.clear()
        for key, slot in list(self.slots.items()):
            if slot.phase == "idle" and slot.agent not in self._dry and (agents is None or slot.agent in agents):
                self.tell(key, seen.WorkSeen())

    # --- after a decision -------------------------------------------------------------------------------------
    def _settle(self, key: Key) -> None:
        slot = self.slots.get(key)
        if slot is None:
            return
        due = next_due_ms(slot)
        if due is None:
            self._due.pop(key, None)
        else:
            self._due[key] = due
        if self._urgent or not self._dirty:
            self._flush_ms = self._clock.now().boot_ms + (0 if self._urgent else FLUSH_MS)
            self._urgent = False
        self._dirty.add(key)

    def flush(self) -> None:
        """Write the rows of slots that look different now, and tell changes of health."""
        now = self._clock.now()
        for session, pid in self._starts.items():
            live = self.hands.live.get(session)  # a short task's start is not worth a write: its end says it all
            if live is not None and not live.noted:
                live.noted = self.hands.note_start(session, pid)
        self._starts.clear()
        shown = [key for key in self._dirty if key in self.slots and key[1] < BESIDE]
        rows = {key: instance_of(self.slots[key], now) for key in shown}
        changed = {key: row for key, row in rows.items() if not same_row(row, self.saved.get(key))}
        # Looked at again: a start may turn out to be slow.
        self._dirty = {key for key in shown if just_begun(self.slots[key], now)}
        if self._dirty:
            self._flush_ms = now.boot_ms + FLUSH_MS
        if not changed:
            return
        self._tell_health(changed)
        if self.hands.save(list(changed.values())):
            self.saved |= changed
        else:
            self._dirty |= set(changed)
            self._flush_ms = now.boot_ms + 1_000

    def _tell_health(self, changed: dict[Key, Instance]) -> None:
        held = {key for key in changed if held_back(self.slots[key])}
        news = sorted(held - self._held)
        self._held = (self._held - changed.keys()) | held
        if news:  # told once for all: the machine lacks something, not one of them
            row, are = changed[news[0]], f" and {len(news) - 1:,} more are" if news[1:] else " is"
            self.narrate("health", f"{row.agent}/{row.slot}{are} {row.health}: {row.reason}")
        for key, row in changed.items():
            before = self.saved.get(key)
            known = before is not None and before.phase in ("idle", "busy") and row.phase in ("idle", "busy")
            if before is None or not known or key in held:
                continue
            if row.health in ("degraded", "unhealthy") and before.health != row.health:
                self.narrate("health", f"{row.agent}/{row.slot} is {row.health}: {row.reason}")
            elif row.health == "healthy" and before.health in ("degraded", "unhealthy"):
                self.narrate("health", f"{row.agent}/{row.slot} is healthy")

    def _forget(self, key: Key) -> None:
        self.slots.pop(key, None)
        self.saved.pop(key, None)
        self._held.discard(key)
        self._due.pop(key, None)
        self._dirty.discard(key)
        self.hands.drop(key)

    def _close(self, live: Live) -> None:
        self.hands.live.pop(live.session, None)
        if live.shim is not None:
            live.shim.close()

    def narrate(self, kind: str, text: str) -> None:
        """Tell a person, and count."""
        self.counts[kind] += 1
        self._on_event(Happening(self._clock.now().wall_ms, kind, text))

    @property
    def settled(self) -> bool:
        """Whether nothing runs and nothing is left to record."""
        quiet = all(slot.run is None and slot.phase in ("stopped", "failed") for slot in self.slots.values())
        return quiet and not self._recorder.due

    @property
    def over(self) -> bool:
        """Whether no process runs; ends that the store would not take are left to the next supervisor."""
        return all(slot.run is None or slot.run.end is not None for slot in self.slots.values())

    def warm(self) -> None:
        """Begin to start spare shims."""
        self._fill_ms = self._clock.now().boot_ms

    def close(self) -> None:
        """Give all descriptors back. Sessions that still run go on."""
        for live in list(self.hands.live.values()):
            self._close(live)
        self._selector.close()
