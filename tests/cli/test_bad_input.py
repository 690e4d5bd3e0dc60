"""Bad input ends in one clear sentence with the right exit code, and nothing is lost."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from cli.command_kit import Fleet, Ran, make_fleet

from agentctl.cli.verb import VERBS, Param
from agentctl.main import TABLE
from agentctl_store.store import open_store

for module in dict.fromkeys(TABLE.values()):
    import_module(f"agentctl.cli.{module}")

NAMES = {
    "path": "../../x",
    "nul": "a\0b",
    "flag": "-rf",
    "long": "x" * 300,
    "reordering": "\u202etxt.exe",
    "escape": "\x1b]0;owned\x07\x1b[2J",
    "empty": "",
    "surrogate": "\udcff\ud800",
    "blank": " \t\n",
    "percent": "%s%n{0}",
    "unicode": "ＡＢＣ",
}
#: verbs that take over the terminal or run for long; their arguments are tested with their own features
ELSEWHERE = {"tui", "run", "demo", "down"}


def assert_clean(ran: Ran, *, findings: bool = False) -> None:
    """Nothing printed can steer a terminal, and an error is one sentence without a traceback."""
    for text in (ran.out, ran.err):
        assert "Traceback" not in text and "this should not have happened" not in text, text
        for character in text:
            hostile = unicodedata.category(character) in ("Cc", "Cf", "Cs") and character not in "\n\r\t"
            assert not hostile, ascii(text)
    if ran.code and not findings:
        assert ran.code in (1, 2, 3, 4, 5, 6, 7)
        assert ran.err.startswith("agentctl: ") and ran.err.count("\n") == 1, ran.err
        assert len(ran.err) < 2_500


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One fleet for all bad words: none of them may leave a mark on it."""
    folder = tmp_path_factory.mktemp("fleet") / "a" / "b" / "c"
    folder.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        fleet = make_fleet(folder, patch)
        fleet.ok("task", "add", '"kept"', "--key", "kept")
    # The last one to close a store folds its log back; as long as this one is open, no command has to.
    with open_store(str(fleet.store)) as store:
        store.messages.subscribe("kept", "kept")  # mail to an agent nobody knows is refused and kept
        yield fleet


def _good(param: Param) -> str:
    if param.metavar == "JSON":
        return "1"
    return param.choices[0] if param.choices else {"int": "1", "float": "1"}.get(param.kind, "kept")


@pytest.mark.parametrize("path", [path for path in VERBS if path not in ELSEWHERE])
def test_bad_words_are_refused_clearly_and_change_nothing(
    path: str, shared: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shared.folder)
    monkeypatch.setenv("XDG_STATE_HOME", str(shared.folder / "state"))
    monkeypatch.setenv("AGENTCTL_AGENT", "tester")
    declared = VERBS[path]
    before = _mark(shared)
    for param in declared.params:
        if param.kind == "bool":
            continue
        for word in NAMES.values():
            words = path.split()
            for place in declared.places:
                if place.required or place is param:
                    words.append(word if place is param else _good(place))
            if param.flags:
                words += [param.flags[-1], word]
            if path == "task wait":
                words += ["--timeout", "1ms"] if param.name != "timeout" else []
            if path == "event follow" and param.name not in ("kind", "task"):
                continue  # it would follow for ever
            ran = shared.run(*words)
            assert_clean(ran, findings=path == "doctor")
            assert ran.code != 1 or path in ("init", "doctor"), (words, ran)
            if ran.code == 0 or "kept as a dead letter" in ran.err:
                before = _mark(shared)
        assert _mark(shared) == before, f"a refused {path} {param.name} left a mark"
    assert not shared.crashes


def _mark(fleet: Fleet) -> str:
    return fleet.run("event", "list", "-n", "1", "--json", "seq").out


