"""Whole screens as pictures, at a fixed size and clock; `pytest --snapshot-update` takes them anew."""

from __future__ import annotations

import pytest
from tui_source import NOW, Source, letter

from agentctl_store.errors import StoreError
from agentctl_tui.app import Dashboard

SIZES = [(80, 24), (120, 40), (200, 60)]


def dashboard(source: Source | None = None, **more) -> Dashboard:
    source = source or Source(letters=[letter(n) for n in range(12)])
    return Dashboard(source, source, source, now_ms=lambda: NOW, beat_s=0.02, **more)


def after(*keys: str):
    async def run(pilot) -> None:
        app = pilot.app
        for _ in range(200):
            if app.summary is not None and app.screen.query_one("LiveTable.-main").loaded:
                break
            await pilot.pause(0.02)
        for key in keys:
            await pilot.press(key)
            await pilot.pause(0.1)
        await pilot.pause(0.3)

    return run


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("screen", ["fleet", "dead"])
def test_screens(snap_compare, size, theme, screen):
    keys = ["down"] * 5 if screen == "fleet" else ["3", "down", "space"]
    assert snap_compare(dashboard(theme_name=theme), terminal_size=size, run_before=after(*keys))


@pytest.mark.parametrize("name", ["empty", "lost", "help", "confirm", "narrow letter", "ascii", "medium"])
def test_states(snap_compare, name):
    source, keys, size, more = Source(), [], (120, 40), {}
    if name == "empty":
        source = Source([], [])
        source.ready = 0
        keys = ["3"]
    elif name == "lost":
        source.broken = None
    elif name == "help":
        keys = ["question_mark"]
    elif name == "confirm":
        keys = ["3", "space", "space", "X"]
    elif name == "narrow letter":
        keys, size = ["3", "enter"], (80, 24)
    elif name == "ascii":
        more = {"ascii_only": True}
    elif name == "medium":
        size = (100, 40)
    app = dashboard(source, **more)
    run = after(*keys)
    if name == "lost":

        async def run(pilot) -> None:
            await after("down")(pilot)
            source.broken = StoreError("store.db cannot be opened: disk I/O error", "Check the disk")
            for _ in range(200):
                if app.lost:
                    break
                await pilot.pause(0.02)
            await pilot.pause(0.2)

    assert snap_compare(app, terminal_size=size, run_before=run)
