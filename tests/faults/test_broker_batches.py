"""P5, P11, P17 through the broker: what goes wrong with a batch is told to all of it, what goes wrong in it to one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faults.bad_commit import BadBatch
from faults.broker_kit import Asked, in_one_batch, serving, through
from faults.raw_kit import greeted, new_task, world
from faults.store_kit import assert_whole, filled, finals, until

from agentctl_store.broker import desk, server
from agentctl_store.broker.arguments import checked
from agentctl_store.broker.desk import Call
from agentctl_store.broker.peer import Answer
from agentctl_store.errors import BadInput, Conflict, NotFound, StaleAttempt, StoreFull
from agentctl_store.store import Store, TaskRequest


def adds(queue: str, key: str | None = None, **more: Any) -> Callable[[Store], Any]:
    return lambda store: store.add([TaskRequest(queue, key=key, **more)])[0]


def waits(queue: str) -> Callable[[Store], Any]:
    """A claim that waits, as one call."""
    about = {"agent": "waiting", "slot": None, "session": None, "open_session": None, "lease_ms": 60_000, "limit": 1}
    return lambda store: store.driver.claim((queue,), **about, wait_ms=20_000, now=store.clock.now())


def asks_again(store: Store) -> Any:
    """Wait for work, be told that this went wrong, and go on: each answer is the one to its question."""
    with pytest.raises(StoreFull):
        waits("none")(store)
    return [store.task(adds("none")(store).id), store.task(store.claim(["none"], agent="a")[0].task.id)][:1]


@pytest.mark.parametrize("durable", [True, False], ids=["the commit happened", "the commit did not happen"])
def test_an_error_at_commit_is_told_to_the_whole_batch_and_the_next_one_works(tmp_path: Path, durable: bool) -> None:
    directory = filled(tmp_path, 1)
    (task,) = finals(directory)
    with serving(directory) as broker, through(directory) as store:
        before = Asked(directory, waits("late"))
        until(lambda: broker._desk.waits, "it waits for work")
        conn = broker._desk.driver.conn
        conn.use(BadBatch(conn.db, durable))
        writes = [adds("other", f"k{number}") for number in range(5)]
        writes += [adds("late", "late"), lambda s: s.claim(["q"], agent="a")]
        *told, patient, read = in_one_batch(broker, directory, [*writes, asks_again, lambda s: s.task(task)])
        for one in told:
            with pytest.raises(StoreFull, match="is not known: say it again"):
                one.get()
        assert read.get().id == task, "reads go on"
        assert [one.queue for one in patient.get()] == ["none"], "who was told of it waits no more"
        # What was claimed for those who were told of an error has gone back, if it was claimed at all.
        assert [(one.task.id, one.n) for one in store.claim(["q"], agent="b")] == [(task, 1 + durable)]
        again = [store.add([TaskRequest("other", key=f"k{number}")])[0] for number in range(5)]
        assert {one.created for one in again} == {not durable}
        late = store.add([TaskRequest("late", key="late")])[0]
        assert late.created is not durable
        # Who waited from before was not in it: he waits on, and is served.
        assert [(one.task.id, one.n) for one in before.get()] == [(late.id, 1 + durable)]
        assert not broker._desk.waits, "nobody is left waiting"
    assert len(finals(directory)) == 8
    assert_whole(directory)


def test_whom_work_has_come_to_is_told_before_whoever_brought_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[list[int]] = []
    deliver = server.Broker._deliver

    def delivered(self: server.Broker, answers: list[Answer], now_ms: int) -> None:
        told.append([len(one.claims) for one in answers])
        deliver(self, answers, now_ms)

    monkeypatch.setattr(server.Broker, "_deliver", delivered)
    directory = filled(tmp_path, 0)
    with serving(directory) as broker, through(directory) as store:
        waiting = Asked(directory, waits("late"))
        until(lambda: broker._desk.waits, "it waits for work")
        adds("late")(store)
        assert len(waiting.get()) == 1
    assert [1, 0] in told


def test_a_bad_call_fails_alone(tmp_path: Path) -> None:
    directory = filled(tmp_path, 4)
    with serving(directory) as broker, through(directory) as store:
        stale, held = (store.claim(["q"], agent="a", lease_ms=600_000)[0].task.id for _ in "12")
        calls: list[tuple[Callable[[Store], Any], type[Exception] | None]] = [
            (adds("new"), None),
            (adds("unseen", after=("no such key",)), NotFound),
            (lambda s: s.add([TaskRequest("new"), TaskRequest("new", after=(17,))]), NotFound),
            (lambda s: s.complete(stale, 7), StaleAttempt),
            (lambda s: s.requeue(held, actor="me"), Conflict),
            (lambda s: s.claim(["q"], agent="b"), None),
            (lambda s: s.complete_and_claim(stale, 9, ["q"], agent="b"), StaleAttempt),
            (lambda s: s.discard(17, actor="me"), NotFound),
            (lambda s: s.complete(held, 1, result="1"), None),
            (lambda s: s.task(17), NotFound),
            (lambda s: s.note("supervisor.noted", actor="me"), None),
        ]
        asked = in_one_batch(broker, directory, [call for call, _ in calls])
        for one, (_, wrong) in zip(asked, calls, strict=True):
            if wrong is None:
                one.get()
            else:
                with pytest.raises(wrong):
                    one.get()
        store.add([TaskRequest("after")])
        assert store.task(held).state == "done" and store.task(stale).state == "active"
    assert len(finals(directory)) == 6
    assert_whole(directory)


def test_what_cannot_be_told_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = filled(tmp_path, 0)
    with serving(directory) as broker, through(directory) as store:
        first, second = (one.id for one in store.add([TaskRequest("q"), TaskRequest("q", '"' + "x" * 4_000 + '"')]))
        store.claim(["q"], agent="a")
        monkeypatch.setattr(desk, "MAX_ANSWER", 2_000)
        turn, note = in_one_batch(
            broker,
            directory,
            [lambda s: s.complete_and_claim(first, 1, ["q"], agent="a"), lambda s: s.restart_agent("a", actor="me")],
        )
        with pytest.raises(BadInput, match="larger than"):
            turn.get()
        assert note.get().restart_seq == 1
        monkeypatch.undo()
        assert (store.task(first).state, store.task(second).state) == ("active", "ready")
        assert store.complete_and_claim(first, 1, ["q"], agent="a").claim.task.id == second
    assert_whole(directory)


def test_what_one_asked_who_has_gone_is_not_done(tmp_path: Path) -> None:
    """He may be on the file already, and do it there."""
    directory = filled(tmp_path, 1)
    with serving(directory) as broker, through(directory) as store:
        gone = greeted(directory)
        serve = broker._desk.serve

        def left(given: list[Any], alive: Callable[[], None]) -> Any:
            gone.close()
            return serve(given, alive)

        broker._desk.serve = left  # type: ignore[method-assign]
        gone.ask("claim", ["q"], "gone", None, None, None, 600_000, 1, None, 0)
        until(lambda: gone.channel.fileno() < 0, "it has gone")
        broker._desk.serve = serve  # type: ignore[method-assign]
        (won,) = store.claim(["q"], agent="a")
        assert won.n == 1


def test_an_agent_gets_his_receipt_though_the_commit_beside_it_went_wrong(tmp_path: Path) -> None:
    """What is read in a batch that fails is read a second time."""
    with world(tmp_path, "a/1") as made, made.raw("a/1", client=5) as agent, made.raw() as operator:
        assert agent.call("add", [new_task()], None)[0] == 0
        served, conn, serve = made.broker._desk, made.broker._desk.driver.conn, made.broker._desk.serve
        peers = {peer.identity is None: peer for peer in made.broker._peers.values()}
        beside = Call(peers[True], 1, "add", checked("add", [[new_task()], None]))

        def fail(given: list[Any], alive: Callable[[], None]) -> Any:
            served.serve = serve  # type: ignore[method-assign]
            conn.use(BadBatch(conn.db, durable=False))
            return serve([*given, beside], alive)

        served.serve = fail  # type: ignore[method-assign]
        how, kept = agent.call("receipt", 5, 1)
        assert how == 0 and kept, kept
        assert operator.take()[1] == 1, "who wrote is told that it went wrong"
        assert made.refusals() == []


def test_the_log_stays_short_though_no_answer_waits_until_it_is_copied(tmp_path: Path) -> None:
    directory = filled(tmp_path, 0)
    with serving(directory) as broker, through(directory) as store:
        assert broker._desk.driver.conn.rows("PRAGMA wal_autocheckpoint") == [(0,)]
        for _ in range(40):
            store.add([TaskRequest("q", f'"{"x" * 3_000}"')] * 50)
        assert (directory / "store.db-wal").stat().st_size < 8 << 20, "each left 300 kB in it"
    assert_whole(directory)