DOCUMENTS: dict[str, bytes] = {
    "nested too deeply": b"[" * 100_000 + b"]" * 100_000,
    "a huge integer": b'{"n": ' + b"9" * 5_000 + b"}",
    "NaN": b'{"n": NaN}',
    "Infinity": b'{"n": -Infinity}',
    "a huge float": b'{"n": 1e999}',
    "duplicate keys": b'{"a": 1, "a": 2}',
    "64 MB": b'"' + b"x" * (64 << 20) + b'"',
    "a lone surrogate": b'{"a": "\\ud800"}',
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "empty": b"",
    "cut off": b'{"a": [1, 2',
    "two documents": b"{} {}",
    "single quotes": b"{'a': 1}",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "NUL bytes": b"\x00\x00",
    "escapes": b'\x1b[31m{"a": 1}',
    "a trailing comma": b'{"a": 1,}',
    "a comment": b'{"a": 1} // x',
}


@pytest.mark.parametrize("what", DOCUMENTS)
def test_bad_json_is_refused_from_everywhere_and_nothing_is_lost(fleet: Fleet, what: str) -> None:
    document = DOCUMENTS[what]
    (fleet.folder / "bad.json").write_bytes(document)
    task = fleet.ok("task", "add", '"good"')
    dead = fleet.ok("task", "add", '"dead"', "-q", "dead")
    fleet.ok("task", "claim", "dead", "--agent", "a")
    fleet.ok("task", "fail", f"{dead}.1", "-c", "permanent")
    fleet.ok("task", "claim", "default", "--agent", "a")
    before = _mark(fleet)
    argument = document[:200_000].decode("utf-8", "surrogateescape")
    for words in (
        ["task", "add", "@bad.json"],
        ["task", "add", "-"],
        ["task", "add", argument],
        ["task", "add", "--jsonl", "bad.json"],
        ["task", "complete", f"{task}.1", "-r", "@bad.json"],
        ["dlq", "requeue", dead, "--payload", "@bad.json"],
    ):
        if words[-1] == "bad.json" and what in ("empty", "two documents"):
            continue  # an empty file has no lines; a line of two documents is covered by the others
        ran = fleet.run(*words, stdin=document)
        assert ran.code == 2, (words, ran)
        assert_clean(ran)
    assert _mark(fleet) == before
    fleet.ok("task", "complete", f"{task}.1", "-r", "1")
    assert not fleet.crashes


@pytest.mark.parametrize("name", ["", "missing", "folder", "x" * 300, "a\0b", "\udcff"])
def test_a_file_that_cannot_be_read_is_named(fleet: Fleet, name: str) -> None:
    (fleet.folder / "folder").mkdir()
    ran = fleet.run("task", "add", f"@{name}")
    assert ran.code == 2
    assert_clean(ran)


def test_a_number_below_zero_is_told_how_to_be_given(fleet: Fleet) -> None:
    ran = fleet.run("task", "add", "-1")
    assert ran.code == 2 and "goes last, after `--`" in ran.err
    fleet.ok("task", "add", "-q", "default", "--", "-1")


def test_a_bad_line_among_many_is_told_by_its_number(fleet: Fleet) -> None:
    lines = b'{"queue": "good"}\n{"queue": "good"}\n{"queue": "Bad!"}\n'
    ran = fleet.run("task", "add", "--jsonl", "-", stdin=lines)
    assert ran.code == 2 and "task 3 of 3: queue 'Bad!' is not a valid name" in ran.err
    assert fleet.ok("task", "list", "-o", "jsonl") == ""


