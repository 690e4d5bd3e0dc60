"""Fleet: what a person does and sees."""

from __future__ import annotations

from textual.events import MouseScrollDown
from tui_source import NOW, Source, busy, instance

from agentctl_store.domain.limits import Hold
from agentctl_store.errors import StoreError
from agentctl_store.read.models import SupervisorRow
from agentctl_store.record import replace
from agentctl_tui.widgets.table import LiveTable


def fleet_of(n: int) -> Source:
    return Source([instance(f"worker/{i:03d}") for i in range(1, n + 1)])


async def test_every_instance_is_there_with_glyph_and_word(sit):
    async with sit() as seat:
        for row in seat.source.rows:
            assert any(row.instance in line and row.health in line for line in seat.screen())
        assert "◐ degraded" in seat.text
        assert "mailer/1 failed: 5 starts in 60 s" in seat.text


async def test_an_idle_instance_says_which_limit_holds_it_back(sit):
    async with sit(Source([instance("ann/1"), instance("bob/1")])) as seat:
        seat.source.held = (Hold("rate", "rate limit of provider acme", NOW + 2_000, agent="ann"),)
        seat.source.touch()
        await seat.sees(lambda: any("ann/1" in line and "rate limit of" in line for line in seat.screen()))
        assert any("bob/1" in line and "waiting for a task" in line for line in seat.screen())


async def test_the_scrollbar_covers_no_column(sit):
    async with sit(fleet_of(100), size=(80, 24)) as seat:
        table = seat.app.screen.query_one(LiveTable)
        await seat.sees(lambda: table.show_vertical_scrollbar and "waiting for a task" in seat.text)
        seat.app.screen.refresh()
        await seat.pilot.pause()
        await seat.sees(lambda: any(line.rstrip("│ ▁▂▃▄▅▆▇█").endswith("2h30m") for line in seat.screen()))


async def test_the_detail_follows_the_selection_with_its_log(sit):
    async with sit() as seat:
        await seat.press("down", "down", "down")
        await seat.sees("complexity 214/380")
        await seat.sees("reading tarfile.py")
        await seat.sees("pid 4010")


async def test_a_change_in_the_store_is_seen_without_a_key(sit):
    async with sit() as seat:
        seat.source.rows[2] = busy("reviewer/1", 99, "zipfile.py", 1, health="degraded", reason="provider throttled")
        seat.source.touch()
        await seat.sees("provider throttled")
        await seat.sees("zipfile.py")


async def test_time_passes_for_what_is_shown(sit):
    async with sit() as seat:
        await seat.sees("working 12 s")
        seat.clock[0] += 5_000
        await seat.sees("working 17 s", within_s=3)


async def test_the_selection_stays_with_its_instance_when_rows_come_above(sit):
    async with sit(fleet_of(200)) as seat:
        await seat.press("end")
        await seat.sees("worker/200")
        await seat.press("pageup")
        table = seat.app.screen.query_one(LiveTable)
        selected = table.selected_id
        seat.source.rows += [instance(f"aaa/{i}") for i in range(1, 30)]
        seat.source.touch()
        await seat.sees(lambda: table.total == 229)
        assert table.selected_id == selected
        await seat.sees(lambda: any(f"▌  {selected}" in line for line in seat.screen()))


async def test_a_filter_narrows_as_it_is_typed_and_esc_clears_it(sit):
    async with sit() as seat:
        await seat.press("slash")
        await seat.type("review")
        await seat.sees_no("planner/1")
        await seat.sees("4 of 10")
        await seat.press("enter")
        await seat.press("escape")
        await seat.sees("planner/1")


async def test_a_filter_that_matches_nothing_says_so(sit):
    async with sit() as seat:
        await seat.press("slash")
        await seat.type("nosuch")
        await seat.sees("Nothing matches “nosuch”.")


async def test_jump_goes_to_an_instance_far_down(sit):
    async with sit(fleet_of(300)) as seat:
        await seat.press("colon")
        await seat.type("worker/277")
        await seat.press("enter")
        await seat.sees(lambda: seat.app.screen.query_one(LiveTable).selected_id == "worker/277")
        await seat.sees("▌  worker/277")


async def test_a_jump_to_nothing_says_so(sit):
    async with sit() as seat:
        await seat.press("colon")
        await seat.type("zzz")
        await seat.press("enter")
        await seat.sees("Nothing here is called 'zzz'.")


async def test_sorting_by_key_and_by_click_on_the_header(sit):
    async with sit() as seat:
        await seat.press("o")
        await seat.sees("HEALTH▲")
        rows = [line for line in seat.screen() if "/1 " in line and "mailer" in line]
        assert rows
        await seat.sees(lambda: "mailer/1" in seat.screen()[4])
        await seat.press("O")
        await seat.sees("HEALTH▼")
        await seat.pilot.click("#instances", offset=(5, 0))
        await seat.sees("INSTANCE▲")
        await seat.sees(lambda: "aggregator/1" in seat.screen()[4])


async def test_a_click_selects_and_the_wheel_scrolls(sit):
    async with sit(fleet_of(300)) as seat:
        await seat.pilot.click("#instances", offset=(8, 5))
        await seat.sees("▌  worker/005")
        await seat.pilot._post_mouse_events([MouseScrollDown], "#instances", (8, 8))
        await seat.sees_no("worker/001 ")


