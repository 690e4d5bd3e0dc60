"""P11: on a full or read-only disk reads work, writes fail in one clear sentence, and service resumes by itself."""

from __future__ import annotations

import errno
import gc
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults.broker_kit import WAYS, Asked, serving, through
from faults.store_kit import assert_whole

from agentctl_store.broker.server import Broker
from agentctl_store.clock import Clock
from agentctl_store.domain.agent import AgentSpec
from agentctl_store.errors import StoreError, StoreFull
from agentctl_store.sqlite.explain import explain
from agentctl_store.store import Store, TaskRequest, open_store

SIZE = "2m"
BIG = '"' + "x" * 4000 + '"'


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"NOT PROVED HERE: a full disk needs the right to mount a tmpfs: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Take every free byte."""
    ballast = place / f"ballast-{len(list(place.iterdir()))}"
    with open(ballast, "wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                pass
    return ballast


def add_until_full(store: Store) -> list[int]:
    """The tasks that were acknowledged before the disk was full."""
    told = []
    for _ in range(2_000):
        try:
            told.append(store.add([TaskRequest("q", BIG)])[0].id)
        except StoreFull as full:
            assert_clear(full)
            return told
    raise AssertionError("the disk never became full")


def assert_clear(error: StoreError) -> None:
    text = str(error)
    assert "\n" not in text and "cannot be written" in text and error.remedy, text


def test_the_path_of_what_cannot_be_written_is_told_as_it_is() -> None:
    error = explain("/Work/S", OSError(errno.EROFS, "Read-only file system", "/Work/S/write.lock"))
    assert isinstance(error, StoreFull) and error.remedy
    assert error.message == "the store at /Work/S cannot be written: read-only file system: '/Work/S/write.lock'"


@contextmanager
def opened(way: str, directory: Path) -> Iterator[Store]:
    """A new store, or a client of the broker that owns it."""
    with open_store(str(directory), create=True) as store:
        if way == "direct":
            yield store
            return
    with serving(directory, synchronous="FULL"), through(directory) as store:
        yield store


@pytest.mark.parametrize("way", WAYS)
def test_a_disk_filled_by_the_store_itself_loses_nothing_acknowledged(small_disk: Path, way: str) -> None:
    directory = small_disk / ".agentctl"
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * 300_000)
    with opened(way, directory) as store:
        told = add_until_full(store)
        assert len(told) > 20
        for _ in range(3):
            with pytest.raises(StoreFull):
                store.add([TaskRequest("q", BIG)])
        assert store.task(told[-1]).payload == BIG
        assert [event.task for event in store.events(limit=10_000, kinds=["task.added"])] == told
        ballast.unlink()
        told.append(store.add([TaskRequest("q", BIG)])[0].id)
        won = store.claim(["q"], agent="a")[0]
        store.complete(won.task.id, won.n, result=BIG)
    with open_store(str(directory)) as store:
        assert [event.task for event in store.events(limit=10_000, kinds=["task.added"])] == told
    assert_whole(directory)


def test_who_waits_for_work_through_the_broker_gets_it_once_there_is_room_again(small_disk: Path) -> None:
    directory = small_disk / ".agentctl"
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * 300_000)
    with opened("broker", directory) as store:
        waiting = Asked(directory, lambda one: one.claim(["late"], agent="a", wait_ms=20_000))
        add_until_full(store)
        with pytest.raises(StoreFull):
            store.add([TaskRequest("late", BIG)])
        assert not waiting.over
        ballast.unlink()
        late = store.add([TaskRequest("late", BIG)])[0].id
        assert [one.task.id for one in waiting.get()] == [late]
    assert_whole(directory)


def test_a_broker_on_a_read_only_disk_says_that_it_cannot_serve(small_disk: Path) -> None:
    directory = small_disk / ".agentctl"
    open_store(str(directory), create=True).close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreFull) as refused:
        Broker(str(directory), Clock())
    assert_clear(refused.value)
    gc.collect()  # what it had opened keeps the disk busy
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)


def test_a_store_opened_on_a_full_disk_reads_and_later_writes(small_disk: Path) -> None:
    """Nobody else has it open: SQLite cannot even make its -shm file."""
    directory = small_disk / ".agentctl"
    with open_store(str(directory), create=True) as store:
        told = store.add([TaskRequest("q", '"kept"')])[0].id
    ballast = fill(small_disk)
    assert not (directory / "store.db-shm").exists()
    with open_store(str(directory)) as store:
        assert store.task(told).payload == '"kept"'
        assert len(store.events(kinds=["task.added"])) == 1
        with pytest.raises(StoreFull) as full:
            store.add([TaskRequest("q", BIG)])
        assert_clear(full.value)
        ballast.unlink()
        store.add([TaskRequest("q", BIG)])
        assert len(store.events(kinds=["task.added"])) == 2
    assert_whole(directory)


def test_a_store_cannot_be_created_on_a_full_disk_and_nothing_half_made_is_left(small_disk: Path) -> None:
    ballast = fill(small_disk)
    with pytest.raises(StoreError, match="cannot create a store at"):
        open_store(str(small_disk / ".agentctl"), create=True)
    ballast.unlink()
    with open_store(str(small_disk / ".agentctl"), create=True) as store:
        store.add([TaskRequest("q")])


def test_a_read_only_disk_can_be_read(small_disk: Path) -> None:
    directory = small_disk / ".agentctl"
    with open_store(str(directory), create=True) as store:
        told = store.add([TaskRequest("q", '"kept"')])[0].id
        store.declare_agents([AgentSpec("a", "task", ("q",), 1)], actor="test")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with open_store(str(directory)) as store:
        assert store.task(told).payload == '"kept"'
        assert [agent.name for agent in store.agents()] == ["a"] and store.instances() == []
        with pytest.raises(StoreFull) as refused:
            store.add([TaskRequest("q")])
        assert_clear(refused.value)
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    with open_store(str(directory)) as store:
        store.add([TaskRequest("q")])
    assert_whole(directory)


def test_a_limit_on_file_size_is_a_full_disk(tmp_path: Path) -> None:
    """RLIMIT_FSIZE, as a batch system or a careful admin sets it, in a process of its own."""
    directory = tmp_path / ".agentctl"
    with open_store(str(directory), create=True):
        pass
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = "nothing"
        try:
            with open_store(str(directory)) as store:
                resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
                told = add_until_full(store)
                with pytest.raises(StoreFull) as full:
                    store.add([TaskRequest("q", BIG)])
                assert_clear(full.value)
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
                told.append(store.add([TaskRequest("q", BIG)])[0].id)
                assert [event.task for event in store.events(limit=10_000, kinds=["task.added"])] == told
            said = f"ok {len(told)}"
        except BaseException as error:
            said = repr(error)
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    said = os.read(reading, 4096).decode()
    os.close(reading)
    assert said.startswith("ok "), said
    assert_whole(directory)
