"""Text from agents cannot steer the terminal: every field, every screen, down to the bytes the driver writes."""

from __future__ import annotations

import json
import random
import re

import pytest
from tui_source import NOW, Source, instance, letter, task_id

from agentctl_store.read.models import AttemptRow
from agentctl_store.record import fields_of, replace
from agentctl_tui.payload import pretty, problem
from agentctl_tui.ports import LogLine
from agentctl_tui.screens.letter import LetterView

EVIL = [
    "\x1b[2J\x1b[H",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1b]0;title\x1b\\",
    "\x9b31mC1 CSI",
    "\x90q#0\x9c sixel",
    "\u202egnp.exe\u2066",
    "\x00\x01\x08\x7f\x85",
    "[bold red]markup[/] [@click=app.quit]x[/] [/] [",
    "line\r\nbreak\ttab\x0b\x0c",
    "\ufeff\u200b\u200d\u2028\u2029",
    "\udc80 lone surrogate \ud800",
    "日本語" * 60,
    "👩‍👩‍👧‍👦" * 20,
    "e" + "\u0301" * 500,
    "x" * 100_000,
]
FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def poisoned(texts: list[str]) -> Source:
    """One instance and one dead letter per text, with the text in every field that an agent can fill."""
    rows, letters = [], []
    for number, text in enumerate(texts):
        row = instance(f"agent-{chr(97 + number)}/1", "degraded")
        fields = ("reason", "title", "progress", "probe", "queue", "task")
        texts_of = {name: text for name in fields if name in fields_of(type(row))}
        rows.append(replace(row, **texts_of, session=str(number), claimed_ms=NOW - 5000, attempt=1))
        payload = json.dumps({text[:300]: text[:300]})
        bad = letter(number, error=text, title=text, payload=payload)
        attempt = AttemptRow("t", 1, text, text, NOW - 9, NOW, "failed", "transient", text, 1, text, 0)
        bad = replace(bad, correlation=text, attempts=(attempt,), session=str(number))
        letters.append(replace(bad, row=replace(bad.row, queue=text, agent=text, reason=text)))
    source = Source(rows, letters)

    def tail(session, lines, until_ms=None):
        text = texts[int(session)]
        return (LogLine(NOW, "out", text), LogLine(None, "err", text), LogLine(NOW, "out", "END" + session))

    source.tail = tail
    return source


async def test_no_field_of_any_screen_lets_it_through(sit):
    async with sit(poisoned(EVIL), size=(160, 50)) as seat:
        for number in range(len(EVIL)):
            await seat.sees(f"END{number}")
            _clean(seat)
            if number % 4 == 0:
                await seat.press("enter")
                await seat.pilot.pause(0.02)
                _clean(seat)
                await seat.press("escape")
            await seat.press("down")
        await seat.press("3")
        for number in range(len(EVIL)):
            await seat.sees(lambda: _letter(seat) == task_id(number))  # noqa: B023 (awaited at once)
            await seat.pilot.pause(0.05)
            _clean(seat)
            if number % 4 == 0:
                await seat.press("enter")
                await seat.sees(lambda: isinstance(seat.app.screen, LetterView))
                await seat.pilot.pause(0.02)
                _clean(seat)
                await seat.press("escape")
            await seat.press("down")


async def test_nothing_typed_pasted_or_told_lets_it_through(sit):
    async with sit() as seat:
        await seat.press("slash")
        for text in EVIL:
            seat.app.screen.query_one("#filter").insert_text_at_cursor(text[:200])
            seat.app.toast(text[:200], command=text[:200])
            await seat.pilot.pause(0.01)
            _clean(seat)


def _letter(seat) -> str:
    letter = seat.app.screen.panel.letter
    return letter.row.task if letter else ""


def _clean(seat) -> None:
    for line in seat.screen():
        found = FORBIDDEN.search(line)
        assert found is None, (ascii(found.group()), ascii(line[:200]))


async def test_pasted_payload_text_is_shown_without_its_controls(sit):
    async with sit(Source()) as seat:
        await seat.press("3")
        await seat.sees(lambda: seat.app.screen.panel.letter is not None)
        editor = seat.app.screen.panel.editor
        editor.focus()
        for text in EVIL[:10]:
            editor.insert(text)
            await seat.pilot.pause()
            _clean(seat)


@pytest.mark.parametrize("text", EVIL[:14], ids=range(14))
def test_a_payload_reads_back_as_it_was(text):
    value = {"k": text, "list": [text, 1, None, True, 1.5]}
    stored = json.dumps(value)
    shown = pretty(stored)
    assert json.loads(shown) == value
    assert FORBIDDEN.search(shown.replace("\n", "")) is None


def test_any_text_as_payload_is_shown_without_controls():
    seed = random.randrange(1 << 30)
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(2000):
        text = "".join(
            chr(rng.choice([rng.randrange(0x20), rng.randrange(0x250), rng.randrange(0xFFFF)])) for _ in range(30)
        )
        shown = pretty(text)
        assert FORBIDDEN.search(shown.replace("\n", "")) is None
        problem(text)


async def test_the_bytes_on_the_wire_hold_only_the_drivers_own_sequences(tmp_path):
    """The real driver in a pseudo-terminal: every escape it writes is a colour, a cursor move or a mode."""
    import os
    import pty
    import select
    import subprocess
    import sys
    import time

    script = tmp_path / "show.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {os.path.dirname(os.path.dirname(os.path.abspath(__file__)))!r})\n"
        "import importlib.util\n"
        f"spec = importlib.util.spec_from_file_location('hostile', {os.path.abspath(__file__)!r})\n"
        "m = importlib.util.module_from_spec(spec); spec.loader.exec_module(m)\n"
        "from agentctl_tui.app import Dashboard\n"
        "s = m.poisoned(m.EVIL)\n"
        "Dashboard(s, s, s, beat_s=0.05).run()\n"
    )  # fmt: skip
    leader, follower = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
    env = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    child = subprocess.Popen([sys.executable, str(script)], stdin=follower, stdout=follower, stderr=follower, env=env)
    os.close(follower)
    taken = b""
    keys = [b"\r", b"\x1b", b"jjjjjjjjjjjj", b"3", b"jjjjjjjjjjjj", b"\r", b"\x1b", b"q", b"q", b"q"]
    deadline, next_key = time.monotonic() + 30, time.monotonic() + 1.5
    try:
        while time.monotonic() < deadline and child.poll() is None:
            if select.select([leader], [], [], 0.05)[0]:
                try:
                    taken += os.read(leader, 65536)
                except OSError:
                    break
            if keys and b"agent-a/1" in taken and time.monotonic() > next_key:
                os.write(leader, keys.pop(0))
                next_key = time.monotonic() + 0.4
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()
        os.close(leader)
    shown = taken.decode("utf-8")
    assert "agent-a/1" in shown and "Dead letters" in shown
    own = re.compile(r"\x1b\]22;[a-z-]*\x07|\x1b\[[0-?]*[ -/]*[@-~]|\x1b[=>78]|\x1bP[^\x1b]*\x1b\\\\")
    rest = own.sub("", shown).replace("\r", "").replace("\n", "")
    found = FORBIDDEN.search(rest)
    assert found is None, ascii(rest[max(found.start() - 40, 0) : found.start() + 40])
    assert "\x1b]52" not in shown and "\x1b]0" not in shown
