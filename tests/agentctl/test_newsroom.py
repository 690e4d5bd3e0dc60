"""The newsroom demo, run for real: a provider that throttles, breaks and refuses; a breaker, a fallback, a dead letter,
and agents that ask each other. What it tells is held against what the provider itself and the texts say.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

from agentctl.examples.newsroom_input import BINARY, LEAST, LONG, gather_texts
from agentctl_store.errors import BadInput, NotFound

AGENTCTL = os.path.join(sysconfig.get_path("scripts"), "agentctl")
TIME_LIMIT_S = 90
TEXTS = 12


@dataclass(frozen=True)
class Demo:
    directory: Path
    code: int
    out: str
    told: str

    def agentctl(self, *words: str) -> str:
        done = subprocess.run(
            [AGENTCTL, *words], cwd=self.directory, capture_output=True, text=True, timeout=TIME_LIMIT_S
        )
        assert done.returncode == 0, (words, done)
        return done.stdout

    def rows(self, *words: str) -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(self.agentctl(*words, "-o", "json"))
        return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    base = tmp_path_factory.mktemp("newsroom")
    done = subprocess.run(
        [AGENTCTL, "demo", "newsroom", "--files", str(TEXTS), "--dir", str(base / "work")],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=base, timeout=TIME_LIMIT_S,
    )  # fmt: skip
    return Demo(base / "work", done.returncode, done.stdout, done.stderr)


def table(demo: Demo) -> dict[str, list[int]]:
    return {line.split()[0]: [int(cell) for cell in line.split()[1:]] for line in demo.out.splitlines()[1:7]}


def test_every_task_ends_and_only_what_is_no_text_is_a_dead_letter(demo: Demo) -> None:
    assert demo.code == 0, demo.out + demo.told
    rows = table(demo)
    for queue in ("plan", "write", "edit", "publish"):
        assert rows[queue] == [1, 1, 0, 0, 1, 0], queue
    assert rows["research"][:4] == [TEXTS, TEXTS, 0, 0]
    assert rows["archive"][:4] == [2, 1, 1, 1]
    (dead,) = demo.rows("dlq", "list")
    assert dead["queue"] == "archive" and BINARY in str(dead["error"])
    assert demo.agentctl("event", "verify").startswith("intact    yes")


def test_what_was_throttled_is_what_the_provider_refused(demo: Demo) -> None:
    """Its own log is the witness."""
    log = demo.agentctl("logs", "wire")
    refused, broke = (len(re.findall(rf'" {status} ', log)) for status in (429, 503))
    assert refused > 0 and broke > 0
    assert table(demo)["research"][5] == refused
    attempts = [
        attempt
        for task in demo.rows("task", "list", "--queue", "research", "--limit", "100")
        for attempt in json.loads(demo.agentctl("task", "show", str(task["task"]), "-o", "json"))["attempts"]
    ]
    assert sum(one["class"] == "throttled" for one in attempts) == refused
    assert sum("503" in (one["error"] or "") for one in attempts) == broke


def test_the_breaker_opens_lets_one_probe_through_and_closes(demo: Demo) -> None:
    assert "The breaker of provider wire opens" in demo.told and "closes: a probe went through" in demo.told
    (breaker,) = demo.rows("breaker", "list")
    assert (breaker["target"], breaker["state"]) == ("provider:wire", "closed")
    probes = demo.rows("event", "list", "--kind", "breaker.probed")
    ends = demo.rows("event", "list", "--kind", "breaker.closed", "--kind", "breaker.opened")
    assert probes and any(one["kind"] == "breaker.closed" for one in ends)


def test_the_writer_asks_the_editor_and_both_messages_are_acked(demo: Demo) -> None:
    sent = {str(one["type"]): one for one in demo.rows("msg", "list")}
    query, result = sent["QUERY"], sent["RESULT"]
    assert (query["source"], query["target"], query["state"]) == ("writer", "editor", "acked")
    assert (result["source"], result["target"], result["state"]) == ("editor", "writer", "acked")
    said = json.loads(demo.agentctl("msg", "read", "--ack"))
    assert said["topic"] == "published" and said["payload"]["stories"] == TEXTS + 1


def test_the_issue_has_every_text_and_says_what_is_from_the_archive(demo: Demo) -> None:
    issue = (demo.directory / "ISSUE.md").read_text()
    texts = sorted((demo.directory / "texts").iterdir())
    assert len(texts) == TEXTS + 2
    for path in texts:
        assert f"texts/{path.name}" in issue
    archived = [line for line in issue.splitlines() if "from the archive" in line]
    assert len(archived) == 1 and LONG in archived[0]
    assert BINARY in issue.partition("## Could not be read")[2]
    words = sum(len(path.read_text().split()) for path in texts if path.name != BINARY)
    assert f"{TEXTS + 1} stories of {words:,} words" in demo.out


def test_the_last_lines_bring_the_dead_letter_back(demo: Demo) -> None:
    wanted = demo.out.partition("send the dead letter back:")[2].split("\n")[1:3]
    script = "\n".join(line.strip() for line in wanted)
    done = subprocess.run(
        ["sh", "-ec", script], cwd=demo.directory, capture_output=True, text=True, timeout=TIME_LIMIT_S
    )
    assert done.returncode == 0, done
    assert demo.rows("dlq", "list") == []


def test_a_folder_of_ones_own_is_read_and_what_is_no_text_is_left_out(tmp_path: Path) -> None:
    tree, work = tmp_path / "tree", tmp_path / "work"
    (tree / "below").mkdir(parents=True)
    work.mkdir()
    (tree / "one.md").write_text("A text. " * LEAST)
    (tree / "below" / "two.txt").write_text("Another one. " * LEAST)
    (tree / "short.txt").write_text("short")
    (tree / "program.py").write_text("x = 1\n" * LEAST)
    (tree / "odd.txt").write_bytes(b"\xff" * LEAST)
    given = gather_texts(str(tree), str(work), 10)
    assert given.count == 4 and given.tasks == 8
    assert sorted(os.listdir(work / "texts")) == sorted(["one.md", "two.txt", LONG, BINARY])


@pytest.mark.parametrize(("folder", "error"), [("nowhere", NotFound), (".", BadInput)])
def test_a_folder_without_texts_is_refused(tmp_path: Path, folder: str, error: type[Exception]) -> None:
    (tmp_path / "work").mkdir()
    with pytest.raises(error):
        gather_texts(str(tmp_path / folder), str(tmp_path / "work"), 10)
