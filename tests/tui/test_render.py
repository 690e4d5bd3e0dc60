"""Rows → cells: what every cell shows, as tables."""

from __future__ import annotations

import pytest
from tui_source import NOW, busy, instance, letter

from agentctl_store.read.models import HEALTH_ORDER, FleetSummary, SupervisorRow
from agentctl_tui import commands, units
from agentctl_tui.cells import cut, fit, line, pack, piece, raw, text_of, width, wrap
from agentctl_tui.columns import Context, widths
from agentctl_tui.findings import finding
from agentctl_tui.glyphs import ASCII, HEALTH_ROLES, UNICODE, bar, sparkline
from agentctl_tui.header import strip, tabs
from agentctl_tui.render import DEAD_LETTER_COLUMNS, INSTANCE_COLUMNS, USAGE_COLUMNS, doing, health
from agentctl_tui.themes import COLORS, GROUNDS, INKS, contrast

AT = Context(NOW, UNICODE, 8)


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        (None, "–"),
        (-5, "0 s"),
        (0, "0 s"),
        (38_999, "38 s"),
        (60_000, "1m00s"),
        (250_000, "4m10s"),
        (900_000, "15 min"),
        (7_980_000, "2h13m"),
        (273_600_000, "3d4h"),
        (99 * 86_400_000 * 2, "198 d"),
    ],
)
def test_ages_are_short_and_carry_their_unit(ms, shown):
    assert units.age(ms) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (312_000_000, "312 MB"),
        (38_500_000, "38.5 MB"),
        (4_120_000_000, "4.12 GB"),
    ],
)
def test_sizes_have_at_most_three_digits(value, shown):
    assert units.size(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (999, "999"), (1204, "1 204"), (12_300, "12.3k"), (1_200_000, "1.2M")]
)
def test_counts_stay_short(value, shown):
    assert units.count(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (1_600_000, "$1.60"), (0, "$0.00"), (4_000, "$0.004"), (2_345_000_000, "$2,345")],
)
def test_costs_show_cents_and_less(value, shown):
    assert units.money(value) == shown


@pytest.mark.parametrize("size", range(14))
@pytest.mark.parametrize("text", ["abc", "日本語テキスト", "e\u0301galite\u0301", "👍🏽 ok", ""])
def test_a_fitted_line_is_exactly_as_wide_as_asked(text, size):
    for right in (False, True):
        assert width(fit((piece(text), piece(" tail")), size, right)) == size


def test_a_cut_line_says_that_it_goes_on():
    assert text_of(fit((raw("reviewer"),), 5)) == "revi…"
    assert text_of(fit((raw("abc"), raw("def")), 3)) == "ab…"
    assert cut("日本語", 4) == "日…"


def test_long_words_are_broken_and_wrapped_lines_fit():
    lines = wrap("a" * 30 + " word\n日本語日本語", 8)
    assert max(width(line(text)) for text in lines) <= 8
    assert "".join(lines).replace(" ", "").startswith("a" * 30 + "word")


def test_the_least_important_parts_give_way():
    parts = [(0, line("name")), (2, line("rate")), (1, line("dead"))]
    assert text_of(pack(parts, " · ", 30)) == "name · rate · dead"
    assert text_of(pack(parts, " · ", 13)) == "name · dead"
    assert text_of(pack(parts, " · ", 4)) == "name"


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
def test_health_is_glyph_and_word_and_each_glyph_is_its_own(glyphs):
    assert set(HEALTH_ROLES) == set(HEALTH_ORDER)
    assert len({glyphs.health[name] for name in HEALTH_ORDER}) == len(HEALTH_ORDER)
    for name in HEALTH_ORDER:
        shown = text_of(health(name, glyphs))
        assert shown == f"{glyphs.health[name]} {name}"
        assert width(health(name, glyphs)) <= 11
        assert glyphs is UNICODE or shown.isascii()


