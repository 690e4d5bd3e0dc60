"""What only a process of its own can show: exit codes, signals, closed pipes, what is imported, terminals."""

from __future__ import annotations

import errno
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from cli.command_kit import AGENTCTL, Fleet

from agentctl.cli.diagnostics import report
from agentctl.cli.progress import Progress
from agentctl.main import TABLE
from agentctl_store.broker.server import Broker
from agentctl_store.clock import Clock

LOOK = "import sys; sys.argv = ['agentctl', *sys.argv[1:]]; from agentctl.main import dispatch"
HEAVY = ("typer", "textual", "rich", "sqlite_utils", "pydantic", "watchfiles", "psutil", "asyncio")
SLOW = ("dataclasses", "json", "re", "typing", "pathlib", "enum", "inspect", "datetime", "hashlib", "socket")
FOR_OWNERS = ("sqlite3", "_sqlite3", "pysqlite3", "fcntl", "threading", "struct", "select")
"""What only a process needs that has the file open, or serves it."""


def soon(what: Callable[[], object], seconds: float = 10) -> None:
    """Wait until `what` is true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def loaded(fleet: Fleet, *words: str) -> set[str]:
    """Return the top-level modules that a command has loaded beyond a bare interpreter."""
    code = f"{LOOK}\nbefore = set(sys.modules)\ndispatch(sys.argv[1:])\n"
    code += "print('loaded', *sorted(set(sys.modules) - before), file=sys.stderr)"
    ran = subprocess.run(
        [sys.executable, "-I", "-c", code, *words], cwd=fleet.folder, capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in ran.stderr.rsplit("loaded", 1)[1].split()}


def hot(fleet: Fleet) -> Iterator[tuple[list[str], set[str]]]:
    """Run every hot verb; what each has loaded."""
    fleet.ok("task", "add", "1")
    fleet.ok("task", "add", "1")
    fleet.ok("task", "add", "1", "-q", "awaited")
    first, second = [json.loads(fleet.ok("task", "claim", "default", "--agent", "a"))["attempt"] for _ in range(2)]
    fleet.ok("msg", "send", "a", "1")
    delivery = json.loads(fleet.ok("msg", "read", "--agent", "a"))["delivery"]
    for words in (
        ["task", "add", '{"a": 1}', "-q", "q", "--key", "k"],
        ["task", "claim", "q", "--agent", "a", "-o", "json"],
        ["task", "heartbeat", first],
        ["task", "show", first.partition(".")[0]],
        ["task", "fail", first],
        ["task", "complete", second],
        ["task", "claim", "awaited", "--agent", "a", "--wait", "20s", "--lease", "5m"],
        ["msg", "send", "a", '{"a": 1}', "-t", "QUERY"],
        ["msg", "read", "--agent", "a", "--wait", "20s"],
        ["msg", "ack", delivery],
    ):
        yield words, loaded(fleet, *words)


def test_a_hot_verb_loads_nothing_it_does_not_use(fleet: Fleet) -> None:
    for words, found in hot(fleet):
        assert not found & {*HEAVY, *SLOW}, words


def test_a_hot_verb_loads_even_less_while_a_supervisor_owns_the_store(fleet: Fleet) -> None:
    fleet.ok("queue", "list")  # makes the store
    owner = Broker(str(fleet.store), Clock())
    owner.start()
    try:
        for words, found in hot(fleet):
            assert "_socket" in found, f"{words} did not go through the broker"
            assert not found & {*HEAVY, *SLOW, *FOR_OWNERS}, words
    finally:
        owner.stop()


@pytest.mark.parametrize(
    "words",
    [["task", "list"], ["dlq", "list"], ["agent", "list"], ["queue", "list"], ["event", "list"], ["ps"], ["doctor"]],
    ids=" ".join,
)
def test_a_verb_well_typed_never_loads_typer_nor_the_dashboard(fleet: Fleet, words: list[str]) -> None:
    fleet.ok("task", "add", "1")  # makes the store, which does load sqlite-utils
    assert not loaded(fleet, *words) & {"typer", "textual", "rich", "sqlite_utils"}


def test_the_fast_path_and_typer_answer_alike_down_to_the_last_byte(fleet: Fleet) -> None:
    """The same command, once as the fast path takes it, once in a form that it leaves to typer."""
    task = fleet.ok("task", "add", "1")
    pairs = [
        (["task", "show", "0000000000000"], ["task", "show", "--", "0000000000000"]),
        (["task", "complete", f"{task}.9"], ["task", "complete", "--", f"{task}.9"]),
        (["task", "add", "{", "-q", "q"], ["task", "add", "{", "-qq"]),
        (["task", "claim", "empty", "--agent", "a"], ["task", "claim", "--agent", "a", "--", "empty"]),
        (["task", "list", "--json", "nope"], ["task", "list", "--limit=50", "--json=nope", "--sort=-id"]),
        (["task", "show", task, "-o", "json"], ["task", "show", "-ojson", task]),
    ]
    for fast, slow in pairs:
        runs = [subprocess.run([*AGENTCTL, *words], cwd=fleet.folder, capture_output=True) for words in (fast, slow)]
        assert runs[0].returncode == runs[1].returncode, (fast, slow)
        assert runs[0].stderr == runs[1].stderr
        assert runs[0].stdout == runs[1].stdout


def test_a_closed_pipe_ends_quietly(fleet: Fleet) -> None:
    lines = "".join(f'{{"payload": "{"x" * 200}"}}\n' for _ in range(2_000))
    fleet.ok("task", "add", "--jsonl", "-", stdin=lines.encode())
    reader = fleet.spawn("task", "list", "-n", "2000", "-o", "wide")
    assert reader.stdout is not None and reader.stderr is not None
    reader.stdout.readline()
    reader.stdout.close()
    assert reader.stderr.read() == ""
    assert reader.wait(10) == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_output_is_told_and_is_a_failure(fleet: Fleet) -> None:
    with open("/dev/full", "w") as full:
        ran = fleet.spawn("task", "add", "1", stdout=full)
        _, err = ran.communicate(timeout=10)
    assert ran.returncode == 1 and err.count("\n") == 1 and "No space left" in err
    assert len(fleet.ok("task", "list", "-o", "jsonl").splitlines()) == 1, "the task itself was accepted"


def test_a_closed_stdout_is_no_failure_of_what_was_done(fleet: Fleet) -> None:
    """As some daemons start what they start: a task that was added must not be told as failed, and added again."""
    verb = f"{sys.executable} -m agentctl task add"
    for closed in (">&-", ">&- 2>&-", "<&- >&- 2>&-"):
        ran = subprocess.run(f"{verb} 1 {closed}", shell=True, cwd=fleet.folder, capture_output=True, text=True)  # noqa: S602
        assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
        ran = subprocess.run(f"{verb} nonsense {closed}", shell=True, cwd=fleet.folder, capture_output=True)  # noqa: S602
        assert ran.returncode == 2
    assert len(fleet.ok("task", "list", "-o", "jsonl").splitlines()) == 3 and not fleet.crashes


def test_a_folder_that_is_gone_is_told(fleet: Fleet) -> None:
    gone = fleet.folder / "gone"
    gone.mkdir()
    words = f"rmdir {gone}; exec {sys.executable} -m agentctl task list"
    ran = subprocess.run(["sh", "-c", words], cwd=gone, capture_output=True, text=True)
    assert ran.returncode == 1 and "The folder you are in is gone" in ran.stderr


def test_a_path_that_cannot_be_written_is_told_with_what_to_do(fleet: Fleet) -> None:
    for number, told in ((errno.EROFS, "mount options"), (errno.ENOSPC, "Free some disk space")):
        code = f"from agentctl.cli.diagnostics import report; report(OSError({number}, 'it is so', '/x'))"
        ran = subprocess.run([sys.executable, "-c", code], cwd=fleet.folder, capture_output=True, text=True)
        assert ran.stderr.startswith("agentctl: '/x': it is so. ") and told in ran.stderr, ran.stderr


def test_a_followed_event_is_told_in_words_with_spaces_between(fleet: Fleet) -> None:
    task = fleet.ok("task", "add", "1")
    follower = fleet.spawn("event", "follow", "--after", "0", "-k", "task.added")
    assert follower.stdout is not None
    assert follower.stdout.readline().split()[2:] == ["task.added", task, "by", "tester"]
    follower.send_signal(signal.SIGINT)
    assert follower.wait(10) == 130


def test_ctrl_c_ends_a_follower_with_130_and_without_a_word(fleet: Fleet) -> None:
    fleet.ok("task", "add", "1")
    follower = fleet.spawn("event", "follow", "--after", "0", "-o", "jsonl", "-k", "task.added")
    assert follower.stdout is not None and follower.stderr is not None
    assert json.loads(follower.stdout.readline())["kind"] == "task.added"
    task = fleet.ok("task", "add", "2")
    assert json.loads(follower.stdout.readline())["task"] == task
    follower.send_signal(signal.SIGINT)
    assert follower.wait(10) == 130
    assert follower.stderr.read() == ""


def test_watching_prints_what_is_new(fleet: Fleet) -> None:
    first = fleet.ok("task", "add", "1")
    watcher = fleet.spawn("task", "list", "--watch", "--json", "task", "-o", "jsonl")
    assert watcher.stdout is not None
    assert json.loads(watcher.stdout.readline()) == {"task": first}
    second = fleet.ok("task", "add", "2")
    assert json.loads(watcher.stdout.readline()) == {"task": second}
    watcher.send_signal(signal.SIGINT)
    assert watcher.wait(10) == 130


def test_an_unexpected_error_is_one_line_and_its_details_hold_no_locals(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        canary = "sk-ant-canary-0123456789abcdef"
        raise ValueError(f"bad key {canary} \x1b[31m")

    try:
        broken()
    except ValueError as error:
        assert report(error) == 1
    said = capsys.readouterr().err
    (kept,) = fleet.crashes
    assert said.count("\n") == 1 and "ValueError" in said and str(kept) in said
    text = kept.read_text()
    assert "broken" in text and "Traceback" in text
    for shown in (said, text):
        assert "canary-0123456789abcdef" not in shown
    assert "\x1b" not in said
    assert kept.stat().st_mode & 0o777 == 0o600


def test_version_and_help_need_no_fleet(tmp_path: object) -> None:
    for words, expected in ((["--version"], "agentctl "), (["--help"], "task"), (["task"], "claim"), ([], "Usage")):
        ran = subprocess.run([*AGENTCTL, *words], cwd="/", capture_output=True, text=True)
        assert ran.returncode == 0 and expected in ran.stdout and ran.stderr == ""


@pytest.mark.parametrize("path", sorted(TABLE))
def test_every_verb_has_help(path: str, fleet: Fleet) -> None:
    ran = fleet.run(*path.split(), "--help")
    assert ran.code == 0 and ran.out.startswith(f"Usage: agentctl {path}") and ran.err == ""


def test_progress_shows_on_a_terminal_and_nowhere_else(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress("Copying", 10) as progress:
        progress.at(3)
    assert capfd.readouterr().err == ""
    code = "from agentctl.cli.progress import Progress\nwith Progress('Copying', 10) as p: p.at(3, 'a\\x1b[31mb')"
    seen = on_terminal([sys.executable, "-c", code])
    assert "Copying" in seen and "3/10" in seen and "\x1b[31m" not in seen
    assert seen.endswith("\r\x1b[K"), "the line is taken away at the end"


def test_a_table_fits_the_terminal_and_is_whole_in_a_pipe(fleet: Fleet) -> None:
    fleet.ok("task", "add", json.dumps({"title": "x" * 100 + "end"}))
    assert "end" in fleet.ok("task", "list")
    seen = on_terminal([*AGENTCTL, "task", "list"], cwd=str(fleet.folder))
    assert "…" in seen and all(len(line) <= 80 for line in seen.splitlines())


def on_terminal(words: list[str], cwd: str | None = None) -> str:
    """Run a command on a terminal of 80 columns and return what it wrote there."""
    ours, theirs = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, close_fds=True)
    os.close(theirs)
    parts = []
    try:
        while part := os.read(ours, 65536):
            parts.append(part)
    except OSError:
        pass  # the other end has closed
    os.close(ours)
    assert process.wait(10) == 0
    return b"".join(parts).decode()
