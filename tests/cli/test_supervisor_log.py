"""The log of a supervisor that runs for months stays small, and whoever reads it notices nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli.command_kit import Fleet

TELL = """
import os, sys
from agentctl.supervisor import narrate
narrate.MOST_LOG_BYTES = 1_000
narrate.VOICE.log = sys.argv[1]
for number in range(200):
    narrate.VOICE.say(f"line {number}\\n")
    narrate.VOICE.flush()
os.write(1, b"also what is printed\\n")
"""


def test_the_log_is_begun_anew_when_it_has_grown_and_the_one_before_is_kept(fleet: Fleet) -> None:
    store = fleet.folder / ".agentctl"
    store.mkdir()
    log = store / "supervisor.log"
    with open(log, "ab") as file:
        subprocess.run([sys.executable, "-c", TELL, str(log)], stdout=file, stderr=file, check=True)
    kept = (store / "supervisor.log.1").read_text() + log.read_text()
    lines = [f"line {number}" for number in range(200)]
    assert kept.splitlines() == [*lines[200 - kept.count("line") :], "also what is printed"]
    assert 1_000 < len(kept) < 2_100 and {file.name for file in store.iterdir()} == {log.name, f"{log.name}.1"}
    assert log.stat().st_mode & 0o777 == 0o600
    assert fleet.ok("logs", "--supervisor", "-n", "130").splitlines() == kept.splitlines()[-130:]


def test_following_the_log_goes_on_in_the_next_one(fleet: Fleet) -> None:
    store = fleet.folder / ".agentctl"
    store.mkdir()
    log = store / "supervisor.log"
    log.write_text("first\n")
    follower = fleet.spawn("logs", "--supervisor", "-f")
    assert follower.stdout is not None
    assert follower.stdout.readline() == "first\n"
    with open(log, "a") as file:
        file.write("last of the old\n")
    (store / "new").write_text("first of the new\n")
    log.rename(store / "supervisor.log.1")
    (store / "new").rename(log)
    assert [follower.stdout.readline() for _ in range(2)] == ["last of the old\n", "first of the new\n"]
    follower.send_signal(signal.SIGINT)
    assert follower.wait(10) == 130


def test_the_log_is_looked_through_whole_for_what_is_asked_for(fleet: Fleet) -> None:
    store = fleet.folder / ".agentctl"
    store.mkdir()
    rest = "".join(f"line {number} {'-' * 100}\n" for number in range(12_000))
    (store / "supervisor.log.1").write_text(f"the first\n{rest}")
    (store / "supervisor.log").write_text(rest)
    assert fleet.ok("logs", "--supervisor", "--grep", "the first") == "the first"
    assert len(fleet.ok("logs", "--supervisor", "-n", "100000").splitlines()) == 24_001


@pytest.mark.parametrize("words", [["-o", "csv"], ["--json", "text"], ["--since", "1h"], ["--stream", "err"], ["all"]])
def test_what_does_not_go_with_the_supervisors_log_is_refused(fleet: Fleet, words: list[str]) -> None:
    refused = fleet.run("logs", "--supervisor", *words)
    assert refused.code == 2 and "--supervisor prints plain text" in refused.err


TELL_ON = """
import os, sys
from agentctl.supervisor import narrate
narrate.VOICE.log = log = sys.argv[1]
def tell(word):
    narrate.VOICE.say(word + "\\n")
    narrate.VOICE.flush()
tell("first")
os.rename(log, log + ".1")
tell("in the next one")
os.unlink(log)
tell("after it was removed")
os.rename(log, log + ".1")
open(log, "w").write("begun by another\\n")
tell("behind that")
os.rename(log, log + ".1")
os.mkdir(log)
tell("where no log can be")
os.rmdir(log)
tell("and can again")
"""


def test_a_log_that_somebody_removed_or_laid_aside_is_begun_again(fleet: Fleet) -> None:
    store = fleet.folder / ".agentctl"
    store.mkdir()
    log, before = store / "supervisor.log", store / "supervisor.log.1"
    with open(log, "ab") as file:
        subprocess.run([sys.executable, "-c", TELL_ON, str(log)], stdout=file, stderr=file, check=True)
    assert before.read_text() == "begun by another\nbehind that\nwhere no log can be\n"
    assert log.read_text() == "and can again\n"
    log.unlink()
    assert fleet.ok("logs", "--supervisor", "-n", "1") == "where no log can be", "as after a kill between the two"
    before.unlink()
    assert fleet.run("logs", "--supervisor").code == 3


DAYS = """
import sys
from agentctl.supervisor.narrate import VOICE, Happening, to_stderr
VOICE.log = sys.argv[1] or None
for hour in (0, 1, 23, 24):
    to_stderr(Happening(1_800_057_600_000 + hour * 3_600_000, "note", f"hour {hour}"))
VOICE.flush()
"""


BEGIN_ANEW = f"""{DAYS}
import os
os.unlink(VOICE.log)
to_stderr(Happening(1_800_057_600_000 + 25 * 3_600_000, "note", "hour 25"))
VOICE.flush()
"""


def test_a_log_begun_again_begins_with_its_date(tmp_path: Path) -> None:
    log = tmp_path / "supervisor.log"
    with open(log, "ab") as file:
        subprocess.run(
            [sys.executable, "-c", BEGIN_ANEW, log], env={**os.environ, "TZ": "UTC"}, stderr=file, check=True
        )
    assert log.read_text().splitlines() == ["2027-01-17", "01:00:00  hour 25"]


@pytest.mark.parametrize("log", ["", "supervisor.log"], ids=["on a terminal", "in a log"])
def test_lines_of_another_day_are_told_with_its_date(log: str, tmp_path: Path) -> None:
    written = tmp_path / "supervisor.log"
    with open(written, "ab") as file:
        words, env = [sys.executable, "-c", DAYS, log], {**os.environ, "TZ": "UTC"}
        subprocess.run(words, cwd=tmp_path, env=env, stderr=file, check=True)
    first = ["2027-01-16"] if log else []
    told = ["00:00:00  hour 0", "01:00:00  hour 1", "23:00:00  hour 23", "2027-01-17", "00:00:00  hour 24"]
    assert written.read_text().splitlines() == first + told
