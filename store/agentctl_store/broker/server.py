"""The broker: the supervisor's thread that owns the writes of a store and serves them on a Unix socket.

Many clients on one SQLite file starve each other; one committer that takes all that waits into one transaction gives
each its turn, and each fsync does for all (measured: Jain 0.23 against 1.0, eight times the throughput).
Writes that come past it (upkeep, a caller that found no socket) are safe all the same: `write.lock` decides whose turn
it is, and the datagram after their commit wakes who waits here.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
import traceback
from collections import deque
from typing import TYPE_CHECKING

from ..errors import AgentctlError, Refused
from ..sqlite.driver import SqliteDriver
from ..wake import Waiter
from . import rooms  # noqa: F401 - loaded while there are descriptors left and the files are of one version
from .arguments import checked, is_client, is_heavy, parts
from .desk import Desk
from .door import Door
from .peer import Answer, Peer
from .shapes import read_call
from .tokens import anybody, bind
from .waiting import Call
from .wire import ERROR, MAX_ANSWER, VALUE, VERSION, Malformed, error_words, frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..clock import Clock
    from .tokens import Identity

    Identify = Callable[[int, str | None], Identity | None]

MOST_PEERS = 512
MOST_AGENTS = 448  #: connections of agents: the rest is the operator's, whatever they do
MOST_OF_ONE = 64  #: connections of one session
BATCH = 256  #: calls in one commit
LARGE = 64 << 10  #: bytes of a call that takes long for its size alone
MOST_SHOWN = 40  #: characters of a verb that is none
STUMBLE_S = 0.05  #: pause after an error of our own
MOST_STUMBLES = 10  #: rounds in a row that end in one, after which clients are better off without us
MUCH = 256 << 10  #: bytes heard of one peer beyond which it is looked at closely
HEARD_BYTES = 64 << 20  #: of calls that have come in part, of all peers
OWED_BYTES = 128 << 20  #: of answers that are not taken, of all peers
STUCK_MS = 30_000  #: a peer that takes nothing of its answers for so long is let go
LOOK_MS = 500  #: how often those who wait are served though nobody rang
TIDY_MS = 30_000


def _to_stderr(text: str) -> None:
    sys.stderr.write(text + "\n")


class Broker:
    """Serves a store from `start` to `stop`, whatever comes.

    `identify` says who a process with a token is, or raises Refused; `tell` hears, in the broker's thread, of errors
    of its own.
    """

    def __init__(
        self,
        directory: str,
        clock: Clock,
        *,
        identify: Identify = anybody,
        tell: Callable[[str], None] = _to_stderr,
        synchronous: str = "FULL",
    ) -> None:
        self._clock = clock
        self._identify = identify
        self._tell = tell
        self._desk = Desk(SqliteDriver(directory, synchronous=synchronous), clock, self._mistake)
        try:
            self._folder = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
            self._waiter = self._desk.driver.conn.waiter = Waiter(directory)
            self._desk.driver.conn.checkpoint_apart()
            self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._door = Door(directory, self._folder)
        except OSError as error:
            raise self._desk.driver.conn.explained(error) from None
        self._epoll = select.epoll()
        self._gone = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
        for descriptor in (self._door.fileno(), self._waiter.fileno(), self._bell):
            self._epoll.register(descriptor, select.EPOLLIN)
        self._peers: dict[int, Peer] = {}
        self._turn: deque[Peer] = deque()  #: peers whose next call has come whole
        self._large: deque[Peer] = deque()  #: the same, where it is a large one
        self._heavy: deque[Call] = deque()  #: calls that take long to serve
        self._bearer: Identity | None = None  #: whose call of them was the last
        self._lost: list[Answer] = []  #: claims of peers that went before they were told
        self._looked_ms = self._tidied_ms = 0
        self._rung = self._ending = False
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Finish the commit in hand, close; clients go on with the file itself."""
        self._ending = True
        os.eventfd_write(self._bell, 1)
        if self._thread.is_alive():
            self._thread.join()
        self._leave()
        self._epoll.close()
        self._desk.driver.close()  # closes the waiter
        os.close(self._bell)
        os.close(self._folder)

    def _leave(self) -> None:
        if self._door.fileno() < 0:
            return
        self._door.close()
        for peer in list(self._peers.values()):
            self._close(peer)
        self._desk.give_back(self._lost)

    # --- the loop ---------------------------------------------------------------------------------------------
    def _run(self) -> None:
        try:
            stumbles = 0  #: in a row
            while not self._ending and stumbles < MOST_STUMBLES:
                calls: list[Call] = []
                answers: list[Answer] = []
                try:
                    self._round(calls, answers)
                    stumbles = 0
                except Exception as error:
                    self._stumble(error, calls, answers)
                    stumbles += 1
        finally:
            # Without a socket clients go on with the file itself; a thread that is no more they would wait for.
            self._leave()

    def _round(self, calls: list[Call], answers: list[Answer]) -> None:
        self._listen(self._timeout_s())
        self._calls(calls, answers)
        if calls:
            answers += self._desk.serve(calls, self._mark_gone)
        now_ms = self._clock.now().boot_ms
        rung, self._rung = self._rung, False
        if self._desk.waits and (rung or now_ms >= self._look_ms()):
            self._looked_ms = now_ms
            answers += self._desk.look(self._mark_gone)
        self._deliver(answers, now_ms)
        self._desk.driver.conn.checkpoint()
        if self._desk.refusals.waiting:
            self._desk.tell_refusals()
        if self._lost:
            lost, self._lost = self._lost, []
            self._desk.give_back(lost)
            self._rung = True  # others may be waiting for it
        if now_ms - self._tidied_ms >= TIDY_MS:
            self._tidied_ms = now_ms
            self._tidy(now_ms)

    def _stumble(self, error: Exception, calls: list[Call], answers: list[Answer]) -> None:
        """Tell a mistake of ours and go on. Those whose calls were in hand are let go: they ask for their receipts."""
        self._mistake(error)
        self._lost += [answer for answer in answers if answer.claims]
        for peer in {call.peer for call in calls} | {answer.peer for answer in answers}:
            try:
                self._drop(peer)
            except Exception as again:
                self._mistake(again)
        time.sleep(STUMBLE_S)  # one that comes at each round must not take the whole processor

    def _mistake(self, error: Exception) -> None:
        # Its kind and its place only: its words may quote what is nobody else's business.
        at = traceback.extract_tb(error.__traceback__)[-1:]
        place = f" at {os.path.basename(at[0].filename)}:{at[0].lineno}" if at else ""
        try:
            self._tell(f"the broker met an error of its own and goes on: {type(error).__name__}{place}")
        except Exception:
            pass  # it cannot even be told

    def _look_ms(self) -> int:
        due_ms, look_ms = self._desk.due_ms, self._looked_ms + LOOK_MS
        return look_ms if due_ms is None else min(due_ms, look_ms)

    def _timeout_s(self) -> float:
        if self._turn or self._large or self._heavy or self._rung or self._lost:
            return 0
        if not self._desk.waits:
            return TIDY_MS / 1000
        return max(0, self._look_ms() - self._clock.now().boot_ms) / 1000

    def _listen(self, timeout_s: float) -> None:
        """Take in all that has come."""
        knocked = False
        for descriptor, mask in self._epoll.poll(timeout_s):
            peer = self._peers.get(descriptor)
            if peer is not None:
                self._hear(peer, mask)  # which may let go another one that stands further down
            elif descriptor == self._door.fileno():
                knocked = True
            elif descriptor == self._waiter.fileno():
                self._waiter.drain()
                self._rung = True  # somebody else committed
            elif descriptor == self._bell:
                os.eventfd_read(self._bell)
        if knocked:  # last: who comes may get the descriptor of one that was let go just now
            self._accept()

    def _hear(self, peer: Peer, mask: int) -> None:
        if mask & select.EPOLLOUT and not peer.flush(self._clock.now().boot_ms):
            self._drop(peer)
            return
        if mask & self._gone or (mask & select.EPOLLIN and not peer.read()):
            self._drop(peer)  # what it asked for and was not served is not done: it may ask elsewhere
            return
        if len(peer.heard) > MUCH and sum(len(one.heard) for one in self._peers.values()) > HEARD_BYTES:
            # Not whoever comes last: a few that never finish what they began would keep everybody else out.
            most = max(self._peers.values(), key=lambda one: (one.identity is not None, len(one.heard)))
            self._refuse(most, AgentctlError("too much is being sent to the broker at once", "Send it again, later"))
            if most is peer:
                return
        self._queue(peer)

    def _queue(self, peer: Peer) -> None:
        """Give a peer its turn if it has a whole call and is not served yet."""
        try:
            if not peer.asking and not peer.owed and peer.heard and peer.whole():
                peer.asking = True
                (self._turn if peer.length <= LARGE else self._large).append(peer)
        except Malformed as error:
            self._refuse(peer, error)
            return
        self._watch(peer)

    def _watch(self, peer: Peer) -> None:
        # Of one that sends on and on before it is answered, the rest waits in the kernel.
        full = peer.asking and len(peer.heard) > MUCH
        mask = select.EPOLLRDHUP | (0 if full else select.EPOLLIN) | (select.EPOLLOUT if peer.owed else 0)
        if mask != peer.watched:
            peer.watched = mask
            self._epoll.modify(peer.channel.fileno(), mask)

    def _mark_gone(self) -> None:
        """Notice who has gone by now, with the store in hand: what they asked must not be done twice."""
        for descriptor, mask in self._epoll.poll(0):
            peer = self._peers.get(descriptor)
            if peer is not None and mask & self._gone:
                peer.gone = True

    # --- peers ------------------------------------------------------------------------------------------------
    def _accept(self) -> None:
        while (found := self._door.accept()) is not None:
            channel, pid, uid = found
            if len(self._peers) >= MOST_PEERS:
                self._make_room()
            peer = Peer(channel, pid)
            self._peers[channel.fileno()] = peer
            peer.watched = select.EPOLLRDHUP | select.EPOLLIN
            self._epoll.register(channel.fileno(), peer.watched)
            if uid not in (os.getuid(), 0):
                self._refuse(peer, Refused(f"user {uid} may not use this store", "It belongs to another user"))
            elif len(self._peers) > MOST_PEERS:
                self._refuse(peer, AgentctlError(f"{MOST_PEERS} clients are connected already", "Close some"))

    def _make_room(self) -> None:
        """Let go whoever connected longest ago and has not said who it is: agents are counted only from then on."""
        silent = next((one for one in self._peers.values() if not one.greeted and not one.asking), None)
        if silent is not None:
            self._drop(silent)

    def _refuse(self, peer: Peer, error: AgentctlError) -> None:
        peer.send(frame([0, ERROR, error_words(error)], MAX_ANSWER), 0)
        self._drop(peer)

    def _drop(self, peer: Peer) -> None:
        peer.gone = True
        self._desk.leave(peer)
        self._close(peer)

    def _close(self, peer: Peer) -> None:
        found = self._peers.pop(peer.channel.fileno(), None)
        if found is not None:
            unheard = peer.unheard()
            if unheard is not None:
                self._lost.append(unheard)
            self._epoll.unregister(peer.channel.fileno())
            peer.channel.close()

    def _tidy(self, now_ms: int) -> None:
        self._desk.tidy()
        for peer in list(self._peers.values()):
            dawdles = peer.dawdles()
            if (peer.half and dawdles) or (peer.stuck_ms and now_ms - peer.stuck_ms > STUCK_MS):
                self._drop(peer)
            peer.half = dawdles

    # --- calls ------------------------------------------------------------------------------------------------
    def _calls(self, found: list[Call], answers: list[Answer]) -> None:
        """Find the next call of each peer that has one, BATCH at most, in the order they came.

        Of those that are large or take long there is one at a time: whoever asks for little waits for one of them at
        most, however many there are.
        """
        for _ in range(min(len(self._turn), BATCH)):
            self._take(self._turn.popleft(), found, answers)
        if self._large:
            self._take(self._large.popleft(), found, answers)
        if self._heavy:
            found.append(self._next_heavy())

    def _next_heavy(self) -> Call:
        """Return whose turn it is: another's than the last one's, if any waits, however many calls that one has."""
        others = (place for place, call in enumerate(self._heavy) if call.peer.identity != self._bearer)
        place = next(others, 0)
        call = self._heavy[place]
        del self._heavy[place]
        self._bearer = call.peer.identity
        return call

    def _take(self, peer: Peer, found: list[Call], answers: list[Answer]) -> None:
        call = None if peer.gone else self._call(peer, answers)
        if call is not None:
            (self._heavy if is_heavy(call.verb, call.arguments) else found).append(call)

    def _call(self, peer: Peer, answers: list[Answer]) -> Call | None:
        number, verb = 0, None
        try:
            number, verb, given = parts(read_call(peer.take()))
            if not peer.greeted:
                answers.append(Answer(peer, self._greet(peer, verb, given)))
                return None
            return Call(peer, number, verb, checked(verb, given))
        except Exception as error:
            what = verb if peer.greeted and type(verb) is str else "hello"
            answers.append(Answer(peer, self._desk.error_frame(peer, number, what[:MOST_SHOWN], error)))
            if not peer.greeted:
                peer.parting = True
            return None

    def _greet(self, peer: Peer, verb: Any, given: Any) -> bytes:
        if verb != "hello" or type(given) is not list or len(given) != 3 or not is_client(given[1]):
            raise Malformed("a connection begins with hello", "Is this another program's socket?")
        version, client, token = given
        if version != VERSION or type(version) is not int:
            shown = version if type(version) is int else "?"
            raise Malformed(
                f"the caller speaks version {shown} of the broker's protocol, the supervisor {VERSION}",
                "Use the same agentctl for both: restart the supervisor with the newer one",
            )
        pinned = peer.pin()
        try:
            who = self._identify(peer.pid, token if type(token) is str else None)
        finally:
            peer.unpin(pinned)
        peer.said = client
        self._admit(peer, who, bind(client, who))
        return frame([0, VALUE, [VERSION, os.getpid(), peer.client]], MAX_ANSWER)

    def _admit(self, peer: Peer, who: Identity | None, client: int) -> None:
        """Take a caller in as `who`. Raises Refused."""
        if who is not None:
            if not self._desk.driver.runs(who.session):
                raise Refused(f"the session of {who.instance} has ended", "Its token is good for nothing any more")
            agents = [one for one in self._peers.values() if one.identity is not None]
            if len(agents) >= MOST_AGENTS or sum(one.identity == who for one in agents) >= MOST_OF_ONE:
                raise AgentctlError(f"{who.instance} has too many connections open", "Close some, then try again")
        for other in [one for one in self._peers.values() if one.greeted and one.client == client]:
            self._drop(other)  # its caller is here now: what is left there is not to be done any more
        peer.identity, peer.client, peer.greeted = who, client, True

    def _deliver(self, answers: list[Answer], now_ms: int) -> None:
        for answer in answers:
            peer = answer.peer
            if peer.gone or not peer.send(answer.data, now_ms):
                if answer.claims:
                    self._lost.append(answer)
                self._drop(peer)
                continue
            answer.data = b""  # it may be large, and what is told is kept
            peer.told = answer if answer.claims else None
            if peer.parting:
                self._drop(peer)
                continue
            peer.asking = False
            self._queue(peer)
        owing = [peer for peer in self._peers.values() if peer.owed]
        while sum(len(peer.owed) for peer in owing) > OWED_BYTES:
            most = max(owing, key=lambda peer: (peer.identity is not None, len(peer.owed)))
            owing.remove(most)
            self._drop(most)
