"""How much one committer in Python could do at most: the statements of a worker's turn, and nothing around them.

A process with an epoll loop takes whatever asks, executes the statements that the broker would have executed for so
many turns, all in one commit, and sends each client as many bytes as an answer has. It reads no frame, checks nothing,
makes no records and no hashes; its clients read nothing of what they are sent.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.crowd import LEASE_MS, Round, crowd, opened
from bench.replay import Recorder, Statement

from agentctl_store.broker.wire import MAX_ANSWER, VALUE, frame, text_of
from agentctl_store.sqlite import gate

AT_ONCE = 16  #: turns in one commit while they are recorded
ASKED = 106  #: bytes of a worker's call
_FRAMING = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")

Turn = list[Statement]


def turns(directory: Path, count: int) -> tuple[list[Turn], int]:
    """Return what the broker executes for so many turns from this store on, and how long an answer is."""
    store = opened(directory, "OFF")
    conn, verb = store.driver.conn, store.driver.complete_and_claim  # type: ignore[attr-defined]
    held = [store.claim(["q"], agent="worker", slot=1, lease_ms=LEASE_MS)[0] for _ in range(AT_ONCE)]
    recorder = Recorder(conn.db)
    conn.use(recorder)
    found: list[Turn] = []
    while len(found) < count:
        now, batch = store.clock.now(), []
        with conn.together(now) as group:
            group.claims = AT_ONCE
            for place, won in enumerate(held):
                recorder.seen = []
                with conn.write(now):
                    turn = verb(
                        won.task.id, won.n, result='{"ok":true}', usage=None, queues=("q",), agent="worker", slot=1,
                        session=None, lease_ms=LEASE_MS, now=now,
                    )  # fmt: skip
                    held[place] = turn.claim
                    kept = text_of([turn.ended, ((turn.claim.task.id, turn.claim.n),)])
                    store.driver.keep_receipt(group, place, len(found), kept)  # type: ignore[attr-defined]
                batch.append(recorder.seen)
            recorder.seen = []
        events = [one for one in recorder.seen if not one[0].startswith(_FRAMING)]
        for place, seen in enumerate(batch):
            alone = [one for one in seen if not one[0].startswith(_FRAMING)]
            found.append(alone + events[2 * place : 2 * place + 2])
    store.close()
    return found, len(frame([1, VALUE, turn], MAX_ANSWER))


@contextmanager
def committer(directory: Path, synchronous: str, work: list[Turn], answer: int) -> Iterator[str]:
    """Have a process do the turns for whoever asks; where its socket is."""
    path = str(directory.parent / "ceiling.sock")
    door = socket.socket(socket.AF_UNIX)
    door.bind(path)
    door.listen(100)
    opened(directory, synchronous).close()
    pid = os.fork()
    if pid == 0:
        try:
            _serve(door, str(directory / "store.db"), synchronous, work, b"x" * answer)
        finally:
            os._exit(1)
    door.close()
    try:
        yield path
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.unlink(path)


def _serve(door: socket.socket, file: str, synchronous: str, work: list[Turn], answer: bytes) -> None:
    db = gate.load().connect(file, isolation_level=None)
    db.execute(f"PRAGMA synchronous={synchronous}")
    execute, at = db.cursor().execute, 0
    epoll, peers = select.epoll(), {}
    epoll.register(door.fileno(), select.EPOLLIN)
    while True:
        asked = []
        for descriptor, _ in epoll.poll():
            if descriptor == door.fileno():
                channel = door.accept()[0]
                peers[channel.fileno()] = channel
                epoll.register(channel.fileno(), select.EPOLLIN)
            elif peers[descriptor].recv(1 << 16):
                asked.append(peers[descriptor])
            else:
                epoll.unregister(descriptor)
                peers.pop(descriptor).close()
        if asked:
            if at + len(asked) > len(work):
                return  # its clients fail: turns without a statement would be counted as work
            execute("BEGIN IMMEDIATE")
            for turn in work[at : at + len(asked)]:
                for sql, values in turn:
                    execute(sql, values).fetchall()
            execute("COMMIT")
            at += len(asked)
            for channel in asked:
                channel.send(answer)


def clients(path: str, many: int, seconds: float, answer: int) -> Round:
    """Let so many clients ask for one turn after the other."""

    def prepare(_: int) -> Callable[[], None]:
        channel = socket.socket(socket.AF_UNIX)
        channel.connect(path)
        call = b"x" * ASKED

        def turn() -> None:
            channel.sendall(call)
            assert len(channel.recv(answer)) == answer

        return turn

    return crowd(many, seconds, prepare)
