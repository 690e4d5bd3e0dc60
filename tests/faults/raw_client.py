"""A client of the broker's socket that does as it likes: sends and never reads, goes in the middle of a frame."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from agentctl_store.broker.wire import MAX_CALL, SOCKET, VERSION, frame


class RawClient:
    """A connection that has said hello."""

    def __init__(self, store: Path, client: int = 0) -> None:
        self.channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.channel.settimeout(10)
        self.channel.connect(str(store / SOCKET))
        self.client = client or int.from_bytes(os.urandom(7), "big")
        self.count = 0
        self.send(frame([0, "hello", [VERSION, self.client, None]], MAX_CALL))
        self.channel.recv(1 << 16)

    def send(self, data: bytes) -> None:
        self.channel.sendall(data)

    def call(self, verb: str, *given: Any) -> None:
        """Ask, and do not wait for the answer."""
        self.count += 1
        self.send(frame([self.count, verb, given], MAX_CALL))

    def close(self) -> None:
        self.channel.close()
