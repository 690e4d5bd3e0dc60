"""`agentctl demo newsroom`: a team that talks, over a provider that limits it, breaks, and refuses one text for good.

What a user would do by hand, step by step: write the example, add a task, run the supervisor. On the way the provider's
breaker opens and closes, a fallback stands in, and one text that is none becomes a dead letter.
"""

from __future__ import annotations

import os
import shlex
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agentctl.cli import diagnostics, output
from agentctl.cli.table import Column, Form
from agentctl_store.domain.message import MessageFilter
from agentctl_store.errors import BadInput
from agentctl_store.ids import write_id
from agentctl_store.jsontext import loads
from agentctl_store.read import open_reader
from agentctl_store.read.models import Filter
from agentctl_store.store import Store, open_store
from agentctl_store.text import one_line

from .newsroom_input import Texts, gather_texts
from .stage import LOOK_S, Stage

if TYPE_CHECKING:
    from agentctl_store.domain.event import Event
    from agentctl_store.read.models import TaskRow
    from agentctl_store.read.port import Reader

MAX_TEXTS = 24  #: unless the caller says otherwise; about ten seconds
QUEUES = ("plan", "research", "archive", "write", "edit", "publish")
SUBSCRIBER = "operator"
_AT_ONCE = 500
_LINE = 200
_KINDS = ("task.retried", "task.fell_back", "task.buried", "breaker.opened", "breaker.closed")
_COLUMNS = (
    Column("queue"),
    Column("tasks", "number"),
    Column("done", "number"),
    Column("degraded", "number"),
    Column("dead", "number", title="dead letters"),
    Column("attempts", "number"),
    Column("throttled", "number"),
)


def run_newsroom(path: str | None = None, *, directory: str | None = None, max_texts: int = MAX_TEXTS) -> int:
    """Have the newsroom write an issue of the texts below `path` (default: what installed packages say of themselves).

    It works in `directory`, which must not exist or be empty (default: a fresh one among the temporary files),
    and leaves it there to look at. Returns 0 when the issue was written and only the text that is none became a dead
    letter, else 1. Raises BadInput, NotFound, TimedOut, OSError.
    """
    if max_texts < 1:
        raise BadInput(f"{max_texts} texts make no issue", "Use 1 or more")
    stage = Stage(directory)
    stage.call("init", "--example", "newsroom", ".")
    texts = gather_texts(path, stage.directory, max_texts)
    diagnostics.narrate(f"{texts.count:,} texts to read: {texts.source}.")
    diagnostics.narrate(f"{texts.long} is too long for the provider, {texts.binary} is no text at all.")
    stage.call("msg", "subscribe", "published", "--agent", SUBSCRIBER)
    stage.call("task", "add", "--queue", "plan", f'{{"path": "{os.path.dirname(texts.long)}"}}')
    news = News()
    code, seconds = stage.supervise("Writing", texts.tasks, news)
    with open_store(stage.store) as store, closing(open_reader(stage.store)) as reader:
        seen = _read(store, reader)
    return _show(seen, texts, stage, code, seconds)


class News:
    """Tells what happens for the first time."""

    pause_s = LOOK_S

    def __init__(self) -> None:
        self._seq = 0
        self._told: set[str] = set()

    def look(self, store: Store, reader: Reader, ended: int) -> list[str]:
        """See stage.Watcher."""
        events = store.events(after=self._seq, limit=_AT_ONCE, kinds=_KINDS)
        if events:
            self._seq = events[-1].seq
        found = []
        for event in events:
            kind, sentence = _sentence(event)
            if sentence and kind not in self._told:
                self._told.add(kind)
                found.append(sentence)
        return found


def _sentence(event: Event) -> tuple[str, str]:
    """Return what kind of news an event is, and what it says."""
    said: dict[str, Any] = {} if event.data is None else loads(event.data)
    task = "" if event.task is None else write_id(event.task)
    error = one_line(str(said.get("error", "")), _LINE)
    if event.kind == "task.retried":
        if said.get("class") == "throttled":
            return "throttled", f"The provider limits its callers ({error}): {task} waits, and no try is burnt."
        return "retried", f"The provider breaks ({error}): {task} is tried again after a while."
    if event.kind == "task.fell_back":
        return "fallback", f"{task} goes to the fallback: {error}"
    if event.kind == "task.buried":
        return "dead", f"{task} becomes a dead letter: {error}"
    if event.kind == "breaker.opened":  # or held open for longer: then it gives no reason
        why = one_line(said.get("reason", ""), _LINE)
        return "opened", why and f"The breaker of provider {said['name']} opens: {why}. Nobody starts on it."
    return "closed", f"The breaker of provider {said['name']} closes: a probe went through."


