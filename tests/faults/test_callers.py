"""P15: who a caller is, when the processes above it end at the wrong moment, and what the tokens' key must be."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faults.fleet_kit import fleet
from faults.session_kit import subreaper
from faults.store_kit import until

from agentctl.supervisor import owner, proctree
from agentctl_store.broker import tokens
from agentctl_store.broker.tokens import Identity
from agentctl_store.clock import Clock
from agentctl_store.errors import Refused

ME = Identity("a", 1, 5)


@contextmanager
def known_session(tmp_path: Path) -> Iterator[Any]:
    """An owner that has one session in hand: of a keeper with an agent below it, which are `keeper` and `agent`."""
    made: Any = owner.Owner(str(tmp_path), Clock())
    script = "sleep 60 & echo $!; wait"
    env = {"PATH": os.environ["PATH"], "AGENTCTL_NONCE": "n", "AGENTCTL_STORE": str(tmp_path)}
    process = subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE, env=env)
    assert process.stdout is not None
    agent = int(process.stdout.readline())
    made.live = SimpleNamespace(key=("a", 1), session=5, shim=SimpleNamespace(pid=process.pid))
    made._live = lambda: [made.live]
    made.keeper, made.agent = process.pid, agent
    try:
        yield made
    finally:
        process.kill()
        process.wait()
        proctree.signal_exact((agent, proctree.start_of(agent) or 0), 9)


@pytest.fixture
def known(tmp_path: Path) -> Iterator[Any]:
    with known_session(tmp_path) as made:
        yield made


def test_whoever_lives_below_a_keeper_is_its_agent(known: Any) -> None:
    assert known.identify(known.agent, None) == known.identify(known.keeper, None) == ME
    assert known.identify(os.getpid(), None) is None and known.identify(1, None) is None
    assert known.identify(os.getppid(), None) is None, "who started us is the operator"


def test_a_token_is_believed_by_its_mac_and_until_it_expires(known: Any) -> None:
    now = int(Clock().now().wall_ms) // 1000
    assert known.identify(known.agent, known.token("a", 1, 5)) == ME
    assert known.identify(os.getpid(), known.token("b", 2, 7)) == Identity("b", 2, 7)
    for token, words in (
        (tokens.mint(bytes(32), ME, now), "not made here"),
        (known.token("a", 1, 5).replace("a/1", "a/2"), "not made here"),
        (tokens.mint(known._key, ME, now - tokens.LIFE_S - 1), "has expired"),
        (known.token("a", 1, 6), "shows the token of"),
    ):
        with pytest.raises(Refused, match=words):
            known.identify(known.agent, token)


def test_a_process_that_ends_while_the_way_up_is_followed_hides_no_keeper(
    known: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks a parent may end; its child then hangs elsewhere, and the way is looked for again."""
    real, ended = owner.parent_of, 3

    def parent_of(pid: int) -> int | None:
        nonlocal ended
        if pid == known.agent and ended:
            ended -= 1
            return [None, 1, 999_999_999][ended]  # it is gone; it hangs below init; below one that is gone
        return real(pid)

    monkeypatch.setattr(owner, "parent_of", parent_of)
    assert known.identify(known.agent, None) == ME


def test_a_way_up_that_is_never_the_same_is_refused(known: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = iter(range(2, 100_000))
    monkeypatch.setattr(owner, "parent_of", lambda pid: next(ways) if pid == known.agent else 1)
    with pytest.raises(Refused, match="cannot be told"):
        known.identify(known.agent, None)
    monkeypatch.setattr(owner, "parent_of", lambda pid: None)
    with pytest.raises(Refused, match="cannot be told"):
        known.identify(known.agent, None)
    monkeypatch.setattr(owner, "parent_of", lambda pid: pid + 1)
    with pytest.raises(Refused, match="cannot be told"):
        known.identify(known.agent, None)


def test_an_orphan_without_its_environment_is_known_by_whose_child_it_became(known: Any) -> None:
    known._real = b"/another/store"
    with subreaper():  # as the supervisor that started the keeper
        os.kill(known.keeper, 9)
        until(lambda: proctree.parent_of(known.agent) == os.getpid(), "it hangs below us")
        with pytest.raises(Refused, match="from no session that runs"):
            known.identify(known.agent, None)


def test_what_anothers_keeper_left_is_known_by_its_environment(known: Any) -> None:
    os.kill(known.keeper, 9)
    until(lambda: proctree.parent_of(known.agent) != known.keeper, "it hangs below init")
    known._live = list
    with pytest.raises(Refused, match="from no session that runs"):
        known.identify(known.agent, None)
    known._real = b"/another/store"
    assert known.identify(known.agent, None) is None, "another fleet's agents are none of ours"


# --- the key ------------------------------------------------------------------------------------------------------
UNFIT = {
    "group-readable": (lambda path: os.chmod(path, 0o640), "is open to others"),
    "cut short": (lambda path: path.write_bytes(b"short"), "is damaged"),
    "too long": (lambda path: path.write_bytes(bytes(33)), "is damaged"),
    "empty": (lambda path: path.write_bytes(b""), "is damaged"),
    "a link": (lambda path: (path.rename(f"{path}2"), path.symlink_to(f"{path}2")), "cannot be read"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "is no file"),
    "a pipe": (lambda path: (path.unlink(), os.mkfifo(path, 0o600)), "is no file"),
}


@pytest.mark.parametrize("how", UNFIT)
def test_a_key_that_is_none_is_refused_clearly(how: str, tmp_path: Path) -> None:
    spoil, words = UNFIT[how]
    with fleet(tmp_path, "[agent.t]\ncommand = ['true']\n") as f:
        key = Path(f.folder) / "token.key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(32))
        spoil(key)
        command = (sys.executable, "-m", "agentctl", "run", "--until-idle")
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
        assert done.returncode == 1, done.stderr
        assert words in done.stderr and "Delete it and start the supervisor again" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr and "should not have happened" not in done.stderr
