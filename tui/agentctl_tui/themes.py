"""Five themes from one set of variables, and the roles that pieces of text are drawn in.

Every text role holds a contrast of 4.5:1 or more on every ground it appears on (WCAG 2.2, 1.4.3); a test
computes it.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.style import Style
from textual.theme import Theme


@dataclass(frozen=True, slots=True)
class Colors:
    """The variables of a theme: three grounds, then the text roles."""

    dark: bool
    ground: str  #: screen
    panel: str  #: strip, tabs, key line
    chosen: str  #: the selected row
    rule: str  #: borders
    text: str
    strong: str
    dim: str
    green: str
    amber: str
    red: str
    blue: str


GROUNDS = ("ground", "panel", "chosen")
INKS = ("text", "strong", "dim", "green", "amber", "red", "blue")

COLORS: dict[str, Colors] = {
    "dark": Colors(
        True, "#14171c", "#1b2027", "#26313f", "#343d49",
        text="#c9d1d9", strong="#f0f4f8", dim="#929dab",
        green="#6fcf86", amber="#e8b44c", red="#ff8a80", blue="#7cb7ff",
    ),
    "light": Colors(
        False, "#fbfbf9", "#f0f0ec", "#dde8f6", "#c9c9c2",
        text="#2b3036", strong="#0d1116", dim="#59616b",
        green="#17692f", amber="#7d5200", red="#b3211b", blue="#0b57b0",
    ),
    "night": Colors(
        True, "#0d1126", "#141a35", "#242e5c", "#333e6e",
        text="#c8d0ee", strong="#f2f4ff", dim="#949ec9",
        green="#7fd8a4", amber="#f0c060", red="#ff929e", blue="#8fb4ff",
    ),
    "paper": Colors(
        False, "#fbf4e4", "#f3ead4", "#e9dcbb", "#cfc0a0",
        text="#3b3226", strong="#1c160d", dim="#655941",
        green="#3f5f10", amber="#7a4a00", red="#9f2317", blue="#1f4f86",
    ),
    "contrast": Colors(
        True, "#000000", "#000000", "#003060", "#ffffff",
        text="#ffffff", strong="#ffffff", dim="#c8c8c8",
        green="#4dff7a", amber="#ffd000", red="#ff9a9a", blue="#8cc8ff",
    ),
}  # fmt: skip


def theme(name: str) -> Theme:
    """Return the Textual theme of that name; screens and stylesheet see the colours as `$ac-…`."""
    c = COLORS[name]
    return Theme(
        name=f"agentctl-{name}",
        primary=c.blue,
        secondary=c.blue,
        accent=c.blue,
        warning=c.amber,
        error=c.red,
        success=c.green,
        foreground=c.text,
        background=c.ground,
        surface=c.ground,
        panel=c.panel,
        dark=c.dark,
        variables={
            **{f"ac-{ink}": getattr(c, ink) for ink in (*GROUNDS, *INKS, "rule")},
            "scrollbar": c.rule,
            "scrollbar-hover": c.dim,
            "scrollbar-active": c.blue,
            "scrollbar-background": c.ground,
            "scrollbar-background-hover": c.ground,
            "scrollbar-background-active": c.ground,
            "scrollbar-corner-color": c.ground,
            "input-selection-background": c.chosen,
            "input-cursor-background": c.text,
            "input-cursor-foreground": c.ground,
            "border": c.blue,
            "border-blurred": c.rule,
            "block-cursor-background": c.chosen,
            "block-cursor-foreground": c.strong,
            "block-cursor-text-style": "none",
        },
    )


def palette(c: Colors, faded: bool = False) -> dict[str, Style]:
    """Return the style of each role. `faded` is for data that may be out of date: everything as if past."""
    inks = {ink: c.dim if faded else getattr(c, ink) for ink in INKS}
    styles = {ink: Style(color=color) for ink, color in inks.items()}
    styles[""] = styles["text"]
    styles["strong"] = Style(color=inks["strong"], bold=not faded)
    styles["rule"] = Style(color=c.rule)
    styles["link"] = Style(color=inks["blue"])
    styles["head"] = Style(color=inks["dim"])
    styles["headsort"] = Style(color=inks["blue"])
    styles["tab"] = Style(color=c.strong, bold=True, bgcolor=c.ground)
    styles["tabbadge"] = Style(color=c.red, bold=True, bgcolor=c.ground)
    styles["alarm"] = Style(color=c.ground, bgcolor=c.red, bold=True)
    styles["notice"] = Style(color=c.ground, bgcolor=c.amber, bold=True)
    styles["key"] = Style(color=c.blue)
    return styles


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two `#rrggbb` colours, 1 to 21 (WCAG 2.2)."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
