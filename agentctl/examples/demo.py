"""`agentctl demo`: the review team at work on real files, through the real command line.

What a user would do by hand, step by step: write the example, add a task, run the supervisor. On the way one
reviewer is killed, and one file cannot be parsed: the demo shows what becomes of both.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from agentctl.cli import diagnostics
from agentctl_store.errors import BadInput
from agentctl_store.read import open_reader
from agentctl_store.store import Store, open_store

from . import demo_input, demo_summary
from .demo_kill import Killed, kill_one
from .demo_summary import Run
from .stage import LOOK_S, Stage

if TYPE_CHECKING:
    from agentctl_store.read.port import Reader

MAX_FILES = 300  #: of a tree, unless the caller says otherwise; about half a minute on two cores
HUNT_S = 0.01  #: between two looks while a reviewer is to be caught at work
KILL_AFTER = 12  #: tasks that have ended before a reviewer is killed; a quarter of them if that is less


def run_demo(path: str | None = None, *, directory: str | None = None, max_files: int = MAX_FILES) -> int:
    """Review the Python files below `path` (default: a part of the standard library) with the review team.

    It works in `directory`, which must not exist or be empty (default: a fresh one among the temporary files),
    and leaves it there to look at. Returns 0 when the report was written and only files that cannot be parsed
    became dead letters, else 1. Raises BadInput, NotFound, TimedOut, OSError.
    """
    if max_files < 1:
        raise BadInput(f"{max_files} files cannot be reviewed", "Use 1 or more")
    stage = Stage(directory)
    stage.call("init", "--example", "review", ".")
    given = demo_input.gather(path, stage.directory, max_files)
    diagnostics.narrate(f"{given.files:,} Python files to review: {given.source}.")
    if given.left_out:
        diagnostics.narrate(f"{given.left_out:,} more are left out: unreadable, or beyond --files {max_files}.")
    diagnostics.narrate(f"{given.broken} cannot be parsed; {given.broken_source}.")
    stage.call("task", "add", "--queue", "plan", f'{{"path": "{given.folder}"}}')
    hunt = Hunt(min(KILL_AFTER, given.tasks // 4))
    run = Run(*stage.supervise("Reviewing", given.tasks, hunt), hunt.killed)
    with open_store(stage.store) as store, closing(open_reader(stage.store)) as reader:
        summary = demo_summary.read(store, reader, run)
    return demo_summary.show(summary, given, run, stage.directory, stage.typed)


class Hunt:
    """Kills one reviewer at work, once so many tasks have ended."""

    def __init__(self, after: int) -> None:
        self._after = after
        self.killed: Killed | None = None
        self.pause_s = LOOK_S

    def look(self, store: Store, reader: Reader, ended: int) -> list[str]:
        if self.killed is not None or ended < self._after:
            return []
        self.killed = kill_one(store, "reviewer")
        self.pause_s = HUNT_S if self.killed is None else LOOK_S
        return [] if self.killed is None else [self.killed.sentence]