@pytest.mark.parametrize(
    "words",
    [
        ["task", "add", "1", "--in", "5 parsecs"],
        ["task", "add", "1", "--in", "-5s"],
        ["task", "add", "1", "--in", "9" * 400 + "d"],
        ["task", "add", "1", "--at", "yesterday"],
        ["task", "add", "1", "--at", "9999-12-31"],
        ["task", "add", "1", "--at", "08:00", "--in", "1h"],
        ["task", "add", "1", "--deadline", "soon"],
        ["task", "add", "1", "-p", "101"],
        ["task", "add", "1", "-p", "9" * 400],
        ["task", "add", "1", "-p", "1.5"],
        ["task", "add", "1", "--max-attempts", "0"],
        ["task", "add", "1", "--timeout", "0s"],
        ["task", "add", "1", "--correlation", "0" * 32],
        ["task", "add", "1", "--on-parent-failure", "explode"],
        ["task", "add", "1", "--after", "not-an-id"],
        ["task", "add", "1", "2"],
        ["task", "add"],
        ["task", "complete", "1m7y1yaz2kj4n"],
        ["task", "complete", "1m7y1yaz2kj4n.0"],
        ["task", "complete", "1m7y1yaz2kj4n.99999999999999999999"],
        ["task", "complete"],
        ["task", "claim"],
        ["task", "claim", "default"],
        ["task", "claim", "default", "--agent", "a", "--instance", "a/0"],
        ["task", "claim", "default", "--agent", "a", "--lease", "0s"],
        ["task", "claim", "default", "--agent", "a", "-n", "0"],
        ["task", "heartbeat", "1m7y1yaz2kj4n.1", "--cost-usd", "nan"],
        ["task", "heartbeat", "1m7y1yaz2kj4n.1", "--input-tokens", "-5"],
        ["task", "heartbeat", "1m7y1yaz2kj4n.1", "--input-tokens", "9" * 23],
        ["task", "fail", "1m7y1yaz2kj4n.1", "--exit-code", "9" * 23],
        ["task", "list", "-n", "9" * 23],
        ["event", "list", "-n", "9" * 23],
        ["task", "list", "-n", "0"],
        ["task", "list", "--json", "nope"],
        ["task", "list", "--json", ""],
        ["task", "list", "-o", "yaml"],
        ["task", "frobnicate"],
        ["frobnicate"],
        ["task", "list", "--frobnicate"],
        ["logs", "-g", "("],
        ["logs", "-n", "-1"],
        ["completion", "tcsh"],
    ],
    ids=lambda words: " ".join(words)[:60],
)
def test_wrong_usage_is_exit_code_2(fleet: Fleet, words: list[str]) -> None:
    fleet.ok("task", "add", '"kept"')
    before = _mark(fleet)
    ran = fleet.run(*words)
    assert ran.code == 2, ran
    assert_clean(ran)
    assert _mark(fleet) == before


def test_an_unknown_field_is_answered_with_the_fields_there_are(fleet: Fleet) -> None:
    ran = fleet.run("task", "list", "--json", "task,nope")
    assert "'nope'" in ran.err and "correlation" in ran.err


def test_a_wrong_field_is_refused_before_anything_is_done(fleet: Fleet) -> None:
    fleet.ok("task", "add", "1")
    before = _mark(fleet)
    for words in (
        ["task", "add", "1"],
        ["task", "claim", "default", "--agent", "a"],
        ["store", "backup", "b.db"],
        ["store", "prune", "--older-than", "0s", "--yes"],
    ):
        assert fleet.run(*words, "--json", "nope").code == 2
        assert _mark(fleet) == before, words
    assert not (fleet.folder / "b.db").exists()


def test_what_agents_wrote_reaches_no_terminal_as_it_is(fleet: Fleet) -> None:
    spite = "\x1b]52;c;ZXZpbA==\x07\x1b[31m\x9b2J\u202e\u2066\x00\x08$(touch owned)`touch owned`'\"\\"
    task = fleet.ok("task", "add", json.dumps({"title": spite, spite: 1}))
    fleet.ok("task", "claim", "default", "--agent", "a")
    fleet.ok("task", "heartbeat", f"{task}.1", "--progress", spite.replace("\0", ""))
    fleet.ok("task", "fail", f"{task}.1", "-c", "permanent", "-m", spite.replace("\0", ""))
    for words in (["task", "list"], ["task", "show", task], ["dlq", "list"], ["dlq", "show", task], ["event", "list"]):
        for form in ("table", "wide", "json", "jsonl", "csv"):
            ran = fleet.run(*words, "-o", form)
            assert ran.code == 0
            assert_clean(ran)
    shown = json.loads(fleet.ok("task", "show", task, "-o", "json"))
    assert shown["payload"] == {"title": spite, spite: 1}, "machines get every character back"


def test_a_folder_without_a_fleet_says_how_to_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = make_fleet(tmp_path, monkeypatch)
    (tmp_path / "agentctl.toml").unlink()
    for words in (["task", "list"], ["task", "add", "1"], ["ps"], ["logs"]):
        ran = fleet.run(*words)
        assert ran.code == 3 and "agentctl init" in ran.err
    assert not fleet.store.exists()