@dataclass(slots=True)
class Seen:
    """The demo's store when all is over."""

    rows: list[dict[str, Any]] = field(default_factory=list)  #: a row of the table for each queue
    dead: list[TaskRow] = field(default_factory=list)
    issue: dict[str, Any] | None = None  #: the publisher's result; None when it wrote none
    opened: int = 0  #: how often the breaker did
    messages: dict[str, int] = field(default_factory=dict)  #: by state


def _read(store: Store, reader: Reader) -> Seen:
    seen = Seen()
    for queue in QUEUES:
        tasks = reader.tasks(0, _AT_ONCE, "id", Filter(queue=queue))
        attempts = [attempt for task in tasks for attempt in reader.attempts(task.task)]
        dead = [task for task in tasks if task.state == "dead"]
        done = [task for task in tasks if task.state == "done"]
        seen.dead += dead
        seen.rows.append({
            "queue": queue, "tasks": len(tasks), "done": len(done), "degraded": sum(task.degraded for task in done),
            "dead": len(dead), "attempts": len(attempts),
            "throttled": sum(attempt.error_class == "throttled" for attempt in attempts),
        })  # fmt: skip
    opened = store.events(kinds=("breaker.opened",), limit=_AT_ONCE)
    seen.opened = sum("reason" in loads(event.data or "{}") for event in opened)
    for message in store.messages.list(MessageFilter(), limit=_AT_ONCE):
        seen.messages[message.state] = seen.messages.get(message.state, 0) + 1
        if message.topic == "published":
            seen.issue = loads(message.payload)
    return seen


def _show(seen: Seen, texts: Texts, stage: Stage, code: int, seconds: float) -> int:
    output.write(Form(_COLUMNS, "table", None).render(seen.rows))
    output.write("\n")
    total, throttled = (sum(row[name] for row in seen.rows) for name in ("tasks", "throttled"))
    output.say(f"{total:,} tasks in {seconds:.1f} s. The provider throttled {throttled:,} attempts: none was burnt.")
    output.say(f"Its breaker opened {seen.opened:,} time{'s' * (seen.opened != 1)}.")
    said = ", ".join(f"{count} {state}" for state, count in sorted(seen.messages.items()))
    output.say(f"{sum(seen.messages.values()):,} messages: {said}.")
    issue = seen.issue
    if issue is not None:
        where = os.path.join(stage.directory, issue["issue"])
        output.say(
            f"{where}: {issue['stories']:,} stories of {issue['words']:,} words, {issue['degraded']} of them "
            f"from the archive; {issue['lost']} could not be read."
        )
    for task in seen.dead:
        output.write("\n")
        output.say(f"A dead letter, never tried again until a person decides: {task.task}")
        output.say(f"  {one_line(task.error or task.reason or '', _LINE)}")
    _next_steps(seen, texts, stage)
    wrong = _unexpected(seen, texts, code)
    if wrong:
        log = os.path.join(stage.directory, "run.log")
        diagnostics.narrate(f"Not all went as it should: {wrong}. Why is in {log}")
    return 1 if wrong else 0


def _next_steps(seen: Seen, texts: Texts, stage: Stage) -> None:
    agentctl = shlex.quote(stage.typed)
    output.write("\n")
    output.say("Look at all of it:")
    output.say(f"  cd {shlex.quote(stage.directory)}")
    for words in ("msg list", "msg read --ack", "breaker list", "findings"):
        output.say(f"  {agentctl} {words}")
    for task in seen.dead[:1]:
        output.say("Make it a text, and send the dead letter back:")
        output.say(f"  echo 'Beautiful is better than ugly.' > {shlex.quote(texts.binary)}")
        output.say(f"  {agentctl} dlq requeue {task.task}; {agentctl} run --until-idle")


def _unexpected(seen: Seen, texts: Texts, code: int) -> str:
    """Return what is not as it should be: only the text that is none may be dead, all else is done."""
    ended = sum(row["done"] + row["dead"] for row in seen.rows)
    if code != 0:
        return f"the supervisor ended with exit code {code}"
    if ended != texts.tasks:
        return f"{texts.tasks - ended:,} of {texts.tasks:,} tasks have not ended"
    if len(seen.dead) != 1 or texts.binary not in (seen.dead[0].error or ""):
        return f"{len(seen.dead)} dead letters, and not only {texts.binary}"
    return "" if seen.issue is not None else "no issue was published"
