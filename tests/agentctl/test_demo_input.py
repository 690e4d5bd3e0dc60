"""What the demo reviews: a copy of the user's tree or a part of the standard library, with one broken file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentctl.examples import demo_input
from agentctl.examples.demo_input import Input, gather
from agentctl_store.errors import BadInput, NotFound

from .review_figures import compiles


def found(directory: Path) -> list[Path]:
    return sorted(path for path in (directory / "input").rglob("*.py"))


def check(given: Input, directory: Path) -> None:
    files = found(directory)
    assert given.files == len(files)
    assert given.folders == len({file.parent for file in files})
    assert not compiles(directory / given.broken)


def test_without_a_path_it_is_a_part_of_the_standard_library_with_one_broken_file(tmp_path: Path) -> None:
    given = gather(None, str(tmp_path), 300)
    check(given, tmp_path)
    assert 60 < given.files < 200
    assert [file for file in found(tmp_path) if not compiles(file)] == [tmp_path / given.broken]


def test_where_the_library_ships_no_broken_file_the_demo_adds_one_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_input, "LIBRARY_BROKEN", ("test/not_shipped.py", "json/decoder.py"))
    given = gather(None, str(tmp_path), 300)
    check(given, tmp_path)
    assert given.broken == "input/added_by_the_demo/cannot_be_parsed.py"
    assert "the demo added it" in given.broken_source


def test_a_tree_of_the_users_is_copied_and_its_own_broken_file_is_taken(tmp_path: Path) -> None:
    tree = tmp_path / "my tree"
    (tree / ".hidden").mkdir(parents=True)
    (tree / "sub").mkdir()
    (tree / "sub" / "bad.py").write_text("def f(:\n")
    (tree / "good.py").write_text("x = 1\n")
    (tree / "link.py").symlink_to(tree / "good.py")
    (tree / "gone.py").symlink_to(tree / "nowhere")
    (tree / ".hidden" / "no.py").write_text("x = 1\n")
    (tree / "no.txt").write_text("x = 1\n")
    os.mkfifo(tree / "pipe.py")
    before = sorted(tree.rglob("*"))
    given = gather(str(tree), str(tmp_path / "demo"), 300)
    check(given, tmp_path / "demo")
    names = [str(file.relative_to(tmp_path / "demo" / "input" / "my tree")) for file in found(tmp_path / "demo")]
    assert names == ["good.py", "link.py", "sub/bad.py"]
    assert given.broken == "input/my tree/sub/bad.py"
    assert sorted(tree.rglob("*")) == before


def test_more_files_than_the_limit_are_left_out_and_counted(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"m{number}.py").write_text("x = 1\n")
    given = gather(str(tmp_path), str(tmp_path / "demo"), 2)
    check(given, tmp_path / "demo")
    assert (given.files, given.left_out) == (3, 3)  # two of the tree and the one that was added


def test_a_folder_that_is_not_there_or_holds_no_python_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no folder"):
        gather(str(tmp_path / "nowhere"), str(tmp_path / "demo"), 300)
    with pytest.raises(BadInput, match=r"no Python files \(\*\.py\)"):
        gather(str(tmp_path), str(tmp_path / "demo"), 300)
