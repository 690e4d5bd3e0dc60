"""Telling the store what agentctl.toml says, as far as the store must know it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentctl.supervisor.rules_wants import needs_restart
from agentctl_store.domain.message import Damping

if TYPE_CHECKING:
    from agentctl.config import Config
    from agentctl_store.store import Store


def declare(store: Store, config: Config, actor: str) -> None:
    """Make the fleet of the store that of the file. Raises StoreError."""
    store.declare_agents(config.specs(), actor=actor)
    store.schedules.declare(config.schedules(), actor=actor)
    rule = config.messages
    store.messages.configure(Damping(rule.loop_limit, rule.loop_window_ms, rule.inbox_limit), actor=actor)
    store.limits.configure(
        config.limits.bounds(), config.members(), config.budget.budgets(), config.breaker.breakers(), actor=actor
    )


def changes(old: Config, new: Config) -> str:
    """Say what another configuration changes."""
    changed = [name for name, section in new.agent.items() if old.agent.get(name) != section]
    removed = [name for name in old.agent if name not in new.agent]
    restarted = [name for name in changed if name in old.agent and needs_restart(old.agent[name], new.agent[name])]
    named = (("changed", changed), ("removed", removed), ("restarted", restarted))
    parts = [f"{word}: {', '.join(names)}" for word, names in named if names]
    if (old.limits, old.budget, old.breaker) != (new.limits, new.budget, new.breaker):
        parts.append("other limits")
    if old.schedule != new.schedule:
        parts.append("other schedules")
    return "; ".join(parts) or "no agent changed"