async def test_a_latched_agent_is_started_at_once_and_the_command_is_told(sit):
    async with sit() as seat:
        await seat.press("down", "s")
        await seat.sees("$ agentctl agent start mailer")
        assert seat.source.acts == [("start", ("mailer",))]


async def test_stopping_a_running_agent_can_be_declined(sit):
    async with sit() as seat:
        await seat.press("s")
        await seat.sees("Stop aggregator?")
        await seat.press("escape")
        await seat.sees_no("Stop aggregator?")
        await seat.press("s")
        await seat.sees("Stop aggregator?")
        await seat.press("y")
        await seat.sees("$ agentctl agent stop aggregator")
        assert seat.source.acts == [("stop", ("aggregator",))]


async def test_drain_and_pause_act_at_once(sit):
    async with sit() as seat:
        await seat.press("d")
        await seat.sees("$ agentctl agent drain aggregator")
        seat.source.rows[0] = replace(seat.source.rows[0], desired="paused", health="paused")
        seat.source.touch()
        await seat.sees("⏸ paused")
        await seat.press("p")
        await seat.sees("$ agentctl agent resume aggregator")


async def test_an_empty_fleet_says_what_would_fill_it(sit):
    source = Source([], [])
    source.ready = 0
    async with sit(source) as seat:
        await seat.sees("No agents yet.")
        await seat.sees("agentctl init --example review")


async def test_a_dead_store_is_a_banner_and_the_data_stays(sit):
    async with sit() as seat:
        seat.source.broken = StoreError("store.db cannot be opened: disk I/O error", "Check the disk")
        await seat.sees("store.db cannot be opened")
        assert "reviewer/3" in seat.text
        assert seat.app.look.faded
        seat.clock[0] += 42_000
        await seat.sees("(42 s ago)", within_s=3)
        seat.source.broken = None
        await seat.sees_no("The store cannot be read")
        assert not seat.app.look.faded


async def test_a_reader_with_a_defect_does_not_end_the_dashboard(sit):
    async with sit() as seat:
        seat.source.broken = ZeroDivisionError("oops")
        await seat.sees("ZeroDivisionError: oops")
        seat.source.broken = None
        await seat.sees_no("ZeroDivisionError")


async def test_no_supervisor_is_said_with_its_remedy(sit):
    source = Source()
    source.supervisor = SupervisorRow(False, None, NOW - 65_000)
    async with sit(source) as seat:
        await seat.sees("No supervisor since 1m05s: nothing new is started. Run `agentctl run`.")


async def test_enter_opens_the_instance_and_esc_comes_back(sit):
    async with sit(size=(80, 24)) as seat:
        await seat.press("down", "down", "down", "enter")
        await seat.sees("warning: 3 functions are longer than 100 lines")
        await seat.sees("http/client.py")
        await seat.press("escape")
        await seat.sees("1 Fleet")


async def test_the_keys_are_one_key_away(sit):
    async with sit() as seat:
        await seat.press("question_mark")
        await seat.sees("Let current tasks finish, then stop")
        await seat.sees("Requeue with this payload")
        await seat.press("escape")
        await seat.sees_no("Requeue with this payload")


async def test_the_palette_finds_commands(sit):
    async with sit() as seat:
        await seat.press("ctrl+p")
        await seat.type("dead")
        await seat.sees("Dead letters screen")
        await seat.press("down", "enter")
        await seat.sees(lambda: seat.app.current_mode == "dead")


async def test_copy_takes_the_whole_id(sit):
    async with sit() as seat:
        await seat.press("y")
        await seat.sees("Copied aggregator/1")
        assert seat.app.clipboard == "aggregator/1"


async def test_numbers_in_the_strip_are_links(sit):
    async with sit() as seat:
        at = seat.screen()[0].index("dead 5")
        await seat.pilot.click("#strip", offset=(at + 1, 0))
        await seat.sees(lambda: seat.app.current_mode == "dead")
        at = seat.screen()[1].index("Fleet")
        await seat.pilot.click("#tabs", offset=(at, 0))
        await seat.sees(lambda: seat.app.current_mode == "fleet")


async def test_resizing_moves_the_detail_below_and_away(sit):
    async with sit() as seat:
        detail = seat.app.screen.query_one("#detail")
        assert detail.region.x > 0
        await seat.pilot.resize_terminal(100, 40)
        await seat.sees(lambda: detail.region.x == 0 and detail.region.height > 5)
        await seat.pilot.resize_terminal(80, 24)
        await seat.sees(lambda: not detail.display)


async def test_themes_change_everything_at_once(sit):
    async with sit() as seat:
        await seat.press("ctrl+t")
        await seat.sees(lambda: seat.app.look.name == "light")
        await seat.press(*["ctrl+t"] * 4)
        await seat.sees(lambda: seat.app.look.name == "dark")


async def test_ascii_mode_shows_nothing_else(sit):
    source = Source()
    async with sit(source, ascii_only=True) as seat:
        await seat.sees("o healthy")
        for key in ("down", "3", "1"):
            await seat.press(key)
            assert seat.text.isascii(), [c for c in seat.text if not c.isascii()]
