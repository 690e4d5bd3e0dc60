"""Every key in one place: with an id, so that keymaps can change it, and a tooltip, which `?` shows."""

from __future__ import annotations

from textual.binding import Binding, BindingType


def key(keys: str, action: str, name: str, tooltip: str, id: str, show: bool = False) -> Binding:
    """Return a binding. With `show` it is offered in the line of keys at the bottom, as `name`."""
    return Binding(keys, action, name, id=id, tooltip=tooltip, show=show)


#: (key, name, title) of the screens that exist; the numbers are those of the whole tab row
SCREENS: tuple[tuple[str, str, str], ...] = (
    ("1", "fleet", "Fleet"),
    ("3", "dead", "Dead letters"),
)

APP: list[BindingType] = [
    *(key(number, f"show('{name}')", title, f"{title} screen", f"app.{name}") for number, name, title in SCREENS),
    key("ctrl+t", "theme", "Theme", "Next theme", "app.theme"),
    key("q,ctrl+q", "leave", "Quit", "Quit the dashboard; agents go on", "app.quit"),
]

BOARD: list[BindingType] = [
    key("slash", "filter", "filter", "Filter the list by any text", "board.filter", True),
    key("colon", "jump", "jump", "Jump to an instance or a task by its id", "board.jump", True),
    key("y", "copy", "copy id", "Copy the whole id", "board.copy"),
    key("escape", "back", "back", "Clear the filter, or go back", "board.back"),
    key("question_mark", "help", "keys", "All keys", "board.help", True),
]

FLEET: list[BindingType] = [
    key("enter", "open", "open", "Open the instance: facts and log", "fleet.open", True),
    key("s", "start_stop", "start/stop", "Start or stop the agent", "fleet.start_stop", True),
    key("r", "restart", "restart", "Restart the agent", "fleet.restart", True),
    key("d", "drain", "drain", "Let current tasks finish, then stop", "fleet.drain", True),
    key("p", "pause", "pause", "Pause or resume claiming", "fleet.pause", True),
    key("l", "open", "log", "The instance's log", "fleet.log", True),
]

DEAD: list[BindingType] = [
    key("enter", "open", "open", "Read the whole dead letter", "dead.open", True),
    key("e", "edit", "edit", "Edit the payload", "dead.edit", True),
    key("R", "requeue", "requeue", "Requeue the marked, or this one", "dead.requeue", True),
    key("X", "discard", "discard", "Discard the marked, or this one", "dead.discard", True),
    key("u", "undo", "undo", "Undo the last discard while it counts down", "dead.undo"),
    key("asterisk", "mark_all", "mark all", "Mark all that the filter shows, or none", "dead.mark_all", True),
    key("left_square_bracket,right_square_bracket", "group", "group", "Next group by reason", "dead.group"),
    key("ctrl+r", "revert", "revert", "Back to the stored payload", "dead.revert"),
]
