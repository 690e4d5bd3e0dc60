"""The driver's part `schedules`: what a driver must do with them, in the words of the domain.

As in driver.py each verb is one transaction at a moment that is given, and `jitter` is a fraction in [0, 1).
That due ones are fired is the business of `Driver.sweep` and `Driver.claim`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from .clock import Moment
    from .domain.schedule import Schedule, ScheduleSpec

    class ScheduleDriver(Protocol):
        def add(self, spec: ScheduleSpec, *, actor: str, jitter: float, now: Moment) -> bool:
            """Make a schedule; False when there is the same one already. Conflict when there is another."""

        def declare(self, specs: Sequence[ScheduleSpec], *, actor: str, jitter: float, now: Moment) -> None:
            """Make the declared schedules these, one made by hand under such a name included.

            One that is as it was goes on as it was; declared ones that are not named any more are removed.
            """

        def remove(self, name: str, *, actor: str, now: Moment) -> None:
            """Conflict for a declared one: the next look at the file would bring it back. NotFound."""

        def pause(self, name: str, *, reason: str, actor: str, now: Moment) -> bool:
            """False when it was paused already. NotFound."""

        def resume(self, name: str, *, actor: str, jitter: float, now: Moment) -> bool:
            """Go on with the next run from now: what came meanwhile was not wanted. False when it was not paused."""

        def run(self, name: str, *, actor: str, jitter: float, now: Moment) -> int:
            """Add the task of a run now, paused or not, and return it; what is planned stays.

            Conflict when the run before has not ended and `overlap` is `skip`. NotFound.
            """

        def all(self) -> list[Schedule]:
            """Return every schedule by name."""

        def one(self, name: str) -> Schedule:
            """Raises NotFound."""
