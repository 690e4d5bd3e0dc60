"""The signature of messages is the HMAC that everybody else computes."""

from __future__ import annotations

import hmac
import random

from agentctl_store.sqlite.signing import hmac_sha256


def test_it_is_the_hmac_of_the_standard() -> None:
    """RFC 4231, test case 2, and keys and texts around the edges of a block."""
    told = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert hmac_sha256(b"Jefe", b"what do ya want for nothing?").hex() == told
    dice = random.Random(4231)
    for size in (0, 1, 31, 32, 63, 64, 65, 200):
        for length in (0, 1, 55, 56, 63, 64, 65, 3_000):
            key, said = dice.randbytes(size), dice.randbytes(length)
            assert hmac_sha256(key, said) == hmac.digest(key, said, "sha256")
