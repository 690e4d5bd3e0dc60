"""Verbs on agents. They write what a person wants; the supervisor obeys."""

from __future__ import annotations

import time

from agentctl_store.domain.agent import no_such_agent
from agentctl_store.errors import BadInput, TimedOut
from agentctl_store.ids import check_name, write_id

from .acts import each, holds_later, need_supervisor
from .call import Call, actor
from .limits import why_held
from .table import Column
from .times import read_span
from .verb import arg, opt, verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from agentctl_store.domain.agent import Agent, Desired, Instance

_LIST = (
    Column("agent"),
    Column("mode"),
    Column("desired"),
    Column("instances", "number"),
    Column("health"),
    Column("queues", "list"),
    Column("can", "list", wide=True),
    Column("since_at", "time", title="since"),
    Column("declared", "flag", wide=True),
    Column("provider", wide=True),
    Column("held", title="held back by"),
)
_INSTANCES = (
    Column("instance"),
    Column("phase"),
    Column("health"),
    Column("reason"),
    Column("restarts", "number"),
    Column("latched", "flag"),
    Column("session"),
    Column("next_start_at", "time", title="next start"),
    Column("since_at", "time", title="since"),
)
_AGENT = (
    *_LIST[:4],
    Column("configured", "number"),
    *(column for column in _LIST[4:] if column.name != "can"),
    Column("can", "list"),
    Column("fallback", "json"),
    Column("checked", "flag"),
    Column("slots", "rows", parts=_INSTANCES),
)
_NAMES = arg("The agents.", "AGENT...", complete="agents")
_ALL = opt("--all", help="Every agent of the fleet.")
_WAIT = opt(help="Wait this long until it is so; exit code 5 when it is not.", metavar="DURATION")
_RUNS = ("idle", "busy")


def _row(agent: Agent, instances: Sequence[Instance], held: dict[str, str], members: dict[str, str]) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for instance in instances:
        if instance.agent == agent.name:
            counts[instance.health] = counts.get(instance.health, 0) + 1
    return {
        "agent": agent.name,
        "mode": agent.mode,
        "queues": agent.queues,
        "can": agent.can,
        "fallback": agent.fallback,
        "checked": agent.checked,
        "instances": agent.instances if agent.scale is None else agent.scale,
        "configured": agent.instances,
        "desired": agent.desired,
        "health": ", ".join(f"{count} {health}" for health, count in sorted(counts.items())),
        "since_at": agent.since_ms,
        "declared": agent.declared,
        "provider": members.get(agent.name),
        "held": held.get(agent.name, ""),
    }


def _limits(call: Call) -> tuple[dict[str, str], dict[str, str]]:
    """Return what holds agents back, and their providers."""
    now_ms = time.time_ns() // 1_000_000
    return why_held(call.reader.holds(now_ms), now_ms).agents, call.reader.members()


@verb("agent list", summary="List the agents of the fleet.", reads=True)
def list_agents(call: Call) -> int:
    """List agents."""

    def fetch() -> list[dict[str, Any]]:
        instances = call.store.instances()
        limits = _limits(call)
        return [_row(agent, instances, *limits) for agent in call.store.agents()]

    return call.show(_LIST, fetch, empty="No agents yet: `agentctl run` makes those of agentctl.toml known.")


@verb(
    "agent show",
    summary="Show an agent and its instances.",
    reads=True,
    agent=arg("The agent.", "AGENT", complete="agents"),
)
def show(call: Call, *, agent: str) -> int:
    """Show one agent."""
    check_name(agent, "agent")

    def fetch() -> dict[str, Any]:
        instances = call.store.instances()
        found = next((one for one in call.store.agents() if one.name == agent), None)
        if found is None:
            raise no_such_agent(agent, [one.name for one in call.store.agents()])
        slots = [_instance(one) for one in instances if one.agent == agent]
        return {**_row(found, instances, *_limits(call)), "slots": slots}

    return call.show_one(_AGENT, fetch)


def _instance(instance: Instance) -> dict[str, Any]:
    return {
        "instance": f"{instance.agent}/{instance.slot}",
        "phase": instance.phase,
        "health": instance.health,
        "reason": instance.reason,
        "restarts": instance.restarts,
        "latched": instance.latched,
        "session": None if instance.session is None else write_id(instance.session),
        "next_start_at": instance.next_start_ms,
        "since_at": instance.since_ms,
    }


@verb(
    "agent start",
    summary="Start agents; also clears a start limit that latched.",
    details="Without a supervisor it holds from the next run on; exit code 6 then with --wait.",
    dry=True,
    agents=_NAMES,
    every=_ALL,
    wait=_WAIT,
)
def start(call: Call, *, agents: tuple[str, ...] = (), every: bool = False, wait: str | None = None) -> int:
    """Start agents."""
    if wait is not None:
        need_supervisor(call, "start an agent")
    return _want(call, agents, every, "running", "start", wait, lambda one: one.phase in _RUNS)


