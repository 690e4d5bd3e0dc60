"""`init` writes an example into the user's folder and never loses a file of theirs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentctl.examples.scaffold import EXAMPLES, example_files, write_example
from agentctl_store.errors import Conflict, NotFound


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_is_written_whole_with_runnable_scripts(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "new" / "fleet"
    written = write_example(name, str(folder))
    assert sorted(os.listdir(folder)) == sorted(example_files(name))
    assert sorted(written.created) == sorted(str(folder / file) for file in example_files(name))
    for file in folder.iterdir():
        assert os.access(file, os.X_OK) == (file.suffix == ".sh")


def test_a_users_file_stops_it_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "reviewer.py").write_text("mine")
    with pytest.raises(Conflict, match=r"reviewer\.py would be overwritten.*--force"):
        write_example("review", str(tmp_path))
    assert os.listdir(tmp_path) == ["reviewer.py"]


def test_force_keeps_what_was_there_each_time(tmp_path: Path) -> None:
    for text in ("first", "second"):
        (tmp_path / "reviewer.py").write_text(text)
        written = write_example("review", str(tmp_path), force=True)
        assert written.replaced == (str(tmp_path / "reviewer.py"),)
    assert (tmp_path / "reviewer.py.orig").read_text() == "first"
    assert (tmp_path / "reviewer.py.orig.1").read_text() == "second"
    assert "def review(" in (tmp_path / "reviewer.py").read_text()


def test_writing_it_twice_changes_nothing(tmp_path: Path) -> None:
    write_example("review", str(tmp_path))
    again = write_example("review", str(tmp_path))
    assert again.created == again.replaced == ()
    assert len(again.unchanged) == len(example_files("review"))


def test_a_link_of_the_users_is_not_written_through(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("keep")
    (tmp_path / "fleet").mkdir()
    (tmp_path / "fleet" / "count.sh").symlink_to(target)
    write_example("review", str(tmp_path / "fleet"), force=True)
    assert target.read_text() == "keep"
    assert not (tmp_path / "fleet" / "count.sh").is_symlink()


def test_an_unknown_example_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"'nope'.*minimal, newsroom and review"):
        write_example("nope", str(tmp_path))
