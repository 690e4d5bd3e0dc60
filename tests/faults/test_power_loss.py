"""P1: no acknowledged write is lost by power loss, and what was not acknowledged is wholly there or wholly absent.

A worker's calls are recorded by strace; then the power is cut at random moments of the record (see power_kit), and the
real store is opened on what may be left. AGENTCTL_POWER_CUTS sets how often, AGENTCTL_SEED replays.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from faults.power_kit import Disk, calls, need_strace, record
from faults.store_kit import dice_of

from agentctl_store.clock import Clock
from agentctl_store.errors import NotFound, StoreError
from agentctl_store.replay import verify
from agentctl_store.sqlite.driver import SqliteDriver
from agentctl_store.store import Store, TaskRequest
from agentctl_store.upkeep import restore

CUTS = int(os.environ.get("AGENTCTL_POWER_CUTS", "300"))
WORKER = Path(__file__).parent / "power_worker.py"


class Said(NamedTuple):
    """What the store held when the worker was told that its operation is done."""

    verb: str
    head: int
    hash: str
    tasks: list[list[Any]]


NOTHING = Said("nothing", 0, "", [])


class Run:
    """A recorded run: its calls, and what was acknowledged; its disk is replayed once, from the first call on."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        need_strace()
        folder = folder.resolve()
        self.root, said, trace = folder / "disk", folder / "said", folder / "trace"
        self.root.mkdir()
        what, *more = arguments
        record([sys.executable, str(WORKER), what, str(self.root), str(said), *more], trace)
        self.calls = list(calls(trace, str(self.root), str(said)))
        self.said = [NOTHING] + [Said(**json.loads(call.text)) for call in self.calls if call.name == "said"]
        trace.unlink()

    def cuts(self, moments: list[int], dice: random.Random, target: Path) -> Any:
        """Lay in target what is left at each moment (calls done); yield how many operations were acknowledged."""
        disk, acked, done = Disk(str(self.root)), 0, 0
        for moment in sorted(moments):
            for call in self.calls[done:moment]:
                if call.name == "said":
                    acked += 1
                else:
                    disk.do(call)
            done = moment
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            disk.cut(dice, target)
            yield acked


