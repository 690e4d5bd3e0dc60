"""Serving calls: all that wait in one commit, each in a savepoint of its own, answered only after the commit.

What cannot be answered yet waits here: claims until there is work, which they are given in the transaction that brought
it, and calls that wait for news of the history.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from ..domain.event import WAKES
from ..errors import AgentctlError, Refused, StoreError
from .calls import CLAIMS, ONCE, READS
from .refusals import Refusals
from .rights import allow, allow_still, renumber, withhold
from .wire import ERROR, MAX_ANSWER, VALUE, Malformed, error_words, frame, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from ..clock import Clock, Moment
    from ..domain.task import Claim
    from ..sqlite.driver import SqliteDriver
    from ..sqlite.transaction import Group, Transaction
    from .peer import Peer

RECEIPT_MS = 60_000  #: how long a caller may take to ask what it was answered
MOST_WAITING = 10_000  #: calls that wait at once


class Call:
    """A call as it came: checked, not served."""

    __slots__ = ("arguments", "came", "number", "peer", "until_ms", "verb")

    def __init__(self, peer: Peer, number: int, verb: str, arguments: dict[str, Any]) -> None:
        self.peer, self.number, self.verb, self.arguments = peer, number, verb, arguments
        self.until_ms = 0  #: boot time at which one that waits is answered all the same; 0: it does not wait
        self.came = 0  #: which of those who wait it is, the first being 1


class Answer:
    """What goes to a peer once it is true, and the claims in it, which must not be lost with the peer."""

    __slots__ = ("claims", "data", "peer")

    def __init__(self, peer: Peer, data: bytes, claims: tuple[tuple[int, int], ...] = ()) -> None:
        self.peer, self.data, self.claims = peer, data, claims


class Desk:
    """Holds the driver and what waits. One thread's."""

    def __init__(self, driver: SqliteDriver, clock: Clock, tell: Callable[[Exception], None]) -> None:
        self.driver = driver
        self.refusals = Refusals()
        self._clock = clock
        self._tell_of = tell
        self._fed: list[Call] = []  #: who waited and was given work in the transaction that is open
        self._parked = 0  #: how many have ever waited
        self._claims: dict[tuple[str, ...], deque[Call]] = {}  #: by the queues they wait for, first come first served
        self._watches: list[Call] = []
        self._due_ms: int | None = None  #: boot time of the first that has waited long enough

    # --- one batch --------------------------------------------------------------------------------------------
    def serve(self, calls: list[Call], alive: Callable[[], None]) -> list[Answer]:
        """Serve all; what is returned is committed. `alive` marks the peers that have gone, with the store in hand."""
        if all(call.verb in READS for call in calls):
            return [answer for call in calls if (answer := self._read(call)) is not None]
        answers: list[Answer] = []
        now = self._clock.now()
        try:
            with self.driver.conn.together(now) as group:
                alive()
                for call in calls:
                    if call.peer.gone:  # it may have gone to the file meanwhile, and done there what it asked here
                        continue
                    answer = self._read(call) if call.verb in READS else self._write(call, group, now)
                    if answer is not None:
                        answers.append(answer)
                self._feed(group, now, answers)
        except Exception as error:
            # Nothing of it was committed, or nobody knows: the error says which. Those who wait were given nothing.
            self._wait_on()
            return [self._failed(call, error) for call in calls if not call.peer.gone and not call.until_ms]
        self._fed.clear()
        self._tell(group, answers)
        return answers

    def _write(self, call: Call, group: Transaction, now: Moment) -> Answer | None:
        peer, verb, arguments = call.peer, call.verb, call.arguments
        try:
            if peer.identity is not None:
                allow(peer.identity, verb, arguments, self.driver)
            if verb == "claim":
                return self._claim(call, group, now)
            if verb == "add" and peer.identity is not None:
                renumber(arguments["tasks"], now)
            value = getattr(self.driver, verb)(**arguments, now=now)
            if verb == "add" and peer.identity is not None:
                value = withhold(peer.identity, value, self.driver)
            answer = Answer(peer, frame([call.number, VALUE, value], MAX_ANSWER))
            if verb in ONCE:
                kept = value
                if verb in CLAIMS and value.claim is not None:
                    answer.claims = ((value.claim.task.id, value.claim.n),)
                    kept = [value.ended, answer.claims]
                elif verb in CLAIMS:
                    kept = [value.ended, ()]
                self.driver.keep_receipt(group, peer.client, call.number, text_of(kept))
            return answer
        except Exception as error:
            return self._failed(call, error)

    def _claim(self, call: Call, group: Transaction, now: Moment) -> Answer | None:
        won = self._win(call, group, now)
        if won is not None:
            return won
        wait_ms = call.arguments["wait_ms"]
        if not wait_ms or self._waiting() >= MOST_WAITING:
            return Answer(call.peer, frame([call.number, VALUE, []], MAX_ANSWER))
        self._park(call, now.boot_ms + wait_ms)
        self._claims.setdefault(call.arguments["queues"], deque()).append(call)
        return None

    def _win(self, call: Call, group: Transaction, now: Moment) -> Answer | None:
        """Claim for a call; None when there is nothing. Fewer tasks than asked when they do not fit an answer."""
        arguments = call.arguments
        while True:
            try:
                with self.driver.conn.write(now):
                    won: list[Claim] = self.driver.claim(**arguments, now=now)
                    if not won:
                        return None
                    data = frame([call.number, VALUE, won], MAX_ANSWER)
                    claims = tuple([(one.task.id, one.n) for one in won])
                    self.driver.keep_receipt(group, call.peer.client, call.number, text_of(claims))
                return Answer(call.peer, data, claims)
            except Malformed:
                arguments["limit"] = len(won) // 2 or 1

    def _feed(self, group: Group, now: Moment, answers: list[Answer]) -> None:
        """Give work that this transaction brought to the claims that wait for it."""
        if self._claims and any(WAKES.get(one[0]) == b"task" for one in group.told):
            self._feed_all(group, now, answers)

    def _feed_all(self, group: Group, now: Moment, answers: list[Answer]) -> None:
        """Give what is ready to those who wait, whoever came first first, whatever queues they named."""
        heads = [(line[0].came, queues) for queues, line in self._claims.items()]
        heapify(heads)
        while heads:
            queues = heappop(heads)[1]
            line = self._claims[queues]
            call = line[0]
            if not call.peer.gone:
                answer = self._feed_one(call, group, now)
                if answer is None:
                    continue  # nothing in these queues
                answers.append(answer)
                self._fed.append(call)
            line.popleft()
            if line:
                heappush(heads, (line[0].came, queues))
            else:
                del self._claims[queues]

    def _feed_one(self, call: Call, group: Group, now: Moment) -> Answer | None:
        try:
            if call.peer.identity is not None:
                allow_still(call.peer.identity, self.driver)
            return self._win(call, group, now)
        except Exception as error:
            return self._failed(call, error)

    def _wait_on(self) -> None:
        """Put those back who were given what was not committed."""
        for call in reversed(self._fed):
            self._claims.setdefault(call.arguments["queues"], deque()).appendleft(call)
        self._fed.clear()

    # --- reads and news ---------------------------------------------------------------------------------------
    def _read(self, call: Call) -> Answer | None:
        peer, arguments = call.peer, call.arguments
        try:
            if peer.identity is not None:
                allow(peer.identity, call.verb, arguments, self.driver)
            if call.verb == "changed":
                return self._changed(call)
            if call.verb == "receipt":
                arguments["client"] = peer.client  # nobody reads another's
            elif call.verb == "parents":
                arguments["most"] = MAX_ANSWER
            value = getattr(self.driver, call.verb)(**arguments)
            return Answer(peer, frame([call.number, VALUE, value], MAX_ANSWER))
        except Exception as error:
            return self._failed(call, error)

    def _changed(self, call: Call) -> Answer | None:
        wait_ms, call.arguments["wait_ms"] = call.arguments["wait_ms"], 0
        last = self.driver.changed(**call.arguments)
        if last > call.arguments["after"] or not wait_ms or self._waiting() >= MOST_WAITING:
            return Answer(call.peer, frame([call.number, VALUE, last], MAX_ANSWER))
        self._park(call, self._clock.now().boot_ms + wait_ms)
        self._watches.append(call)
        return None

    def _tell(self, group: Group, answers: list[Answer]) -> None:
        """Answer those who wait for news of what was just committed."""
        if not self._watches or not group.told:
            return
        tasks, last = {one[1] for one in group.told}, self.driver.conn.last
        waiting = []
        for call in self._watches:
            wanted = call.arguments["task"]
            if wanted is None or wanted in tasks:
                answers.append(Answer(call.peer, frame([call.number, VALUE, last], MAX_ANSWER)))
            else:
                waiting.append(call)
        self._watches = waiting

    # --- what waits -------------------------------------------------------------------------------------------
    def _park(self, call: Call, until_ms: int) -> None:
        self._parked += 1
        call.until_ms, call.came = until_ms, self._parked
        self._due_ms = until_ms if self._due_ms is None else min(self._due_ms, until_ms)

    def _waiting(self) -> int:
        return len(self._watches) + sum(len(line) for line in self._claims.values())

    @property
    def waits(self) -> bool:
        """Whether anybody waits here."""
        return bool(self._watches or self._claims)

    @property
    def due_ms(self) -> int | None:
        """Boot time at which `look` is due at the latest; None when nobody waits."""
        return self._due_ms if self.waits else None

    def look(self) -> list[Answer]:
        """Serve those who wait from what others committed or time brought, and answer whose time is up."""
        answers: list[Answer] = []
        now = self._clock.now()
        if self._claims:
            try:
                with self.driver.conn.together(now) as group:
                    self._feed_all(group, now, answers)
            except Exception as error:
                answers = []  # the store is busy or full: they go on waiting, and were given nothing
                self._wait_on()
                if not isinstance(error, AgentctlError):
                    self._tell_of(error)
            self._fed.clear()
        still = []
        for call in self._watches:
            try:
                last = self.driver.changed(**call.arguments)
            except Exception as error:
                answers.append(self._failed(call, error))
                continue
            if last > call.arguments["after"] or call.until_ms <= now.boot_ms:
                answers.append(Answer(call.peer, frame([call.number, VALUE, last], MAX_ANSWER)))
            else:
                still.append(call)
        self._watches = still
        return answers + self._overdue(now.boot_ms)

    def _overdue(self, now_ms: int) -> list[Answer]:
        if self._due_ms is None or now_ms < self._due_ms:
            return []
        over: list[Answer] = []
        for queues, line in list(self._claims.items()):
            over += [Answer(c.peer, frame([c.number, VALUE, []], MAX_ANSWER)) for c in line if c.until_ms <= now_ms]
            self._claims[queues] = deque(call for call in line if call.until_ms > now_ms)
            if not self._claims[queues]:
                del self._claims[queues]
        left: Iterable[Call] = [*self._watches, *(call for line in self._claims.values() for call in line)]
        self._due_ms = min((call.until_ms for call in left), default=None)
        return over

    def leave(self, peer: Peer) -> None:
        """Forget what a peer that has gone was waiting for."""
        self._watches = [call for call in self._watches if call.peer is not peer]
        for queues, line in list(self._claims.items()):
            kept = deque(call for call in line if call.peer is not peer)
            if kept:
                self._claims[queues] = kept
            else:
                del self._claims[queues]

    def give_back(self, claims: list[tuple[int, int]]) -> None:
        """Release what was claimed for peers that went away before they were told."""
        now = self._clock.now()
        for task, n in claims:
            try:
                self.driver.release(
                    task, n, reason="its claimer went away before it was told", end_session=None, now=now
                )
            except AgentctlError:
                pass  # its lease will run out

    def tidy(self) -> None:
        """Forget answers nobody will ask for any more."""
        try:
            self.driver.forget_receipts(older_than_ms=RECEIPT_MS, now=self._clock.now())
        except AgentctlError:
            pass

    def tell_refusals(self) -> None:
        """Write into the history who was refused what."""
        try:
            self.refusals.write(self.driver, self._clock.now())
        except AgentctlError:
            pass  # a full disk must not keep anybody from being answered

    def _failed(self, call: Call, error: Exception) -> Answer:
        if isinstance(error, Refused):
            self.refusals.add(call.peer, call.verb, error, self._clock.now().boot_ms)
        elif not isinstance(error, AgentctlError):
            # A mistake of ours, in one call: its savepoint is undone, its neighbours are not to suffer from it. The
            # caller is not told its words: they may quote what is another's.
            self._tell_of(error)
            error = StoreError(f"the broker could not serve {call.verb}: {type(error).__name__}", "Please report it")
        return Answer(call.peer, frame([call.number, ERROR, error_words(error)], MAX_ANSWER))
