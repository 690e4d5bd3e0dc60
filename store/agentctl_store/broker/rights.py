"""What an agent may do: claim, finish, report and add work as itself, and see the work it is part of.

Everything else is the operator's: requeue, discard, pause, scale, sessions, upkeep. Each call of the driver is either
under a rule here or among OPERATORS, with the words a refusal uses for it.
"""

from __future__ import annotations

import os

from ..domain.task import Added
from ..errors import Refused
from ..ids import write_attempt, write_id
from .message_rights import MESSAGE_RULES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..clock import Moment
    from ..domain.task import NewTask
    from ..sqlite.driver import SqliteDriver
    from .tokens import Identity

    Rule = Callable[[Identity, dict[str, Any], SqliteDriver], object]


def allow(who: Identity, verb: str, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    """Return if `who` may do this; what it claims to be is made what it is. Refused otherwise."""
    rule = _RULES.get(verb)
    if rule is None:
        raise Refused(f"{who.instance} may not {OPERATORS[verb]}", "That is the operator's: do it outside of the agent")
    allow_still(who, driver)
    rule(who, arguments, driver)


def allow_still(who: Identity, driver: SqliteDriver) -> None:
    """Return if the session of `who` runs. Refused otherwise: a connection can outlive it in other hands."""
    if not driver.runs(who.session):
        raise Refused(f"the session of {who.instance} has ended", "Its token is good for nothing any more")


def renumber(tasks: tuple[NewTask, ...], now: Moment) -> None:
    """Give an agent's new tasks ids of ours, in place: only we hold these records.

    An id says when its task was made, and the next free one is looked for one by one: ten thousand tasks that ask for
    the same would keep everybody waiting for minutes.
    """
    first = now.wall_ms << 20 | int.from_bytes(os.urandom(3), "big") >> 4
    for index, task in enumerate(tasks):
        if task.correlation[:16] == f"{task.id:016x}":  # of work that begins with it: ids.new_correlation
            object.__setattr__(task, "correlation", f"{first + index:016x}{task.correlation[16:]}")
        object.__setattr__(task, "id", first + index)


def withhold(who: Identity, added: list[Added], driver: SqliteDriver) -> list[Added]:
    """Return what `add` answers without the results of tasks that `who` may not see, whose keys it knew or guessed."""
    return [
        one
        if one.result is None or driver.visible_to(who.agent, who.session, one.id)
        else Added(one.id, one.created, one.state)
        for one in added
    ]


def _claim(who: Identity, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    slot, session = arguments["slot"], arguments["session"]
    if arguments["agent"] != who.agent or slot not in (None, who.slot) or session not in (None, who.session):
        raise Refused(f"{who.instance} may not claim as {arguments['agent']}", "An agent claims only as itself")
    if arguments.get("open_session") is not None:
        raise Refused(f"{who.instance} may not open sessions", "Only the supervisor does")
    more = set(arguments["can"]).difference(driver.can_of(who.agent)) if arguments["can"] else ()
    if more:
        raise Refused(f"{who.instance} was not declared with {sorted(more)[0]}", "Name it in the agent's `can`")
    arguments["slot"], arguments["session"] = who.slot, who.session


def _own_attempt(who: Identity, arguments: dict[str, Any], driver: SqliteDriver) -> bool:
    """Return whether its success is only for others to say."""
    task, n = arguments["task"], arguments["n"]
    holder = driver.holder(task, n)
    # An attempt without a session was claimed before there was a token to tell: the agent's name must do.
    if holder is not None and (holder[0] != who.agent or holder[1] not in (None, who.session)):
        whose = f"{write_attempt(task, n)}, which is {holder[0]}'s"
        raise Refused(f"{who.instance} may not speak for attempt {whose}", "An agent ends only its own attempts")
    if arguments.get("end_session") is not None:
        raise Refused(f"{who.instance} may not end sessions", "Only the supervisor does")
    return bool(holder is not None and holder[2])


def _success(who: Identity, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    if _own_attempt(who, arguments, driver):
        raise Refused(
            f"{who.instance} may not call its own work done: it is checked first (verify, result)",
            "Leave the result in $AGENTCTL_RESULT_FILE or on stdout, and exit with 0",
        )


def _turn(who: Identity, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    _success(who, arguments, driver)
    _claim(who, arguments, driver)


def _add(who: Identity, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    ours = {task.key for task in arguments["tasks"] if task.key is not None}
    for task in arguments["tasks"]:
        if task.creator is not None and not driver.took_part(who.agent, task.creator):
            raise Refused(
                f"{who.instance} may not add a task in the name of {write_id(task.creator)}",
                "An agent adds tasks for those it works on",
            )
        begins = task.correlation[:16] == f"{task.id:016x}"  # a piece of work of its own; see renumber
        part = None if begins else driver.part_in_work(task.creator, who.session, task.correlation)
        if part is None and not begins:
            # Whoever holds a task sees all of its piece of work.
            raise Refused(
                f"{who.instance} may not add to work it has no part in",
                "Leave the correlation id out, or use that of a task it works on",
            )
        if part is not None:  # whoever does not say for which task it delegates is in its chain all the same
            object.__setattr__(task, "creator", part)
        for parent in dict.fromkeys(task.after):
            _parent(who, parent, ours, driver)
    arguments["actor"] = who.instance


def _parent(who: Identity, parent: int | str, ours: set[str], driver: SqliteDriver) -> None:
    """A child is told its parents' payloads and results: only what an agent may see may be one."""
    number = parent if isinstance(parent, int) else driver.task_by_key(parent)
    if number is None and parent in ours:
        return  # added with it
    if (
        number is not None
        and not driver.visible_to(who.agent, who.session, number)
        and not driver.added_by(who.agent, number)
    ):
        driver.task(number)  # NotFound is no secret
        raise Refused(
            f"{who.instance} may not have a task wait for {write_id(number)}", "It would be told that one's result"
        )


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


def _own_hold(who: Identity, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    if arguments["agent"] != who.agent:
        raise Refused(f"{who.instance} may not ask for {arguments['agent']}", "An agent asks what holds itself back")


def _by_key(who: Identity, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    found = driver.task_by_key(arguments["key"])
    if found is not None:
        _seen(who, {"task": found}, driver)


def _free(who: Identity, arguments: dict[str, Any], driver: SqliteDriver) -> None:
    """Numbers and ids, no contents."""


_RULES: dict[str, Rule] = {
    "claim": _claim,
    "heartbeat": _own_attempt,
    "complete": _success,
    "complete_and_claim": _turn,
    "fail": _own_attempt,
    "release": _own_attempt,
    "cancelled": _own_attempt,
    "questions.ask": _own_attempt,
    "add": _add,
    "cancel": _cancel,
    "task": _seen,
    "attempts": _seen,
    "parents": _seen,
    "questions.of_task": _seen,
    "events": _seen,
    "task_by_key": _by_key,
    "held_tasks": _own_session,
    "find_tasks": _free,
    "limits.hold": _own_hold,
    "unfinished": _free,
    "changed": _free,
    "version": _free,
    "receipt": _free,  # of its own calls: broker/desk.py
    **MESSAGE_RULES,
}
#: what is the operator's alone → what an agent may not, as it is told: the command that does it, where there is one
OPERATORS: dict[str, str] = {
    "hasten": "have a task tried again now (agentctl task retry)",
    "requeue": "requeue a dead letter (agentctl dlq requeue)",
    "discard": "discard a dead letter (agentctl dlq discard)",
    "sweep": "look for what is due in the store",
    "pause_queue": "pause a queue (agentctl queue pause)",
    "resume_queue": "resume a queue (agentctl queue resume)",
    "declare_agents": "declare agents",
    "set_desired": "start, stop, pause or drain an agent (agentctl agent)",
    "restart_agent": "restart an agent (agentctl agent restart)",
    "scale_agent": "scale an agent (agentctl agent scale)",
    "save_instances": "say how instances are",
    "drop_instances": "drop instances",
    "open_session": "open a session",
    "session_started": "say that a session has started",
    "end_session": "end a session",
    "note": "write into the history",
    "limits.set_bound": "set a limit (agentctl limit set)",
    "limits.remove_bound": "remove a limit (agentctl limit remove)",
    "limits.assign": "change an agent's provider (agentctl limit set)",
    "limits.set_budget": "set a budget (agentctl budget set)",
    "limits.remove_budget": "remove a budget (agentctl budget remove)",
    "limits.set_breaker": "set a breaker (agentctl breaker set)",
    "limits.remove_breaker": "remove a breaker (agentctl breaker remove)",
    "limits.reset_breaker": "reset a breaker (agentctl breaker reset)",
    "limits.configure": "declare limits, budgets and breakers",
    "messages.give_back": "give back a message untold",
    "messages.requeue": "requeue a message (agentctl dlq requeue)",
    "messages.discard": "discard a message (agentctl dlq discard)",
    "messages.set_schema": "set a schema (agentctl schema set)",
    "messages.remove_schema": "remove a schema (agentctl schema remove)",
    "messages.configure": "declare how messages are damped",
    "questions.answer": "answer a question (agentctl task answer)",
    "questions.reject": "reject a question (agentctl task answer --reject)",
    "schedules.add": "add a schedule (agentctl schedule add)",
    "schedules.declare": "declare schedules",
    "schedules.remove": "remove a schedule (agentctl schedule remove)",
    "schedules.pause": "pause a schedule (agentctl schedule pause)",
    "schedules.resume": "resume a schedule (agentctl schedule resume)",
    "schedules.run": "run a schedule now (agentctl schedule run)",
    "agents": "see the fleet's agents",
    "instances": "see the fleet's instances",
    "open_sessions": "see others' sessions",
    "session": "see others' sessions",
    "limits.overspent": "see who has overspent",
    "questions.open": "see what others ask a person (agentctl inbox)",
    "schedules.all": "see the schedules (agentctl schedule list)",
    "schedules.one": "see a schedule (agentctl schedule show)",
}
