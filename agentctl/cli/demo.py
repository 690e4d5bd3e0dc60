"""`agentctl demo`: a whole fleet at work on real files."""

from __future__ import annotations

from agentctl_store.errors import BadInput

from .call import Call
from .verb import arg, opt, verb

TEAMS = ("review", "newsroom")


@verb(
    "demo",
    summary="Watch a team of agents work on real files, and what goes wrong on the way.",
    details="`review`, the default, reviews Python files; one of its agents is killed on the way. `newsroom` writes an "
    "issue about texts: its agents send each other messages, and their provider throttles and fails them. A demo works "
    "on a copy, in a folder of its own that stays there to look at. The team is what `agentctl init --example` writes.",
    store=False,
    what=arg("A team, or a folder with Python files to review.", "TEAM|PATH"),
    path=arg("The folder with the team's files (default: files that came with Python).", "PATH"),
    dir=opt(help="Where to work: a folder that is new or empty (default: a temporary one).", metavar="DIR"),
    files=opt(help="Work on at most so many files.", metavar="N"),
)
def demo(
    call: Call, *, what: str | None = None, path: str | None = None, dir: str | None = None, files: int | None = None
) -> int:
    """Run it."""
    if what not in TEAMS and path is not None:
        raise BadInput(f"no team is called {what!r}", f"There are {' and '.join(TEAMS)}; one folder needs no team")
    if what == "newsroom":
        from agentctl.examples.newsroom_demo import MAX_TEXTS, run_newsroom

        return run_newsroom(path, directory=dir, max_texts=MAX_TEXTS if files is None else files)
    from agentctl.examples.demo import MAX_FILES, run_demo

    return run_demo(path if what == "review" else what, directory=dir, max_files=MAX_FILES if files is None else files)
