"""The feed: one thread that reads the store for the screens and posts what changed. It is the only reader.

Screens put questions under a name (`ask`) and get `Fresh` messages; widgets are touched by handlers alone.
Between two beats the thread sleeps; at a beat it looks at the store's version and reads again only what may
have changed. Whoever asks anew looks at the screen: the read under way is given up for it, and begun again at the end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.message import Message

from agentctl_store.errors import AgentctlError, Interrupted
from agentctl_tui.asks import Ask
from agentctl_tui.messages import Back, Fresh, Lost
from agentctl_tui.ports import Logs

if TYPE_CHECKING:
    from agentctl_store.read.port import Reader

BEAT_S = 0.25  #: the store is looked at this often
STALE_S = 5.0  #: and read at least this often, for what depends on time alone
LOST_BEAT_S = 1.0  #: while it cannot be read


class Feed:
    """Answers the screens' questions until `stop`."""

    def __init__(
        self,
        reader: Reader,
        logs: Logs | None,
        post: Callable[[Message], object],
        now_ms: Callable[[], int],
        beat_s: float = BEAT_S,
        after: Callable[[], object] | None = None,
    ) -> None:
        """`after` returns when the reader is free to be used."""
        self._reader, self._logs, self._post, self._now_ms = reader, logs, post, now_ms
        self._beat_s, self._after = beat_s, after
        self._lock = threading.Lock()
        self._asks: dict[str, Ask] = {}
        self._reading: str | None = None  #: the name whose question is read now
        self._answers: dict[str, tuple[Ask, object]] = {}
        self._wake = threading.Event()
        self._stopped = False
        self._version: int | None = None
        self._ok_ms = now_ms()
        self._lost: str | None = None
        self._since_read_s = 0.0
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a read under way is given up, and waited for at most a second."""
        self._stopped = True
        self._wake.set()
        if self._thread.is_alive():
            self._reader.interrupt()
            self._thread.join(1.0)

    def ask(self, name: str, ask: Ask) -> None:
        """Put a question, in place of the last one under that name. The first answer always comes."""
        with self._lock:
            if self._asks.get(name) == ask:
                return
            self._asks[name] = ask
            self._wake.set()
            if self._reading is not None:
                self._reader.interrupt()

    def waiting(self, name: str) -> bool:
        """Say whether a question has no answer yet."""
        with self._lock:
            ask, known = self._asks.get(name), self._answers.get(name)
        return ask is not None and (known is None or known[0] != ask)

    def again(self, name: str) -> None:
        """Have the answer posted once more even if it is the same."""
        with self._lock:
            self._answers.pop(name, None)
        self._wake.set()

    def drop(self, name: str) -> None:
        """Stop answering a question."""
        with self._lock:
            self._asks.pop(name, None)
            self._answers.pop(name, None)
            if self._reading == name:
                self._reader.interrupt()

    def _run(self) -> None:
        if self._after is not None:
            self._after()
        while not self._stopped:
            woken = self._wake.wait(LOST_BEAT_S if self._lost else self._beat_s)
            self._wake.clear()
            if self._stopped:
                return
            self._since_read_s += 0.0 if woken else self._beat_s
            try:
                self._read()
            except Interrupted:
                self._wake.set()  # begin again, with what was asked meanwhile
            except (AgentctlError, OSError) as error:
                self._tell_lost(str(error) or type(error).__name__)
            except Exception as error:  # the dashboard outlives a reader's defect, and says so
                self._tell_lost(f"{type(error).__name__}: {error}")

    def _read(self) -> None:
        version = self._reader.version()
        changed = version != self._version or self._since_read_s >= STALE_S or self._lost is not None
        with self._lock:
            asks = list(self._asks.items())
        now_ms = self._now_ms()
        news: list[Fresh] = []
        try:
            self._read_each(asks, changed, now_ms, news)
        finally:
            for fresh in news:  # together, so that they make one frame: drawing it costs more than reading
                self._post(fresh)
        self._version = version
        self._ok_ms = now_ms
        if changed:
            self._since_read_s = 0.0
        if self._lost is not None:
            self._lost = None
            self._post(Back())

    def _read_each(self, asks: list[tuple[str, Ask]], changed: bool, now_ms: int, news: list[Fresh]) -> None:
        """Read what may have changed. First answers are posted at once, changed ones are added to `news`."""
        for name, ask in asks:
            if self._asks.get(name) != ask:
                continue  # replaced meanwhile: the next turn reads what is wanted now
            known = self._answers.get(name)
            if not changed and known is not None and known[0] == ask and not ask.live:
                continue
            try:
                value = self._ask_reader(name, ask, now_ms)
            except Interrupted:
                self._put_last(name)
                raise
            with self._lock:
                if self._asks.get(name) != ask:
                    continue  # asked anew meanwhile: an old answer would only make the screen jump
                known = self._answers.get(name)
                self._answers[name] = (ask, value)
            if known is None or known[0] != ask:
                self._post(Fresh(name, value, now_ms))
            elif known[1] != value:
                news.append(Fresh(name, value, now_ms))

    def _ask_reader(self, name: str, ask: Ask, now_ms: int) -> object:
        with self._lock:
            if self._wake.is_set():
                raise Interrupted("something was asked since this turn began")
            self._reading = name
        try:
            return ask.read(self._reader, self._logs, now_ms)
        finally:
            with self._lock:
                self._reading = None

    def _put_last(self, name: str) -> None:
        with self._lock:
            if name in self._asks:  # in new words it would take as long
                self._asks[name] = self._asks.pop(name)

    def _tell_lost(self, reason: str) -> None:
        if reason != self._lost:
            self._lost = reason
            self._post(Lost(reason, self._ok_ms))
