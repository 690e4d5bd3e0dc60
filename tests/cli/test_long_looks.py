"""What people leave running for hours costs little: nothing is looked through twice, and looks leave pauses."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from cli.command_kit import Fleet

from agentctl.cli import tasks, watching
from agentctl.cli.call import Call
from agentctl.cli.event import follow
from agentctl.cli.table import Column, Form
from agentctl.cli.verb import VERBS
from agentctl.cli.watching import EVERY_S, MOST_REST_S, REST, watch
from agentctl_store.ids import read_id
from agentctl_store.sqlite.reader import SqliteReader
from agentctl_store.store import Store, TaskRequest, open_store


class Enough(Exception):
    pass


def test_following_a_kind_that_does_not_come_looks_through_each_event_once(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.ok("task", "add", "1")
    asked: list[int] = []
    heads: list[int] = []
    events, changed = Store.events, Store.changed

    def counted(self: Store, *, after: int = 0, **wanted: object) -> object:
        asked.append(after)
        heads.append(changed(self))
        if len(asked) > 4:
            raise Enough
        return events(self, after=after, **wanted)  # type: ignore[arg-type]

    def busy(self: Store, after: int = 0, **wanted: object) -> int:
        if wanted.get("wait_ms"):
            self.add([TaskRequest("q", "1")])
        return changed(self, after, **wanted)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "events", counted)
    monkeypatch.setattr(Store, "changed", busy)
    with pytest.raises(Enough):
        follow(Call(VERBS["event follow"], {}), kind=("task.promoted",))
    assert asked[1:] == heads[:-1] and heads[-1] > heads[1], "each look begins where the last one ended"


def test_a_person_looks_through_the_history_without_the_owner_who_serves_all_others(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.ok("task", "add", "1")
    asked: list[int] = []
    monkeypatch.setattr(Store, "events", lambda self, **wanted: asked.append(1) or [])
    for words in ((), ("--after", "0"), ("-k", "task.added")):
        assert "task.added" in fleet.ok("event", "list", *words)
    assert not asked
    monkeypatch.setenv("AGENTCTL_TOKEN", "an agent's")
    monkeypatch.setenv("AGENTCTL_STORE", str(fleet.folder / ".agentctl"))
    fleet.ok("event", "list")
    assert asked, "an agent sees what the owner lets it see"


def test_a_long_list_tells_each_task_once_while_others_are_added(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    added = [fleet.ok("task", "add", str(number)) for number in range(7)]
    monkeypatch.setattr(tasks, "PAGE", 2)
    with open_store(str(fleet.folder / ".agentctl")) as store:
        for name in ("tasks", "tasks_of"):
            read = getattr(SqliteReader, name)

            def busy(self: SqliteReader, *asked: object, read: Callable[..., object] = read) -> object:
                store.add([TaskRequest("q", "1")])
                return read(self, *asked)

            monkeypatch.setattr(SqliteReader, name, busy)
        shown = fleet.ok("task", "list", "-n", "100", "--json", "task", "-o", "csv").split()[1:]
        assert shown == added[::-1]


def test_a_long_list_of_one_state_tells_no_task_that_has_left_it(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    added = [fleet.ok("task", "add", str(number)) for number in range(5)]
    monkeypatch.setattr(tasks, "PAGE", 2)
    read = SqliteReader.tasks_of
    with open_store(str(fleet.folder / ".agentctl")) as store:

        def busy(self: SqliteReader, *asked: Any) -> Any:
            if store.task(read_id(added[1])).state == "ready":
                store.cancel(read_id(added[1]), actor="t")
            return read(self, *asked)

        monkeypatch.setattr(SqliteReader, "tasks_of", busy)
        shown = fleet.ok("task", "list", "-s", "ready", "-n", "100", "--json", "task,state", "-o", "csv").split()[1:]
    assert shown == [f"{task},ready" for task in added[::-1] if task != added[1]]


def test_a_watch_that_looks_for_long_rests_for_longer(capsys: pytest.CaptureFixture[str]) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise Enough

    def fetch() -> list[dict[str, object]]:
        if pauses:
            time.sleep(0.09)
        return [{"name": "a"}]

    with pytest.raises(Enough):
        watch(Form((Column("name"),), "jsonl", None), fetch, "", pause)
    assert pauses[0] == EVERY_S and MOST_REST_S > pauses[1] >= REST * 0.09 > EVERY_S
    assert capsys.readouterr().out == '{"name":"a"}\n'


def test_a_watch_rests_no_longer_than_a_minute_however_slow_a_look_was(monkeypatch: pytest.MonkeyPatch) -> None:
    began = iter([0.0, 30.0])
    monkeypatch.setattr(watching, "time", SimpleNamespace(monotonic=began.__next__))
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        raise Enough

    with pytest.raises(Enough):
        watch(Form((Column("name"),), "jsonl", None), list, "", pause)
    assert pauses == [MOST_REST_S]


def one_more(fleet: Fleet, verb: str) -> None:
    """Add what one more row of the list stands for."""
    if verb.startswith(("task", "event")):
        fleet.ok("task", "add", "1")
    elif verb.startswith("msg thread"):
        fleet.ok("msg", "send", "operator", "1", "-t", "RESULT", "--conversation", verb.split()[2])
    elif verb.startswith("inbox"):
        fleet.ok("task", "add", "1")
        attempt = fleet.ok("task", "claim", "default", "--agent", "ann", "--json", "attempt", "-o", "csv").split()[1]
        fleet.ok("task", "ask", "What now?", "--attempt", attempt)
    else:
        fleet.run("msg", "send", "nobody", "1")


LISTS = [
    "task list", "event list -k task.added", "event list -k task.added --after 0", "msg list", "dlq list", "inbox list",
    "msg thread",
]  # fmt: skip


@pytest.mark.parametrize("verb", LISTS)
def test_a_list_that_stops_where_nobody_said_tells_that_there_is_more(fleet: Fleet, verb: str) -> None:
    begun = 0
    if verb == "msg thread":
        verb, begun = f"{verb} {fleet.ok('msg', 'send', 'operator', '1')}", 1
    words = (*verb.split(), "-o", "jsonl")
    for _ in range(50 - begun):
        one_more(fleet, verb)
    shown = fleet.run(*words)
    assert len(shown.out.splitlines()) == 50 and not shown.err, "these are all"
    one_more(fleet, verb)
    one_more(fleet, verb)
    every, shown = fleet.ok(*words, "-n", "1000").splitlines(), fleet.run(*words)
    newest_last = verb == "event list -k task.added"
    assert len(every) == 52 and shown.out.splitlines() == (every[2:] if newest_last else every[:50])
    assert shown.err == f"The {'newest' if newest_last else 'first'} 50 of more; -n N shows more.\n"
    assert not fleet.run(*words, "-n", "50").err, "who said so many knows"
    assert fleet.run(*words, "-n", "0").err == "agentctl: --limit 0 shows nothing. Use at least 1.\n"
