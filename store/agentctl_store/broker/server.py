"""The broker: the supervisor's thread that owns the writes of a store and serves them on a Unix socket.

Many clients on one SQLite file starve each other; one committer that takes all that waits into one transaction gives
each its turn, and each fsync does for all (shared measurements: Jain 0.23 against 1.0, eight times the throughput).
Writes that come past it (upkeep, a caller that found no socket) are safe all the same: `write.lock` decides whose turn
it is, and the datagram after their commit wakes who waits here.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import threading
from collections import deque
from typing import TYPE_CHECKING

from ..errors import AgentctlError, Refused

# The driver loads these when first needed, which is for short commands. Here they are loaded while there are
# descriptors left and the files are of one version.
from ..sqlite import adding, claiming, deciding, ending, explain, fleet, history, holding, sweeping, waiting  # noqa: F401
from ..sqlite.driver import SqliteDriver
from ..wake import Waiter
from .arguments import checked
from .desk import Answer, Call, Desk, known
from .peer import Peer
from .shapes import read_call
from .wire import ERROR, MAX_ANSWER, SOCKET, VALUE, VERSION, Malformed, error_words, frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..clock import Clock
    from .tokens import Identity

    Identify = Callable[[int, str | None], Identity | None]

MOST_PEERS = 512
BATCH = 256  #: calls in one commit
MUCH = 256 << 10  #: bytes heard of one peer beyond which it is looked at closely
HEARD_BYTES = 64 << 20  #: of calls that have come in part, of all peers
OWED_BYTES = 128 << 20  #: of answers that are not taken, of all peers
STUCK_MS = 30_000  #: a peer that takes nothing of its answers for so long is let go
LOOK_MS = 500  #: how often those who wait are served though nobody rang
TIDY_MS = 30_000
BACKLOG = 128
_GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


def anybody(pid: int, token: str | None) -> Identity | None:
    """Take every process of this user for the operator."""
    return None


class Broker:
    """Serves a store from `start` to `stop`. `identify` says who a process with a token is, or raises Refused.

    Raises StoreError when it cannot be served: a full disk has no room for a socket.
    """

    def __init__(
        self, directory: str, clock: Clock, *, identify: Identify = anybody, synchronous: str = "FULL"
    ) -> None:
        self._clock = clock
        self._identify = identify
        self._desk = Desk(SqliteDriver(directory, synchronous=synchronous), clock)
        try:
            self._folder = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
            self._waiter = self._desk.driver.conn.waiter = Waiter(directory)
            self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._spare = os.dup(self._bell)  # given up to accept one more connection when no descriptor is left
            self._listener = self._bind(directory)
        except OSError as error:
            raise self._desk.driver.conn.explained(error) from None
        self._epoll = select.epoll()
        for descriptor in (self._listener.fileno(), self._waiter.fileno(), self._bell):
            self._epoll.register(descriptor, select.EPOLLIN)
        self._peers: dict[int, Peer] = {}
        self._turn: deque[Peer] = deque()  #: peers whose next call has come whole
        self._lost: list[Answer] = []  #: claims of peers that went before they were told
        self._looked_ms = self._tidied_ms = 0
        self._rung = self._ending = False
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)

    def _bind(self, directory: str) -> socket.socket:
        path = os.path.join(directory, SOCKET)
        try:
            os.unlink(path)  # a killed supervisor's; whoever holds the supervisor's lock may
        except FileNotFoundError:
            pass
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        listener.bind(f"/proc/self/fd/{self._folder}/{SOCKET}" if len(os.fsencode(path)) > 100 else path)
        os.chmod(path, 0o600)
        listener.listen(BACKLOG)
        return listener

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
        if self._spare >= 0:
            os.close(self._spare)
        os.close(self._folder)

    def _leave(self) -> None:
        if self._listener.fileno() < 0:
            return
        try:
            os.unlink(SOCKET, dir_fd=self._folder)
        except OSError:
            pass
        for peer in list(self._peers.values()):
            self._close(peer)
        self._listener.close()

    # --- the loop ---------------------------------------------------------------------------------------------
    def _run(self) -> None:
        try:
            self._serve()
        finally:
            # Also after a mistake of ours: without a socket clients go on with the file itself, where they would
            # wait for the answers of a thread that is no more.
            self._leave()

    def _serve(self) -> None:
        while not self._ending:
            self._listen(self._timeout_s())
            answers: list[Answer] = []
            calls = self._calls(answers)
            if calls:
                answers += self._desk.serve(calls, self._mark_gone)
            now_ms = self._clock.now().boot_ms
            rung, self._rung = self._rung, False
            if self._desk.waits and (rung or now_ms >= self._look_ms()):
                self._looked_ms = now_ms
                answers += self._desk.look(self._mark_gone)
            self._deliver(answers, now_ms)
            if self._lost:
                lost, self._lost = self._lost, []
                self._desk.give_back(lost)
                self._rung = True  # others may be waiting for it
            if now_ms - self._tidied_ms >= TIDY_MS:
                self._tidied_ms = now_ms
                self._tidy(now_ms)

    def _look_ms(self) -> int:
        due_ms, look_ms = self._desk.due_ms, self._looked_ms + LOOK_MS
        return look_ms if due_ms is None else min(due_ms, look_ms)

    def _timeout_s(self) -> float:
        if self._turn or self._rung:
            return 0
        if not self._desk.waits:
            return TIDY_MS / 1000
        return max(0, self._look_ms() - self._clock.now().boot_ms) / 1000

    def _listen(self, timeout_s: float) -> None:
        """Take in all that has come."""
        for descriptor, mask in self._epoll.poll(timeout_s):
            peer = self._peers.get(descriptor)
            if peer is not None:
                self._hear(peer, mask)
            elif descriptor == self._listener.fileno():
                self._accept()
            elif descriptor == self._waiter.fileno():
                self._waiter.drain()
                self._rung = True  # somebody else committed
            else:
                os.eventfd_read(self._bell)

    def _hear(self, peer: Peer, mask: int) -> None:
        if mask & select.EPOLLOUT and not peer.flush(self._clock.now().boot_ms):
            self._drop(peer)
            return
        if mask & _GONE or (mask & select.EPOLLIN and not peer.read()):
            self._drop(peer)  # what it asked for and was not served is not done: it may ask elsewhere
            return
        if len(peer.heard) > MUCH and sum(len(one.heard) for one in self._peers.values()) > HEARD_BYTES:
            self._refuse(peer, AgentctlError("too much is being sent to the broker at once", "Send it again, later"))
            return
        self._queue(peer)

    def _queue(self, peer: Peer) -> None:
        """Give a peer its turn if it has a whole call and is not served yet."""
        try:
            if not peer.asking and not peer.owed and peer.heard and peer.whole():
                peer.asking = True
                self._turn.append(peer)
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
            if peer is not None and mask & _GONE:
                peer.gone = True

    # --- peers ------------------------------------------------------------------------------------------------
    def _accept(self) -> None:
        while True:
            try:
                channel, _ = self._listener.accept()
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE) or not self._turn_away():
                    return  # nobody is left
                continue
            channel.setblocking(False)
            pid, uid, _ = struct.unpack("3i", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            peer = Peer(channel, pid)
            self._peers[channel.fileno()] = peer
            peer.watched = select.EPOLLRDHUP | select.EPOLLIN
            self._epoll.register(channel.fileno(), peer.watched)
            if uid not in (os.getuid(), 0):
                self._refuse(peer, Refused(f"user {uid} may not use this store", "It belongs to another user"))
            elif len(self._peers) > MOST_PEERS:
                self._refuse(peer, AgentctlError(f"{MOST_PEERS} clients are connected already", "Close some"))

    def _turn_away(self) -> bool:
        """With no descriptor left, close a caller's connection: he goes on with the file instead of waiting for us.

        Left alone he would keep the listener readable, and this loop busy. False when it cannot be done either.
        """
        if self._spare >= 0:
            os.close(self._spare)
        try:
            self._listener.accept()[0].close()
            return True
        except OSError:
            return False
        finally:
            try:
                self._spare = os.dup(self._bell)
            except OSError:
                self._spare = -1

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
        for peer in [one for one in self._peers.values() if one.stuck_ms and now_ms - one.stuck_ms > STUCK_MS]:
            self._drop(peer)

    # --- calls ------------------------------------------------------------------------------------------------
    def _calls(self, answers: list[Answer]) -> list[Call]:
        """Return the next call of each peer that has one, BATCH at most, in the order they came."""
        found: list[Call] = []
        for _ in range(min(len(self._turn), BATCH)):
            peer = self._turn.popleft()
            if peer.gone:
                continue
            call = self._call(peer, answers)
            if call is not None:
                found.append(call)
        return found

    def _call(self, peer: Peer, answers: list[Answer]) -> Call | None:
        number = 0
        try:
            number, verb, given = _parts(read_call(peer.take()))
            if not peer.greeted:
                answers.append(Answer(peer, self._greet(peer, verb, given)))
                return None
            return Call(peer, number, verb, checked(verb, given))
        except Exception as error:
            answers.append(Answer(peer, frame([number, ERROR, error_words(known(error, "a call"))], MAX_ANSWER)))
            if not peer.greeted:
                peer.parting = True
            return None

    def _greet(self, peer: Peer, verb: Any, given: Any) -> bytes:
        if verb != "hello" or type(given) is not list or len(given) != 3 or type(given[1]) is not int:
            raise Malformed("a connection begins with hello", "Is this another program's socket?")
        version, client, token = given
        if version != VERSION:
            raise Malformed(
                f"the caller speaks version {str(version)[:20]} of the broker's protocol, the supervisor {VERSION}",
                "Use the same agentctl for both: restart the supervisor with the newer one",
            )
        who = peer.identity = self._identify(peer.pid, token if type(token) is str else None)
        if who is not None and self._desk.driver.session(who.session).ended_ms is not None:
            raise Refused(f"the session of {who.instance} has ended", "Its token is good for nothing any more")
        for other in [one for one in self._peers.values() if one.client == client and one is not peer]:
            self._drop(other)  # its caller is here now: what is left there is not to be done any more
        peer.client, peer.greeted = client, True
        return frame([0, VALUE, [VERSION, os.getpid()]], MAX_ANSWER)

    def _deliver(self, answers: list[Answer], now_ms: int) -> None:
        for answer in answers:
            peer = answer.peer
            if peer.gone or not peer.send(answer.data, now_ms):
                if answer.claims:
                    self._lost.append(answer)
                self._drop(peer)
                continue
            peer.told = answer
            if peer.parting:
                self._drop(peer)
                continue
            peer.asking = False
            self._queue(peer)
        if sum(len(peer.owed) for peer in self._peers.values() if peer.owed) > OWED_BYTES:
            self._drop(max(self._peers.values(), key=lambda peer: len(peer.owed)))


def _parts(value: Any) -> tuple[int, Any, Any]:
    if type(value) is not list or len(value) != 3 or type(value[0]) is not int or not 0 <= value[0] < 1 << 53:
        raise Malformed("a call is its number, a verb and its arguments")
    return value[0], value[1], value[2]
