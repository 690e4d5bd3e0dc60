"""The broker's part about messages: each verb of agentctl_store.messagedriver as one call."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ..clock import Moment
    from ..domain.message import (
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


class BrokerMessages:
    """See agentctl_store.messagedriver.MessageDriver, whose words these are."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def send(self, message: NewMessage, *, actor: str | None, now: Moment) -> Sent:
        return self._call("messages.send", message, actor, now=now)  # type: ignore[no-any-return]

    def read(
        self, agent: str, *, reader: str | None, limit: int, ack_ms: int, wait_ms: int, now: Moment
    ) -> list[Delivery]:
        given = (agent, reader, limit, ack_ms, wait_ms)
        return self._call("messages.read", *given, now=now, wait_ms=wait_ms)  # type: ignore[no-any-return]

    def ack(self, message: int, n: int, *, now: Moment) -> Settled:
        return self._call("messages.ack", message, n, now=now)  # type: ignore[no-any-return]

    def refuse(self, message: int, n: int, *, error: str, now: Moment) -> Settled:
        return self._call("messages.refuse", message, n, error, now=now)  # type: ignore[no-any-return]

    def give_back(self, message: int, n: int, *, now: Moment) -> Settled:
        return self._call("messages.give_back", message, n, now=now)  # type: ignore[no-any-return]

    def requeue(self, message: int, *, payload: str | None, note: str, actor: str, now: Moment) -> Settled:
        return self._call("messages.requeue", message, payload, note, actor, now=now)  # type: ignore[no-any-return]

    def discard(self, message: int, *, reason: str, actor: str, now: Moment) -> Settled:
        return self._call("messages.discard", message, reason, actor, now=now)  # type: ignore[no-any-return]

    def subscribe(self, topic: str, agent: str, *, actor: str | None, now: Moment) -> bool:
        return self._call("messages.subscribe", topic, agent, actor, now=now)  # type: ignore[no-any-return]

    def unsubscribe(self, topic: str, agent: str, *, actor: str | None, now: Moment) -> bool:
        return self._call("messages.unsubscribe", topic, agent, actor, now=now)  # type: ignore[no-any-return]

    def set_schema(self, scope: str, schema: str, *, actor: str, now: Moment) -> bool:
        return self._call("messages.set_schema", scope, schema, actor, now=now)  # type: ignore[no-any-return]

    def remove_schema(self, scope: str, *, actor: str, now: Moment) -> bool:
        return self._call("messages.remove_schema", scope, actor, now=now)  # type: ignore[no-any-return]

    def configure(self, damping: Damping, *, actor: str, now: Moment) -> bool:
        return self._call("messages.configure", damping, actor, now=now)  # type: ignore[no-any-return]

    def message(self, message: int) -> Message:
        return self._call("messages.message", message)  # type: ignore[no-any-return]

    def find(self, low: int, high: int, limit: int) -> list[int]:
        return self._call("messages.find", low, high, limit)  # type: ignore[no-any-return]

    def list(self, filter: MessageFilter, limit: int) -> Sequence[Message]:
        return self._call("messages.list", filter, limit)  # type: ignore[no-any-return]

    def thread(self, conversation: int, party: str | None, limit: int) -> Sequence[Message]:
        return self._call("messages.thread", conversation, party, limit)  # type: ignore[no-any-return]

    def topics(self) -> Sequence[Topic]:
        return self._call("messages.topics")  # type: ignore[no-any-return]

    def schemas(self) -> Sequence[MessageSchema]:
        return self._call("messages.schemas")  # type: ignore[no-any-return]

    def damping(self) -> Damping:
        return self._call("messages.damping")  # type: ignore[no-any-return]
