"""Messages in bounded parts: their rows beside their folded history, for checking and for pruning."""

from __future__ import annotations

from ..replay.messages import MessageFold
from .rebuild import LAST_ID, NEVER, UNREADABLE, by_subject, origin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..replay.tasks import Row
    from .readfile import ReadFile

AT_ONCE = 1_000
COLUMNS = (
    "id", "source", "target", "topic", "post", "type", "state", "payload", "correlation", "conversation", "reply_to",
    "priority", "expires_ms", "key", "max_deliveries", "deliveries", "burnt", "reader", "delivered_ms",
    "finished_ms", "reason", "error",
)  # fmt: skip


class MessagePart:
    """Some messages: their rows, and their history folded up to `until`, as of one moment of the store."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.folds: dict[int, MessageFold] = {}
        self.unreadable: list[int] = []  #: messages whose events cannot be folded


def message_parts(file: ReadFile, sql: dict[str, str], until: int = NEVER) -> Iterator[MessagePart]:
    """Yield all messages in order of their ids, AT_ONCE at a time."""
    low = -1
    while True:
        with file.snapshot():
            found = file.rows(sql["messages"], (low, AT_ONCE))
            last = len(found) < AT_ONCE
            high = LAST_ID if last else found[-1][0]
            part = MessagePart()
            part.rows = {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in found}
            cut_to = origin(file, sql)[2]
            for message, lines in by_subject(file.rows(sql["message_lines"], (low, high))):
                try:
                    part.folds[message] = MessageFold().fold(lines, until, cut_to)
                except UNREADABLE:
                    part.unreadable.append(message)
        yield part
        if last:
            return
        low = high
