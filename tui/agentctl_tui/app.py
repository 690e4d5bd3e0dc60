"""The dashboard: its screens over what they all reach. `run_app` is what `agentctl tui` calls."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from textual.screen import Screen

from agentctl_tui.dash import Dash
from agentctl_tui.palette import Commands
from agentctl_tui.ports import Logs, Operator
from agentctl_tui.screens.fleet import Fleet

if TYPE_CHECKING:
    from agentctl_store.read.port import Reader


def _dead_letters() -> Screen[Any]:
    # Its editor takes a tenth of the start-up; the first screen does not wait for it.
    from agentctl_tui.screens.dead_letters import DeadLetterBoard

    return DeadLetterBoard()


class Dashboard(Dash):
    """The whole terminal UI over one store."""

    CSS_PATH = "app.tcss"
    TITLE = "agentctl"
    COMMANDS = {Commands}  # noqa: RUF012
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {"fleet": Fleet, "dead": _dead_letters}
    DEFAULT_MODE = "fleet"


def run_app(
    reader: Reader,
    operator: Operator,
    logs: Logs | None = None,
    *,
    theme_name: str = "dark",
    ascii_only: bool | None = None,
    usage: bool = False,
    after: Callable[[], object] | None = None,
) -> int:
    """Show the dashboard until a person quits it; return the exit code.

    `ascii_only` None decides by the terminal's encoding. `usage` shows the context and cost columns. `after` returns
    when the reader is free to be used.
    """
    if ascii_only is None:
        ascii_only = "utf" not in (sys.stdout.encoding or "").lower()
    app = Dashboard(reader, operator, logs, theme_name=theme_name, ascii_only=ascii_only, usage=usage, after=after)
    app.run()
    return app.return_code or 0
