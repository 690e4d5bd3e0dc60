"""The dashboard over a fleet in memory, with a fixed clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import asynccontextmanager

import pytest
from tui_source import NOW, Source

from agentctl_tui.app import Dashboard


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    """Wall times on screen do not depend on where the tests run."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class Seat:
    """A person in front of the dashboard."""

    def __init__(self, app: Dashboard, pilot, source: Source) -> None:
        self.app, self.pilot, self.source = app, pilot, source

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def type(self, text: str) -> None:
        names = {" ": "space", "/": "slash", '"': "quotation_mark", "{": "left_curly_bracket"}
        await self.pilot.press(*(names.get(c, c) for c in text))

    def screen(self) -> list[str]:
        """What the person sees, line by line."""
        strips = self.app.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip) for strip in strips]

    @property
    def text(self) -> str:
        return "\n".join(self.screen())

    async def sees(self, wanted: str | Callable[[], bool], within_s: float = 5.0) -> None:
        """Wait until the text is on screen, or the condition holds."""
        test = wanted if callable(wanted) else lambda: wanted in self.text
        deadline = time.monotonic() + within_s
        while not test():
            if time.monotonic() > deadline:
                raise AssertionError(f"not seen: {wanted!r}\n{self.text}")
            await self.pilot.pause(0.02)

    async def sees_no(self, unwanted: str) -> None:
        await self.sees(lambda: unwanted not in self.text)


@asynccontextmanager
async def seated(source: Source | None = None, size=(120, 40), **more):
    source = source or Source()
    clock = [source.now]
    app = Dashboard(source, source, source, now_ms=lambda: clock[0], beat_s=0.02, **more)
    async with app.run_test(size=size, notifications=True) as pilot:
        seat = Seat(app, pilot, source)
        seat.clock = clock
        await seat.sees(lambda: app.summary is not None and app.screen.query_one("LiveTable.-main").loaded)
        yield seat


@pytest.fixture
def sit():
    """`async with sit(source, size=…) as seat:` opens the dashboard."""
    return seated


@pytest.fixture
def now() -> int:
    return NOW
