"""What the feed tells the screens. Newer news replaces older news of its kind that nobody has read yet."""

from __future__ import annotations

from textual.message import Message


class Fresh(Message, bubble=False):
    """What was asked under `name` has a new answer."""

    def __init__(self, name: str, value: object, at_ms: int) -> None:
        super().__init__()
        self.name = name
        self.value = value
        self.at_ms = at_ms

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Fresh) and message.name == self.name


class Lost(Message, bubble=False):
    """The store cannot be read. What was read before still stands, as of `since_ms`."""

    def __init__(self, reason: str, since_ms: int) -> None:
        super().__init__()
        self.reason = reason
        self.since_ms = since_ms

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Lost)


class Back(Message, bubble=False):
    """The store can be read again."""
