"""What a connection keeps of limits is never older than what others have written since."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.store_kit import assert_whole, filled
from store.store_kit import SetClock  # noqa: TID251

from agentctl_store.domain.limits import Bound
from agentctl_store.domain.retry import Failure
from agentctl_store.sqlite import writelock
from agentctl_store.store import Store, TaskRequest, open_store

SHUT = Bound("fleet", "", concurrency=0)


def won(store: Store) -> int:
    return len(store.claim(["q"], agent="ann"))


def killed(directory: Path, act: Callable[[Store], object]) -> None:
    """A process that is killed after its commit, before it could mark that."""
    child = os.fork()
    if not child:
        writelock.WriteLock.mark = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
        act(open_store(str(directory)))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("before", ["nothing was set", "a bound held it"])
def test_the_first_event_of_a_connection_makes_what_it_has_read_no_newer(tmp_path: Path, before: str) -> None:
    directory = filled(tmp_path, 3)
    with open_store(str(directory)) as one, open_store(str(directory)) as two:
        one.add([TaskRequest("q", key="k")])
        if before == "a bound held it":
            one.limits.set_bound(SHUT, actor="t")
            assert won(two) == 0
            one.limits.remove_bound("fleet", "", actor="t")
        else:
            two.add([TaskRequest("q", key="k")])
            one.limits.set_bound(SHUT, actor="t")
        two.pause_queue("other", reason="", actor="t")
        assert won(two) == (before == "a bound held it")
    assert_whole(directory)


def test_a_bound_of_somebody_killed_before_he_could_mark_it_holds(tmp_path: Path) -> None:
    directory = filled(tmp_path, 5)
    with open_store(str(directory)) as store:
        assert won(store) == 1
        killed(directory, lambda other: other.limits.set_bound(SHUT, actor="t"))
        won(store)  # nobody was told of the bound: this start may count as one before it
        assert won(store) == 0
    assert_whole(directory)


def test_a_start_of_somebody_killed_before_he_could_mark_it_counts(tmp_path: Path) -> None:
    directory = filled(tmp_path, 5)
    with open_store(str(directory)) as store:
        store.limits.set_bound(Bound("fleet", "", starts=1, period_ms=3_600_000, burst=2), actor="t")
        assert won(store) == 1
        killed(directory, lambda other: other.claim(["q"], agent="ann"))
        assert won(store) == 0
    assert_whole(directory)


def test_a_mark_is_known_again_though_a_longer_one_was_there(tmp_path: Path) -> None:
    directory = filled(tmp_path, 1)
    with open_store(str(directory)) as store:
        store.add([TaskRequest("q")])
        with (directory / writelock.NAME).open("r+b") as mark:
            mark.seek(0, os.SEEK_END)
            mark.write(b"what is left of the name of a boot\n")
        store.driver.conn.lock()  # type: ignore[attr-defined]
        try:
            assert store.driver.conn._lock.unmoved()  # type: ignore[attr-defined]
        finally:
            store.driver.conn.unlock()  # type: ignore[attr-defined]


def test_a_clock_set_back_and_forth_is_noticed_by_who_saw_only_how_it_ends(tmp_path: Path) -> None:
    clock = SetClock()
    directory = filled(tmp_path, 2)
    with open_store(str(directory), clock=clock) as one, open_store(str(directory), clock=clock) as two:
        (claim,) = one.claim(["q"], agent="ann")
        clock.set_wall_by(-7_200_000)
        two.claim(["q"], agent="bob")
        clock.set_wall_by(7_200_000)
        one.fail(claim.task.id, claim.n, Failure("throttled", "429", retry_after_ms=1_000))
        two.claim(["other"], agent="bob")
        assert clock.wall_ms + 1_000 <= one.task(claim.task.id).available_ms <= clock.wall_ms + 300_000
    assert_whole(directory)


def test_a_lane_that_came_since_a_claim_found_nothing_is_looked_at(tmp_path: Path) -> None:
    directory = filled(tmp_path, 0)
    with open_store(str(directory)) as one, open_store(str(directory)) as two:
        assert won(two) == 0
        one.add([TaskRequest("q", needs=("gpu",))])
        two.pause_queue("other", reason="", actor="t")
        assert len(two.claim(["q"], agent="ann", can=["gpu"])) == 1
    assert_whole(directory)
