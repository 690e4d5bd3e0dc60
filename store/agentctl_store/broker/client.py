"""The driver of a store that may have an owner: through the running supervisor's socket, else the file itself.

Whoever owns the store may change between any two calls: a supervisor dies, another starts. A call whose answer was lost
is not said again blindly: the owner, or the file, is asked for its receipt first (broker/calls.py says for which).
"""

from __future__ import annotations

import _thread
import os
import time

from ..errors import AgentctlError, NoSupervisor, StoreError
from .link import ANSWER_S, Link, Lost
from .wire import MAX_CALL, SOCKET, Malformed, frame, read_answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..clock import Clock, Moment
    from ..domain.message import Delivery, Message
    from ..domain.task import Claim, Task
    from ..sqlite.driver import SqliteDriver

LOOK_S = 0.25  #: how often a caller that works on the file looks whether the store has an owner now
AGAIN_S = 10.0  #: how long one that must not touch the file waits for the next owner
PAUSE_S = 0.05
MOST_LOSSES = 3  #: connections lost over one call before it is brought to its end on the file
UNKNOWN = "Whether the last call was done is not known: say it again, with the same idempotency key if it adds a task"


class Caller:
    """Carries calls to whoever owns the store. Not for use by a process forked after it was made."""

    def __init__(
        self,
        directory: str,
        link: Link | None,
        client: int,
        token: str | None,
        clock: Clock,
        *,
        create: bool,
        patience_s: float = ANSWER_S,
    ) -> None:
        self._directory, self._create = directory, create
        self._client, self._token, self._clock = client, token, clock
        self._kept_as = client  #: the number its receipts are kept under
        self._link = link
        self._patience_s = patience_s
        self._file: SqliteDriver | None = None
        self._number = 0
        self._look_s = 0.0  #: when to look for an owner again
        self._pid = os.getpid()
        self._turn = _thread.allocate_lock()

    def call(self, verb: str, *given: Any, now: Moment | None = None, wait_ms: int = 0) -> Any:
        """Return what `verb` answers; what it raises is raised."""
        if os.getpid() != self._pid:
            raise StoreError(
                f"the store at {self._directory} was opened before this process was forked",
                "Open it again in the new process",
            )
        with self._turn:
            self._number += 1
            until_s = time.monotonic() + wait_ms / 1000 if wait_ms else 0.0
            try:
                link = self._link
                if link is None and (link := self._owner()) is None:
                    return self._on_file(verb, given, now)
                try:
                    data = frame([self._number, verb, given], MAX_CALL)
                except Malformed:
                    return self._on_file(verb, given, now)  # safe beside the owner, only not as fast
                return link.call(self._number, data, wait_ms)
            except Lost as lost:
                return self._after_loss(verb, given, until_s, lost)
            except PermissionError as shut:
                return self._after_loss(verb, given, until_s, Lost(shut))
            except AgentctlError:
                raise
            except BaseException:
                self._drop()  # interrupted: the answer that is still to come must not answer the next call
                raise

    def _said(self, link: Link, data: bytes, wait_ms: int = 0) -> Any:
        try:
            return link.call(self._number, data, wait_ms)
        except (Lost, AgentctlError):
            raise
        except BaseException:
            self._drop()  # as in `call`
            raise

    # --- who owns the store -----------------------------------------------------------------------------------
    def _owner(self) -> Link | None:
        now_s = time.monotonic()
        if now_s < self._look_s:
            return None
        self._look_s = now_s + LOOK_S
        return self._connect()

    def _connect(self) -> Link | None:
        if not os.access(f"{self._directory}/{SOCKET}", os.F_OK):
            return None
        try:
            self._link = Link(self._directory, self._client, self._token, self._patience_s)
        except OSError:
            return None
        return self._link

    def _after_loss(self, verb: str, given: tuple[Any, ...], until_s: float, lost: Lost) -> Any:
        """Bring a call to its end whose answer was lost; one that waits, at `until_s` (0: it does not)."""
        from .calls import ONCE  # here and below: a command that is answered needs none of it

        last_s, losses = time.monotonic() + AGAIN_S, 1
        while True:
            begun_s = time.monotonic()
            # First of all: whoever still has the call in hand sees by this that it is not to be done any more.
            self._drop()
            if lost.silent:
                # It is stopped or stuck. It may go on at any moment, which the receipts and the fences bear.
                self._look_s = time.monotonic() + self._patience_s
            wait_ms = max(0, int((until_s - time.monotonic()) * 1000)) if until_s else 0
            given = (*given[:-1], wait_ms) if until_s else given
            try:
                link = None if lost.silent or losses >= MOST_LOSSES else self._connect()
                if link is None:
                    return self._on_file(verb, given, self._clock.now(), lost=True)
                if verb in ONCE:
                    kept = self._said(link, frame([self._number, "receipt", (self._client, self._number)], MAX_CALL))
                    if kept is not None:
                        return self._recalled(verb, kept)
                return self._said(link, frame([self._number, verb, given], MAX_CALL), wait_ms)
            except Lost as again:
                lost, losses = again, losses + 1  # it died in turn, or has no room for us
                if again.silent or time.monotonic() - begun_s > AGAIN_S:
                    last_s, losses = time.monotonic() + AGAIN_S, 1  # we had waited there, or it is still there
            except PermissionError as shut:
                if time.monotonic() > last_s:
                    raise NoSupervisor(
                        "the supervisor has gone, and this process may not use the store without it",
                        f"Start it again: agentctl run. {UNKNOWN}",
                    ) from None
                lost, losses = Lost(shut), 0
            time.sleep(PAUSE_S)

    def _drop(self) -> None:
        if self._link is not None:
            self._kept_as = self._link.client
            self._link.close()
            self._link = None

    # --- on the file ------------------------------------------------------------------------------------------
    def _on_file(self, verb: str, given: tuple[Any, ...], now: Moment | None, *, lost: bool = False) -> Any:
        from .calls import ORDER, READS, reach

        file = self._file
        if file is None:
            from ..sqlite.driver import SqliteDriver

            if _shut(self._directory):
                raise PermissionError  # its caller waits for the next owner
            file = self._file = SqliteDriver(self._directory, create=self._create)
        arguments = dict(zip(ORDER[verb], given, strict=True))
        if verb in READS:
            return reach(file, verb)(**arguments)
        assert now is not None
        if not lost:
            return reach(file, verb)(**arguments, now=now)
        try:
            return self._once(file, verb, arguments, now)
        except StoreError as error:
            raise type(error)(error.message, UNKNOWN) from None  # the owner may have done it, whatever happened here

    def _once(self, file: SqliteDriver, verb: str, arguments: dict[str, Any], now: Moment) -> Any:
        from .calls import ONCE, reach

        if verb not in ONCE:
            return reach(file, verb)(**arguments, now=now)
        # The owner may have done it before it died. Asked in the transaction that would do it again: no gap between.
        with file.conn.together(now) as group:
            kept = file.receipt(self._kept_as, self._number)
            if kept is None:
                return reach(file, verb)(**arguments, now=now)
            # An owner that lives and could not deliver it takes back what it finds a receipt for: broker/desk.py.
            file.drop_receipt(group, self._kept_as, self._number)
        return self._recalled(verb, kept)

    # --- what was answered before -----------------------------------------------------------------------------
    def _recalled(self, verb: str, kept: str) -> Any:
        from .calls import CLAIMS

        value = read_answer(kept.encode())
        if verb == "claim":
            return self._standing(value)
        if verb == "messages.read":
            return self._delivered(value)
        if verb in CLAIMS:
            from ..domain.task import Turn

            ended, claims = value
            won = self._standing(claims)
            return Turn(ended, won[0] if won else None)
        return value

    def _standing(self, claims: list[list[int]]) -> list[Claim]:
        """Return those of the claims once won that still stand."""
        from ..domain.task import Claim

        won = []
        for number, n in claims:
            task: Task = self._ask("task", number)
            if task.state == "active" and task.attempts == n:
                won.append(Claim(task, n, task.lease_until_ms or 0, task.session))
        return won

    def _delivered(self, deliveries: list[list[int]]) -> list[Delivery]:
        """Return those of the deliveries once made that still stand."""
        from ..domain.message import Delivery

        taken = []
        for number, n in deliveries:
            message: Message = self._ask("messages.message", number)
            if message.state == "delivered" and message.deliveries == n:
                taken.append(Delivery(message, n, message.due_boot_ms or 0))
        return taken

    def _ask(self, verb: str, *given: Any) -> Any:
        if self._link is not None:
            return self._said(self._link, frame([self._number, verb, given], MAX_CALL))
        return self._on_file(verb, given, None)

    def close(self) -> None:
        """Close the connection, and the file if it was used."""
        self._drop()
        if self._file is not None:
            self._file.close()
            self._file = None


def _shut(directory: str) -> bool:
    """Whether this process may not write to the store: it is in a sandbox, of which access(2) knows nothing.

    write.lock is tried instead of store.db: closing that would drop the locks another connection here holds on it.
    """
    try:
        os.close(os.open(f"{directory}/write.lock", os.O_RDWR | os.O_CLOEXEC))
    except PermissionError:
        return True
    except OSError:
        pass  # there is none yet, or the disk is read-only
    return False
