"""Verbs on an attempt: keep it, end it. Agents call them all the time, so start-up counts."""

from __future__ import annotations

from agentctl_store.errors import BadInput
from agentctl_store.ids import read_attempt, write_id

from . import output
from .call import Call, lease_of, needed, span
from .verb import LEASE, arg, opt, verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agentctl_store.domain.task import Ended, Usage

_ATTEMPT = "The attempt, as `task claim` printed it."
_CLASSES = ("transient", "permanent", "throttled", "timeout", "crashed", "policy", "verify")


@verb(
    "task heartbeat",
    summary="Extend an attempt's lease; prints `cancel` when a cancel was asked.",
    details="When a budget is spent that the attempt counts for, it prints `stop` and which, and exits with 4: end the "
    "work, then `task fail --class policy`, with --partial for what you have got to.",
    attempt=arg(_ATTEMPT, "ATTEMPT", env="AGENTCTL_ATTEMPT"),
    lease=LEASE,
    progress=opt(help="What is being done, for people who look.", metavar="TEXT"),
    input_tokens=opt(help="Input tokens used so far, in all.", metavar="N"),
    output_tokens=opt(help="Output tokens used so far, in all.", metavar="N"),
    cost_usd=opt(help="Cost so far, in all.", metavar="USD"),
)
def heartbeat(
    call: Call,
    *,
    attempt: str | None = None,
    lease: str | None = None,
    progress: str | None = None,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    cost_usd: float | None = None,
) -> int:
    """Keep a claimed task."""
    task, n = read_attempt(needed(attempt, "attempt", "AGENTCTL_ATTEMPT"))
    usage = _usage(input_tokens, output_tokens, cost_usd)
    answer = call.store.heartbeat(task, n, lease_ms=lease_of(lease), progress=progress, usage=usage)
    if answer.cancel_asked:
        output.write("cancel\n")
    if answer.stop is not None:
        output.say(f"stop {answer.stop}")
    return 0 if answer.stop is None else 4


def _usage(input_tokens: int | None, output_tokens: int | None, cost_usd: float | None) -> Usage | None:
    if input_tokens is None and output_tokens is None and cost_usd is None:
        return None
    from agentctl_store.domain.task import Usage

    cost = cost_usd or 0.0
    if not 0 <= cost <= 1_000_000 or (input_tokens or 0) < 0 or (output_tokens or 0) < 0:
        raise BadInput("tokens and cost are counts from zero up", "Give what was used so far, in all")
    return Usage(input_tokens or 0, output_tokens or 0, round(cost * 1_000_000))


@verb(
    "task complete",
    summary="Finish an attempt; its task is done.",
    details="Refused with exit code 4 when the attempt no longer owns its task. With --next the next task is claimed "
    "in the same step and printed as by task claim; exit code 7 when nothing is ready: this task is done all the same.",
    prints="jsonl",
    attempt=arg(_ATTEMPT, "ATTEMPT", env="AGENTCTL_ATTEMPT"),
    result=opt("-r", help="The result, as JSON; @FILE reads a file, - stdin.", metavar="JSON"),
    next=opt(help="Claim the next task from this queue; repeatable.", metavar="QUEUE", complete="queues"),
    agent=opt(help="Who claims it.", env="AGENTCTL_AGENT", complete="agents"),
    instance=opt(help="Which of its slots, as reviewer/2.", env="AGENTCTL_INSTANCE", metavar="INSTANCE"),
    session=opt(help="The session that claims it.", env="AGENTCTL_SESSION", metavar="ID"),
    lease=LEASE,
    can=opt(help="What the claimer can, comma-separated; else what it was declared with.", metavar="NAMES"),
)
def complete(
    call: Call,
    *,
    attempt: str | None = None,
    result: str | None = None,
    next: tuple[str, ...] = (),
    agent: str | None = None,
    instance: str | None = None,
    session: str | None = None,
    lease: str | None = None,
    can: str | None = None,
) -> int:
    """Finish a claimed task, and claim the next."""
    task, n = read_attempt(needed(attempt, "attempt", "AGENTCTL_ATTEMPT"))
    text = None
    if result is not None:
        from .given import json_text

        text = json_text(result, "result")
    if not next:
        call.store.complete(task, n, result=text)
        return 0
    from .task import claimer, print_claims

    if call.fields is not None:
        from .task_view import CLAIM

        call.expect(CLAIM)
    who = claimer(agent, instance, session, lease, can)
    won = call.store.complete_and_claim(task, n, next, result=text, **who).claim
    return print_claims(call, next, [won] if won is not None else [])


@verb(
    "task fail",
    summary="End an attempt badly; prints when the task runs again, or that it is dead.",
    details="Refused with exit code 4 when the attempt no longer owns its task.",
    attempt=arg(_ATTEMPT, "ATTEMPT", env="AGENTCTL_ATTEMPT"),
    kind=opt("-c", "--class", help="The error class; permanent ones are not tried again.", choices=_CLASSES),
    message=opt("-m", help="What went wrong.", metavar="TEXT"),
    retry_after=opt(help="Not again before, as the provider asked.", metavar="DURATION"),
    exit_code=opt(help="The exit code of the process that failed.", metavar="N"),
    partial=opt(help="What it had got to, as JSON, kept with the attempt; @FILE, - stdin.", metavar="JSON"),
)
def fail(
    call: Call,
    *,
    attempt: str | None = None,
    kind: str = "transient",
    message: str = "",
    retry_after: str | None = None,
    exit_code: int | None = None,
    partial: str | None = None,
) -> int:
    """End a claimed task badly."""
    from agentctl_store.domain.retry import Failure

    task, n = read_attempt(needed(attempt, "attempt", "AGENTCTL_ATTEMPT"))
    after_ms = None if retry_after is None else span(retry_after, "--retry-after")
    got = None
    if partial is not None:
        from .given import json_text

        got = json_text(partial, "partial result")
    failure = Failure(kind, message, exit_code, after_ms, got)  # type: ignore[arg-type] # one of _CLASSES
    return print_ended(call, task, call.store.fail(task, n, failure))


@verb(
    "task release",
    summary="Give a claimed task back untried.",
    attempt=arg(_ATTEMPT, "ATTEMPT", env="AGENTCTL_ATTEMPT"),
    reason=opt(help="Why it is given back.", metavar="TEXT"),
)
def release(call: Call, *, attempt: str | None = None, reason: str = "released") -> int:
    """Give a claimed task back."""
    task, n = read_attempt(needed(attempt, "attempt", "AGENTCTL_ATTEMPT"))
    return print_ended(call, task, call.store.release(task, n, reason=reason))


def print_ended(call: Call, task: int, ended: Ended) -> int:
    """Print where an act left a task."""
    line = f"{write_id(task)} {ended.state}"
    if ended.run_at_ms is not None:
        from .times import iso

        line += f" until {iso(ended.run_at_ms)}"
    output.say(line + (f" ({ended.reason})" if ended.reason else ""))
    return 0
