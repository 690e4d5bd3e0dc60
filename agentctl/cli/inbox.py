"""Questions to a person: what is asked, asking, answering."""

from __future__ import annotations

import time

from agentctl_store.errors import AgentctlError, BadInput, Conflict, NotFound, Refused, TimedOut
from agentctl_store.ids import read_attempt, write_attempt, write_id

from . import output
from .call import Call, actor, needed, operators
from .given import task_id
from .table import Column
from .times import read_span
from .verb import AT_MOST, arg, opt, verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentctl_store.domain.question import Question

_LOOK_S = 60.0  #: how long one call waits for news
_GAP_S = 0.02  #: and how long at least from one to the next: a busy store has news all the time
_LIST = (
    Column("attempt"),
    Column("queue"),
    Column("agent"),
    Column("asked_at", "time", title="asked"),
    Column("deadline_at", "time", title="deadline"),
    Column("default"),
    Column("options", "list"),
    Column("question"),
)
_BEFORE = (Column("attempt"), Column("question"), Column("answer"), Column("how"), Column("by"))
_QUESTION = (
    *_LIST[:6],
    Column("question"),
    Column("options", "rows", parts=(Column("n", "number"), Column("option"))),
    Column("how"),
    Column("answer"),
    Column("by"),
    Column("ended_at", "time", title="ended"),
    Column("before", "rows", parts=_BEFORE),
)
_TASK = arg("The task, or the attempt that asks, as the inbox shows it.", "TASK", complete="questions")


def question_row(one: Question) -> dict[str, Any]:
    """Return a question as a row of values."""
    return {
        "attempt": write_attempt(one.task, one.n),
        "queue": one.queue,
        "agent": one.agent,
        "asked_at": one.asked_ms,
        "deadline_at": one.deadline_ms,
        "default": one.fallback,
        "options": one.options,
        "ended_at": one.ended_ms,
        "how": one.how,
        "answer": one.answer,
        "by": one.by,
        "question": one.text,
    }


@verb(
    "inbox list",
    summary="List what tasks ask a person, the oldest first.",
    details="`agentctl inbox` is short for it. Exit code 5 with --wait when nothing is asked in time.",
    reads=True,
    wait=opt(help="When nothing is asked, wait this long for a question.", metavar="DURATION"),
    limit=AT_MOST,
)
def list_questions(call: Call, *, wait: str | None = None, limit: int | None = None) -> int:
    """List open questions."""
    call.stays = wait is not None or call.watch
    store = call.store
    seen = [store.changed() if call.stays else 0]

    def news(most_s: float) -> None:
        seen[0] = store.changed(seen[0], wait_ms=int(most_s * 1000))
        time.sleep(_GAP_S)

    if wait is not None:
        until = time.monotonic() + read_span(wait, "--wait") / 1000
        while not store.questions.open(limit=1):
            left_s = until - time.monotonic()
            if left_s <= 0:
                raise TimedOut(f"nothing was asked within {wait}", "Wait longer")
            news(min(left_s, _LOOK_S))
    call.pause = news

    def fetch(most: int) -> list[dict[str, Any]]:
        return [question_row(one) for one in store.questions.open(most)]

    return call.show_first(_LIST, limit, fetch, empty="Nobody asks anything.")


@verb(
    "inbox show",
    summary="Show what a task asks, whole, and what it asked before.",
    reads=True,
    task=_TASK,
)
def show(call: Call, *, task: str) -> int:
    """Show the conversation with one task."""
    number, _ = _asker(call, task)

    def fetch() -> dict[str, Any]:
        asked = call.store.questions.of_task(number)
        if not asked:
            call.store.task(number)
            raise NotFound(f"task {write_id(number)} has asked nothing", "See what is asked with: agentctl inbox")
        *before, last = asked
        options = [{"n": place, "option": option} for place, option in enumerate(last.options, 1)]
        return {**question_row(last), "options": options, "before": [question_row(one) for one in before]}

    return call.show_one(_QUESTION, fetch)


def _asker(call: Call, text: str) -> tuple[int, int | None]:
    """Return (task, attempt) of what a person names: an attempt's id, a task's, or the beginning of that."""
    return read_attempt(text) if "." in text else (task_id(call.store, text), None)