@pytest.mark.parametrize(
    ("row", "shown", "role"),
    [
        (instance("a/1"), "waiting for a task", "dim"),
        (instance("a/1", held="rate limit of provider acme"), "rate limit of provider acme", "dim"),
        (instance("a/1", mode="service"), "running", "dim"),
        (busy("a/1", 7, "t", 0), "working", ""),
        (busy("a/1", 7, "t", 38), "working 38 s", ""),
        (busy("a/1", 7, "t", 38, progress="12/40"), "12/40 38 s", ""),
        (
            busy("a/1", 7, "t", 99, health="degraded", reason="no output for 94 s"),
            "no output for 94 s",
            "amber",
        ),
        (instance("a/1", "unhealthy", reason="probe refused"), "probe refused", "red"),
        (instance("a/1", "unhealthy", latched=True, phase="failed"), "start limit", "red"),
        (
            instance("a/1", "starting", phase="backoff", next_start_ms=NOW + 12_000),
            "starts again in 12 s",
            "amber",
        ),
        (instance("a/1", "stopped", phase="stopped"), "", None),
        (instance("a/1", "draining", phase="draining"), "draining", "blue"),
    ],
)
def test_doing_says_what_happens_or_what_is_in_the_way(row, shown, role):
    cells = doing(row, NOW)
    assert text_of(cells) == shown
    assert role is None or cells[0].role == role


def test_every_column_renders_rows_with_nothing_known():
    empty = instance(
        "a/1",
        session=None,
        pid=None,
        started_ms=None,
        heartbeat_ms=None,
        output_ms=None,
        memory_bytes=None,
        done=0,
    )
    for column in (*INSTANCE_COLUMNS, *USAGE_COLUMNS):
        assert width(column.cell(empty, AT)) >= 0
    for column in DEAD_LETTER_COLUMNS:
        assert width(column.cell(letter(1).row, AT)) > 0


@pytest.mark.parametrize("room", range(12, 200, 7))
def test_columns_never_take_more_than_there_is(room):
    seen = {"instance": 26, "doing": 60, "task": 60, "health": 11}
    laid = widths(INSTANCE_COLUMNS, seen, room)
    used = sum(size for _, size in laid) + 2 * (len(laid) - 1)
    assert used <= max(room, 26)
    assert laid[0][0].key == "instance"
    if room >= 83:
        assert [column.key for column, _ in laid][:4] == ["instance", "health", "task", "doing"]
        assert used == room


def test_bars_are_exact_to_an_eighth_and_always_as_long():
    assert bar(0.5, 4, UNICODE) == ("██", "░░")
    assert bar(0.53, 4, UNICODE)[0] == "██▏"
    for share in (-1, 0, 0.01, 0.33, 0.99, 1, 7):
        full, rest = bar(share, 6, UNICODE)
        assert len(full) + len(rest) == 6
        assert all(c in "#." for c in "".join(bar(share, 6, ASCII)))


def test_sparklines_share_a_scale_and_show_every_task():
    assert sparkline((0, 1, 8), 4, 8, UNICODE) == "  ▁█"
    assert sparkline((1,), 1, 1000, UNICODE) == "▁"


def _summary(**more) -> FleetSummary:
    values = {
        "now_ms": NOW, "fleet": "review", "supervisor": SupervisorRow(True, 1, NOW - 1000),
        "health": (("healthy", 2),), "tasks": (("ready", 4),), "flow": (0, 2, 4), **more,
    }  # fmt: skip
    return FleetSummary(**values)


