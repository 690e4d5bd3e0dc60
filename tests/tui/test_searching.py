"""A read that takes long holds nobody up: keys are answered, newer questions come first, the title says so."""

from __future__ import annotations

import asyncio
import time

from tui_source import Source, task_id

from agentctl_store.read.models import Filter
from agentctl_tui.asks import DeadLetters
from agentctl_tui.feed import Feed
from agentctl_tui.widgets.table import LiveTable
from agentctl_tui.window import Span


async def searching(seat) -> None:
    """Begin a search that finds no end."""
    await seat.press("3")
    await seat.sees("Dead letters 5")
    seat.source.slow = True
    await seat.press("slash")
    await seat.type("x")
    await seat.sees(seat.source.searches.is_set)


async def test_the_title_says_that_it_searches_until_the_rows_are_there(sit):
    async with sit() as seat:
        await searching(seat)
        await seat.sees("Dead letters 5 · searching…")
        seat.source.slow = False
        await seat.sees_no("searching")


async def test_an_answer_that_comes_at_once_is_not_called_a_search(sit):
    async with sit() as seat:
        await seat.press("3")
        await seat.sees("Dead letters 5")
        board = seat.app.screen
        board._look_late("letters")
        assert not board.searching and "searching" not in seat.text


async def test_a_newer_text_replaces_the_one_that_is_searched_for(sit):
    async with sit() as seat:
        await searching(seat)
        seat.source.searches.clear()
        await seat.type("nosuch")
        await seat.sees(seat.source.searches.is_set)
        seat.source.slow = False
        await seat.sees("No dead letter matches.")


async def test_while_it_searches_the_old_rows_stay_and_are_walked_through(sit):
    async with sit() as seat:
        await searching(seat)
        await seat.press("enter", "down", "down")
        table = seat.app.screen.query_one("#letters", LiveTable)
        assert table.selected is not None and table.selected_id == table.selected.task != task_id(0)
        await seat.sees(lambda: seat.app.screen.panel.letter.row.task == table.selected_id)
        await seat.sees("searching")


async def test_leaving_the_screen_gives_its_search_up_and_the_fleet_goes_on(sit):
    async with sit() as seat:
        await searching(seat)
        await seat.press("enter", "1")
        seat.source.rows = seat.source.rows[:3]
        seat.source.touch()
        await seat.sees("Instances 3")


async def test_quitting_does_not_wait_for_a_search():
    source = Source()
    source.slow = True
    feed = Feed(source, None, lambda message: None, lambda: source.now)
    feed.ask("letters", DeadLetters(Span(0, 10, "-died"), Filter()))
    feed.start()
    assert await asyncio.to_thread(source.searches.wait, 5)
    began = time.monotonic()
    feed.stop()
    assert time.monotonic() - began < 0.5 and not feed._thread.is_alive()