def moments(run: Run, dice: random.Random, count: int) -> list[int]:
    """Half of them anywhere, half just after an acknowledgement, when a lie would be seen."""
    told = [place + 1 for place, call in enumerate(run.calls) if call.name == "said"]
    anywhere = [dice.randrange(len(run.calls) + 1) for _ in range(count // 2)]
    return anywhere + [dice.choice(told) for _ in range(count - count // 2)]


def opened(directory: Path, create: bool = False) -> Store:
    # What comes after the cut is not the question: it need not wait for this machine's disk.
    return Store(SqliteDriver(str(directory), create=create, synchronous="OFF"), str(directory), Clock())


def look(directory: Path, create: bool) -> Said:
    """What the store holds after the cut, found sound in every way."""
    with opened(directory, create) as store:
        rows = store.driver.conn.rows  # type: ignore[attr-defined]
        assert rows("PRAGMA integrity_check") == [("ok",)]
        assert rows("PRAGMA foreign_key_check") == []
        seq, hashed = (rows("SELECT seq, hash FROM event ORDER BY seq DESC LIMIT 1") or [(0, b"")])[0]
        tasks = [list(row) for row in rows("SELECT id, state, attempts, key FROM task ORDER BY id")]
    found = verify(str(directory))
    assert found.intact, "replaying the history does not give the tables: " + "; ".join(found.faults[:5])
    return Said("left", seq, hashed.hex(), tasks)


def same(left: Said, said: Said) -> bool:
    """Whether the store holds just that."""
    return left[1:] == said[1:]


def assert_goes_on(directory: Path, left: Said, coming: Said) -> None:
    """A client that never heard back asks again: one key, one task, whatever became of the first attempt (P5)."""
    keys = [*[row[3] for row in coming.tasks][-3:], "after the cut"]
    with opened(directory) as store:
        for _ in range(2):
            store.add([TaskRequest("q", key=key) for key in keys])
        now = store.driver.conn.rows("SELECT key, id FROM task")  # type: ignore[attr-defined]
    assert sorted(key for key, _ in now) == sorted({*keys, *(row[3] for row in left.tasks)})
    assert {(row[3], row[0]) for row in left.tasks} <= set(now)
    assert verify(str(directory)).intact


def replay(run: Run, dice: random.Random, target: Path, count: int) -> tuple[int, int, int]:
    """Cut the power `count` times; return how many cuts lost acknowledged writes, how many, and the unheard kept."""
    bad = lost = kept = 0
    directory = target / "home" / ".agentctl"
    for acked in run.cuts(moments(run, dice, count), dice, target):
        coming = run.said[min(acked + 1, len(run.said) - 1)]
        if acked and not (directory / "store.db").exists():
            raise AssertionError(f"the store is gone after {acked} acknowledged operations")
        left = look(directory, create=not acked)
        fit = [place for place, said in enumerate(run.said[: acked + 2]) if same(left, said)]
        assert fit, f"after {acked} acknowledged operations the store holds half of one: event {left.head}"
        bad += fit[-1] < acked
        lost += max(0, acked - fit[-1])
        kept += fit[-1] > acked and not same(left, run.said[acked])
        assert_goes_on(directory, left, coming)
    return bad, lost, kept


def test_a_power_cut_loses_nothing_that_was_acknowledged(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    dice = dice_of(request)
    run = Run(tmp_path, "work", str(dice.randrange(1 << 30)), "FULL")
    folds = sum(call.name in ("fsync", "fdatasync") and call.path.endswith("store.db") for call in run.calls)
    wraps = sum(
        call.name == "pwrite64" and call.path.endswith("store.db-wal") and not call.number for call in run.calls
    )
    assert folds > 5 and wraps > 5, f"the log was folded back {folds} times and begun {wraps} times"
    bad, lost, kept = replay(run, dice, tmp_path / "left", CUTS)
    print(
        f"FULL: {CUTS} cuts in {len(run.calls)} calls, {lost} operations lost in {bad}; {kept} unheard ones were kept"
    )
    assert not bad, f"{lost} acknowledged operations were lost in {bad} of {CUTS} power cuts"
    assert kept, "no cut ever fell between a commit and its acknowledgement"


def test_the_harness_sees_writes_that_were_not_synced(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """P18: without the sync at commit, acknowledged writes are lost; the store is whole all the same."""
    dice = dice_of(request)
    run = Run(tmp_path, "work", str(dice.randrange(1 << 30)), "NORMAL")
    count = max(40, CUTS // 4)
    bad, lost, _ = replay(run, dice, tmp_path / "left", count)
    print(f"NORMAL: {count} cuts, {lost} operations lost in {bad}")
    assert bad, "no write was ever lost: this harness cannot see a missing sync"


def test_a_power_cut_leaves_a_restored_store_usable(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The restored history ends before the mark of the one laid aside. That is no damage, also after a power cut."""
    dice = dice_of(request)
    run = Run(tmp_path, "restore")
    told = [place for place, call in enumerate(run.calls) if call.name == "said"]
    verbs = [said.verb for said in run.said]
    restored = verbs.index("restore")
    begun = told[restored - 2] + 1  # the call after the last thing said before it
    put = next(at for at, call in enumerate(run.calls) if call.name == "rename" and call.path.endswith("/store.db"))
    target, count = tmp_path / "left", max(40, CUTS // 4)
    moments = [dice.randrange(begun, put) for _ in range(count // 4)]
    moments += [dice.randrange(put, put + 10) for _ in range(count * 2)]
    moments += [dice.randrange(put, len(run.calls) + 1) for _ in range(count // 2)]
    directory = target / "home" / ".agentctl"
    half = 0
    for acked in run.cuts(moments, dice, target):
        if acked < restored:
            try:
                opened(directory).close()
            except (NotFound, StoreError):  # cut midway: it is repeated
                half += 1
                restore(str(directory), str(target / "kept.db"), Clock(), "me")
            left = look(directory, create=False)
            # The old one with all it held, or the restored one: never the old one without its log.
            assert left.tasks in (run.said[restored - 1].tasks, run.said[restored].tasks)
        else:
            left = look(directory, create=False)
            assert any(same(left, said) for said in run.said[acked : acked + 2])
        assert_goes_on(directory, left, left)
    print(f"RESTORE: {len(moments)} cuts, {half} of them amid the renames")