@pytest.mark.parametrize(
    ("summary", "worst", "begins", "remedy"),
    [
        (_summary(), [instance("a/1")], "● Nothing needs you.", ""),
        (
            _summary(supervisor=SupervisorRow(False, None, NOW - 65_000)),
            [],
            "✖ No supervisor since 1m05s",
            "agentctl run",
        ),
        (
            _summary(supervisor=SupervisorRow(True, 4242, NOW - 65_000, stopped=True)),
            [instance("m/1", "unhealthy", latched=True, reason="exit 127")],
            "✖ Supervisor 4242 is stopped: nothing is supervised.",
            "`kill -CONT 4242`",
        ),
        (
            _summary(),
            [instance("m/1", "unhealthy", latched=True, reason="exit 127")],
            "✖ m/1 failed: exit 127",
            "s starts",
        ),
        (
            _summary(),
            [instance("m/1", "unhealthy", reason="probe refused")],
            "✖ m/1 is unhealthy",
            "r to restart",
        ),
        (
            _summary(),
            [instance("m/1", "degraded", reason="silent")],
            "◐ m/1 is degraded for 50 min: silent.",
            "l shows",
        ),
        (
            _summary(tasks=(("waiting", 1),), unroutable=2, why="no agent serves queue x"),
            [instance("m/1", "degraded", reason="silent")],
            "◐ A task waits for a person's answer.",
            "agentctl inbox",
        ),
        (
            _summary(unroutable=2, why="no agent serves queue x"),
            [instance("a/1")],
            "◐ 2 tasks cannot be taken: no agent serves queue x.",
            "agentctl queue list",
        ),
        (_summary(tasks=(("dead", 1),)), [instance("a/1")], "◐ 1 task is dead.", "Press 3"),
        (
            _summary(paused_queues=("mail",)),
            [instance("a/1")],
            "◐ Queue mail is paused.",
            "queue resume mail",
        ),
    ],
)
def test_the_finding_names_the_worst_and_its_remedy(summary, worst, begins, remedy):
    shown = text_of(finding(summary, worst, UNICODE, 120)).strip()
    assert shown.startswith(begins)
    assert remedy in shown


def test_a_narrow_finding_cuts_the_cause_and_keeps_the_remedy():
    worst = [instance("mailer/1", "unhealthy", latched=True, reason="x" * 300)]
    shown = text_of(finding(_summary(), worst, UNICODE, 80))
    assert len(shown) <= 80
    assert shown.endswith("Fix the cause; s starts it.")


@pytest.mark.parametrize("size", [40, 60, 80, 120, 200])
def test_the_strip_fills_its_line_and_keeps_health(size):
    shown = strip(_summary(health=(("unhealthy", 1), ("healthy", 9))), NOW, size, UNICODE)
    assert width(shown) == size
    assert "● 9" in text_of(shown) or size == 40


def test_the_strip_counts_what_nobody_can_take():
    assert "ready 4  active 0 · unroutable 3" in text_of(strip(_summary(unroutable=3), NOW, 120, UNICODE))
    assert "ready 4" in text_of(strip(_summary(unroutable=3), NOW, 60, UNICODE)), "it goes first where there is no room"
    assert "unroutable" not in text_of(strip(_summary(), NOW, 120, UNICODE))


def test_a_tab_shows_a_badge_only_for_what_waits_for_a_person():
    screens = (("1", "fleet", "Fleet"), ("3", "dead", "Dead letters"))
    assert "³" not in text_of(tabs(screens, "fleet", {"dead": 0}, 80, UNICODE))
    assert "3 Dead letters¹²" in text_of(tabs(screens, "fleet", {"dead": 12}, 80, UNICODE))
    assert "3 Dead letters(12)" in text_of(tabs(screens, "fleet", {"dead": 12}, 80, ASCII))


@pytest.mark.parametrize("name", list(COLORS))
def test_every_theme_is_readable(name):
    colors = COLORS[name]
    for ground in GROUNDS:
        for ink in INKS:
            assert contrast(getattr(colors, ink), getattr(colors, ground)) >= 4.5, (ground, ink)
    for alarm in ("red", "amber"):
        assert contrast(colors.ground, getattr(colors, alarm)) >= 4.5


def test_contrast_is_that_of_wcag():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_commands_are_what_a_shell_takes():
    assert commands.requeue(["01k9x4m2v8qrs"]) == "agentctl dlq requeue 01k9x4m2v8qrs"
    assert commands.requeue(["a"], '{"p": 1}') == """agentctl dlq requeue a --payload '{"p": 1}'"""
    assert commands.discard([str(n) for n in range(9)]) == "agentctl dlq discard 0 1 2 … (9 ids)"
    assert commands.agent("stop", ["coder"]) == "agentctl agent stop coder"
