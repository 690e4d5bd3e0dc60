"""The part of the seam that is about messages: what `driver.messages` must do. See driver.py for what holds for all."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from .clock import Moment
    from .domain.message import (
        Damping,
        Delivery,
        Message,
        MessageFilter,
        MessageSchema,
        NewMessage,
        Sent,
        Settled,
        Topic,
    )

    class MessageDriver(Protocol):
        def send(self, message: NewMessage, *, actor: str | None, now: Moment) -> Sent:
            """Store a message, or one copy per subscriber of a topic. A known key answers the first one.

            One that cannot be delivered (no_such_agent, offline, schema) is kept as a dead letter; one that is damped,
            or finds too many unread ones of its sender there, is not. NotFound for an unknown `reply_to` or creator,
            BadInput for a publication that its schema refuses, StaleAttempt when the delivery it acks is not the
            newest.
            """

        def read(
            self, agent: str, *, reader: str | None, limit: int, ack_ms: int, wait_ms: int, now: Moment
        ) -> list[Delivery]:
            """Take up to `limit` messages for `agent`, best rank first; each is to be acked within `ack_ms`.

            An agent that reads makes itself known; for one that nobody knows, another's read is NotFound, or with
            `wait_ms` finds nothing. Redelivers and expires first what is due, so that no supervisor is needed. With
            nothing to read, a driver that can lets the reader wait for `wait_ms`; the others answer at once.
            """

        def ack(self, message: int, n: int, *, now: Moment) -> Settled:
            """The recipient has dealt with it. StaleAttempt when it was delivered again since, or has ended."""

        def refuse(self, message: int, n: int, *, error: str, now: Moment) -> Settled:
            """The recipient will not deal with it: a dead letter. StaleAttempt as for `ack`."""

        def give_back(self, message: int, n: int, *, now: Moment) -> Settled:
            """Undo a delivery that its reader never heard of: stored again at once, nothing burnt."""

        def requeue(self, message: int, *, payload: str | None, note: str, actor: str, now: Moment) -> Settled:
            """A dead letter is stored again with fresh deliveries and no time to live, signed anew."""

        def discard(self, message: int, *, reason: str, actor: str, now: Moment) -> Settled:
            """A dead letter is given up."""

        def subscribe(self, topic: str, agent: str, *, actor: str | None, now: Moment) -> bool:
            """False when it was subscribed already."""

        def unsubscribe(self, topic: str, agent: str, *, actor: str | None, now: Moment) -> bool: ...

        def set_schema(self, scope: str, schema: str, *, actor: str, now: Moment) -> bool:
            """Hold payloads of a type or topic to a JSON Schema from now on. False when it was that one already."""

        def remove_schema(self, scope: str, *, actor: str, now: Moment) -> bool: ...

        def configure(self, damping: Damping, *, actor: str, now: Moment) -> bool:
            """Say when conversations are damped, and how full an inbox gets. False when it was so already."""

        def message(self, message: int) -> Message:
            """Raises NotFound."""

        def find(self, low: int, high: int, limit: int) -> list[int]:
            """Return up to `limit` ids from `low` to `high`: prefix lookup."""

        def list(self, filter: MessageFilter, limit: int) -> Sequence[Message]:
            """Return messages that match, the newest first, of the newest LOOK; dead letters by when they ended.

            Of payloads there is the beginning: LISTED characters.
            """

        def thread(self, conversation: int, party: str | None, limit: int) -> Sequence[Message]:
            """Return a conversation, oldest first, payloads as in `list`; with `party` only what it sent or got."""

        def topics(self) -> Sequence[Topic]: ...

        def schemas(self) -> Sequence[MessageSchema]: ...

        def damping(self) -> Damping: ...
