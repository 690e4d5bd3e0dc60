"""What a reader shows is what the store holds, in windows, and a reader is in nobody's way."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from store.store_kit import SetClock, add, new_store  # noqa: TID251

from agentctl_store.domain.agent import AgentSpec, Instance, SessionEnd
from agentctl_store.domain.retry import Failure
from agentctl_store.errors import BadInput, Interrupted, NotFound
from agentctl_store.ids import read_id, write_id
from agentctl_store.read import open_reader
from agentctl_store.read.models import (
    DEAD_LETTER_SORTS,
    HEALTH_ORDER,
    INSTANCE_SORTS,
    TASK_SORTS,
    Filter,
)
from agentctl_store.read.vitals import FILE, FRESH_MS, Vitals, write_vitals
from agentctl_store.sqlite.reader import KEPT, SqliteReader
from agentctl_store.store import Store, open_store

ALL = Filter()


def lively(folder: Path, seed: int = 3) -> tuple[Store, SetClock]:
    """Return a store with tasks in many states."""
    clock = SetClock(seed=seed)
    store, dice = new_store(folder, clock), random.Random(seed)
    for number in range(60):
        queue = dice.choice(("review", "write", "test"))
        add(store, queue, json.dumps({"title": f"file {number}"}), priority=dice.randint(-3, 3))
    for _ in range(45):
        clock.pass_ms(dice.randint(1, 400))
        agent = dice.choice(("ann", "bob"))
        for claim in store.claim([dice.choice(("review", "write", "test"))], agent=agent, slot=dice.randint(1, 2)):
            match dice.randint(0, 3):
                case 0:
                    store.complete(claim.task.id, claim.n, result="1")
                case 1:
                    store.fail(claim.task.id, claim.n, Failure("permanent", f"no {dice.randint(0, 3)}\nlong story"))
                case 2:
                    store.fail(claim.task.id, claim.n, Failure("transient", "again"))
    return store, clock


@pytest.mark.parametrize("sort", [sign + name for name in TASK_SORTS for sign in ("", "-")])
def test_windows_of_tasks_join_to_the_whole_list_and_each_row_knows_its_place(tmp_path: Path, sort: str) -> None:
    store, _ = lively(tmp_path)
    with store, open_reader(store.directory) as reader:
        for filter in (ALL, Filter(queue="review"), Filter(state="dead"), Filter(agent="ann"), Filter(text="file 1")):
            whole = reader.tasks(0, 1_000, sort, filter)
            parts = [row for start in range(0, 70, 7) for row in reader.tasks(start, 7, sort, filter)]
            assert list(whole) == parts
            ids = reader.task_ids(1_000, sort, filter)
            assert reader.tasks_of(ids, filter) == whole and reader.task_ids(7, sort, filter) == ids[:7]
            assert reader.task_count(filter) == len(whole)
            places = [reader.task_position(row.task, sort, filter) for row in whole]
            assert places == list(range(len(whole)))
        assert {row.state for row in whole} >= {"ready", "done", "dead", "scheduled", "active"} or filter != ALL


@pytest.mark.parametrize("sort", [sign + name for name in DEAD_LETTER_SORTS for sign in ("", "-")])
def test_windows_of_dead_letters_join_to_the_whole_list(tmp_path: Path, sort: str) -> None:
    store, _ = lively(tmp_path)
    with store, open_reader(store.directory) as reader:
        for filter in (
            ALL,
            Filter(queue="write"),
            Filter(agent="bob"),
            Filter(text="NO 1"),
            Filter(reason="permanent"),
        ):
            whole = reader.dead_letters(0, 1_000, sort, filter)
            parts = [row for start in range(0, 70, 4) for row in reader.dead_letters(start, 4, sort, filter)]
            assert list(whole) == parts and whole
            assert reader.dead_letter_count(filter) == len(whole)
            assert [reader.dead_letter_position(row.task, sort, filter) for row in whole] == list(range(len(whole)))
            assert len(reader.dead_letter_ids(filter, 3)) == min(3, len(whole))


def test_an_order_of_dead_letters_is_forgotten_when_one_comes_or_goes(tmp_path: Path) -> None:
    store, _ = lively(tmp_path)
    with store, open_reader(store.directory) as reader:
        first = reader.dead_letters(0, 1, "died", ALL)[0]
        count = reader.dead_letter_count(ALL)
        store.requeue(store.find_task(first.task), actor="cli:test")
        assert reader.dead_letter_count(ALL) == count - 1
        assert reader.dead_letter_position(first.task, "died", ALL) is None
        assert reader.dead_letter(first.task) is None
        claim = store.claim([first.queue], agent="ann", limit=1)[0]
        store.fail(claim.task.id, claim.n, Failure("permanent", "once more"))
        assert reader.dead_letter_count(ALL) == count


def test_what_is_asked_again_and_again_is_read_once_between_two_deaths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_store(tmp_path, SetClock()) as store:
        task = add(store, "write", '{"path":"a.py"}')
        store.claim(["write"], agent="ann", limit=1)
        store.fail(task, 1, Failure("permanent", "no"))
        with open_reader(store.directory) as reader:
            assert isinstance(reader, SqliteReader)
            read: list[str] = []
            rows = reader.file.rows
            monkeypatch.setattr(reader.file, "rows", lambda sql, values=(): read.append(sql) or rows(sql, values))
            for number in range(3 * KEPT):
                read.clear()
                assert len(reader.dead_letter_groups(ALL)) == 1
                assert reader.dead_letter_ids(ALL, 5) == (write_id(task),)
                assert number == 0 or not any("JOIN" in sql for sql in read)
                other = Filter(text=f"text {number}")
                assert (reader.dead_letter_groups(other), reader.dead_letter_ids(other, 5)) == ((), ())
            assert max(len(reader._groups), len(reader._orders)) == KEPT


def test_a_dead_letter_tells_everything(tmp_path: Path) -> None:
    clock = SetClock()
    with new_store(tmp_path, clock) as store:
        task = add(store, "write", '{"path":"a.py"}')
        claim = store.claim(["write"], agent="ann", slot=2, open_session=True)[0]
        store.fail(task, 1, Failure("transient", "first"), end_session=SessionEnd(claim.session or 0, "exited", 1))
        clock.pass_ms(400_000)
        claim = store.claim(["write"], agent="bob", slot=1, open_session=True)[0]
        store.fail(task, 2, Failure("permanent", "  first line\nsecond", exit_code=65))
        with open_reader(store.directory) as reader:
            dead = reader.dead_letter(write_id(task))
            assert dead is not None
            assert (dead.row.error, dead.error) == ("first line", "  first line\nsecond")
            assert (dead.row.agent, dead.row.attempts, dead.row.title) == ("bob", 2, "a.py")
            assert [attempt.instance for attempt in dead.attempts] == ["ann/2", "bob/1"]
            assert dead.session == write_id(claim.session or 0) and dead.ended_ms == clock.wall_ms
            assert [group.key for group in reader.dead_letter_groups(ALL)] == ["permanent"]
            assert [one.session for one in reader.sessions("ann/2", 5)] == [dead.attempts[0].session]


def test_the_oldest_that_is_ready_is_the_one_claimed_next_whatever_its_tasks_ask_for(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    clock, dice = SetClock(), random.Random(seed)
    with new_store(tmp_path, clock) as store, open_reader(store.directory) as reader:
        for _ in range(40):
            clock.pass_ms(dice.randint(1, 90_000))
            needs = dice.sample(("browser", "python", "shell"), dice.randint(0, 2))
            add(store, dice.choice(("review", "write")), priority=dice.randint(-2, 2), needs=tuple(needs))
        for _ in range(40):
            row = dice.choice([row for row in reader.queues() if row.ready])
            claim = store.claim([row.queue], agent="ann", can=("browser", "python", "shell"))[0]
            assert claim.task.available_ms == row.oldest_ready_ms
        assert [row.oldest_ready_ms for row in reader.queues()] == [None, None]


def test_whoever_follows_sessions_sees_those_that_run_that_are_new_and_that_it_knew(tmp_path: Path) -> None:
    clock = SetClock()
    with new_store(tmp_path, clock) as store, open_reader(store.directory) as reader:
        opened = []
        for _ in range(3):
            clock.pass_ms(60_000)
            opened.append(store.open_session("ann", 1, "x").id)
        first, _, third = opened
        store.end_session(SessionEnd(first, "exited", 0))
        store.end_session(SessionEnd(third, "exited", 0))

        def shown(since_ms: int, *known: int) -> list[int]:
            rows = reader.sessions_now(since_ms, [write_id(one) for one in known])
            return [opened.index(read_id(row.session)) for row in rows]

        now_ms = clock.now().wall_ms
        assert shown(now_ms - 1_000) == [1, 2] and shown(now_ms + 1_000) == [1]
        assert shown(now_ms + 1_000, first) == [0, 1] and shown(0) == [0, 1, 2]


def test_counts_followed_event_by_event_equal_counts_made_anew(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    dice = random.Random(seed)
    store, clock = lively(tmp_path, seed)
    with store, open_reader(store.directory) as followed:
        followed.queues()
        ids = [store.find_task(row.task) for row in followed.tasks(0, 100, "id", ALL)]
        for _ in range(30):
            for _ in range(dice.randint(1, 6)):
                act(store, dice, ids)
            clock.pass_ms(dice.randint(0, 30_000))
            store.sweep()
            with open_reader(store.directory) as fresh:
                assert followed.queues() == fresh.queues()
                assert followed.summary(clock.wall_ms) == fresh.summary(clock.wall_ms)


def act(store: Store, dice: random.Random, ids: list[int]) -> None:
    """Do something to a random task; refusals are fine."""
    from agentctl_store.errors import Conflict

    task = dice.choice(ids)
    try:
        match dice.randint(0, 6):
            case 0:
                later = store.clock.now().wall_ms + 20_000
                ids.append(add(store, after=(task,), run_at_ms=dice.choice((None, later))))
            case 1:
                store.cancel(task, actor="t")
            case 2:
                later = store.clock.now().wall_ms + 5_000
                store.requeue(task, actor="t", run_at_ms=dice.choice((None, later)))
            case 3:
                store.discard(task, actor="t")
            case 4:
                store.hasten(task, actor="t")
            case _:
                for claim in store.claim(["work", "review", "write"], agent="ann", slot=1, limit=2):
                    end = dice.choice(("done", "failed", "released"))
                    if end == "done":
                        store.complete(claim.task.id, claim.n)
                    elif end == "failed":
                        store.fail(claim.task.id, claim.n, Failure(dice.choice(("transient", "permanent")), "x"))
                    else:
                        store.release(claim.task.id, claim.n)
    except Conflict:
        pass


def fleet(store: Store) -> None:
    store.declare_agents(
        [AgentSpec("ann", "task", ("review",), 3), AgentSpec("bob", "worker", ("write",), 1)], actor="supervisor"
    )
    add(store, "review", '{"name":"src"}')
    claim = store.claim(["review"], agent="ann", slot=2, open_session=True)[0]
    store.session_started(claim.session or 0, pid=4242)
    store.heartbeat(claim.task.id, claim.n, progress="half")
    store.save_instances(
        [
            Instance("ann", 1, "idle", "healthy", ""),
            Instance("ann", 2, "busy", "degraded", "slow", claim.session, memo="{}"),
            Instance("ann", 3, "failed", "unhealthy", "start limit", latched=True, memo="not json"),
            Instance("bob", 1, "stopped", "stopped", ""),
        ]
    )


def test_an_instance_shows_its_work_and_what_the_supervisor_saw(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        fleet(store)
        write_vitals(store.directory, {"ann/2": Vitals(5_000, 77, None, "ready"), "gone/1": Vitals()})
        with open_reader(store.directory) as reader:
            busy = reader.instance("ann/2")
            assert busy is not None
            assert (busy.title, busy.progress, busy.pid, busy.queue) == ("src", "half", 4242, "review")
            assert (busy.memory_bytes, busy.heartbeat_ms, busy.probe) == (5_000, 77, "ready")
            assert busy.output_ms is None and busy.done == 0
            folder = tmp_path / ".agentctl" / "sessions" / str(busy.session)
            folder.mkdir(parents=True)
            (folder / "out.000000").write_bytes(b"hello")
            os.utime(folder / "out.000000", (1_700_000_000, 1_700_000_000))
            assert reader.instance("ann/2").output_ms == 1_700_000_000_000  # type: ignore[union-attr]
            number = store.find_task(str(busy.task))
            store.complete(number, 1)
            after = reader.instance("ann/2")
            assert after is not None and (after.done, after.task) == (1, None)
            assert reader.instance("ann/9") is None
            assert [q.agents for q in reader.queues()] == [("ann",), ("bob",)]


@pytest.mark.parametrize("sort", [sign + name for name in INSTANCE_SORTS for sign in ("", "-")])
def test_instances_are_sorted_and_filtered(tmp_path: Path, sort: str) -> None:
    with new_store(tmp_path) as store:
        fleet(store)
        with open_reader(store.directory) as reader:
            whole = [row.instance for row in reader.instances(0, 10, sort, ALL)]
            assert sorted(whole) == ["ann/1", "ann/2", "ann/3", "bob/1"]
            assert [reader.instance_position(name, sort, ALL) for name in whole] == [0, 1, 2, 3]
            assert [row.instance for row in reader.instances(1, 2, sort, ALL)] == whole[1:3]
            if sort == "health":
                ranks = [HEALTH_ORDER.index(row.health) for row in reader.instances(0, 10, sort, ALL)]
                assert ranks == sorted(ranks)
            assert reader.instance_count(Filter(text="START limit")) == 1
            assert [row.instance for row in reader.instances(0, 9, sort, Filter(health="degraded"))] == ["ann/2"]


def test_an_unknown_order_or_state_is_refused(tmp_path: Path) -> None:
    with new_store(tmp_path) as store, open_reader(store.directory) as reader:
        for ask in (
            lambda: reader.tasks(0, 1, "id; DROP TABLE task", ALL),
            lambda: reader.dead_letters(0, 1, "colour", ALL),
            lambda: reader.instances(0, 1, "colour", ALL),
            lambda: reader.tasks(0, 1, "id", Filter(state="'; --")),  # type: ignore[arg-type]
        ):
            with pytest.raises(BadInput):
                ask()
    with pytest.raises(NotFound, match="agentctl init"):
        open_reader(str(tmp_path / "nowhere"))


def test_a_reader_never_pins_the_log(tmp_path: Path) -> None:
    store, clock = lively(tmp_path)
    with store, open_reader(store.directory) as reader:
        for _ in range(3):
            reader.summary(clock.wall_ms)
            reader.tasks(0, 5, "id", ALL)
            reader.dead_letters(0, 5, "died", Filter(text="no"))
            reader.events(0, 5)
            add(store)
        busy, log, moved = store.driver.conn.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0]  # type: ignore[attr-defined]
        assert (busy, log, moved) == (0, 0, 0)


def test_events_are_read_forward_and_from_the_end(tmp_path: Path) -> None:
    store, _ = lively(tmp_path)
    with store, open_reader(store.directory) as reader:
        first = reader.events(0, 3)
        assert [event.seq for event in first] == [1, 2, 3]
        assert [event.seq for event in reader.events(3, 2)] == [4, 5]
        last = reader.events(-2, 10)
        assert len(last) == 2 and reader.events(last[-1].seq, 10) == ()


def test_flow_counts_what_was_finished_lately(tmp_path: Path) -> None:
    clock = SetClock(time.time_ns() // 1_000_000)
    with new_store(tmp_path, clock) as store, open_reader(store.directory) as reader:
        for pause in (400_000, 20_000, 0):
            add(store)
            claim = store.claim(["work"], agent="ann", slot=1)[0]
            store.complete(claim.task.id, claim.n)
            clock.pass_ms(pause)
        assert sum(reader.summary(clock.wall_ms).flow) == 2
        assert reader.summary(clock.wall_ms).flow[-1] >= 1


def test_vitals_are_shown_while_they_are_fresh_and_readable(tmp_path: Path) -> None:
    with new_store(tmp_path) as store, open_reader(store.directory) as reader:
        fleet(store)
        before = reader.version()
        write_vitals(store.directory, {"ann/1": Vitals(memory_bytes=7)})
        assert reader.version() != before
        assert reader.instances(0, 1, "-memory", ALL)[0].memory_bytes == 7
        path = tmp_path / ".agentctl" / FILE
        assert path.stat().st_mode & 0o777 == 0o600
        old = time.time() - FRESH_MS / 1000 - 1
        os.utime(path, (old, old))
        assert reader.instance("ann/1").memory_bytes is None  # type: ignore[union-attr]
        for text in (
            "[]",
            "{",
            '{"ann/1":5}',
            '{"ann/1":[true,"x",null,[]]}',
            "\udcff".encode(errors="replace").decode(),
        ):
            path.write_text(text)
            row = reader.instance("ann/1")
            assert row is not None and row.memory_bytes is None


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.parametrize(("how", "written"), [("full", "closed"), ("full", "with a log"), ("read-only", "closed")])
def test_reading_works_on_a_full_or_read_only_disk(tmp_path: Path, how: str, written: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine mounts no tmpfs")
    try:
        store = new_store(disk)
        task = add(store)
        holder = open_reader(store.directory) if written == "with a log" else None
        store.close()
        if how == "full":
            with pytest.raises(OSError), open(disk / "filler", "wb", buffering=0) as filler:
                while True:
                    if filler.write(bytes(4096)) < 4096:
                        raise OSError
        else:
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with open_reader(store.directory) as reader:
            assert [row.task for row in reader.tasks(0, 5, "id", ALL)] == [write_id(task)]
            assert dict(reader.summary(0).tasks) == {"ready": 1}
            if how == "full":
                (disk / "filler").unlink()
                with open_store(store.directory) as again:
                    add(again)
                    assert dict(reader.summary(0).tasks) == {"ready": 2}, "a file read as it lay is read anew"
        if holder is not None:
            holder.close()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_read_that_nobody_waits_for_any_more_is_given_up(tmp_path: Path) -> None:
    store, _ = lively(tmp_path)
    endless = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with store, open_reader(store.directory) as reader, ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(reader.file.rows, endless)  # type: ignore[attr-defined]
        while not under_way.done():
            reader.interrupt()
        with pytest.raises(Interrupted):
            under_way.result()
        with suppress(Interrupted):  # the last one may have come when it was over
            reader.task_count(ALL)
        assert reader.task_count(ALL) == 60
        reader.interrupt()
        with pytest.raises(Interrupted):
            reader.task_count(ALL)
    reader.interrupt()
