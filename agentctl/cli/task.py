"""Verbs on tasks that scripts and agents call all the time: add one, claim one, see one. Start-up counts."""

from __future__ import annotations

import os

from agentctl_store.errors import BadInput, NothingToClaim
from agentctl_store.ids import check_instance, read_id, write_id

from . import output
from .call import Call, actor, lease_of, needed, span
from .verb import LEASE, arg, opt, verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentctl_store.domain.task import Added, Claim
    from agentctl_store.store import Store, TaskRequest

_FAILURES = ("fail", "run", "cancel")


@verb(
    "task add",
    summary="Add a task to a queue and print its id.",
    details="When this returns, the task survives a crash and a power cut. Inside an agent the new task inherits "
    "the correlation id of the agent's own task.",
    prints="table",
    payload=arg("What is to be done, as JSON; @FILE reads a file, - stdin.", "JSON"),
    queue=opt("-q", help="The queue.", complete="queues"),
    priority=opt("-p", help="-100 to 100; higher is sooner."),
    key=opt(help="Idempotency key: the same key never adds a second task, it answers the first."),
    after=opt(help="Wait for this task (an id, or key:KEY); repeatable.", metavar="TASK", complete="tasks"),
    on_parent_failure=opt(help="When a task it waits for fails.", choices=_FAILURES),
    at=opt(help="Not before this time: 2026-03-01T08:00, or 08:00.", metavar="TIME"),
    in_=opt("--in", help="Not before this long from now: 90s, 15m, 2h.", metavar="DURATION"),
    max_attempts=opt(help="Tries before it becomes a dead letter.", metavar="N"),
    timeout=opt(help="How long one attempt may take.", metavar="DURATION"),
    needs=opt(help="What its agent must be able to, comma-separated: python,browser.", metavar="NAMES"),
    deadline=opt(help="Give up after this time (2026-03-01T08:00) or this long from now (2h).", metavar="TIME"),
    correlation=opt(help="The correlation id: 32 hex digits.", metavar="ID", env="AGENTCTL_CORRELATION"),
    jsonl=opt(
        help='Add one task per line of this file (- for stdin), all or none: {"payload": …, "queue": …, "after": […]}; '
        "what a line leaves out, the options say.",
        metavar="FILE",
    ),
)
def add(
    call: Call,
    *,
    payload: str | None = None,
    queue: str = "default",
    priority: int = 0,
    key: str | None = None,
    after: tuple[str, ...] = (),
    on_parent_failure: str = "fail",
    at: str | None = None,
    in_: str | None = None,
    max_attempts: int | None = None,
    timeout: str | None = None,
    needs: str | None = None,
    deadline: str | None = None,
    correlation: str | None = None,
    jsonl: str | None = None,
) -> int:
    """Add one task, or one per line."""
    if jsonl is None and payload is None:
        raise BadInput("which payload?", "Give JSON as the argument, @FILE, - for stdin, or use --jsonl")
    if jsonl is not None and (payload is not None or key is not None):
        raise BadInput("--jsonl goes with neither a payload nor --key", "Leave one of them out")
    if call.fields is not None:
        from .task_view import ADDED

        call.expect(ADDED)
    store = call.store
    asked: dict[str, Any] = {
        "queue": queue, "priority": priority, "key": key, "after": after, "on_parent_failure": on_parent_failure,
        "at": at, "in": in_, "max_attempts": max_attempts, "timeout": timeout, "deadline": deadline,
        "correlation": correlation, "needs": () if needs is None else names(needs),
    }  # fmt: skip
    now_ms = store.clock.now().wall_ms
    if payload is not None:
        from .given import json_text

        requests = [_request(store, now_ms, asked | {"payload": json_text(payload, "payload")})]
    else:
        from .task_lines import task_lines

        requests = []
        for place, line in task_lines(jsonl or "-"):
            try:
                requests.append(_request(store, now_ms, asked | line))
            except BadInput as error:
                raise BadInput(f"{place}: {error.message}", error.remedy) from None
    return _print_added(call, store.add(requests, actor=actor()))


def _request(store: Store, now_ms: int, asked: dict[str, Any]) -> TaskRequest:
    from agentctl_store.store import TaskRequest

    retry = None
    if asked["max_attempts"] is not None:
        from agentctl_store.domain.retry import RetryPolicy

        retry = RetryPolicy(max_attempts=asked["max_attempts"]).check()
    run_at_ms, delay_ms = _start(asked["at"], asked["in"], now_ms)
    deadline, timeout, creator = asked["deadline"], asked["timeout"], os.environ.get("AGENTCTL_TASK")
    return TaskRequest(
        asked["queue"],
        asked["payload"],
        asked["priority"],
        asked["key"],
        tuple(_parent(store, text) for text in asked["after"]),
        asked["on_parent_failure"],
        run_at_ms,
        delay_ms,
        None if deadline is None else _deadline(deadline, now_ms),
        None if timeout is None else span(timeout, "--timeout"),
        retry,
        asked["correlation"],
        None if not creator else read_id(creator, "AGENTCTL_TASK"),
        tuple(asked["needs"]),
    )


