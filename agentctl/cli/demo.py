"""`agentctl demo`: a whole fleet at work on real files."""

from __future__ import annotations

from .call import Call
from .verb import arg, opt, verb


@verb(
    "demo",
    summary="Watch a team of agents review real files, and one of them die on the way.",
    details="It works on a copy, in a folder of its own that stays there to look at. The team is what "
    "`agentctl init --example review` writes.",
    store=False,
    tree=arg("A folder with Python files (default: a part of Python's own library).", "PATH"),
    dir=opt(help="Where to work: a folder that is new or empty (default: a temporary one).", metavar="DIR"),
    files=opt(help="Review at most so many files.", metavar="N"),
)
def demo(call: Call, *, tree: str | None = None, dir: str | None = None, files: int = 300) -> int:
    """Run it."""
    from agentctl.examples.demo import run_demo

    return run_demo(tree, directory=dir, max_files=files)
