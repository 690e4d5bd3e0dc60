"""P12: a damaged store is detected before it is used, said so, and kept as it is."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.store_kit import assert_whole, filled, finals, raw
from faults.store_workers import Clients

from agentctl_store.errors import StoreCorrupt
from agentctl_store.sqlite.writelock import forget_mark
from agentctl_store.store import TaskRequest, open_store


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2 // 4096 * 4096)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def garbage_header(file: Path) -> None:
    with open(file, "r+b") as content:
        content.write(os.urandom(100))


def text(file: Path) -> None:
    file.write_text("my notes\n" * 1000)


def overwrite_start(file: Path) -> None:
    """A copy that went wrong: pages of something else after an intact header."""
    with open(file, "r+b") as content:
        content.seek(100)
        content.write(b"\xff" * 8092)


ADDED = ["task.added"]


@pytest.mark.parametrize("damage", [truncate, empty, garbage_header, text, overwrite_start])
def test_a_damaged_file_is_refused_before_use_and_kept(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    directory = filled(tmp_path, 500)
    file = directory / "store.db"
    damage(file)
    before = hashlib.sha256(file.read_bytes()).digest()
    for _ in range(2):
        with (
            pytest.raises(StoreCorrupt, match=r"is damaged: .*keep the file aside"),
            open_store(str(directory)) as store,
        ):
            store.add([TaskRequest("q")])
    assert hashlib.sha256(file.read_bytes()).digest() == before, "the damaged file was changed"


def killed_writer(tmp_path: Path, directory: Path) -> None:
    """Ten more tasks that stand in the -wal alone, because their writer was killed."""
    with Clients(directory, tmp_path / "logs") as clients:
        clients.wait(clients.start("add_many", prefix="k", count=10, die=True))


def test_a_wal_that_was_deleted_after_a_crash_is_missed(tmp_path: Path) -> None:
    """SQLite alone would go on with what was there before, and lose ten acknowledged tasks without a word."""
    directory = filled(tmp_path, 5)
    killed_writer(tmp_path, directory)
    (directory / "store.db-wal").unlink()
    (directory / "store.db-shm").unlink()
    with pytest.raises(StoreCorrupt, match=r"history ends at event 6, but event 16 was written"):
        open_store(str(directory))


def test_an_older_copy_put_in_place_is_noticed_unless_it_is_meant(tmp_path: Path) -> None:
    directory = filled(tmp_path, 5)
    shutil.copy(directory / "store.db", tmp_path / "copy")
    with open_store(str(directory)) as store:
        store.add([TaskRequest("q")])
    shutil.copy(tmp_path / "copy", directory / "store.db")
    with pytest.raises(StoreCorrupt, match="older copy"):
        open_store(str(directory))
    forget_mark(str(directory))
    with open_store(str(directory)) as store:
        store.add([TaskRequest("q")])
    assert len(finals(directory)) == 6
    assert_whole(directory)


@pytest.mark.parametrize("how", ["replaced", "deleted", "wal deleted", "folder moved"])
def test_a_file_that_changed_hands_while_open_is_not_written(tmp_path: Path, how: str) -> None:
    directory = filled(tmp_path, 5)
    store = open_store(str(directory))
    store.add([TaskRequest("q")])
    file = directory / "store.db"
    if how == "replaced":
        shutil.copy(file, tmp_path / "copy")
        os.rename(tmp_path / "copy", file)
    elif how == "deleted":
        file.unlink()
    elif how == "wal deleted":
        (directory / "store.db-wal").unlink()
    else:
        os.rename(directory, tmp_path / "elsewhere")
    time.sleep(0.002)  # the files are looked at once a millisecond, and the last add has just done so
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match="was moved, replaced or deleted while it was open; nothing was written"):
            store.add([TaskRequest("q")])
    assert len(store.events(kinds=ADDED)) == 6, "reading goes on"
    store.close()


def test_a_new_store_is_never_made_beside_the_wal_of_a_lost_one(tmp_path: Path) -> None:
    """SQLite would play the old -wal into the new file."""
    directory = filled(tmp_path, 5)
    killed_writer(tmp_path, directory)
    (directory / "store.db").unlink()
    with pytest.raises(StoreCorrupt, match="its -wal is there"):
        open_store(str(directory), create=True)


def test_a_page_overwritten_in_the_middle_is_an_error_when_met_never_an_answer(tmp_path: Path) -> None:
    directory = filled(tmp_path, 3_000)
    db = raw(directory)
    (root,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'task'").fetchone()
    db.close()
    with open(directory / "store.db", "r+b") as content:
        content.seek((root - 1) * 4096)
        content.write(b"\x5a" * 4096)
    with open_store(str(directory)) as store, pytest.raises(StoreCorrupt, match="malformed"):
        store.claim(["q"], agent="a")
