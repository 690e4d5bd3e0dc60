"""A store is looked after without harm: pruned, backed up, restored, checked, and never put where it could be hurt."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from faults.session_kit import nested
from store.store_kit import SetClock, add, new_store  # noqa: TID251
from store.test_replay import eventful, forge  # noqa: TID251

from agentctl_store import upkeep
from agentctl_store.domain.agent import SessionEnd
from agentctl_store.domain.retry import Failure
from agentctl_store.errors import AlreadyRunning, Conflict, NotFound, StoreCorrupt, StoreError
from agentctl_store.replay import state_at, verify
from agentctl_store.sqlite import connection, gate, place, pruning, readfile
from agentctl_store.sqlite.connection import Connection
from agentctl_store.sqlite.readfile import ReadFile
from agentctl_store.store import Store, TaskRequest, open_store

DAY = 24 * 3_600_000


def sound(store: Store) -> None:
    """Nothing the history says differs from the tables."""
    assert verify(store.directory).faults == ()


def tables(store: Store) -> dict[str, list[Any]]:
    db = store.driver.conn.db  # type: ignore[attr-defined]
    names = ("task", "attempt", "edge", "session", "queue", "agent", "instance")
    return {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in names}


def test_pruning_keeps_the_chain_and_the_replay_whole(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    with eventful(tmp_path, seed) as store:
        clock: SetClock = store.clock  # type: ignore[assignment]
        clock.pass_ms(3 * DAY)
        for _ in range(5):
            add(store, "fresh")
        store.claim(["fresh"], agent="ann", slot=1, limit=2)
        before = verify(store.directory)
        assert before.intact
        kept = [row for row in tables(store)["task"] if row[2] not in ("done", "cancelled")]
        pruned = upkeep.prune(store.directory, 2 * DAY, clock, "cli:test")
        assert pruned.tasks > 5 and pruned.events > 50 and pruned.sessions >= 2
        after = verify(store.directory)
        assert after.faults == () and after.first_seq > before.first_seq
        assert [row for row in tables(store)["task"] if row[2] not in ("done", "cancelled")] == kept
        assert upkeep.prune(store.directory, 2 * DAY, clock, "cli:test").tasks == 0
        sound(store)
        for claim in store.claim(["fresh", "review", "write", "test", "work"], agent="bob", slot=1, limit=50):
            store.complete(claim.task.id, claim.n, result="[1]")
        clock.pass_ms(5 * DAY)
        store.sweep()
        sound(store)
        again = upkeep.prune(store.directory, DAY, clock, "cli:test")
        assert again.tasks > 0 and again.events > 0
        sound(store)


def test_what_a_child_may_still_ask_for_is_not_pruned(tmp_path: Path) -> None:
    clock = SetClock()
    with new_store(tmp_path, clock) as store:
        parent = add(store, "first", '"of the parent"')
        child = add(store, "second", after=(parent,))
        dead_parent = add(store, "first")
        dead_child = add(store, "third", after=(dead_parent,))
        alone = add(store, "first")
        for claim in store.claim(["first"], agent="ann", limit=3):
            store.complete(claim.task.id, claim.n, result='"result"')
        (claim,) = store.claim(["third"], agent="ann")
        store.fail(dead_child, claim.n, Failure("permanent", "no"))
        clock.pass_ms(DAY)
        assert upkeep.prune(store.directory, 1_000, clock, "t").tasks == 1
        with pytest.raises(NotFound):
            store.task(alone)
        assert [one.result for one in store.parents(child)] == ['"result"']
        assert [one.result for one in store.parents(dead_child)] == ['"result"']
        sound(store)
        (claim,) = store.claim(["second"], agent="ann")
        store.complete(child, claim.n)
        store.discard(dead_child, actor="t")
        clock.pass_ms(DAY)
        assert upkeep.prune(store.directory, 1_000, clock, "t").tasks == 4
        sound(store)
        assert tables(store)["edge"] == []


def test_pruning_removes_texts_and_output_files(tmp_path: Path) -> None:
    clock = SetClock()
    with new_store(tmp_path, clock) as store:
        task = add(store, "work", '"secret payload"')
        (claim,) = store.claim(["work"], agent="ann", slot=1, open_session=True)
        assert claim.session is not None
        from agentctl_store.store import sessions_folder

        folder = Path(sessions_folder(store.directory, claim.session))
        folder.mkdir(parents=True)
        (folder / "out.000000").write_text("much")
        store.fail(task, 1, Failure("permanent", "no"), end_session=SessionEnd(claim.session, "exited", 1))
        store.requeue(task, payload='"secret edit"', actor="t")
        (claim,) = store.claim(["work"], agent="ann", slot=1)
        store.complete(task, 2, result='"secret result"')
        clock.pass_ms(DAY)
        with nested(folder, 3_000):
            assert upkeep.info(store.directory).sessions_bytes > 0
            upkeep.prune(store.directory, 1_000, clock, "t")
            assert not folder.exists()
        sound(store)
        assert store.driver.conn.rows("SELECT count(*) FROM body WHERE text IS NOT NULL") == [(0,)]  # type: ignore[attr-defined]


def test_a_payload_edited_after_the_cut_is_carried_as_it_was(tmp_path: Path) -> None:
    clock = SetClock()
    with new_store(tmp_path, clock) as store:
        task = add(store, "work", '"as it was"')
        store.claim(["work"], agent="ann")
        store.fail(task, 1, Failure("permanent", "no"))
        clock.pass_ms(DAY)
        add(store, "other")
        moment = clock.wall_ms
        clock.pass_ms(DAY)
        store.requeue(task, payload='"edited"', actor="t")
        upkeep.prune(store.directory, DAY + DAY // 2, clock, "t")
        sound(store)
        with state_at(store.directory, moment) as past:
            assert {row.title for row in past.tasks()} >= {"as it was"}


def test_a_payload_that_was_replaced_after_the_cut_is_kept_for_the_history(tmp_path: Path) -> None:
    clock = SetClock()
    with new_store(tmp_path, clock) as store:
        task = add(store, "work", '"first"')
        (claim,) = store.claim(["work"], agent="ann")
        store.fail(task, claim.n, Failure("permanent", "no"))
        clock.pass_ms(3 * DAY)
        store.requeue(task, payload='"edited"', actor="t")
        clock.pass_ms(DAY)
        assert upkeep.prune(store.directory, 2 * DAY, clock, "t").events > 0
        sound(store)
        clock.pass_ms(3 * DAY)
        add(store)
        upkeep.prune(store.directory, DAY, clock, "t")
        sound(store)
        assert store.task(task).payload == '"edited"'


def test_the_past_after_the_cut_is_still_shown_and_before_it_is_refused(tmp_path: Path) -> None:
    clock = SetClock()
    with new_store(tmp_path, clock) as store:
        waiting = add(store, "slow", '"old"')
        begin = clock.wall_ms
        clock.pass_ms(DAY)
        add(store, "slow")
        moment = clock.wall_ms
        clock.pass_ms(DAY)
        store.cancel(waiting, actor="t")
        with state_at(store.directory, moment) as past:
            expected = list(past.tasks())
        upkeep.prune(store.directory, DAY + DAY // 2, clock, "t")
        sound(store)
        with state_at(store.directory, moment) as past:
            assert list(past.tasks()) == expected
        with pytest.raises(NotFound, match="pruned"):
            state_at(store.directory, begin - 1)


def test_an_interrupted_prune_is_taken_up_again(tmp_path: Path) -> None:
    with eventful(tmp_path, 5) as store:
        clock: SetClock = store.clock  # type: ignore[assignment]
        clock.pass_ms(3 * DAY)
        add(store, "fresh")
        copy = tmp_path / "copies"
        for stop in range(1, 40):
            folder = copy / str(stop) / ".agentctl"
            shutil.copytree(store.directory, folder)
            done = interrupted(str(folder), clock, stop)
            assert verify(str(folder)).faults == (), f"stopped before step {stop}"
            if done:
                return
            upkeep.prune(str(folder), DAY, clock, "t")
            assert verify(str(folder)).faults == (), f"taken up after step {stop}"
            shutil.rmtree(folder)


def interrupted(directory: str, clock: SetClock, stop: int) -> bool:
    """Prune, but fall dead after `stop` transactions; say whether it came to its end."""

    class Stopped(Exception):
        pass

    left = [stop]
    whole = Connection.write

    def write(conn: Any, now: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise Stopped
        return whole(conn, now)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "write", write)
        patch.setattr(pruning, "STEP_S", 0.0005)
        try:
            upkeep.prune(directory, DAY, clock, "t")
        except Stopped:
            return False
    return True


def test_two_prunes_do_not_run_at_once(tmp_path: Path) -> None:
    from agentctl_store.sqlite.prune import one_pruner

    with new_store(tmp_path) as store, one_pruner(store.directory), pytest.raises(Conflict, match="another prune"):
        upkeep.prune(store.directory, DAY, store.clock, "t")


def test_a_backup_is_whole_and_can_be_put_back(tmp_path: Path) -> None:
    with eventful(tmp_path, 11) as store:
        clock = store.clock
        made = upkeep.backup(store.directory, str(tmp_path / "b.db"), clock, "cli:test")
        assert stat.S_IMODE(os.stat(made.path).st_mode) == 0o600
        before = tables(store)
        store.pause_queue("fleeting", actor="t")
        add(store, "later")
        sound(store)
    with pytest.raises(Conflict, match="exists"):
        upkeep.backup(store.directory, made.path, clock, "t")
    aside = upkeep.restore(store.directory, made.path, clock, "cli:test")
    assert os.path.exists(aside) and Path(aside).name.startswith("store.db.aside-")
    with open_store(store.directory, clock=clock) as restored:
        assert tables(restored) == before
        kinds = [event.kind for event in restored.events(newest_first=True, limit=2)]
        assert kinds[0] == "store.restored" or "store.restored" in kinds
        sound(restored)
        add(restored, "onward")
    assert place.open_to_others(store.directory) == []
    laid = gate.load().connect(aside)
    assert laid.execute("SELECT count(*) FROM queue WHERE name = 'later'").fetchone() == (1,)
    laid.close()


def test_a_bad_backup_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    with eventful(tmp_path, 3) as store:
        made = upkeep.backup(store.directory, str(tmp_path / "b.db"), store.clock, "t")
    stores = Path(store.directory)
    standing = sorted(path.name for path in stores.iterdir())
    forged = tmp_path / "f" / "store.db"
    forged.parent.mkdir()
    shutil.copy(made.path, forged)
    forge(forged.parent, "UPDATE task SET priority = 9 WHERE rowid = (SELECT min(id) FROM task)")
    short = tmp_path / "short.db"
    short.write_bytes(Path(made.path).read_bytes()[:5000])
    text = tmp_path / "text.db"
    text.write_text("no store at all")
    other = tmp_path / "other.db"
    gate.load().connect(str(other)).execute("CREATE TABLE x (y)").close()
    for bad in (forged, short, text, other):
        with pytest.raises(StoreCorrupt):
            upkeep.restore(store.directory, str(bad), store.clock, "t")
    with pytest.raises(NotFound):
        upkeep.restore(store.directory, str(tmp_path / "none.db"), store.clock, "t")
    assert sorted(path.name for path in stores.iterdir()) == standing


def test_a_store_in_use_is_not_replaced(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        made = upkeep.backup(store.directory, str(tmp_path / "b.db"), store.clock, "t")
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys; f = open(sys.argv[1]); print(1, flush=True); sys.stdin.read()",
         os.path.join(store.directory, "store.db")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert holder.stdout is not None and holder.stdout.readline()
        with pytest.raises(AlreadyRunning, match=f"process {holder.pid}"):
            upkeep.restore(store.directory, made.path, store.clock, "t")
    finally:
        holder.communicate()
    upkeep.restore(store.directory, made.path, store.clock, "t")


def test_a_check_finds_nothing_in_a_sound_store_and_says_what_is_wrong_in_others(tmp_path: Path) -> None:
    with eventful(tmp_path, 2) as store:
        found = upkeep.check(store.directory)
        assert all(one.ok for one in found), found
        assert {one.name for one in found} == {
            "place", "permissions", "log", "pages", "references", "schema", "history",
        }  # fmt: skip
    copy = tmp_path / "copy" / ".agentctl"
    shutil.copytree(store.directory, copy)
    (copy / "store.db").chmod(0o644)
    forge(copy, "DROP INDEX task_key")
    forge(copy, "INSERT INTO edge (parent, child) SELECT id, 77 FROM task LIMIT 1")
    wrong = {one.name: one for one in upkeep.check(str(copy)) if not one.ok}
    assert set(wrong) == {"permissions", "schema", "references", "history"}
    assert "chmod" in wrong["permissions"].remedy and "task_key is missing" in wrong["schema"].said
    data = bytearray((copy / "store.db").read_bytes())
    data[8192:12288] = random.Random(1).randbytes(4096)
    (copy / "store.db").write_bytes(data)
    wrong = {one.name: one for one in upkeep.check(str(copy)) if not one.ok}
    assert "pages" in wrong or "file" in wrong
    assert any("restore" in one.remedy for one in wrong.values())


def test_info_tells_sizes_and_counts(tmp_path: Path) -> None:
    with eventful(tmp_path, 2) as store:
        seen = upkeep.info(store.directory)
        assert seen.store_bytes + seen.log_bytes > 50_000 and seen.schema == upkeep.schema_version()
        assert sum(count for _, count in seen.tasks) == len(tables(store)["task"])
        assert seen.sessions == len(tables(store)["session"]) and seen.pruned_to_ms is None


def test_the_log_stays_small_where_short_processes_write_one_after_the_other(tmp_path: Path) -> None:
    """None of them closes the store, and each forgets what of the log SQLite had copied into the file before."""
    directory = str(tmp_path / ".agentctl")
    open_store(directory, create=True).close()
    sizes = []
    for _ in range(8):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                store = open_store(directory)
                for _ in range(3):
                    store.add([TaskRequest("q", '"' + "x" * 100_000 + '"')] * 2)
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        sizes.append((tmp_path / ".agentctl" / "store.db-wal").stat().st_size)
    assert max(sizes) < 2 << 20


def test_folder_and_files_are_their_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / ".agentctl"
    folder.mkdir(mode=0o755)
    old = os.umask(0)
    try:
        with open_store(str(tmp_path / ".agentctl"), create=True) as store:
            add(store)
            assert {path.name for path in folder.iterdir()} >= {"store.db", "store.db-wal", "store.db-shm"}
            assert place.open_to_others(store.directory) == []
    finally:
        os.umask(old)


MOUNTS = """22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /home rw - nfs4 server:/home rw
31 30 0:41 / /home/ann/local\\040disk rw - xfs /dev/vdb rw
32 22 0:42 / /mnt/c rw - 9p drvfs rw
33 22 0:43 / /mnt/cloud rw - fuse.sshfs me@there: rw
34 22 0:44 / /mnt/usb rw - fuse.ntfs-3g /dev/sdb rw
35 22 0:45 / /mnt/win rw - cifs //there/share rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ("/srv/fleet/.agentctl", None), ("/home/ann/fleet/.agentctl", "nfs4"), ("/home/ann/local disk/.agentctl", None),
        ("/mnt/c/fleet", "9p"), ("/mnt/cloud/x", "fuse.sshfs"), ("/mnt/usb/x", None), ("/mnt/win", "cifs"),
        ("/mnt/cloudy/x", None),
    ],
)  # fmt: skip
def test_network_file_systems_are_refused(path: str, refused: str | None) -> None:
    assert place.refusal(path, MOUNTS) == refused


