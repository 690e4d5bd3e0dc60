"""Serving calls: all that wait in one commit, each in a savepoint of its own, answered only after the commit.

What cannot be answered yet waits here: claims until there is work, which they are given in the transaction that brought
it, and calls that wait for news of the history.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ..domain.event import KINDS, WAKES
from ..errors import AgentctlError, Refused, StoreError
from ..jsontext import dumps
from .calls import CLAIMS, ONCE, READS
from .rights import allow
from .wire import ERROR, MAX_ANSWER, VALUE, Malformed, error_words, frame, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from ..clock import Clock, Moment
    from ..domain.task import Claim
    from ..sqlite.driver import SqliteDriver
    from ..sqlite.transaction import Group, Transaction
    from .peer import Peer

    Fed = dict[tuple[str, ...], int]  #: by queues, how many of those who wait were served

_REFUSED = KINDS["access.refused"]
REFUSAL_EVERY_MS = 1_000  #: refusals of one connection become events at most this often
RECEIPT_MS = 60_000  #: how long a caller may take to ask what it was answered
MOST_WAITING = 10_000  #: calls that wait at once


class Call:
    """A call as it came: checked, not served."""

    __slots__ = ("arguments", "number", "peer", "until_ms", "verb")

    def __init__(self, peer: Peer, number: int, verb: str, arguments: dict[str, Any]) -> None:
        self.peer, self.number, self.verb, self.arguments = peer, number, verb, arguments
        self.until_ms = 0  #: boot time at which one that waits is answered all the same


class Answer:
    """What goes to a peer once it is true, and the claims in it, which must not be lost with the peer."""

    __slots__ = ("claims", "data", "number", "peer")

    def __init__(self, peer: Peer, data: bytes, claims: tuple[tuple[int, int], ...] = (), number: int = 0) -> None:
        self.peer, self.data, self.claims, self.number = peer, data, claims, number


class Desk:
    """Holds the driver and what waits. One thread's."""

    def __init__(self, driver: SqliteDriver, clock: Clock) -> None:
        self.driver = driver
        self._clock = clock
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
                fed = self._feed(group, now, answers)
        except AgentctlError as error:
            return self._undone(calls, answers, error)
        self._take_off(fed)
        self._tell(group, answers)
        return answers

    def _undone(self, calls: list[Call], answers: list[Answer], error: AgentctlError) -> list[Answer]:
        """Nothing of a batch was committed, or nobody knows (the error says which): tell all who asked in it.

        Reads go on while writes fail, and who waited from before goes on waiting.
        """
        self.give_back([answer for answer in answers if answer.claims])  # it may have been committed all the same
        told: list[Answer] = []
        for call in calls:
            if call.peer.gone:
                continue
            if call.verb not in READS:
                self._unpark(call)
                told.append(_failed(call, error))
            elif not call.until_ms and (answer := self._read(call)) is not None:
                told.append(answer)
        return told

    def _write(self, call: Call, group: Transaction, now: Moment) -> Answer | None:
        peer, verb, arguments = call.peer, call.verb, call.arguments
        try:
            if peer.identity is not None:
                allow(peer.identity, verb, arguments, self.driver)
            if verb == "claim":
                return self._claim(call, group, now)
            if verb not in ONCE:
                value = getattr(self.driver, verb)(**arguments, now=now)
                return Answer(peer, frame([call.number, VALUE, value], MAX_ANSWER))
            with self.driver.conn.write(now):  # what cannot be told, or noted as told, is not to be done either
                return self._once(call, group, now)
        except Exception as error:
            if isinstance(error, Refused):
                self._note_refusal(call, error, group, now)
            return _failed(call, error)

    def _once(self, call: Call, group: Transaction, now: Moment) -> Answer:
        peer, verb = call.peer, call.verb
        value = kept = getattr(self.driver, verb)(**call.arguments, now=now)
        answer = Answer(peer, frame([call.number, VALUE, value], MAX_ANSWER), (), call.number)
        if verb in CLAIMS:
            if value.claim is not None:
                answer.claims = ((value.claim.task.id, value.claim.n),)
            kept = [value.ended, answer.claims]
        self.driver.keep_receipt(group, peer.client, call.number, text_of(kept))
        return answer

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
                return Answer(call.peer, data, claims, call.number)
            except Malformed:
                arguments["limit"] = len(won) // 2 or 1

    def _feed(self, group: Group, now: Moment, answers: list[Answer]) -> Fed:
        """Give work that this transaction brought to the claims that wait for it."""
        if not self._claims or not any(WAKES.get(one[0]) == b"task" for one in group.told):
            return {}
        return {queues: self._feed_one(queues, group, now, answers) for queues in self._claims}

    def _feed_one(self, queues: tuple[str, ...], group: Group, now: Moment, answers: list[Answer]) -> int:
        """Serve a line from its head; return how many are to be taken off it, once that is committed."""
        served = 0
        for call in self._claims[queues]:
            if not call.peer.gone:
                try:
                    answer = self._win(call, group, now)
                except Exception as error:
                    answer = _failed(call, error)
                if answer is None:
                    break
                answers.append(answer)
            served += 1
        return served

    def _take_off(self, fed: Fed) -> None:
        """Let those go who were served in what has been committed."""
        for queues, count in fed.items():
            line = self._claims[queues]
            for _ in range(count):
                line.popleft()
            if not line:
                del self._claims[queues]

    def _note_refusal(self, call: Call, error: Refused, group: Transaction, now: Moment) -> None:
        peer = call.peer
        if now.boot_ms - peer.refused_ms < REFUSAL_EVERY_MS and peer.refused_ms:
            return
        peer.refused_ms = now.boot_ms
        who = peer.identity.instance if peer.identity is not None else f"pid-{peer.pid}"
        with self.driver.conn.write(now) as tx:
            tx.event(_REFUSED, actor=who, data=dumps({"verb": call.verb, "reason": error.message}))

    # --- reads and news ---------------------------------------------------------------------------------------
    def _read(self, call: Call) -> Answer | None:
        peer, arguments = call.peer, call.arguments
        try:
            if peer.identity is not None:
                allow(peer.identity, call.verb, arguments, self.driver)
            if call.verb == "changed":
                return self._changed(call)
            if call.verb == "receipt" and arguments["client"] != peer.client:
                raise Refused("a receipt is another client's", "Ask for your own")
            value = getattr(self.driver, call.verb)(**arguments)
            return Answer(peer, frame([call.number, VALUE, value], MAX_ANSWER))
        except Exception as error:
            return _failed(call, error)

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
        call.until_ms = until_ms
        self._due_ms = until_ms if self._due_ms is None else min(self._due_ms, until_ms)

    def _unpark(self, call: Call) -> None:
        line = self._claims.get(call.arguments["queues"]) if call.until_ms else None
        if line is not None:
            line.remove(call)
            if not line:
                del self._claims[call.arguments["queues"]]

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

    def look(self, alive: Callable[[], None]) -> list[Answer]:
        """Serve those who wait from what others committed or time brought, and answer whose time is up."""
        answers: list[Answer] = []
        now = self._clock.now()
        if self._claims:
            try:
                with self.driver.conn.together(now) as group:
                    alive()
                    fed = {queues: self._feed_one(queues, group, now, answers) for queues in self._claims}
            except AgentctlError:
                # The store is busy or full: they go on waiting.
                self.give_back([answer for answer in answers if answer.claims])
                answers = []
            else:
                self._take_off(fed)
        still = []
        for call in self._watches:
            try:
                last = self.driver.changed(**call.arguments)
            except AgentctlError as error:
                answers.append(_failed(call, error))
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

    def give_back(self, untold: list[Answer]) -> None:
        """Release what was claimed for peers that went away before they were told.

        Unless they asked for the receipt meanwhile, on the file itself: whoever drops it decides.
        """
        if not untold:
            return
        now = self._clock.now()
        try:
            with self.driver.conn.together(now) as group:
                for answer in untold:
                    if self.driver.drop_receipt(group, answer.peer.client, answer.number):
                        self._release(answer.claims, now)
        except AgentctlError:
            pass  # their leases will run out

    def _release(self, claims: tuple[tuple[int, int], ...], now: Moment) -> None:
        for task, n in claims:
            try:
                self.driver.release(task, n, reason="its claimer was never told", end_session=None, now=now)
            except AgentctlError:
                pass  # it has been lost already

    def tidy(self) -> None:
        """Forget answers nobody will ask for any more."""
        try:
            self.driver.forget_receipts(older_than_ms=RECEIPT_MS, now=self._clock.now())
        except AgentctlError:
            pass


def _failed(call: Call, error: Exception) -> Answer:
    return Answer(call.peer, frame([call.number, ERROR, error_words(known(error, call.verb))], MAX_ANSWER))


def known(error: Exception, what: str) -> AgentctlError:
    """Return the error as one of ours. Otherwise it is a mistake of ours, from which only its own call is to suffer."""
    if isinstance(error, AgentctlError):
        return error
    return StoreError(f"the broker could not serve {what}: {type(error).__name__}: {error}"[:500])