def names(text: str) -> tuple[str, ...]:
    """Return the names of a comma-separated text."""
    return tuple(name for name in text.replace(" ", "").split(",") if name)


def _start(at: str | None, in_: str | None, now_ms: int) -> tuple[int | None, int | None]:
    if at is None:
        return None, None if in_ is None else span(in_, "--in")
    if in_ is not None:
        raise BadInput("--at and --in exclude each other", "Use one of them")
    from .times import read_time

    return read_time(at, "--at", now_ms), None


def _deadline(text: str, now_ms: int) -> int:
    from .times import read_span, read_time

    if text[:1].isdigit() and text[-1:].isalpha() and "T" not in text:
        return now_ms + read_span(text, "--deadline")
    return read_time(text, "--deadline", now_ms)


def _parent(store: Store, text: str) -> int | str:
    if text.startswith("key:"):
        return text[4:]
    from .given import task_id

    return task_id(store, text)


def _print_added(call: Call, added: list[Added]) -> int:
    if any(one.unroutable for one in added):
        from .unroutable import say

        say(call, added)
    if call.output == "table" and call.fields is None:
        output.write("".join(write_id(one.id) + "\n" for one in added))
        old = [one for one in added if not one.created]
        if old:
            call.note(f"{write_id(old[0].id)} was added before under this key and is {old[0].state}")
        return 0
    from .task_view import ADDED

    rows = [{"task": write_id(a.id), "created": a.created, "state": a.state, "result": a.result} for a in added]
    return call.show(ADDED, lambda: rows)


@verb(
    "task claim",
    summary="Claim a ready task and print it with its attempt id.",
    details="Every later write names the attempt. Exit code 7 when nothing is ready.",
    prints="jsonl",
    queues=arg("The queues to claim from, as one.", "QUEUE...", complete="queues"),
    agent=opt(help="Who claims.", env="AGENTCTL_AGENT", complete="agents"),
    instance=opt(help="Which of its slots, as reviewer/2.", env="AGENTCTL_INSTANCE", metavar="INSTANCE"),
    session=opt(help="The session that claims.", env="AGENTCTL_SESSION", metavar="ID"),
    lease=LEASE,
    can=opt(help="What the claimer can, comma-separated; else what it was declared with.", metavar="NAMES"),
    limit=opt("-n", help="Claim up to so many tasks.", metavar="N"),
    wait=opt(help="When nothing is ready, wait this long for a task.", metavar="DURATION"),
)
def claim(
    call: Call,
    *,
    queues: tuple[str, ...],
    agent: str | None = None,
    instance: str | None = None,
    session: str | None = None,
    lease: str | None = None,
    can: str | None = None,
    limit: int = 1,
    wait: str | None = None,
) -> int:
    """Claim and print."""
    if call.fields is not None:
        from .task_view import CLAIM

        call.expect(CLAIM)
    who = claimer(agent, instance, session, lease, can)
    wait_ms = 0 if wait is None else span(wait, "--wait")
    call.stays = wait_ms > 0
    return print_claims(call, queues, call.store.claim(queues, limit=limit, wait_ms=wait_ms, **who))


def claimer(
    agent: str | None, instance: str | None, session: str | None, lease: str | None, can: str | None
) -> dict[str, Any]:
    """Return who claims, and for how long, as a claim takes it."""
    slot = None
    if instance is not None:
        named, slot = check_instance(instance)
        agent = agent or named
    return {
        "agent": needed(agent, "agent", "AGENTCTL_AGENT", "Say who claims with --agent"),
        "slot": slot,
        "session": None if session is None else read_id(session, "session id"),
        "lease_ms": lease_of(lease),
        "can": None if can is None else names(can),
    }


def print_claims(call: Call, queues: tuple[str, ...], won: list[Claim]) -> int:
    if not won:
        raise NothingToClaim(f"nothing is ready in {', '.join(queues)}", "Look with: agentctl queue list")
    from .task_rows import claim_object, claim_row

    rows = [claim_row(call.store, one) for one in won]
    if call.output == "jsonl" and call.fields is None:
        for row in rows:
            output.write_json(claim_object(row))
        return 0
    from .task_view import CLAIM

    return call.show(CLAIM, lambda: rows)


@verb(
    "task show",
    summary="Show a task with its payload, result and attempts.",
    reads=True,
    task=arg("The task's id, or the beginning of it.", "TASK", complete="tasks", env="AGENTCTL_TASK"),
    tree=opt(help="As a tree: the tasks it added, and those that wait for it."),
)
def show(call: Call, *, task: str | None = None, tree: bool = False) -> int:
    """Show one task."""
    from .given import task_id
    from .task_rows import task_row
    from .task_view import TASK

    store = call.store
    number = task_id(store, needed(task, "task", "AGENTCTL_TASK"))
    if tree:
        from .task_tree import show_tree

        return show_tree(call, number)
    return call.show_one(TASK, lambda: task_row(store, number))