@verb(
    "task ask",
    summary="End an attempt with a question to a person; the next one gets the answer.",
    details="No try is burnt. The answers so far are in the file AGENTCTL_ANSWERS_FILE, and in what `task claim` "
    "prints. Refused with exit code 4 when the attempt no longer owns its task.",
    question=arg("What is asked; @FILE reads a file, - stdin.", "QUESTION"),
    attempt=opt(help="The attempt that asks.", metavar="ATTEMPT", env="AGENTCTL_ATTEMPT"),
    option=opt(help="An answer to choose from; repeatable. Without any, every text is an answer.", metavar="TEXT"),
    deadline=opt(help="Wait no longer than this for an answer.", metavar="DURATION"),
    default=opt(help="The answer that is given at the deadline.", metavar="TEXT"),
    or_fail=opt(help="At the deadline the task becomes a dead letter."),
)
def ask(
    call: Call,
    *,
    question: str,
    attempt: str | None = None,
    option: tuple[str, ...] = (),
    deadline: str | None = None,
    default: str | None = None,
    or_fail: bool = False,
) -> int:
    """Ask a person."""
    from agentctl.asking import question_of

    from .given import json_text

    asked = question_of(json_text(question, "question"), option, deadline, default, or_fail)
    task, n = read_attempt(needed(attempt, "attempt", "AGENTCTL_ATTEMPT", "Say which attempt asks with --attempt"))
    output.say(f"{write_id(task)} {call.store.questions.ask(task, n, asked).state}")
    return 0


@verb(
    "task answer",
    summary="Answer what a task asks, or refuse it.",
    details="Exit code 4 when the task asks nothing, or, named by its attempt, something else by now.",
    task=_TASK,
    answer=arg("The answer; @FILE reads a file, - stdin.", "TEXT"),
    option=opt(help="Choose an option by its number in the inbox, from 1.", metavar="N"),
    reject=opt(help="Refuse: the task becomes a dead letter."),
    reason=opt(help="Why it is refused, for the history.", metavar="TEXT"),
)
def answer(
    call: Call,
    *,
    task: str,
    answer: str | None = None,
    option: int | None = None,
    reject: bool = False,
    reason: str = "",
) -> int:
    """Answer a question."""
    if (answer is not None) + (option is not None) + reject != 1:
        raise BadInput("what is the answer?", "Give exactly one of a text, --option and --reject")
    if reason and not reject:
        raise BadInput("--reason goes with --reject only", "Leave it out")
    _persons_only(call)
    number, n = _asker(call, task)
    questions = call.store.questions
    if reject:
        ended = questions.reject(number, reason=reason, n=n, actor=actor())
    else:
        from .given import json_text

        if answer is not None:
            said = json_text(answer, "answer")
        else:
            said, n = _chosen(call, number, n, option or 0)
        ended = questions.answer(number, said, n=n, actor=actor())
    output.say(f"{write_id(number)} {ended.state}" + (f" ({ended.reason})" if ended.reason else ""))
    return 0


def _chosen(call: Call, task: int, n: int | None, place: int) -> tuple[str, int]:
    """Return an option by its number, and the attempt that offers it: what the task asks then is to be answered."""
    found = next((one for one in call.store.questions.of_task(task) if one.ended_ms is None), None)
    if found is None:
        raise Conflict(f"task {write_id(task)} asks nothing", "See what is asked with: agentctl inbox")
    if not 1 <= place <= len(found.options):
        offered = f"It offers {len(found.options)}; count from 1, or answer with a text"
        raise BadInput(f"there is no option {place}", offered)
    return found.options[place - 1], n or found.n


def _persons_only(call: Call) -> None:
    """Return outside of an agent. Inside the supervisor refuses, and notes it; without one that is done here."""
    from agentctl_store.broker.rights import OPERATORS

    from .acts import supervised

    try:
        operators(OPERATORS["questions.answer"], call.place()[0])
    except Refused as refused:
        if not supervised(call):
            try:
                said = {"verb": "questions.answer", "reason": refused.message}
                call.store.note("access.refused", actor=actor(), data=said)
            except AgentctlError:
                pass  # it is refused all the same
            raise
