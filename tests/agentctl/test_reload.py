"""Reading agentctl.toml again: what was saved is read, and nothing that stands there ends the reading."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults.store_kit import until

from agentctl.config import Config
from agentctl.supervisor.doorbell import Bell
from agentctl.supervisor.reload import ConfigWatch
from agentctl_store.errors import AgentctlError


def agent(name: str) -> str:
    return f"[agent.{name}]\ncommand = ['true']\n"


def save(path: Path, text: str) -> None:
    """Write it as an editor does, at one stroke."""
    fresh = path.with_suffix(".fresh")
    fresh.write_text(text)
    fresh.rename(path)


@contextmanager
def watched(path: Path) -> Iterator[ConfigWatch]:
    bell = Bell()
    watch = ConfigWatch(str(path), bell)
    try:
        yield watch
    finally:
        watch.close()
        bell.close()
        assert not watch._thread.is_alive()


def one(watch: ConfigWatch) -> Config | AgentctlError:
    (found,) = until(watch.news, "it is read")
    return found


def agents(watch: ConfigWatch) -> list[str]:
    found = one(watch)
    assert isinstance(found, Config), found
    return list(found.agent)


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "agentctl.toml"
    path.write_text(agent("old"))
    return path


def test_a_configuration_that_cannot_be_watched_is_looked_at_now_and_then(tmp_path):
    """As where others have used up the system's watches: here its folder comes later."""
    path = tmp_path / "later" / "agentctl.toml"
    with watched(path) as watch:
        until(lambda: not watch.told, "there is nothing to watch")
        path.parent.mkdir()
        save(path, agent("x"))
        assert agents(watch) == ["x"]
        save(path, agent("x").replace("command", "comand"))
        assert "comand" in str(one(watch))


BROKEN = [
    ("x = " + "9" * 5_000, "agentctl.toml:1: holds a number of thousands of digits"),
    ("[fleet]\nlease = 0x" + "f" * 300, "agentctl.toml:2: fleet.lease is a whole number beyond 64 bits"),
    ("\xff", "is not TOML"),
    ("x = " + "[" * 5_000, "nested too deeply"),
    ("#" * (1 << 20) + "#", "larger than 1 MiB"),
    ("", "is empty"),
    (" \n\t\n", "is empty"),
]


@pytest.mark.parametrize(("text", "why"), BROKEN, ids=[why[-20:] + str(len(text)) for text, why in BROKEN])
def test_a_file_that_is_refused_leaves_the_next_one_to_be_read(file, text, why):
    with watched(file) as watch:
        save(file, text)
        refused = one(watch)
        assert isinstance(refused, AgentctlError) and why in str(refused)
        save(file, agent("new"))
        assert agents(watch) == ["new"]


def test_a_defect_of_the_checks_does_not_end_the_reading(file, monkeypatch):
    def broken(text, path):
        raise ZeroDivisionError("of the checks")

    with watched(file) as watch, monkeypatch.context() as patch:
        patch.setattr("agentctl.supervisor.reload.parse_config", broken)
        save(file, agent("new"))
        assert "cannot be understood: ZeroDivisionError: of the checks" in str(one(watch))
        patch.undo()
        save(file, agent("newer"))
        assert agents(watch) == ["newer"]


def test_what_is_no_file_is_refused_and_never_waited_for(file):
    with watched(file) as watch:
        for make in (os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)):
            file.unlink()
            make(file)
            until(lambda: any("is a folder" in str(n) or "regular file" in str(n) for n in watch.news()), "refused")
            (os.rmdir if file.is_dir() else os.unlink)(file)
            save(file, agent("new"))
            until(lambda: any(isinstance(n, Config) for n in watch.news()), "it is read again")


def test_a_slow_save_is_read_when_it_is_whole(file):
    with watched(file) as watch:
        with open(file, "w") as slow:
            assert "is empty" in str(one(watch)), "and nothing is removed"
            slow.write(agent("old"))
        assert agents(watch) == ["old"]


def test_a_link_is_followed_to_the_file_that_is_edited(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save(tmp_path / name / "fleet.toml", agent(name))
    (tmp_path / "fleet").mkdir()
    link, current = tmp_path / "fleet" / "agentctl.toml", tmp_path / "current"
    current.symlink_to("a")
    link.symlink_to("../current/fleet.toml")
    with watched(link) as watch:
        save(tmp_path / "a" / "fleet.toml", agent("edited"))
        assert agents(watch) == ["edited"]
        (tmp_path / "next").symlink_to("b")
        (tmp_path / "next").rename(current)
        assert agents(watch) == ["b"], "a link on the way leads elsewhere"
        save(tmp_path / "b" / "fleet.toml", agent("there"))
        assert agents(watch) == ["there"], "and is watched there"
        (tmp_path / "fleet" / "next").symlink_to("../a/fleet.toml")
        (tmp_path / "fleet" / "next").rename(link)
        assert agents(watch) == ["edited"]
        assert watch.told
