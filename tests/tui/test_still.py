"""The screen goes from the old rows to the new ones in one frame; only rows that are late are not waited for."""

from __future__ import annotations

import re

import pytest
from tui_source import Source, letter, task_id

from agentctl_tui import still
from agentctl_tui.widgets.table import LiveTable

MANY = 300


def watched(seat, monkeypatch) -> list[str]:
    """Every frame that goes to the terminal from now on."""
    frames: list[str] = []
    display = seat.app._display

    def seen(screen, update):
        display(screen, update)
        if update is not None and not seat.app._batch_count:
            frames.append(seat.text)

    monkeypatch.setattr(seat.app, "_display", seen)
    return frames


def rows(text: str) -> list[str]:
    """The lines of the list that show a row, with the cursor."""
    inside = [line.split("│")[1] for line in text.splitlines() if line.startswith("│")][1:]
    return [line for line in inside if re.search(r"\w", line)]


async def at_the_letters(seat) -> None:
    await seat.press("3")
    await seat.sees(f"Dead letters {MANY}")
    await all_answered(seat)


async def all_answered(seat) -> None:
    await seat.sees(lambda: bool(rows(seat.text)) and not seat.app.feed.waiting("letters"))
    await seat.pilot.pause()


@pytest.mark.parametrize("keys", [("end",), ("end", "home"), ("O",), ("slash", "x", "m", "l", "escape")])
async def test_no_frame_shows_lines_without_rows(sit, monkeypatch, keys):
    monkeypatch.setattr(still, "HOLD_S", 5.0)  # however slow the machine is
    async with sit(Source(letters=[letter(n) for n in range(MANY)])) as seat:
        await at_the_letters(seat)
        for key in keys[:-1]:
            await seat.press(key)
            await all_answered(seat)
        before, frames = rows(seat.text), watched(seat, monkeypatch)
        await seat.press(keys[-1])
        await seat.sees(lambda: bool(frames) and rows(frames[-1]) != before)
        after = rows(frames[-1])
        assert len(after) == seat.app.screen.table.visible_rows
        assert [rows(frame) for frame in frames if rows(frame) not in (before, after)] == [], (before, after)


async def test_beside_the_list_one_letter_stays_until_the_next_is_there(sit, monkeypatch):
    async with sit(Source(letters=[letter(n) for n in range(MANY)])) as seat:
        await at_the_letters(seat)
        await seat.sees(lambda: "payload" in seat.text)
        frames = watched(seat, monkeypatch)
        last = task_id(MANY - 1)
        await seat.press("end")
        await seat.sees(lambda: bool(frames) and last in frames[-1])
        assert [frame for frame in frames if "payload" not in frame] == []


async def test_rows_that_are_late_do_not_keep_the_screen(sit, monkeypatch):
    async with sit(Source(letters=[letter(n) for n in range(MANY)])) as seat:
        await at_the_letters(seat)
        frames = watched(seat, monkeypatch)
        seat.source.slow = True
        await seat.press("end")
        await seat.sees(lambda: bool(frames) and rows(frames[-1]) == [])
        seat.source.slow = False
        await seat.sees(lambda: len(rows(frames[-1])) == seat.app.screen.table.visible_rows)


async def test_another_size_of_the_terminal_ends_the_hold(sit, monkeypatch):
    monkeypatch.setattr(still, "HOLD_S", 60.0)
    async with sit(Source(letters=[letter(n) for n in range(MANY)])) as seat:
        await at_the_letters(seat)
        seat.source.slow = True
        await seat.press("end")
        await seat.sees(lambda: seat.app._batch_count > 0)
        frames = watched(seat, monkeypatch)
        await seat.pilot.resize_terminal(100, 30)
        await seat.sees(lambda: bool(frames))
        seat.source.slow = False


async def test_a_new_focus_draws_again_only_the_row_it_is_seen_by(sit, monkeypatch):
    async with sit(Source(letters=[letter(n) for n in range(MANY)])) as seat:
        await at_the_letters(seat)
        drawn: list[int] = []
        draw = LiveTable.draw
        monkeypatch.setattr(
            LiveTable, "draw", lambda table, line, width: drawn.append(line) or draw(table, line, width)
        )
        frames = watched(seat, monkeypatch)
        await seat.press("slash")
        await seat.sees(lambda: bool(frames) and "filter:" in frames[-1])
        assert set(drawn) <= {1}
