"""Serving calls: all that wait in one commit, each in a savepoint of its own, answered only after the commit.

What cannot be answered yet waits here: claims until there is work, which they are given in the transaction that brought
it, and calls that wait for news of the history.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from ..domain.event import WAKES
from ..errors import AgentctlError, Refused, StoreError
from .calls import CLAIMS, ONCE, READS, reach
from .message_rights import restamp
from .peer import Answer
from .refusals import Refusals
from .rights import allow, allow_still, renumber, withhold
from .waiting import Call, Waiting, inbox, is_inbox
from .wire import ERROR, MAX_ANSWER, VALUE, Malformed, error_words, frame, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from ..clock import Clock, Moment
    from ..sqlite.driver import SqliteDriver
    from ..sqlite.transaction import Group, Transaction
    from .peer import Peer
    from .waiting import Fed, Line

_UNTOLD = "its claimer was never told"
RECEIPT_MS = 60_000  #: how long a caller may take to ask what it was answered


class Desk:
    """Holds the driver and what waits. One thread's."""

    def __init__(self, driver: SqliteDriver, clock: Clock, mistake: Callable[[Exception], None]) -> None:
        self.driver = driver
        self.refusals = Refusals()
        self._clock = clock
        self._mistake = mistake  #: hears of errors that are none of ours
        self._waiting = Waiting()

    # --- one batch --------------------------------------------------------------------------------------------
    def serve(self, calls: list[Call], alive: Callable[[], None]) -> list[Answer]:
        """Serve all; what is returned is committed. `alive` marks the peers that have gone, with the store in hand."""
        if all(call.verb in READS for call in calls):
            return [answer for call in calls if (answer := self._read(call)) is not None]
        answers: list[Answer] = []
        handed: list[Answer] = []  #: what the others' calls brought to those who wait
        now = self._clock.now()
        try:
            with self.driver.conn.together(now) as group:
                alive()
                group.claims = sum(call.verb in CLAIMS for call in calls)
                for call in calls:
                    if call.peer.gone:  # it may have gone to the file meanwhile, and done there what it asked here
                        continue
                    answer = self._read(call) if call.verb in READS else self._write(call, group, now)
                    if answer is not None:
                        answers.append(answer)
                fed = self._feed(group, now, handed)
        except Exception as error:
            return self._undone(calls, handed + answers, error)
        self._waiting.take_off(fed)
        self._tell(group, answers)
        return handed + answers  # first whom work has come to, who begins with it now

    def _undone(self, calls: list[Call], answers: list[Answer], error: Exception) -> list[Answer]:
        """Nothing of a batch was committed, or nobody knows (the error says which): tell all who asked in it.

        Reads go on while writes fail, and who waited from before goes on waiting.
        """
        self.give_back([answer for answer in answers if answer.claims])  # it may have been committed all the same
        told: list[Answer] = []
        for call in calls:
            if call.peer.gone:
                continue
            if call.verb not in READS:
                self._waiting.unpark(call)
                told.append(self.failed(call, error))
            elif not call.until_ms and (answer := self._read(call)) is not None:
                told.append(answer)
        return told

    def _write(self, call: Call, group: Transaction, now: Moment) -> Answer | None:
        peer, verb, arguments = call.peer, call.verb, call.arguments
        try:
            if peer.identity is not None:
                allow(peer.identity, verb, arguments, self.driver)
            if call.line is not None:
                return self._claim(call, group, now)
            if verb not in ONCE:
                value = reach(self.driver, verb)(**arguments, now=now)
                return Answer(peer, frame([call.number, VALUE, value], MAX_ANSWER))
            with self.driver.conn.write(now):  # what cannot be told, or noted as told, is not to be done either
                return self._once(call, group, now)
        except Exception as error:
            return self.failed(call, error)

    def _once(self, call: Call, group: Transaction, now: Moment) -> Answer:
        peer, verb = call.peer, call.verb
        mine = peer.identity if verb == "add" else None
        if mine is not None:
            renumber(call.arguments["tasks"], now)
        elif verb == "messages.send" and peer.identity is not None:
            restamp(call.arguments["message"], now)
        value: Any = reach(self.driver, verb)(**call.arguments, now=now)
        if mine is not None:
            value = withhold(mine, value, self.driver)
        kept = value
        answer = Answer(peer, frame([call.number, VALUE, value], MAX_ANSWER), (), call.number)
        if verb in CLAIMS:
            if value.claim is not None:
                answer.claims = ((value.claim.task.id, value.claim.n),)
            kept = [value.ended, answer.claims]
        if verb == "add" and not any(one.created for one in value):
            return answer  # said again it is answered the same, and the results in it may be large
        self.driver.keep_receipt(group, peer.client, call.number, text_of(kept))
        return answer

    def _claim(self, call: Call, group: Transaction, now: Moment) -> Answer | None:
        won = self._win(call, group, now)
        if won is not None:
            return won
        wait_ms = call.arguments["wait_ms"]
        if not wait_ms or self._waiting.full:
            return Answer(call.peer, frame([call.number, VALUE, []], MAX_ANSWER))
        self._waiting.park(call, now.boot_ms + wait_ms)
        self._note_hold(call, now)
        return None

    def _note_hold(self, call: Call, now: Moment) -> None:
        """Note when a limit that holds a claim back may let it through: no commit will announce that."""
        if call.verb == "claim" and self.driver.conn.limited():
            held = self.driver.limits.hold(call.arguments["queues"], call.arguments["agent"], now.wall_ms)
            if held is not None and held.until_ms is not None:
                self._waiting.hold(now.boot_ms + max(held.until_ms - now.wall_ms, 1))

    def _win(self, call: Call, group: Transaction, now: Moment) -> Answer | None:
        """Claim or read for a call; None when there is nothing. Fewer than asked when they do not fit an answer."""
        arguments = call.arguments
        while True:
            try:
                with self.driver.conn.write(now):
                    won: list[Any] = reach(self.driver, call.verb)(**arguments, now=now)
                    if not won:
                        return None
                    data = frame([call.number, VALUE, won], MAX_ANSWER)
                    claims = tuple([((one.task if call.verb == "claim" else one.message).id, one.n) for one in won])
                    self.driver.keep_receipt(group, call.peer.client, call.number, text_of(claims))
                return Answer(call.peer, data, claims, call.number, call.verb)
            except Malformed:
                arguments["limit"] = len(won) // 2 or 1

    def _feed(self, group: Group, now: Moment, answers: list[Answer]) -> Fed:
        """Give what this transaction brought to those who wait for it."""
        lines = self._waiting.lines
        mail = self.driver.messages.shared.arrived
        arrived = [inbox(agent) for agent in mail]
        mail.clear()
        if not lines:
            return {}
        fed = [name for name in arrived if name in lines]
        limited = bool(group.told) and self.driver.conn.limited()  # any end may be what they wait for
        if limited or any(WAKES.get(one[0]) == b"task" for one in group.told):
            fed += [name for name in lines if not is_inbox(name)]
        return self._feed_all(group, now, answers, fed)

    def _feed_all(self, group: Group, now: Moment, answers: list[Answer], names: Iterable[Line]) -> Fed:
        """Serve those who wait in these lines, whoever came first first.

        Returns how many are to be taken off each line, once that is committed.
        """
        lines = self._waiting.lines
        served = dict.fromkeys(names, 0)
        heads = [(lines[name][0].came, name) for name in served]
        heapify(heads)
        empty: set[Any] = set()  # queues that have nothing for anybody
        limited = bool(self.driver.conn.limited())
        self._waiting.feed(served)
        while heads:
            name = heappop(heads)[1]
            if name[0] in empty:
                continue
            line = lines[name]
            call = line[served[name]]
            if not call.peer.gone:
                answer = self._feed_one(call, group, now)
                if answer is None:  # nothing is left for these, or nothing that this line may take
                    if not is_inbox(name) and not self.driver.conn.laned and not limited:
                        empty.add(name[0])
                    self._note_hold(call, now)
                    continue
                answers.append(answer)
            served[name] += 1
            if served[name] < len(line):
                heappush(heads, (line[served[name]].came, name))
        return served

    def _feed_one(self, call: Call, group: Group, now: Moment) -> Answer | None:
        try:
            if call.peer.identity is not None:
                allow_still(call.peer.identity, self.driver)
            return self._win(call, group, now)
        except Exception as error:
            return self.failed(call, error)

    # --- reads and news ---------------------------------------------------------------------------------------
    def _read(self, call: Call) -> Answer | None:
        peer, arguments = call.peer, dict(call.arguments)  # its own: a batch that fails is read again
        try:
            if peer.identity is not None:
                allow(peer.identity, call.verb, arguments, self.driver)
            if call.verb == "changed":
                return self._changed(call)
            if call.verb == "receipt":
                if arguments["client"] != peer.said:
                    raise Refused("a receipt is another client's", "Ask for your own")
                arguments["client"] = peer.client
            elif call.verb == "parents":
                arguments["most"] = MAX_ANSWER
            value = reach(self.driver, call.verb)(**arguments)
            return Answer(peer, frame([call.number, VALUE, value], MAX_ANSWER))
        except Exception as error:
            return self.failed(call, error)

    def _changed(self, call: Call) -> Answer | None:
        wait_ms, call.arguments["wait_ms"] = call.arguments["wait_ms"], 0
        last = self.driver.changed(**call.arguments)
        if last > call.arguments["after"] or not wait_ms or self._waiting.full:
            return Answer(call.peer, frame([call.number, VALUE, last], MAX_ANSWER))
        self._waiting.park(call, self._clock.now().boot_ms + wait_ms)
        return None

    def _tell(self, group: Group, answers: list[Answer]) -> None:
        """Answer those who wait for news of what was just committed."""
        if not self._waiting.watches or not group.told:
            return
        tasks, last = {one[1] for one in group.told}, self.driver.conn.last
        waiting = []
        for call in self._waiting.watches:
            wanted = call.arguments["task"]
            if wanted is None or wanted in tasks:
                answers.append(Answer(call.peer, frame([call.number, VALUE, last], MAX_ANSWER)))
            else:
                waiting.append(call)
        self._waiting.watches = waiting

    # --- what waits -------------------------------------------------------------------------------------------
    @property
    def waits(self) -> bool:
        """Whether anybody waits here."""
        return self._waiting.any

    @property
    def due_ms(self) -> int | None:
        """Boot time at which `look` is due at the latest; None when nobody waits."""
        return self._waiting.due_ms

    def look(self, alive: Callable[[], None]) -> list[Answer]:
        """Serve those who wait from what others committed or time brought, and answer whose time is up."""
        answers: list[Answer] = []
        now = self._clock.now()
        if self._waiting.lines:
            try:
                with self.driver.conn.together(now) as group:
                    alive()
                    fed = self._feed_all(group, now, answers, self._waiting.lines)
            except Exception as error:
                # The store is busy or full: they go on waiting.
                if not isinstance(error, AgentctlError):
                    self._mistake(error)
                self.give_back([answer for answer in answers if answer.claims])
                answers = []
            else:
                self._waiting.take_off(fed)
        still = []
        for call in self._waiting.watches:
            try:
                last = self.driver.changed(**call.arguments)
            except Exception as error:
                answers.append(self.failed(call, error))
                continue
            if last > call.arguments["after"] or call.until_ms <= now.boot_ms:
                answers.append(Answer(call.peer, frame([call.number, VALUE, last], MAX_ANSWER)))
            else:
                still.append(call)
        self._waiting.watches = still
        over = self._waiting.overdue(now.boot_ms)
        return answers + [Answer(call.peer, frame([call.number, VALUE, []], MAX_ANSWER)) for call in over]

    def leave(self, peer: Peer) -> None:
        """Forget what a peer that has gone was waiting for."""
        self._waiting.leave(peer)

    def give_back(self, untold: list[Answer]) -> None:
        """Give back what was claimed or read for peers that went away before they were told.

        Unless they asked for the receipt meanwhile, on the file itself: whoever drops it decides.
        """
        if not untold:
            return
        now = self._clock.now()
        try:
            with self.driver.conn.together(now) as group:
                for answer in untold:
                    if self.driver.drop_receipt(group, answer.peer.client, answer.number):
                        self._release(answer, now)
        except AgentctlError:
            pass  # their leases will run out

    def _release(self, answer: Answer, now: Moment) -> None:
        for number, n in answer.claims:
            try:
                if answer.verb == "messages.read":
                    self.driver.messages.give_back(number, n, now=now)
                else:
                    self.driver.release(number, n, reason=_UNTOLD, end_session=None, usage=None, now=now)
            except AgentctlError:
                pass  # it has been lost already

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

    def failed(self, call: Call, error: Exception) -> Answer:
        """Return what a call is told that came to nothing."""
        return Answer(call.peer, self.error_frame(call.peer, call.number, call.verb, error))

    def error_frame(self, peer: Peer, number: int, verb: str, error: Exception) -> bytes:
        """Return the frame that tells an error. A refusal is noted; of a mistake of ours a person is told.

        Only its own call is to suffer from that, and its caller does not learn its words: they may quote another's.
        """
        if isinstance(error, Refused):
            self.refusals.add(peer, verb, error, self._clock.now().boot_ms)
        elif not isinstance(error, AgentctlError):
            self._mistake(error)
            error = StoreError(f"the broker could not serve {verb}: {type(error).__name__}", "Please report it")
        return frame([number, ERROR, error_words(error)], MAX_ANSWER)
