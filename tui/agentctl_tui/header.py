"""The strip on top and the tabs: fleet health, flow, spend, each a link to its screen. Pure."""

from __future__ import annotations

from agentctl_store.read.models import HEALTH_ORDER, FleetSummary
from agentctl_tui import units
from agentctl_tui.cells import EMPTY, Line, Piece, pack, piece, raw, spread
from agentctl_tui.glyphs import HEALTH_ROLES, Glyphs, sparkline

#: healths counted in the strip, in the order the eye should find them
COUNTED = ("healthy", "degraded", "unhealthy", "starting", "draining", "paused", "stopped")
SPARK = 12


def strip(summary: FleetSummary | None, now_ms: int, size: int, glyphs: Glyphs) -> Line:
    """Return the fleet at one glance in `size` cells; less important parts give way on narrow screens."""
    right = (raw(f" {units.clock(now_ms)} ", "dim"),)
    name = (raw(" agentctl ", "link"),)
    if summary is None:
        return spread((*name, raw(" reading the store", "dim")), right, size)
    title: Line = (*name, piece(f" {summary.fleet}", "strong"))
    parts: list[tuple[int, Line]] = [(0, title), (1, _health(summary, glyphs)), (2, _tasks(summary))]
    if summary.unroutable:
        parts.append((3, (raw(f"unroutable {units.count(summary.unroutable)}", "amber"),)))
    rate, line = _flow(summary, glyphs)
    parts.append((4, (raw(f"{rate}/s "), raw(line, "dim")) if line.strip() else (raw(f"{rate}/s", "dim"),)))
    if summary.cost_today_microusd is not None:
        budget = summary.budget_today_microusd
        of = f"/{units.money(budget).removeprefix('$')}" if budget else ""
        over = budget is not None and summary.cost_today_microusd > 0.8 * budget
        cost = f"{units.money(summary.cost_today_microusd)}{of} today"
        parts.append((5, (raw(cost, "amber" if over else "text"),)))
    if summary.context_max is not None:
        role = "amber" if summary.context_max >= 0.7 else "text"
        parts.append((6, (raw(f"ctx max {units.percent(summary.context_max)}", role),)))
    room = size - len(right[0].text)
    return spread(pack(parts, f" {glyphs.dot} ", room), right, size)


def _health(summary: FleetSummary, glyphs: Glyphs) -> Line:
    counts = {name: summary.instances(name) for name in COUNTED if name in HEALTH_ORDER}
    shown: list[Piece] = []
    for name, number in counts.items():
        if number:
            gap = "  " if shown else ""
            shown.append(raw(f"{gap}{glyphs.health[name]} {number}", HEALTH_ROLES[name], "app.show('fleet')"))
    return tuple(shown) if shown else (raw("no agents", "dim"),)


def _tasks(summary: FleetSummary) -> Line:
    out: list[Piece] = []
    for state in ("ready", "active", "waiting", "dead"):
        number = summary.count(state)
        if state in ("waiting", "dead") and not number:
            continue
        role = {"dead": "red", "waiting": "amber"}.get(state, "text")
        action = "app.show('dead')" if state == "dead" else ""
        gap = "  " if out else ""
        out.append(raw(f"{gap}{state} ", role if state in ("dead", "waiting") else "dim", action))
        out.append(raw(units.count(number), role, action))
    return tuple(out)


def _flow(summary: FleetSummary, glyphs: Glyphs) -> tuple[str, str]:
    recent = summary.flow[-6:]
    seconds = len(recent) * summary.bucket_ms / 1000
    rate = sum(recent) / seconds if seconds else 0.0
    top = max(summary.flow[-SPARK:], default=0)
    return f"{units.three(rate)} tasks", sparkline(summary.flow, SPARK, top, glyphs)


_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def tabs(
    screens: tuple[tuple[str, str, str], ...], active: str, badges: dict[str, int], size: int, glyphs: Glyphs
) -> Line:
    """Return the row of tabs. `screens` are (key, name, title); badges only for what waits for a person."""
    out: list[Line] = []
    for key, name, title in screens:
        number = badges.get(name, 0)
        many = "" if not number else _badge(number, glyphs)
        action = f"app.show('{name}')"
        role = "tab" if name == active else "dim"
        cells: Line = (raw(f" {key} {title}", role, action), raw(f"{many} ", _tint(role), action))
        out.append(cells)
    return tuple(part for cells in out for part in cells) or EMPTY


def _badge(number: int, glyphs: Glyphs) -> str:
    text = str(min(number, 999))
    return text.translate(_SUPERSCRIPT) if len(glyphs.bar) > 1 else f"({text})"


def _tint(role: str) -> str:
    return "tabbadge" if role == "tab" else "red"


def keys(shown: list[tuple[str, str, str]], size: int) -> Line:
    """Return the line of keys: (key, what it does, action), as many as fit; the last one is always kept."""
    parts: list[tuple[int, Line]] = [
        (index, (raw(f" {key} ", "key", action), raw(f"{what} ", "dim", action)))
        for index, (key, what, action) in enumerate(shown)
    ]
    if parts:
        parts[-1] = (-1, parts[-1][1])
    return pack(parts, "", size)
