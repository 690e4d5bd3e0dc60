"""What a person asks the fleet to do, as values: confirmed, performed off the screen's thread, then told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agentctl_store.errors import AgentctlError
from agentctl_tui import commands
from agentctl_tui.payload import compact
from agentctl_tui.ports import Operator, Receipt

UNDO_S = 10  #: a discard can be taken back this long


@dataclass(frozen=True, slots=True)
class Act:
    """One call on the operator, what it is called afterwards, and the command line that does the same."""

    call: Callable[[], Receipt]
    told: str
    command: str
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """How an act went."""

    act: Act
    receipt: Receipt | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Pending:
    """A discard that waits for its undo time to pass."""

    tasks: tuple[str, ...]
    due_ms: int


def perform(act: Act) -> Done:
    """Do it. An expected error becomes part of the answer; a screen never dies of a refused act."""
    try:
        return Done(act, act.call())
    except (AgentctlError, OSError) as error:
        return Done(act, None, str(error))


def requeues(operator: Operator, tasks: Sequence[str], drafts: dict[str, str]) -> list[Act]:
    """Return the acts that requeue `tasks`: edited ones each with its payload, all others at once.

    Raises BadJson when an edited payload is not acceptable.
    """
    acts: list[Act] = []
    plain = tuple(task for task in tasks if task not in drafts)
    if plain:
        acts.append(_requeue(operator, plain, None))
    for task in tasks:
        if task in drafts:
            acts.append(_requeue(operator, (task,), compact(drafts[task])))
    return acts


def _requeue(operator: Operator, tasks: tuple[str, ...], payload: str | None) -> Act:
    edited = " with the edited payload" if payload is not None else ""
    return Act(
        lambda: operator.requeue(tasks, payload),
        f"Requeued {named(tasks)}{edited}.",
        commands.requeue(tasks, payload),
        tasks,
    )


def discard(operator: Operator, tasks: tuple[str, ...]) -> Act:
    """Return the act that gives `tasks` up."""
    return Act(lambda: operator.discard(tasks), f"Discarded {named(tasks)}.", commands.discard(tasks), tasks)


_TOLD = {
    "start": "Starting",
    "stop": "Stopping",
    "restart": "Restarting",
    "drain": "Draining",
    "pause": "Pausing",
    "resume": "Resuming",
}


def on_agent(operator: Operator, verb: str, agent: str) -> Act:
    """Return the act that does `verb` to an agent."""
    calls = {
        "start": operator.start,
        "stop": operator.stop,
        "restart": operator.restart,
        "drain": operator.drain,
        "pause": operator.pause,
        "resume": operator.resume,
    }
    call = calls[verb]
    return Act(lambda: call([agent]), f"{_TOLD[verb]} {agent}.", commands.agent(verb, [agent]))


def named(tasks: Sequence[str]) -> str:
    """Return `01k9…` or `12 dead letters`."""
    return tasks[0] if len(tasks) == 1 else f"{len(tasks)} dead letters"
