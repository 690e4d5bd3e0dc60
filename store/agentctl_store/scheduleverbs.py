"""The store's verbs on schedules, as everybody above the driver calls them."""

from __future__ import annotations

from .errors import BadInput
from .ids import check_name
from .jsontext import dumps, loads
from .record import replace
from .taskverbs import FOREVER_MS, kept_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .clock import Clock
    from .domain.schedule import Schedule, ScheduleSpec
    from .driver import Driver


class ScheduleVerbs:
    """What a person, or agentctl.toml, wants to be done again and again."""

    def __init__(self, driver: Driver, clock: Clock) -> None:
        self._driver, self._clock = driver.schedules, clock

    def add(self, spec: ScheduleSpec, *, actor: str) -> bool:
        """Make a schedule; False when there is the same one already.

        Its first run comes after now. BadInput and its kinds, Conflict when there is another one of that name.
        """
        now = self._clock.now()
        if spec.at_ms is not None and not now.wall_ms < spec.at_ms <= now.wall_ms + FOREVER_MS:
            raise BadInput("the time of the run has passed or is too far away", "Use a time within ten years from now")
        return self._driver.add(_checked(spec), actor=actor, jitter=self._clock.random(), now=now)

    def declare(self, specs: Sequence[ScheduleSpec], *, actor: str) -> None:
        """Make the declared schedules these; those made by hand stay. A single run whose time has passed is over."""
        checked = [_checked(spec) for spec in specs]
        self._driver.declare(checked, actor=actor, jitter=self._clock.random(), now=self._clock.now())

    def remove(self, name: str, *, actor: str) -> None:
        """NotFound; Conflict for a declared one."""
        self._driver.remove(check_name(name, "schedule"), actor=actor, now=self._clock.now())

    def pause(self, name: str, *, reason: str = "", actor: str) -> bool:
        """Fire no more runs of it; False when it was paused already. NotFound."""
        check_name(name, "schedule")
        return self._driver.pause(name, reason=kept_text(reason), actor=actor, now=self._clock.now())

    def resume(self, name: str, *, actor: str) -> bool:
        """Go on with the next run from now; False when it was not paused. NotFound."""
        check_name(name, "schedule")
        return self._driver.resume(name, actor=actor, jitter=self._clock.random(), now=self._clock.now())

    def run(self, name: str, *, actor: str) -> int:
        """Add the task of a run now and return it. NotFound; Conflict when the run before may not be overlapped."""
        check_name(name, "schedule")
        return self._driver.run(name, actor=actor, jitter=self._clock.random(), now=self._clock.now())

    def all(self) -> list[Schedule]:
        """Return every schedule by name."""
        return self._driver.all()

    def one(self, name: str) -> Schedule:
        """NotFound."""
        return self._driver.one(check_name(name, "schedule"))


def _checked(spec: ScheduleSpec) -> ScheduleSpec:
    check_name(spec.name, "schedule")
    check_name(spec.queue, "queue")
    return replace(spec, payload=dumps(loads(spec.payload))).check()
