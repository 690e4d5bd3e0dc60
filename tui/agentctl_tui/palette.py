"""ctrl+p: every key of the current screen as a command that can be searched."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from textual.binding import Binding
from textual.command import DiscoveryHit, Hit, Hits, Provider

from agentctl_tui.bindings import APP, BOARD


class Commands(Provider):
    """Commands come from the bindings, so that palette, help and keys never differ."""

    def _commands(self) -> Iterator[tuple[str, str, str]]:
        own = getattr(type(self.screen), "BINDINGS", [])
        for bindings, space in ((own, "screen"), (BOARD, "screen"), (APP, "app")):
            for binding in bindings:
                if isinstance(binding, Binding) and binding.tooltip:
                    action = binding.action if "." in binding.action else f"{space}.{binding.action}"
                    yield binding.tooltip, f"key {binding.key.split(',')[0]}", action

    async def discover(self) -> Hits:
        for title, help_text, action in self._commands():
            yield DiscoveryHit(title, partial(self.app.run_action, action, self.screen), help=help_text)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for title, help_text, action in self._commands():
            score = matcher.match(title)
            if score > 0:
                yield Hit(
                    score,
                    matcher.highlight(title),
                    partial(self.app.run_action, action, self.screen),
                    help=help_text,
                )
