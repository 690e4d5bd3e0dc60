"""Telling the store what agentctl.toml says, as far as the store must know it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentctl_store.domain.message import Damping

if TYPE_CHECKING:
    from agentctl.config import Config
    from agentctl_store.store import Store


def declare(store: Store, config: Config, actor: str) -> None:
    """Make the fleet of the store that of the file. Raises StoreError."""
    store.declare_agents(config.specs(), actor=actor)
    store.schedules.declare(config.schedules(), actor=actor)
    rule = config.messages
    store.messages.configure(Damping(rule.loop_limit, rule.loop_window_ms), actor=actor)
