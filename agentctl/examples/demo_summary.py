"""What came out of the demo: read from its store, shown as a table and the next steps to take."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agentctl.cli import diagnostics, output
from agentctl.cli.table import Column, Form
from agentctl_store.ids import read_id
from agentctl_store.jsontext import loads
from agentctl_store.read.models import Filter
from agentctl_store.store import Store
from agentctl_store.text import one_line

if TYPE_CHECKING:
    from agentctl_store.read.models import TaskRow
    from agentctl_store.read.port import Reader

    from .demo_input import Input
    from .demo_kill import Killed

QUEUES = ("plan", "review", "count", "report")
REPORT = "REPORT.md"
MAX_SHOWN = 5  #: dead letters named one by one
_PAGE = 500
_LINE = 200
_COLUMNS = (
    Column("queue"),
    Column("tasks", "number"),
    Column("done", "number"),
    Column("dead", "number", title="dead letters"),
    Column("attempts", "number"),
)


@dataclass(slots=True)
class Summary:
    """The demo's store when all is over."""

    rows: list[dict[str, Any]] = field(default_factory=list)  #: a row of the table for each queue
    dead: list[TaskRow] = field(default_factory=list)
    paths: dict[str, str] = field(default_factory=dict)  #: of each dead letter: the file or folder it is about
    totals: dict[str, Any] | None = None  #: the aggregator's result; None when it wrote no report
    second_try: str = ""  #: what became of the task whose reviewer was killed


@dataclass(frozen=True, slots=True)
class Run:
    """The supervisor's run, seen from outside."""

    exit_code: int
    seconds: float
    killed: Killed | None


def read(store: Store, reader: Reader, run: Run) -> Summary:
    """Read what became of all tasks."""
    summary = Summary()
    for queue in QUEUES:
        tasks = _tasks(reader, queue)
        dead = [task for task in tasks if task.state == "dead"]
        done = sum(task.state == "done" for task in tasks)
        attempts = sum(task.attempts for task in tasks)
        summary.rows.append(
            {"queue": queue, "tasks": len(tasks), "done": done, "dead": len(dead), "attempts": attempts}
        )
        summary.dead += dead
        for task in dead:
            payload = loads(store.task(read_id(task.task)).payload)
            summary.paths[task.task] = payload.get("path", "") if isinstance(payload, dict) else ""
        if queue == "report":
            results = [store.task(read_id(task.task)).result for task in tasks if task.state == "done"]
            summary.totals = loads(results[0]) if results and results[0] else None
    if run.killed is not None:
        summary.second_try = _second_try(reader, run.killed)
    return summary


def _second_try(reader: Reader, killed: Killed) -> str:
    last = reader.attempts(killed.task)[-1]
    if last.n == killed.n:
        return "its task waits to be tried again"
    who = "its next session" if last.instance == killed.instance else last.instance
    how = "finished the task" if last.outcome == "done" else f"left it {last.outcome or 'unfinished'}"
    return f"{who} took over and {how} as attempt {last.n}"


def _tasks(reader: Reader, queue: str) -> list[TaskRow]:
    found: list[TaskRow] = []
    while True:
        page = reader.tasks(len(found), _PAGE, "id", Filter(queue=queue))
        found += page
        if len(page) < _PAGE:
            return found


def show(summary: Summary, given: Input, run: Run, directory: str, command: str) -> int:
    """Print the summary and what to do next. Returns the demo's exit code."""
    output.write(Form(_COLUMNS, "table", None).render(summary.rows))
    total = sum(row["tasks"] for row in summary.rows)
    output.write("\n")
    output.say(f"{total:,} tasks in {run.seconds:.1f} s.")
    if run.killed is not None:
        output.say(f"{run.killed.instance} was killed at work on {run.killed.path}: {summary.second_try}.")
    else:
        output.say("No reviewer was killed: each was quicker than the demo.")
    _show_totals(summary.totals, directory)
    _show_dead(summary, directory, command)
    wrong = _unexpected(summary, given, run)
    if wrong:
        log = os.path.join(directory, "run.log")
        diagnostics.narrate(f"Not all went as it should: {wrong}. Why is in {log}; to go on where it stopped:")
        diagnostics.narrate(f"  cd {shlex.quote(directory)}; {shlex.quote(command)} run --until-idle")
    return 1 if wrong else 0


def _show_totals(totals: dict[str, Any] | None, directory: str) -> None:
    if totals is None:
        output.say(f"{REPORT} was not written.")
        return
    findings = sum(totals["findings"].values())
    output.say(
        f"{os.path.join(directory, REPORT)}: {totals['reviewed']:,} of {totals['files']:,} files reviewed, "
        f"{totals['lines']:,} lines, {totals['functions']:,} functions, {findings:,} findings, "
        f"{totals['suspicious']:,} suspicious string{'s' * (totals['suspicious'] != 1)}."
    )


def _show_dead(summary: Summary, directory: str, command: str) -> None:
    dead = summary.dead
    if not dead:
        return
    output.write("\n")
    output.say(f"{len(dead)} dead letter{'s' * (len(dead) > 1)}, never tried again until a person decides:")
    for task in dead[:MAX_SHOWN]:
        output.say(f"  {task.task}  {one_line(task.error or task.reason or '', _LINE)}")
    if len(dead) > MAX_SHOWN:
        output.say(f"  … and {len(dead) - MAX_SHOWN} more")
    first = dead[0].task
    agentctl = shlex.quote(command)
    output.write("\n")
    output.say("Look at it, repair the file, and send it back to the reviewers:")
    output.say(f"  cd {shlex.quote(directory)}")
    output.say(f"  {agentctl} dlq show {first}")
    if dead[0].queue == "review":
        output.say(f"  echo 'repaired = True' > {shlex.quote(summary.paths[first])}")
    output.say(f"  {agentctl} dlq requeue {first}")
    output.say(f"  {agentctl} run --until-idle")


def _unexpected(summary: Summary, given: Input, run: Run) -> str:
    """Return what is not as it should be: only files that cannot be parsed may be dead, all else is done."""
    missing = given.tasks - sum(row["done"] + row["dead"] for row in summary.rows)
    others = [task for task in summary.dead if task.queue != "review" or task.reason != "permanent"]
    if run.exit_code != 0:
        return f"the supervisor ended with exit code {run.exit_code}"
    if missing:
        return f"{missing:,} of {given.tasks:,} tasks have not ended"
    if others:
        return f"{len(others):,} dead letters are no files that cannot be parsed"
    if given.broken not in summary.paths.values():
        return f"{given.broken} is not among the dead letters"
    return "" if summary.totals else "the report is missing"
