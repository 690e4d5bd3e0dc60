"""What goes over the broker's socket: two versions that differ must not take each other's frames for their own."""

from __future__ import annotations

import hashlib

from agentctl_store.broker import calls, wire
from agentctl_store.record import fields_of

#: the version of the protocol, and the digest of the calls and records it speaks of
SPOKEN = (3, "268d3637c5075412")


def test_what_is_said_over_the_socket_changes_only_together_with_its_version() -> None:
    records = {name: fields_of(wire.record_type(name)) for name in sorted(wire.RECORDS)}
    said = repr((sorted(calls.ORDER.items()), records))
    found = hashlib.sha256(said.encode()).hexdigest()[:16]
    assert (wire.VERSION, found) == SPOKEN, "raise wire.VERSION, then note here what it speaks of"
