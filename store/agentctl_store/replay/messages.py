"""Folding the history into messages, one at a time."""

from __future__ import annotations

from ..domain.event import KINDS
from ..domain.message import MAX_DELIVERIES
from .tasks import told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .tasks import Line, Row

_DEFAULTS: Row = dict.fromkeys(
    (
        "topic", "post", "conversation", "reply_to", "expires_ms", "key", "reader", "delivered_ms", "finished_ms",
        "reason", "error",
    )
) | {"priority": 0, "max_deliveries": MAX_DELIVERIES, "deliveries": 0, "burnt": 0}  # fmt: skip
CARRIED, PRUNED = KINDS["message.carried"], KINDS["message.pruned"]
FIRST_KIND, LAST_KIND = KINDS["message.sent"], KINDS["message.pruned"]


class MessageFold:
    """One message: `row` as its history says, None before it was sent and after it was pruned."""

    def __init__(self) -> None:
        self.row: Row | None = None

    def fold(self, lines: Sequence[Line], until: int, cut_to: int = 0) -> MessageFold:
        """Apply a message's events up to seq `until`; those up to `cut_to` are what was carried over that cut."""
        for line in lines if cut_to else ():
            if line[2] == CARRIED and (base := told(line[8]))["at"] == cut_to:
                self.row = _DEFAULTS | base["message"]
                self.row["correlation"] = bytes.fromhex(self.row["correlation"])
        for line in lines:
            if line[0] > until:
                break
            step = _STEPS.get(line[2])
            if line[0] > cut_to and step is not None and (self.row is not None or line[2] == FIRST_KIND):
                step(self, line, told(line[8]))
        return self

    def carried(self, at: int) -> Row:
        """Return this fold as the data of a `message.carried` event: the message as of seq `at`. Needs a row."""
        assert self.row is not None
        row = {name: value for name, value in self.row.items() if value != _DEFAULTS.get(name, ())}
        row["correlation"] = self.row["correlation"].hex()
        return {"at": at, "message": row}

    def _sent(self, line: Line, said: Row) -> None:
        _, at, _, number, _, actor, _, body, _, correlation = line
        own = number.to_bytes(8, "big") if len(correlation) == 8 else b""
        reason, post = said.get("reason"), said.get("post")
        self.row = _DEFAULTS | {
            "id": number, "source": said.get("from", (actor or "").partition("/")[0]), "target": said["to"],
            "topic": said.get("topic"), "post": post, "type": said["type"], "state": "dead" if reason else "stored",
            "payload": body, "correlation": own + correlation, "conversation": said.get("conversation", post),
            "reply_to": said.get("reply_to"), "priority": said.get("priority", 0), "expires_ms": said.get("expires"),
            "key": said.get("key"), "max_deliveries": said.get("max", MAX_DELIVERIES),
            "finished_ms": at if reason else None, "reason": reason, "error": said.get("error"),
        }  # fmt: skip

    def _become(self, **changes: Any) -> None:
        assert self.row is not None
        self.row.update(changes)

    def _delivered(self, line: Line, said: Row) -> None:
        assert self.row is not None
        burnt = self.row["burnt"] + 1
        self._become(state="delivered", deliveries=line[4], burnt=burnt, reader=line[5], delivered_ms=line[1])

    def _acked(self, line: Line, said: Row) -> None:
        self._become(state="acked", finished_ms=line[1])

    def _returned(self, line: Line, said: Row) -> None:
        assert self.row is not None
        self._become(state="stored", burnt=self.row["burnt"] - said.get("unheard", 0))

    def _expired(self, line: Line, said: Row) -> None:
        self._become(state="expired", finished_ms=line[1], reason="expired")

    def _buried(self, line: Line, said: Row) -> None:
        self._become(state="dead", finished_ms=line[1], reason=said["reason"], error=said.get("error"))

    def _requeued(self, line: Line, said: Row) -> None:
        assert self.row is not None
        payload = self.row["payload"] if line[7] is None else line[7]
        self._become(state="stored", finished_ms=None, reason=said.get("note"), error=None, burnt=0)
        self._become(payload=payload, expires_ms=None)

    def _discarded(self, line: Line, said: Row) -> None:
        self._become(state="discarded", finished_ms=line[1], reason=said["reason"])

    def _pruned(self, line: Line, said: Row) -> None:
        self.row = None


_STEPS: dict[int, Callable[[MessageFold, Line, Row], None]] = {
    FIRST_KIND: MessageFold._sent,
    KINDS["message.delivered"]: MessageFold._delivered,
    KINDS["message.acked"]: MessageFold._acked,
    KINDS["message.returned"]: MessageFold._returned,
    KINDS["message.expired"]: MessageFold._expired,
    KINDS["message.buried"]: MessageFold._buried,
    KINDS["message.requeued"]: MessageFold._requeued,
    KINDS["message.discarded"]: MessageFold._discarded,
    PRUNED: MessageFold._pruned,
}
