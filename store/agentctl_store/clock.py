"""Time and randomness, the only places they come in. Tests hand in their own `Clock`.

Leases are measured on the boot clock, which never jumps and goes on through suspend (CLOCK_BOOTTIME), together with
the boot id: wall time is for display and for what a person scheduled.
"""

from __future__ import annotations

import os
import time

from .record import record

SLEPT_MS = 1_000  #: a difference of boot and awake clocks that grew by more means the machine slept
JUMP_MS = 2_000  #: a wall clock that moved by more against the boot clock was set, not slewed
GRACE_MS = 10_000  #: what each lease gets on top of the time slept


@record
class Moment:
    """One instant, read once per transaction."""

    wall_ms: int  #: milliseconds since 1970 UTC; may jump
    boot_ms: int  #: milliseconds since boot, suspend included; never jumps
    awake_ms: int  #: milliseconds since boot, suspend excluded; `boot_ms - awake_ms` grows by each suspend
    boot_id: str  #: names this boot; `boot_ms` of another boot means nothing here


def boot_id() -> str:
    """Return the kernel's id of this boot (Linux), or the best stand-in the platform has."""
    try:
        descriptor = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        # macOS and others: the boot's wall time to 10 s, stable over a boot but for clock steps.
        return f"since-{int(time.time() - time.monotonic()) // 10}"
    try:
        return os.read(descriptor, 64).decode().strip()
    finally:
        os.close(descriptor)


class Clock:
    """The real clock and the real dice."""

    _BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    _AWAKE = getattr(time, "CLOCK_UPTIME_RAW", time.CLOCK_MONOTONIC)

    def __init__(self) -> None:
        self._boot_id = boot_id()

    def now(self) -> Moment:
        """Return the present moment."""
        return Moment(
            time.time_ns() // 1_000_000,
            time.clock_gettime_ns(self._BOOT) // 1_000_000,
            time.clock_gettime_ns(self._AWAKE) // 1_000_000,
            self._boot_id,
        )

    def random(self) -> float:
        """Return a fraction in [0, 1) for jitter, from the operating system."""
        return int.from_bytes(os.urandom(6), "big") / (1 << 48)

    def token(self, size: int) -> bytes:
        """Return `size` unpredictable bytes for ids and nonces."""
        return os.urandom(size)
