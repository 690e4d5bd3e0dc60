"""Owning the store: the broker that serves it while a supervisor runs, and who its callers are."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from agentctl.supervisor.proctree import parent_of
from agentctl_store.broker import tokens
from agentctl_store.errors import Refused

if TYPE_CHECKING:
    from agentctl.supervisor.sessions import Live
    from agentctl_store.broker.server import Broker
    from agentctl_store.clock import Clock

MOST_ANCESTORS = 128  #: processes above a caller; one with more is refused
LOOKS = 16  #: how often the way up is looked at until it is twice the same
MOST_ENVIRON = 4 << 20  #: bytes; the kernel allows no more by far


class Owner:
    """Makes sessions' tokens, and knows callers by them and by the session whose tree they live in."""

    def __init__(self, directory: str, clock: Clock) -> None:
        self._directory, self._real = directory, os.fsencode(os.path.realpath(directory))
        self._clock = clock
        self._key = tokens.load_key(directory)
        self._broker: Broker | None = None
        self._live: Callable[[], Collection[Live]] = lambda: ()

    def token(self, agent: str, slot: int, session: int) -> str:
        """Return what the session shows to act as itself."""
        return tokens.mint(self._key, tokens.Identity(agent, slot, session), self._clock.now().wall_ms // 1000)

    def serve(self, live: Callable[[], Collection[Live]], tell: Callable[[str], None]) -> None:
        """Begin to serve the store; `live` tells the sessions in hand, `tell` a person of errors of the broker's own.

        StoreError when the socket cannot be made.
        """
        self._live = live
        if not hasattr(select, "epoll"):
            return  # macOS: every caller goes on with the file itself, one after the other
        from agentctl_store.broker.server import Broker

        self._broker = Broker(self._directory, self._clock, identify=self.identify, tell=tell)
        self._broker.start()

    def identify(self, pid: int, token: str | None) -> tokens.Identity | None:
        """Return who a caller is; None: the operator. Raises Refused.

        `pid` must belong to the caller from before this call until after it: the broker sees to that.
        """
        mine, stray = self._session_of(pid)
        if token is None:
            if stray or (mine is None and self._came_from_an_agent(pid)):
                raise Refused(
                    f"process {pid} comes from an agent, but from no session that runs and shows no token",
                    "Give it the AGENTCTL_TOKEN of its session",
                )
            return mine
        who = tokens.read(self._key, token, self._clock.now().wall_ms // 1000)
        if mine is not None and mine != who:
            raise Refused(
                f"process {pid} of {mine.instance} shows the token of {who.instance}",
                "An agent acts only as itself: use its own AGENTCTL_TOKEN",
            )
        return who

    def _session_of(self, pid: int) -> tuple[tokens.Identity | None, bool]:
        """Return in whose tree a process lives, and whether it came from us without living in any.

        Keepers are subreapers: what their agents leave behind stays below them, or comes to us when they are killed.
        Nobody becomes the operator by a way up that could not be followed to its end, or that changed meanwhile: a
        process between whose end comes at the right moment would hide the keeper above it.
        """
        own, before = os.getpid(), None
        for _ in range(LOOKS):
            keepers = {shim.pid: live for live in list(self._live()) if (shim := live.shim) is not None}
            way = _way_up(pid)
            for at in way or ():
                found = keepers.get(at)
                if found is not None:
                    return tokens.Identity(found.key[0], found.key[1], found.session), False
            if way and way == before:
                return None, way[-1] == own and pid != own
            before = way
        raise _untold(pid)

    def _came_from_an_agent(self, pid: int) -> bool:
        """Whether a process was started with a session's environment of this store.

        After a restart keepers are no longer below their supervisor: what one leaves that is killed then comes to init.
        """
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                found = dict(pair.split(b"=", 1) for pair in file.read(MOST_ENVIRON).split(b"\0") if b"=" in pair)
        except OSError:
            return False  # another user's, root: no agent of ours
        store = found.get(b"AGENTCTL_STORE")
        return b"AGENTCTL_NONCE" in found and store is not None and os.path.realpath(store) == self._real

    def close(self) -> None:
        """Stop serving; callers go on with the file itself."""
        if self._broker is not None:
            self._broker.stop()
            self._broker = None


def _way_up(pid: int) -> tuple[int, ...] | None:
    """Return the processes from `pid` up to us or to the first of all; None when one of them ended meanwhile.

    Raises Refused where there are too many.
    """
    way, own = [pid], os.getpid()
    while way[-1] > 1 and way[-1] != own:
        above = parent_of(way[-1])
        if above is None:
            return None
        if len(way) >= MOST_ANCESTORS:
            raise _untold(pid)
        way.append(above)
    return tuple(way)


def _untold(pid: int) -> Refused:
    return Refused(f"where process {pid} comes from cannot be told", "Try again from a process that lives on")
