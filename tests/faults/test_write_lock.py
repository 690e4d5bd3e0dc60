"""A stuck writer, two threads and a forked process: each gets an answer, never a hang and never a torn write."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from faults.store_kit import assert_whole, filled, finals, until
from faults.store_workers import Clients

from agentctl_store.errors import StoreBusy, StoreError
from agentctl_store.sqlite import connection, writelock
from agentctl_store.store import TaskRequest, open_store


def test_a_stopped_holder_of_the_lock_is_reported_in_time_and_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BUSY_S", 0.3)
    store = filled(tmp_path, 1)
    with Clients(store, tmp_path / "logs") as clients, open_store(str(store)) as mine:
        holder = clients.start("hold_lock")
        until(lambda: list(clients.logs.glob("*.holds")), "the holder holds the lock")
        clients.signal(holder, signal.SIGSTOP)
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(StoreBusy, match=r"has held the store at .* for more than 0.3 s") as refused:
                mine.add([TaskRequest("q")])
            assert 0.3 <= time.monotonic() - began < 2
        assert "nothing was written" in str(refused.value) and "\n" not in str(refused.value)
        (store / "supervisor.lock").write_text(f'{{"pid":{holder}}}')  # as if it were the supervisor
        with pytest.raises(StoreBusy, match=f"is stopped: let it go on with kill -CONT {holder}"):
            mine.add([TaskRequest("q")])
        assert mine.events(limit=1), "reads need no lock"
        clients.signal(holder, signal.SIGKILL)
        mine.add([TaskRequest("q")])
    assert len(finals(store)) == 2
    assert_whole(store)


def test_a_waiter_that_gave_up_never_holds_the_lock_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BUSY_S", 0.05)
    store = filled(tmp_path, 0)
    with open_store(str(store)) as one, open_store(str(store)) as two:
        holder = one.driver.conn  # type: ignore[attr-defined]
        holder.lock()
        for _ in range(5):
            with pytest.raises(StoreBusy):
                two.add([TaskRequest("q")])
        holder.unlock()
        monkeypatch.setattr(connection, "BUSY_S", 10.0)
        one.add([TaskRequest("q")])
        two.add([TaskRequest("q")])
    assert len(finals(store)) == 2


def test_a_lock_left_to_the_end_of_the_process_is_closed_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = writelock.WriteLock(str(tmp_path))
    lock.take(1.0)
    monkeypatch.setattr(writelock, "os", None)  # what Python does to a module's names when it ends
    lock.close()
    other = writelock.WriteLock(str(tmp_path))
    monkeypatch.undo()
    other.take(0.1)
    other.close()


@pytest.mark.parametrize("shared", [True, False], ids=["one store", "a store each"])
def test_threads_take_turns(tmp_path: Path, shared: bool) -> None:
    store = filled(tmp_path, 0)
    common = open_store(str(store))
    failed: list[BaseException] = []

    def work() -> None:
        try:
            mine = common if shared else open_store(str(store))
            for _ in range(50):
                mine.add([TaskRequest("q")])
                won = mine.claim(["q"], agent="a")[0]
                mine.complete(won.task.id, won.n)
            if not shared:
                mine.close()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    common.close()
    assert failed == []
    assert [end.state for end in finals(store).values()] == ["done"] * 200
    assert_whole(store)


def test_a_forked_child_is_told_to_open_the_store_again(tmp_path: Path) -> None:
    store = filled(tmp_path, 1)
    with open_store(str(store)) as mine:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            said = []
            for verb in (lambda: mine.add([TaskRequest("q")]), lambda: mine.events()):
                try:
                    verb()
                    said.append("accepted")
                except StoreError as error:
                    said.append(str(error))
            with open_store(str(store)) as again:
                again.add([TaskRequest("q")])
            os.write(writing, "\n".join(said).encode())
            os._exit(0)
        os.close(writing)
        os.waitpid(child, 0)
        said = os.read(reading, 4096).decode().splitlines()
        os.close(reading)
        assert len(said) == 2 and all("opened before this process was forked" in line for line in said)
        mine.add([TaskRequest("q")])
    assert len(finals(store)) == 3
    assert_whole(store)


def waiters(path: Path) -> int:
    """How many wait for the flock of this file or folder."""
    inode = f":{path.stat().st_ino} "
    return sum("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="needs /proc/locks to see who waits")
def test_those_who_wait_have_the_lock_in_the_order_of_coming_though_others_take_it_in_between(tmp_path: Path) -> None:
    mine, order, threads = writelock.WriteLock(str(tmp_path)), list[int](), []
    mine.take(1.0)

    def turn(number: int) -> None:
        lock = writelock.WriteLock(str(tmp_path))
        lock.take(10.0)
        order.append(number)
        lock.let_go()
        lock.close()

    for number in range(6):
        threads.append(threading.Thread(target=turn, args=(number,)))
        threads[-1].start()
        until(lambda: waiters(tmp_path / writelock.NAME) == 1 and waiters(tmp_path) == len(threads) - 1, "it waits")
    for _ in range(40):
        mine.let_go()
        mine.take(10.0)  # mostly faster than whoever was woken
    mine.let_go()
    for thread in threads:
        thread.join(10)
    assert order == [0, 1, 2, 3, 4, 5]


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="needs /proc/locks to see who waits")
def test_a_queue_whose_first_is_stopped_keeps_nobody_from_a_lock_that_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writelock, "LOOK_S", 0.1)
    first = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(first, fcntl.LOCK_EX)
    one, two = writelock.WriteLock(str(tmp_path)), writelock.WriteLock(str(tmp_path))
    one.take(1.0)
    with pytest.raises(StoreBusy):
        two.take(0.3)
    threading.Timer(0.05, one.let_go).start()
    two.take(5.0)
    with pytest.raises(StoreBusy):
        one.take(0.01)
    os.close(first)  # it goes on: those who stood behind it come through, and hold nothing
    two.let_go()
    for lock in (one, two, one):
        lock.take(5.0)
        lock.let_go()
    one.close()
    two.close()
    until(lambda: not any(waiters(path) for path in (tmp_path, tmp_path / writelock.NAME)), "nobody is left waiting")
    with open(tmp_path / writelock.NAME) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_an_interrupted_waiter_leaves_the_lock_free(tmp_path: Path) -> None:
    store = filled(tmp_path, 0)
    with open_store(str(store)) as one, open_store(str(store)) as two:
        holder = one.driver.conn  # type: ignore[attr-defined]
        holder.lock()
        threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            two.add([TaskRequest("q")])
        holder.unlock()
        one.add([TaskRequest("q")])
        two.add([TaskRequest("q")])
    assert len(finals(store)) == 2


def test_a_writer_killed_between_its_commit_and_its_mark_breaks_no_chain(tmp_path: Path) -> None:
    """The next writer takes the marked event for the last one, finds its number taken, and looks."""
    store = filled(tmp_path, 0)
    lock = store / "write.lock"
    with open_store(str(store)) as one, open_store(str(store)) as two:
        for _ in range(3):
            one.add([TaskRequest("q")])
            mark = lock.read_bytes()
            two.add([TaskRequest("q")])
            lock.write_bytes(mark)
            one.add([TaskRequest("q"), TaskRequest("q")])
    assert len(finals(store)) == 12
    assert_whole(store)
