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

MOST_ANCESTORS = 64  #: processes between a caller and its session's keeper; a longer chain is not followed


class Owner:
    """Makes sessions' tokens, and knows callers by them and by the session whose tree they live in."""

    def __init__(self, directory: str, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._key = tokens.load_key(directory)
        self._broker: Broker | None = None
        self._live: Callable[[], Collection[Live]] = lambda: ()

    def token(self, agent: str, slot: int, session: int) -> str:
        """Return what the session shows to act as itself."""
        return tokens.mint(self._key, tokens.Identity(agent, slot, session), self._clock.now().wall_ms // 1000)

    def serve(self, live: Callable[[], Collection[Live]]) -> None:
        """Begin to serve the store; `live` tells the sessions in hand. StoreError when the socket cannot be made."""
        self._live = live
        if not hasattr(select, "epoll"):
            return  # macOS: every caller goes on with the file itself, one after the other
        from agentctl_store.broker.server import Broker

        self._broker = Broker(self._directory, self._clock, identify=self.identify)
        self._broker.start()

    def identify(self, pid: int, token: str | None) -> tokens.Identity | None:
        """Return who a caller is; None: the operator. Raises Refused."""
        mine, stray = self._session_of(pid)
        if token is None:
            if stray:
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
        """
        keepers = {live.shim.pid: live for live in list(self._live()) if live.shim is not None}
        own, at = os.getpid(), pid
        for _ in range(MOST_ANCESTORS):
            if at == own:
                return None, at != pid
            found = keepers.get(at)
            if found is not None:
                return tokens.Identity(found.key[0], found.key[1], found.session), False
            above = parent_of(at)
            if above is None or above <= 1:
                break
            at = above
        return None, False

    def close(self) -> None:
        """Stop serving; callers go on with the file itself."""
        if self._broker is not None:
            self._broker.stop()
            self._broker = None
