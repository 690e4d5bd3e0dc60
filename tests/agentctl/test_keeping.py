"""Whatever agents leave in their folders, it is measured and removed a little at a time, and ends no supervisor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from faults.session_kit import nested

from agentctl.supervisor import keeping
from agentctl.supervisor.keeping import Keeper
from agentctl_store.folders import disk_bytes, removing
from agentctl_store.ids import read_id, write_id

DEEP = 3_000  #: more than a stack holds, and longer than the name of a path
NOBODY = 65_534

BOUND = f"""
import json, os, sys
from agentctl.supervisor import keeping
if os.getuid() == 0:
    os.setuid({NOBODY})  # whom modes bind
"""
TIDY = """
keeping.AT_ONCE = 4
said = []
keeper = keeping.Keeper(".", said.append)
more = [keeper.tidy([], 250_000) for _ in range(3)]
print(json.dumps([more, said]))
"""


def folder(store: Path, number: int, size: int = 0) -> Path:
    """Make the folder of an ended session, with an output file."""
    made = store / "sessions" / write_id(number)
    made.mkdir(parents=True)
    (made / "out.000000").write_bytes(b"x" * size)
    return made


def left(store: Path) -> list[int]:
    return sorted(read_id(name) for name in os.listdir(store / "sessions"))


def own(store: Path) -> None:
    """Give all that is in there now to who runs what is BOUND."""
    if os.getuid() == 0:
        for here, folders, names in os.walk(store):
            for name in (".", *folders, *names):
                os.chown(os.path.join(here, name), NOBODY, NOBODY, follow_symlinks=False)


def run_bound(store: Path, code: str) -> str:
    ran = subprocess.run([sys.executable, "-c", BOUND + code], cwd=store, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_folders_nested_deeper_than_a_stack_are_measured_and_removed(tmp_path: Path) -> None:
    folder(tmp_path, 2, 100_000)
    with nested(folder(tmp_path, 1, 100_000), DEEP):
        keeper = Keeper(str(tmp_path), pytest.fail)
        keeper.tidy([], 1 << 30)
        assert left(tmp_path) == [1, 2]
        while keeper.tidy([], 150_000):
            pass
        assert left(tmp_path) == [2]


def test_a_folder_with_more_entries_than_one_go_takes_is_measured_and_removed_in_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "ENTRIES_AT_ONCE", 10)
    wide = folder(tmp_path, 1)
    for number in range(35):
        (wide / str(number)).write_bytes(b"x" * 4_096)
    folder(tmp_path, 2, 100_000)
    keeper = Keeper(str(tmp_path), pytest.fail)
    assert [keeper.tidy([], 250_000) for _ in range(4)] == [True, True, True, False], "36 entries and 1, by tens"
    assert left(tmp_path) == [1, 2] and len(os.listdir(wide)) == 36
    rounds = [(keeper.tidy([], 150_000), len(os.listdir(wide)) if wide.exists() else None) for _ in range(4)]
    assert rounds == [(True, 26), (True, 16), (True, 6), (False, None)]
    assert left(tmp_path) == [2]


def test_of_a_folder_with_too_many_entries_counts_what_was_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "MOST_ENTRIES", 10)
    for wide in (folder(tmp_path, 1), folder(tmp_path, 2)):
        for name in range(35):
            (wide / str(name)).write_bytes(b"x" * 4_096)
    keeper = Keeper(str(tmp_path), pytest.fail)
    assert not keeper.tidy([], 2 * 10 * 4_096) and left(tmp_path) == [1, 2]
    assert not keeper.tidy([], 2 * 9 * 4_096 - 1) and left(tmp_path) == [2]


def test_what_no_one_may_write_to_any_more_is_removed_too(tmp_path: Path) -> None:
    shut = folder(tmp_path, 1) / "shut"
    (shut / "within" / "more").mkdir(parents=True)
    (shut / "within" / "file").touch()
    (shut / "within" / "more").chmod(0)
    (shut / "within").chmod(0)
    shut.chmod(0o500)
    own(tmp_path)
    run_bound(tmp_path, f"list(keeping.removing('sessions/{write_id(1)}'))")
    assert left(tmp_path) == []


def test_links_are_removed_and_not_what_they_lead_to(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_bytes(b"x" * 100_000)
    (folder(tmp_path, 1) / "link").symlink_to(tmp_path / "mine")
    (tmp_path / "sessions" / write_id(2)).symlink_to(tmp_path / "mine")
    assert sum(disk_bytes(str(tmp_path / "sessions"))) < 100_000
    for number in (1, 2):
        assert all(removing(str(tmp_path / "sessions" / write_id(number))))
    assert left(tmp_path) == [] and (tmp_path / "mine" / "file").exists()


def test_what_could_not_be_removed_counts_as_there_and_is_told_once(tmp_path: Path) -> None:
    for number in range(10):
        folder(tmp_path, number, 100_000)
    (tmp_path / "sessions").chmod(0o500)
    own(tmp_path)
    more, said = json.loads(run_bound(tmp_path, TIDY))
    (tmp_path / "sessions").chmod(0o700)
    assert more[-1] is False and len(said) == 1 and "could not be removed" in said[0]
    assert len(left(tmp_path)) == 10


@pytest.mark.skipif(os.getuid() != 0, reason="only root can leave what its owner cannot remove")
def test_others_go_in_place_of_what_could_not_be_removed(tmp_path: Path) -> None:
    for number in range(10):
        folder(tmp_path, number, 100_000)
    own(tmp_path)
    for number in range(5):
        (tmp_path / "sessions" / write_id(number) / "own").mkdir()
        (tmp_path / "sessions" / write_id(number) / "own" / "file").touch()
    more, said = json.loads(run_bound(tmp_path, TIDY))
    assert more[-1] is False and len(said) == 1 and "and 4 more" in said[0]
    assert left(tmp_path) == [0, 1, 2, 3, 4, 8, 9]


def test_trouble_that_nobody_foresaw_is_told_and_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "sessions").touch()
    said: list[str] = []
    keeper = Keeper(str(tmp_path), said.append)
    assert not keeper.tidy([], 0) and not keeper.tidy([], 0)
    assert len(said) == 1 and "NotADirectoryError" in said[0]
