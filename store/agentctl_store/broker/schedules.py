"""The broker's part `schedules`: each verb of agentctl_store.scheduledriver as one call."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ..clock import Moment
    from ..domain.schedule import Schedule, ScheduleSpec


class BrokerSchedules:
    """See agentctl_store.scheduledriver.ScheduleDriver, whose words these are."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def add(self, spec: ScheduleSpec, *, actor: str, jitter: float, now: Moment) -> bool:
        return self._call("schedules.add", spec, actor, jitter, now=now)  # type: ignore[no-any-return]

    def declare(self, specs: Sequence[ScheduleSpec], *, actor: str, jitter: float, now: Moment) -> None:
        self._call("schedules.declare", specs, actor, jitter, now=now)

    def remove(self, name: str, *, actor: str, now: Moment) -> None:
        self._call("schedules.remove", name, actor, now=now)

    def pause(self, name: str, *, reason: str, actor: str, now: Moment) -> bool:
        return self._call("schedules.pause", name, reason, actor, now=now)  # type: ignore[no-any-return]

    def resume(self, name: str, *, actor: str, jitter: float, now: Moment) -> bool:
        return self._call("schedules.resume", name, actor, jitter, now=now)  # type: ignore[no-any-return]

    def run(self, name: str, *, actor: str, jitter: float, now: Moment) -> int:
        return self._call("schedules.run", name, actor, jitter, now=now)  # type: ignore[no-any-return]

    def all(self) -> list[Schedule]:
        return self._call("schedules.all")  # type: ignore[no-any-return]

    def one(self, name: str) -> Schedule:
        return self._call("schedules.one", name)  # type: ignore[no-any-return]