@verb(
    "agent stop",
    summary="Stop agents now; what they were doing goes back to its queue.",
    dry=True,
    agents=_NAMES,
    every=_ALL,
    wait=_WAIT,
)
def stop(call: Call, *, agents: tuple[str, ...] = (), every: bool = False, wait: str | None = None) -> int:
    """Stop agents."""
    return _want(call, agents, every, "stopped", "stop", wait, lambda one: one.phase == "stopped")


@verb(
    "agent drain",
    summary="Let agents finish what they do, then stop them.",
    details="Exit code 6 when no supervisor runs.",
    dry=True,
    agents=_NAMES,
    every=_ALL,
    wait=_WAIT,
)
def drain(call: Call, *, agents: tuple[str, ...] = (), every: bool = False, wait: str | None = None) -> int:
    """Drain agents."""
    need_supervisor(call, "drain an agent")
    return _want(call, agents, every, "draining", "drain", wait, lambda one: one.phase == "stopped")


@verb(
    "agent pause",
    summary="Let agents finish what they do and claim nothing more.",
    dry=True,
    agents=_NAMES,
    every=_ALL,
)
def pause(call: Call, *, agents: tuple[str, ...] = (), every: bool = False) -> int:
    """Pause agents."""
    return _want(call, agents, every, "paused", "pause", None, lambda one: True)


@verb(
    "agent resume",
    summary="Let paused, drained or stopped agents work again.",
    dry=True,
    agents=_NAMES,
    every=_ALL,
)
def resume(call: Call, *, agents: tuple[str, ...] = (), every: bool = False) -> int:
    """Resume agents."""
    return _want(call, agents, every, "running", "resume", None, lambda one: True)


@verb(
    "agent restart",
    summary="Replace every session of agents by a fresh one.",
    details="Exit code 6 when no supervisor runs.",
    dry=True,
    agents=_NAMES,
    every=_ALL,
)
def restart(call: Call, *, agents: tuple[str, ...] = (), every: bool = False) -> int:
    """Restart agents."""
    need_supervisor(call, "restart an agent")

    def act(name: str) -> str:
        call.store.restart_agent(name, actor=actor())
        return f"{name} restarting"

    return each(call, _named(call, agents, every), act, would="restart")


@verb(
    "agent scale",
    summary="Run another number of an agent's instances, until --reset.",
    dry=True,
    agent=arg("The agent.", "AGENT", complete="agents"),
    instances=arg("How many instances.", "N"),
    reset=opt(help="Go back to the number in agentctl.toml."),
)
def scale(call: Call, *, agent: str, instances: int | None = None, reset: bool = False) -> int:
    """Scale an agent."""
    if (instances is None) != reset:
        raise BadInput("how many instances?", "Give a number, or --reset")

    def act(name: str) -> str:
        changed = call.store.scale_agent(name, instances, actor=actor())
        return f"{name} {changed.instances if changed.scale is None else changed.scale} instances"

    return _noted(call, each(call, (agent,), act, would="scale"))


def _want(
    call: Call,
    agents: tuple[str, ...],
    every: bool,
    desired: Desired,
    word: str,
    wait: str | None,
    reached: Callable[[Instance], bool],
) -> int:
    until = None if wait is None else time.monotonic() + read_span(wait, "--wait") / 1000
    names = _named(call, agents, every)

    def act(name: str) -> str:
        return f"{name} {call.store.set_desired(name, desired, actor=actor()).desired}"

    code = each(call, names, act, would=word)
    if code or until is None or call.dry_run:
        return _noted(call, code)
    while True:
        open_ones = [one for one in call.store.instances() if one.agent in names and not reached(one)]
        if not open_ones:
            return 0
        if time.monotonic() > until:
            first = open_ones[0]
            raise TimedOut(
                f"{first.agent}/{first.slot} is still {first.phase}{f' ({first.reason})' if first.reason else ''}",
                f"Look with: agentctl agent show {first.agent}",
            )
        time.sleep(0.1)


def _named(call: Call, agents: tuple[str, ...], every: bool) -> list[str]:
    if every:
        if agents:
            raise BadInput("names and --all exclude each other", "Use one of them")
        return [agent.name for agent in call.store.agents() if agent.declared]
    if not agents:
        raise BadInput("which agent?", "Name it, or use --all")
    return [check_name(name, "agent") for name in dict.fromkeys(agents)]


def _noted(call: Call, code: int) -> int:
    if code == 0 and not call.dry_run and (later := holds_later(call)):
        call.note(later)
    return code
