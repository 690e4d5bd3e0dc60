"""What an agent may do: claim, finish, report and add work as itself, and see the work it is part of.

Everything that is not listed here is the operator's: requeue, discard, pause, scale, sessions, upkeep.
"""

from __future__ import annotations

from ..errors import NotFound, Refused
from ..ids import write_attempt, write_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..sqlite.driver import SqliteDriver
    from .tokens import Identity

    Rule = Callable[[Identity, dict[str, Any], SqliteDriver], None]


def allow(who: Identity, verb: str, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    """Return if `who` may do this; what it claims to be is made what it is. Refused otherwise."""
    rule = _RULES.get(verb)
    if rule is None:
        raise Refused(f"{who.instance} may not {verb}", "That is the operator's: do it outside of the agent")
    rule(who, arguments, driver)


def _claim(who: Identity, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    slot, session = arguments["slot"], arguments["session"]
    if arguments["agent"] != who.agent or slot not in (None, who.slot) or session not in (None, who.session):
        raise Refused(f"{who.instance} may not claim as {arguments['agent']}", "An agent claims only as itself")
    if arguments.get("open_session") is not None:
        raise Refused(f"{who.instance} may not open sessions", "Only the supervisor does")
    arguments["slot"], arguments["session"] = who.slot, who.session


def _own_attempt(who: Identity, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    task, n = arguments["task"], arguments["n"]
    holder = driver.holder(task, n)
    # An attempt without a session was claimed before there was a token to tell: the agent's name must do.
    if holder is not None and (holder[0] != who.agent or holder[1] not in (None, who.session)):
        whose = f"{write_attempt(task, n)}, which is {holder[0]}'s"
        raise Refused(f"{who.instance} may not speak for attempt {whose}", "An agent ends only its own attempts")
    if arguments.get("end_session") is not None:
        raise Refused(f"{who.instance} may not end sessions", "Only the supervisor does")


def _turn(who: Identity, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    _own_attempt(who, arguments, driver)
    _claim(who, arguments, driver)


def _add(who: Identity, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    for task in arguments["tasks"]:
        if task.creator is not None and not driver.took_part(who.agent, task.creator):
            raise Refused(
                f"{who.instance} may not add a task in the name of {write_id(task.creator)}",
                "An agent adds tasks for those it works on",
            )
    arguments["actor"] = who.instance


def _seen(who: Identity, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    task = arguments["task"]
    if task is None or not driver.visible_to(who.agent, who.session, task):
        if task is not None:
            driver.task(task)  # NotFound is no secret
        what = "the whole history" if task is None else f"task {write_id(task)}"
        raise Refused(f"{who.instance} may not see {what}", "An agent sees the tasks it works on and theirs")


def _cancel(who: Identity, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    creator = driver.task(arguments["task"]).creator
    if creator is None or not driver.took_part(who.agent, creator):
        raise Refused(f"{who.instance} may not cancel this task", "An agent cancels only what it added")
    arguments["actor"] = who.instance


def _own_session(who: Identity, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    if arguments["session"] != who.session:
        raise Refused(f"{who.instance} may not see other sessions", "An agent sees only its own")


def _by_key(who: Identity, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    found = driver.task_by_key(arguments["key"])
    if found is None:
        raise NotFound("there is no task with this key")
    _seen(who, {"task": found}, driver)


def _free(who: Identity, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    """Numbers and ids, no contents."""


_RULES: dict[str, Rule] = {
    "claim": _claim,
    "heartbeat": _own_attempt,
    "complete": _own_attempt,
    "complete_and_claim": _turn,
    "fail": _own_attempt,
    "release": _own_attempt,
    "cancelled": _own_attempt,
    "add": _add,
    "cancel": _cancel,
    "task": _seen,
    "attempts": _seen,
    "parents": _seen,
    "events": _seen,
    "task_by_key": _by_key,
    "held_tasks": _own_session,
    "find_tasks": _free,
    "unfinished": _free,
    "changed": _free,
    "version": _free,
    "receipt": _free,  # of its own calls: broker/desk.py
}
