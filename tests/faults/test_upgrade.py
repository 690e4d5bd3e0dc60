"""P19: an older store migrates in one transaction or not at all, and a newer one is refused."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faults.store_kit import assert_whole, filled, finals, raw

from agentctl_store.domain.message import INBOX_LIMIT, Damping
from agentctl_store.domain.question import NewQuestion
from agentctl_store.errors import StoreError, StoreTooNew
from agentctl_store.read import open_evidence, open_reader
from agentctl_store.replay import state_at
from agentctl_store.sqlite import connection, migrate, readfile
from agentctl_store.store import TaskRequest, open_store
from agentctl_store.upkeep import info

SECOND = """-- A column, a table of its own filled from what is there, and an index.
ALTER TABLE task ADD COLUMN colour TEXT;
CREATE TABLE shade (task INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;
INSERT INTO shade SELECT id, 'plain' FROM task;
UPDATE task SET colour = 'none';
CREATE INDEX task_colour ON task (colour);
"""
STATEMENTS = 5


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The program after this one: one more migration."""
    folder = tmp_path / "migrations"
    shutil.copytree(migrate.HERE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    number = connection.SCHEMA_VERSION + 1
    (folder / f"{number:04d}_colour.sql").write_text(SECOND)
    monkeypatch.setattr(migrate, "HERE", str(folder))
    for module in (connection, readfile):
        monkeypatch.setattr(module, "SCHEMA_VERSION", number)
    return number


def old_store(folder: Path) -> Path:
    """A store as this version writes it, with work in every state of the common path."""
    directory = filled(folder, 300, priority=3)
    with open_store(str(directory)) as store:
        for _ in range(100):
            won = store.claim(["q"], agent="a")[0]
            store.complete(won.task.id, won.n, result="1")
        store.claim(["q"], agent="a")
    return directory


def version_of(directory: Path) -> Any:
    db = raw(directory)
    found = db.execute("PRAGMA user_version").fetchone()[0]
    db.close()
    return found


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return old_store(tmp_path)


def test_an_older_store_is_upgraded_when_opened_and_keeps_everything(old: Path, next_version: int) -> None:
    before = finals(old)
    with open_store(str(old)) as store:
        store.add([TaskRequest("q")])
    assert version_of(old) == next_version
    after = finals(old)
    assert {task: after[task] for task in before} == before and len(after) == len(before) + 1
    db = raw(old)
    assert db.execute("SELECT count(*) FROM shade").fetchone()[0] == len(before)
    db.close()
    assert_whole(old)


@pytest.mark.parametrize("after", range(STATEMENTS + 1))
def test_an_upgrade_killed_between_any_two_statements_leaves_the_old_store(
    old: Path, next_version: int, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, schema = finals(old), _schema(old)
    child = os.fork()
    if child == 0:
        original = migrate.statements

        def deadly(script: str) -> Iterator[str]:
            for done, statement in enumerate(original(script)):
                if "colour" in script and done == after:
                    os.kill(os.getpid(), signal.SIGKILL)
                yield statement
            if "colour" in script:
                os.kill(os.getpid(), signal.SIGKILL)

        migrate.statements = deadly
        open_store(str(old))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert version_of(old) == next_version - 1
    assert (finals(old), _schema(old)) == (before, schema)
    assert_whole(old)
    with open_store(str(old)) as store:
        assert len(store.events(limit=1)) == 1
    assert version_of(old) == next_version and finals(old) == before


def test_an_upgrade_that_fails_leaves_the_old_store(old: Path, next_version: int) -> None:
    broken = Path(migrate.HERE) / f"{next_version:04d}_colour.sql"
    broken.write_text(SECOND + "INSERT INTO nowhere VALUES (1);\n")
    schema = _schema(old)
    with pytest.raises(Exception, match="nowhere"):
        open_store(str(old))
    assert version_of(old) == next_version - 1 and _schema(old) == schema


def test_processes_that_upgrade_at_once_all_succeed(old: Path, next_version: int) -> None:
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with open_store(str(old)) as store:
                    store.add([TaskRequest("q")])
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0, 0]
    assert len(finals(old)) == 304
    assert_whole(old)


def test_a_newer_store_is_refused_and_not_touched(old: Path) -> None:
    db = raw(old)
    db.execute("PRAGMA user_version=99")
    db.close()
    before = hashlib.sha256((old / "store.db").read_bytes()).digest()
    with pytest.raises(StoreTooNew, match=r"has schema 99; this agentctl knows \d+\. Upgrade agentctl"):
        open_store(str(old))
    assert hashlib.sha256((old / "store.db").read_bytes()).digest() == before


def _schema(directory: Path) -> list[Any]:
    db = raw(directory)
    found = db.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchall()
    db.close()
    return list(found)


def test_damping_that_was_set_before_inboxes_had_a_limit_gets_the_default_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sixth, directory = tmp_path / "sixth", tmp_path / ".agentctl"
    sixth.mkdir()
    for file in sorted(Path(migrate.HERE).glob("*.sql"))[:6]:
        shutil.copy(file, sixth)
    with monkeypatch.context() as before:
        before.setattr(migrate, "HERE", str(sixth))
        migrate.create_store(str(directory))
    db = raw(directory)
    db.execute("INSERT INTO damping VALUES (1, 4, 10000)")
    db.close()
    with open_store(str(directory)) as store:
        assert store.messages.damping() == Damping(4, 10_000, INBOX_LIMIT)


def test_attempts_of_the_first_schema_may_end_by_asking_and_keep_what_they_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The constraint on how an attempt ends was widened in place: no row is written anew, none is lost."""
    first = tmp_path / "first"
    first.mkdir()
    shutil.copy(Path(migrate.HERE) / "0001_first.sql", first)
    with monkeypatch.context() as before:
        before.setattr(migrate, "HERE", str(first))
        migrate.create_store(str(tmp_path / ".agentctl"))
    directory = tmp_path / ".agentctl"
    db = raw(directory)
    assert db.execute("PRAGMA user_version").fetchone()[0] == 1
    db.execute("INSERT INTO queue (name) VALUES ('q')")
    db.execute("INSERT INTO agent (name, since_ms) VALUES ('a', 1)")
    db.execute("INSERT INTO body (text) VALUES ('null')")
    columns = "id, queue, state, payload, correlation, available_ms, attempts"
    row = f"INSERT INTO task ({columns}) VALUES (?, 1, 'ready', 1, ?, 0, 1)"
    ended = "INSERT INTO attempt (task, n, agent, claimed_ms, ended_ms, outcome) VALUES (?, 1, 1, 1, 2, 'released')"
    for number in range(1 << 40, (1 << 40) + 200):
        db.execute(row, (number, bytes(16)))
        db.execute(ended, (number,))
    held = db.execute("SELECT * FROM attempt").fetchall()
    db.close()
    with open_store(str(directory)) as store:
        (won,) = store.claim(["q"], agent="a")
        assert store.questions.ask(won.task.id, won.n, NewQuestion("Well?")).state == "waiting"
    db = raw(directory)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    kept = db.execute("SELECT * FROM attempt WHERE outcome <> 'asked'").fetchall()
    assert [row[: len(held[0])] for row in kept] == held, "later columns come last"
    with pytest.raises(db.IntegrityError):
        db.execute("UPDATE attempt SET outcome = 'vanished'")
    db.close()


@pytest.mark.parametrize("read", [open_reader, lambda d: open_evidence(d, 0, 1 << 40), lambda d: state_at(d, 0)])
def test_who_only_reads_an_older_store_is_told_to_migrate_it(
    tmp_path: Path, request: pytest.FixtureRequest, read: Callable[[str], Any]
) -> None:
    directory = old_store(tmp_path)
    request.getfixturevalue("next_version")
    with pytest.raises(StoreError, match="Bring it up to date: agentctl store migrate"):
        read(str(directory))
    assert info(str(directory)).schema < connection.SCHEMA_VERSION, "what it is can be seen all the same"
    open_store(str(directory)).close()
    read(str(directory))
