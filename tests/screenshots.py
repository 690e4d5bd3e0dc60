"""Write screenshots/*.svg from a real fleet: `make screenshots`.

`agentctl demo` works in a scratch folder while the dashboard, with the reader and the operator that `agentctl tui`
gives it, is opened over the same store without a terminal. Pictures of the fleet are taken while it works, of the
dead letters once it has ended. Nothing is staged: numbers, ids and times are those of this run.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass

from textual.pilot import Pilot

from agentctl.cli.call import Call
from agentctl.cli.dashboard import FleetOperator, SessionLogs
from agentctl.cli.verb import Verb
from agentctl_store.read import open_reader
from agentctl_tui.app import Dashboard
from agentctl_tui.widgets.table import LiveTable

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "screenshots")
FLEET = "review"  #: the folder the demo works in, so the name that the dashboard shows
SEEN_WITHIN_S = 60.0
WARM = 25  #: tasks that have ended before a picture is taken, so that the flow has a history
AT_WORK = " working "  #: how a row tells of an instance with a task
BEAT_S = 0.05  #: reviews are short, so the feed looks more often than for a person
LOOK_S = 0.02
MAX_BYTES = 400_000

_BEHIND = re.compile(r"\btask +waiting for a task")  #: the detail tells of the moment before
_FACES = re.compile(r"@font-face\s*\{.*?\}\s*", re.DOTALL)
_NOTE = re.compile(r"\s*<!--.*?-->", re.DOTALL)
_MONO = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', monospace"


@dataclass(frozen=True, slots=True)
class View:
    """One picture: what it is called, how large the terminal is, what is pressed before it is taken."""

    name: str
    size: tuple[int, int]
    keys: tuple[str, ...] = ()
    theme: str = "dark"


WORKING = (View("fleet", (140, 28), ("end",)), View("fleet-80x24", (80, 24)))
AFTERWARDS = (
    View("dead-letters", (140, 28), ("3",)),
    View("dead-letters-light", (140, 28), ("3",), "light"),
)


def local(svg: str) -> str:
    """Return a picture that fetches no font: the browser's own monospace stands in.

    Every run of text carries its width, so the columns stay aligned whatever font that is.
    """
    svg = _NOTE.sub("", _FACES.sub("", svg))
    return re.sub(r"font-family:\s*[^;}]*", f"font-family: {_MONO}", svg)


async def picture(store: str, view: View, ready: Callable[[Dashboard], bool]) -> str:
    """Open the dashboard over `store`, wait until `ready`, press the view's keys and return the screen as SVG."""
    async with seated(store, view) as (app, pilot):
        deadline = time.monotonic() + SEEN_WITHIN_S
        while not ready(app):
            if time.monotonic() > deadline:
                raise SystemExit(f"{view.name}: the fleet never looked as wanted")
            await pilot.pause(LOOK_S)
        for key in view.keys:
            await pilot.press(key)
        await pilot.pause(3 * BEAT_S)  # the detail and the log of the selected row
        return taken(app)


async def busiest(store: str, view: View, until: int) -> str:
    """Watch the fleet until `until` tasks are ready; return the moment with most instances at work and a log."""
    best, svg = 0, ""
    async with seated(store, view) as (app, pilot):
        deadline = time.monotonic() + SEEN_WITHIN_S
        while not app.summary or not app.screen.query_one("LiveTable.-main", LiveTable).total:
            await pilot.pause(LOOK_S)
        for key in view.keys:
            await pilot.press(key)
        while time.monotonic() < deadline:
            await pilot.pause(LOOK_S)
            found = app.summary
            if found is None or found.count("done") < WARM:
                continue
            if found.count("ready") <= until:
                break
            text = "\n".join(
                "".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips()
            )
            worth = 3 * text.count(AT_WORK) + 4 * ("to review" in text) + text.count("healthy")
            worth -= 9 * bool(_BEHIND.search(text))
            if worth > best:
                best, svg = worth, taken(app)
    if not svg:
        raise SystemExit(f"{view.name}: no instance was ever seen at work")
    return svg


@asynccontextmanager
async def seated(store: str, view: View) -> AsyncIterator[tuple[Dashboard, Pilot[None]]]:
    """Open the dashboard as `agentctl tui` does, without a terminal."""
    verb = Verb("tui", "", "", lambda: 0, [])
    with closing(open_reader(store)) as reader:
        operator = FleetOperator(Call(verb, {"store": store}))
        app = Dashboard(reader, operator, SessionLogs(store), theme_name=view.theme, beat_s=BEAT_S)
        async with app.run_test(size=view.size) as pilot:
            yield app, pilot


def taken(app: Dashboard) -> str:
    """Return what is on the screen now."""
    return local(app.export_screenshot(title=f"agentctl tui · {FLEET}"))


def ended(app: Dashboard) -> bool:
    """Whether nothing is left to do and one dead letter remains."""
    found = app.summary
    return found is not None and found.count("dead") == 1 and not found.count("active")


async def draw(scratch: str, folder: str) -> None:
    """Run the demo once and write every picture."""
    work = os.path.join(scratch, FLEET)
    command = os.path.join(sysconfig.get_path("scripts"), "agentctl")
    demo = subprocess.Popen(
        [command, "demo", "--dir", work], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    store = os.path.join(work, ".agentctl")
    try:
        deadline = time.monotonic() + SEEN_WITHIN_S
        while not os.path.exists(os.path.join(store, "supervisor.lock")):
            if demo.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the demo did not start: {demo.communicate()[0]}")
            await asyncio.sleep(0.05)
        both = [await busiest(store, view, until) for view, until in zip(WORKING, (30, 0), strict=True)]
        said, _ = await asyncio.to_thread(demo.communicate, timeout=SEEN_WITHIN_S)
    finally:
        if demo.poll() is None:
            demo.terminate()
            demo.wait(30)
    if demo.returncode != 0:
        raise SystemExit(f"the demo failed: {said}")
    for view, svg in zip(WORKING, both, strict=True):
        write(folder, view, svg)
    for view in AFTERWARDS:
        write(folder, view, await picture(store, view, ended))


def write(folder: str, view: View, svg: str) -> None:
    """Keep a picture, unless it is too large to be in a repository."""
    if len(svg.encode()) > MAX_BYTES:
        raise SystemExit(f"{view.name}.svg has {len(svg.encode()):,} bytes, more than {MAX_BYTES:,}")
    path = os.path.join(folder, f"{view.name}.svg")
    with open(path, "w", encoding="utf-8") as file:
        file.write(svg)
    print(f"{os.path.relpath(path)}: {view.size[0]}x{view.size[1]}, {len(svg.encode()) // 1000} kB")


if __name__ == "__main__":
    os.environ["TZ"] = "UTC"
    time.tzset()
    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(draw(scratch, sys.argv[1] if len(sys.argv) > 1 else FOLDER))
