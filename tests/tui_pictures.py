"""Draw screens to SVG files: `python tests/tui_pictures.py DIR`. For looking at, not for asserting."""

from __future__ import annotations

import asyncio
import os
import sys

os.environ["TZ"] = "UTC"

from tui_source import NOW, Source

from agentctl_tui.app import Dashboard


async def draw(directory: str, name: str, size: tuple[int, int], keys: list[str], **more) -> None:
    source = Source()
    app = Dashboard(source, source, source, now_ms=lambda: NOW, beat_s=0.02, **more)
    async with app.run_test(size=size) as pilot:
        await pilot.pause(0.25)
        for key in keys:
            await pilot.press(key)
            await pilot.pause(0.1)
        await pilot.pause(0.25)
        with open(f"{directory}/{name}.svg", "w", encoding="utf-8") as out:
            out.write(app.export_screenshot())


async def main(directory: str) -> None:
    os.makedirs(directory, exist_ok=True)
    for w, h in ((80, 24), (100, 40), (120, 40), (200, 60)):
        await draw(directory, f"fleet-{w}", (w, h), ["down"] * 4)
        await draw(directory, f"dead-{w}", (w, h), ["3"])
    await draw(directory, "fleet-light", (120, 40), [], theme_name="light")
    await draw(directory, "dead-light", (120, 40), ["3", "space"], theme_name="light")
    await draw(directory, "fleet-ascii", (120, 40), [], ascii_only=True)
    await draw(directory, "help", (120, 40), ["question_mark"])
    await draw(directory, "instance", (80, 24), ["down", "down", "enter"])
    await draw(directory, "letter", (80, 24), ["3", "enter"])
    await draw(directory, "confirm", (120, 40), ["3", "X"])
    await draw(directory, "filter", (120, 40), ["slash", "r", "e", "v"])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
