"""With no descriptor left, what was done is told as done, and nobody is refused for it."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults.raw_kit import Raw, world
from faults.store_kit import assert_whole, filled

from agentctl_store.store import TaskRequest, open_store
from agentctl_store.wake import SOCKET, Waiter


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """This process can open so many more files, and no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken, spares = os.dup(0), []
    limit = 1024
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        while True:
            try:
                spares.append(os.dup(taken))
            except OSError:
                break
        for _ in range(count):
            os.close(spares.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for one in [taken, *spares]:
            os.close(one)


@pytest.mark.parametrize("left", [0, 1])
@pytest.mark.parametrize("woke_before", [True, False], ids=["it woke others before", "its first commit"])
def test_a_commit_that_can_wake_nobody_is_a_commit(tmp_path: Path, woke_before: bool, left: int) -> None:
    directory = filled(tmp_path, 1)
    waiter, doorbell = Waiter(str(directory)), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    doorbell.bind(str(directory / SOCKET))
    with open_store(str(directory), own=True) as store:
        store.claim(["q" if woke_before else "none"], agent="a")
        with descriptors_left(left):
            (added,) = store.add([TaskRequest("q")])
        assert added.created and store.task(added.id).state == "ready"
        assert store.changed() == store.events(limit=1, newest_first=True)[0].seq
    waiter.close()
    doorbell.close()
    assert_whole(directory)


@pytest.mark.parametrize("left", range(4))
def test_a_caller_who_cannot_be_looked_at_is_turned_away_and_not_refused(tmp_path: Path, left: int) -> None:
    with world(tmp_path) as made:
        caller = Raw(made.directory, connect=False)
        with descriptors_left(left):
            caller.connect(made.directory)
            try:
                how, value = caller.hello()
            except ConnectionError:
                how, value = 0, None  # he goes on with the file
        assert how == 0, value
        caller.close()
        assert made.refusals() == [] and made.told == []