def test_a_store_is_not_made_on_a_network_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "refusal", lambda path, text: "nfs4")
    with pytest.raises(StoreError, match="AGENTCTL_STORE"):
        open_store(str(tmp_path / ".agentctl"), create=True)
    assert not (tmp_path / ".agentctl").exists()


def test_a_reader_that_stays_keeps_few_commits_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a backup or a long look does: each commit would wait for it to go, in vain, for as long as it stays."""
    monkeypatch.setattr(connection, "LOG_BYTES", 100_000)
    monkeypatch.setattr(connection, "FOLD_MS", 2)
    clock = SetClock()
    with new_store(tmp_path, clock) as store:
        log, asked = Path(store.directory, "store.db-wal"), []
        large = '"' + "x" * 50_000 + '"'
        add(store, "q", large)
        store.driver.conn.db.set_trace_callback(asked.append)  # type: ignore[attr-defined]

        def commits(seconds: int) -> int:
            """Return how many of four commits a second tried to begin the log anew."""
            asked.clear()
            for _ in range(4 * seconds):
                clock.pass_ms(250)
                add(store, "q", large)
            return sum("wal_checkpoint" in one for one in asked)

        reader = ReadFile(store.directory)
        with reader.snapshot():
            reader.rows("SELECT max(seq) FROM event")
            assert 3 <= commits(60) <= 9
        clock.pass_ms(connection.FOLD_REST_MS)
        assert commits(1) and log.stat().st_size < 1_000_000
        assert commits(10) >= 10, "what did not last for ever is forgotten"
        reader.close()


def test_a_long_log_is_begun_anew_as_soon_as_nobody_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long somebody did: readers stay away for it between two looks, and nobody is kept waiting for that."""
    monkeypatch.setattr(connection, "LOG_BYTES", 50_000)
    monkeypatch.setattr(connection, "FOLD_MS", 2)
    monkeypatch.setattr(connection, "LONG_BYTES", 100_000)
    clock = SetClock()
    with new_store(tmp_path, clock) as store:
        log, asked = Path(store.directory, "store.db-wal"), []
        reader = ReadFile(store.directory)
        with reader.snapshot():
            reader.rows("SELECT max(seq) FROM event")
            for _ in range(connection.FOLD_REST_MS // connection.FOLD_EVERY_MS):
                clock.pass_ms(connection.FOLD_EVERY_MS)
                add(store, "q", f'"{"x" * 50_000}"')
        clock.pass_ms(connection.FOLD_EVERY_MS)
        store.driver.conn.db.set_trace_callback(asked.append)  # type: ignore[attr-defined]
        add(store, "q")
        assert log.stat().st_size == 0 and "PRAGMA busy_timeout=0" in asked
        reader.close()


def test_a_reader_that_looks_all_the_time_does_not_let_the_log_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a slow dashboard does: a look of many commits, and at once the next one."""
    for room, name, value in (
        (connection, "LOG_BYTES", 50_000),
        (connection, "FOLD_MS", 0),
        (connection, "LONG_BYTES", 100_000),
        (readfile, "LONG_BYTES", 100_000),
    ):
        monkeypatch.setattr(room, name, value)
    clock = SetClock()
    with new_store(tmp_path, clock) as store:
        log, most, looks = Path(store.directory, "store.db-wal"), 0, 0
        written, over = 0, threading.Event()

        def look_on() -> None:
            nonlocal looks
            reader = ReadFile(store.directory)
            while not over.is_set():
                with reader.snapshot():
                    reader.rows("SELECT max(seq) FROM event")
                    before = written
                    while written < before + 20 and not over.is_set():
                        time.sleep(0.001)
                looks += 1
            reader.close()

        looker = threading.Thread(target=look_on)
        looker.start()
        while looks < 30:
            clock.pass_ms(connection.FOLD_EVERY_MS)
            add(store, "q", f'"{"x" * 50_000}"')
            written += 1
            most = max(most, log.stat().st_size)
        over.set()
        looker.join()
        assert most < 8_000_000, "30 looks of 20 commits are 30 MB"
