"""`agentctl init`: the first file of a fleet, and its store."""

from __future__ import annotations

import os

from agentctl_store.errors import BadInput

from . import output
from .call import FLEET_FILE, STORE_FOLDER, Call
from .verb import arg, opt, verb

EXAMPLES = ("minimal", "newsroom", "review")


@verb(
    "init",
    summary="Begin a fleet in a folder: agentctl.toml, an example's files and the store.",
    store=False,
    dry=True,
    folder=arg("The folder; made when it is not there.", "FOLDER"),
    example=opt(help="Which example to begin with.", choices=EXAMPLES),
    force=opt(help="Replace files that differ; they are kept with .orig at the end."),
)
def init(call: Call, *, folder: str = ".", example: str = "minimal", force: bool = False) -> int:
    """Write an example and make the store."""
    from agentctl.examples.scaffold import example_files, write_example
    from agentctl_store.store import open_store

    if "\0" in folder:
        raise BadInput("the folder's name holds a NUL character", "Use another name")
    if call.dry_run:
        for name in (*example_files(example), STORE_FOLDER):
            output.say(f"would write {os.path.join(folder, name)}")
        return 0
    written = write_example(example, folder, force)
    for path in written.created:
        output.say(f"created {os.path.normpath(path)}")
    for path in written.replaced:
        output.say(f"replaced {os.path.normpath(path)} (the former text is beside it, .orig)")
    for path in written.unchanged:
        output.say(f"unchanged {os.path.normpath(path)}")
    open_store(os.path.join(folder, STORE_FOLDER), create=True).close()
    there = "" if os.path.abspath(folder) == os.getcwd() else f"cd {folder}; "
    call.note(f"Look at {os.path.join(folder, FLEET_FILE)}, then: {there}agentctl run")
    return 0
