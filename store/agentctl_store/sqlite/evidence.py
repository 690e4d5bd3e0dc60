"""Feeding the detectors of findings from a store file: bounded reads, page by page, and no write."""

from __future__ import annotations

from ..domain.event import KINDS
from ..errors import AgentctlError
from ..findings import model as rows
from ..findings.telling import agent_of
from ..jsontext import dumps, loads
from . import limitreads, sqltext
from .past import seq_at
from .readfile import ReadFile
from .rebuild import load_sql as load_history_sql
from .rebuild import origin
from .routes import Routes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from ..domain.limits import Hold

    Lane = tuple[int, int, int, int]  #: since when its next task is ready, that task, how many there are, its number

MOST_EVENTS = 5_000_000  #: looked at; a longer window begins later, and says so
PAGE = 250_000  #: events per statement, so that none holds back the write-ahead log for long
MOST_GROUPS = 50_000  #: pairs of actor and queue that are told apart
MOST_AGENTS = MOST_QUEUES = 20_000
MOST_BUCKETS = 100_000
MOST_MESSAGES = 100_000  #: newest ones that are looked through for questions without an answer
MOST_ASKED = 1_000
AT_ONCE = 1_000  #: ids per look-up
DEEPEST = 64  #: steps that are followed upwards from a delegated task


class SqliteEvidence:
    """See agentctl_store.findings.port.Evidence, whose words these are."""

    def __init__(self, directory: str, since_ms: int, until_ms: int, most_events: int = MOST_EVENTS) -> None:
        self._file = ReadFile(directory).current()
        self._sql = sqltext.load("findings")
        try:
            self.window = self._opened(since_ms, until_ms, most_events)
        except BaseException:
            self._file.close()
            raise
        self._work: dict[int, tuple[rows.Work, ...]] = {}
        self._agents: tuple[rows.AgentFacts, ...] | None = None

    def _opened(self, since_ms: int, until_ms: int, most_events: int) -> rows.Window:
        history = load_history_sql()
        last = self._file.rows(history["last_event"])[0][0]
        _, _, begin = origin(self._file, history)
        after = min(seq_at(self._file, history, since_ms - 1, begin), last)
        cut = last - after > most_events
        if cut:
            after = last - most_events
            since_ms = self._file.rows(self._sql["event_at"], (after,))[0][0]
        return rows.Window(since_ms, until_ms, after, last, cut)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> SqliteEvidence:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the fleet as it is ---------------------------------------------------------------------------------------
    def agents(self) -> tuple[rows.AgentFacts, ...]:
        if self._agents is None:
            with self._file.snapshot():
                busy = dict(self._file.rows(self._sql["busy"]))
                found = self._file.rows(self._sql["agents"], (MOST_AGENTS,))
            held = {hold.agent: hold for hold in self._holds() if hold.agent is not None}
            self._agents = tuple(_agent(row, busy.get(row[0], 0), held.get(row[0])) for row in found)
        return self._agents

    def _holds(self) -> tuple[Hold, ...]:
        return limitreads.holds_of(self._file, self.window.until_ms)

    def queues(self) -> tuple[rows.QueueFacts, ...]:
        with self._file.snapshot():
            ready: dict[int, list[Any]] = {}
            for queue, *lane in self._file.rows(self._sql["ready"]):
                ready.setdefault(queue, []).append(lane)
            active = dict(self._file.rows(self._sql["active"]))
            found = self._file.rows(self._sql["queues"], (MOST_QUEUES,))
            next_ones = [lane[3] for lanes in ready.values() for lane in lanes]
            since = {task: at for part in _parts(next_ones) for task, at in self._by_id("available", part)}
            routes = Routes(self._file, self._sql)
        held = {hold.queue: hold for hold in self._holds() if hold.queue is not None}
        facts = []
        for number, name, paused_ms, paused_by in found:
            lanes = [(since.get(task, 0), task, count, lane) for lane, count, _, task in ready.get(number, ())]
            stuck = _stuck(lanes, routes, name)
            open_ones = [one for one in lanes if one not in stuck]
            oldest_ms, oldest = min(open_ones)[:2] if open_ones else (None, None)
            facts.append(
                rows.QueueFacts(
                    name, sum(one[2] for one in open_ones), active.get(number, 0), oldest_ms, oldest, paused_ms,
                    paused_by or "", _told_stuck(stuck, routes, name), held.get(name),
                )
            )  # fmt: skip
        return tuple(facts)

    def _by_id(self, block: str, ids: list[int]) -> list[Any]:
        return self._file.rows(self._sql[block], (dumps(ids),))

    # --- what was done --------------------------------------------------------------------------------------------
    def _pages(self) -> Iterator[tuple[int, int]]:
        for after in range(self.window.after, self.window.last, PAGE):
            yield after, min(after + PAGE, self.window.last)

    def work(self, recent_ms: int) -> tuple[rows.Work, ...]:
        if recent_ms not in self._work:
            self._work[recent_ms] = self._counted(recent_ms)
        return self._work[recent_ms]

    def _counted(self, recent_ms: int) -> tuple[rows.Work, ...]:
        groups: dict[tuple[int, int | None], list[int]] = {}
        for page in self._pages():
            for actor, queue, *counts in self._file.rows(self._sql["starts_by"], (recent_ms, *page)):
                if (actor, queue) in groups or len(groups) < MOST_GROUPS:
                    _add(groups.setdefault((actor, queue), [0, 0, 0]), counts)
        names = self._names("actors", {actor for actor, _ in groups})
        queues = {row[0]: row[1] for row in self._file.rows(self._sql["queues"], (MOST_QUEUES,))}
        merged: dict[tuple[str, str], list[int]] = {}
        for (actor, queue), counts in groups.items():
            key = agent_of(names.get(actor, "")), "" if queue is None else queues.get(queue, "")
            _add(merged.setdefault(key, [0, 0, 0]), counts)
        return tuple(rows.Work(agent, queue, *counts) for (agent, queue), counts in sorted(merged.items()))

    def _names(self, block: str, ids: Iterable[int]) -> dict[int, str]:
        return {number: name for part in _parts(sorted(ids)) for number, name in self._by_id(block, part)}

    def adds(self) -> tuple[rows.Adds, ...]:
        groups: dict[int, list[int]] = {}
        for page in self._pages():
            for actor, count, first, last in self._file.rows(self._sql["adds_by"], page):
                if actor in groups or len(groups) < MOST_GROUPS:
                    kept = groups.setdefault(actor, [0, first, last])
                    kept[0], kept[2] = kept[0] + count, last
        names, agents = self._names("actors", groups), {agent.name for agent in self.agents()}
        merged: dict[str, list[int]] = {}
        for actor, (count, first, last) in groups.items():
            agent = agent_of(names.get(actor, ""))
            if agent in agents:  # a person may add as many as he likes
                kept = merged.setdefault(agent, [0, first, last])
                kept[:] = kept[0] + count, min(kept[1], first), max(kept[2], last)
        return tuple(rows.Adds(agent, *kept) for agent, kept in sorted(merged.items()))

    def starts(self, first_seq: int, last_seq: int) -> int:
        return int(self._file.rows(self._sql["starts"], (first_seq, last_seq))[0][0])

    def cost_microusd(self) -> int:
        return int(self._file.rows(self._sql["cost"], (self.window.since_ms, self.window.until_ms))[0][0] or 0)

    # --- what failed ----------------------------------------------------------------------------------------------
    def bursts(self, bucket_ms: int) -> tuple[rows.Burst, ...]:
        span = bucket_ms, self.window.after, self.window.last
        found = self._file.rows(self._sql["bursts"], (*span, MOST_BUCKETS))
        return tuple(rows.Burst(*row) for row in reversed(found))

    def retried(self, first_seq: int, last_seq: int, limit: int) -> tuple[rows.Retried, ...]:
        found = self._file.rows(self._sql["retried"], (first_seq, last_seq, limit))
        return tuple(_retried(row) for row in found)

    def dead(self, limit: int) -> tuple[rows.Dead, ...]:
        found = self._file.rows(self._sql["dead"], (self.window.since_ms, limit))
        return tuple(
            rows.Dead(task, queue, agent or "", reason or "", kind or "", error or "", died, attempts)
            for task, queue, agent, reason, kind, error, died, attempts in found
        )

    def changes(self, limit: int) -> tuple[rows.Change, ...]:
        found = []
        for seq, at_ms, actor, said in self._newest("instance.changed", limit):
            phase, health = _text(said, "phase"), _text(said, "health")
            found.append(
                rows.Change(seq, at_ms, actor, phase, health, _text(said, "reason"), bool(said.get("latched")))
            )
        return tuple(found)

    def refusals(self, limit: int) -> tuple[rows.Refusal, ...]:
        return tuple(
            rows.Refusal(seq, at_ms, actor, _text(said, "verb"), _text(said, "reason"), 1 + _number(said, "more"))
            for seq, at_ms, actor, said in self._newest("access.refused", limit)
        )

    def _newest(self, kind: str, limit: int) -> Iterator[tuple[int, int, str, dict[str, Any]]]:
        """Yield the newest events of a rare kind, oldest first."""
        values = KINDS[kind], self.window.after, self.window.last, limit
        for seq, at_ms, actor, data in reversed(self._file.rows(self._sql["newest"], values)):
            yield seq, at_ms, actor or "", _said(data)

    # --- who waits for whom ---------------------------------------------------------------------------------------
    def delegations(self, limit: int) -> tuple[rows.Delegation, ...]:
        found = self._file.rows(self._sql["delegated"], (_id_at(self.window.since_ms), limit))
        creators: dict[int, int | None] = dict(found)
        above = {creator for _, creator in found} - creators.keys()
        for _ in range(DEEPEST):
            if not above or len(creators) > 2 * limit:
                break
            fresh = {task: creator for part in _parts(above) for task, creator in self._by_id("creators", part)}
            creators.update(fresh)
            above = {creator for creator in fresh.values() if creator is not None} - creators.keys()
        workers = self._names("workers", creators)
        return tuple(rows.Delegation(task, creator, workers.get(task)) for task, creator in creators.items())

    def blocked(self, before_ms: int, limit: int) -> tuple[rows.Blocked, ...]:
        found = self._file.rows(self._sql["blocked"], (_id_at(before_ms), limit, before_ms, limit))
        return tuple(
            rows.Blocked(child, queue, parent, parent_queue, max(child >> 20, available))
            for child, queue, parent, parent_queue, available in found
        )

    def held(self, before_ms: int, limit: int) -> tuple[rows.Held, ...]:
        found = self._file.rows(self._sql["held"], (limit, before_ms, _id_at(before_ms), limit))
        return (
            *(
                rows.Held(task, agent, max(claimed, child >> 20), child, state, queue, by)
                for task, agent, claimed, child, state, queue, by, _ in found
            ),
            *self._unanswered(before_ms, limit),
        )

    def _unanswered(self, before_ms: int, limit: int) -> Iterator[rows.Held]:
        """Yield the attempts whose agents asked others while they ran, and got no answer."""
        asked = self._file.rows(self._sql["unanswered"], (_id_at(before_ms), MOST_MESSAGES, MOST_ASKED))
        running: dict[str, list[tuple[int, int]]] = {}
        for task, agent, claimed in self._file.rows(self._sql["running"], (limit,)) if asked else ():
            running.setdefault(agent, []).append((claimed, task))
        for number, source, target in asked:
            sent_ms = number >> 20
            before = [task for claimed, task in running.get(source, ()) if claimed <= sent_ms]
            if before:
                yield rows.Held(before[-1], source, sent_ms, None, None, "", target)

    # --- what was said --------------------------------------------------------------------------------------------
    def talks(self, bucket_ms: int) -> tuple[rows.Talk, ...]:
        groups: dict[tuple[Any, ...], list[int]] = {}
        for page in self._pages():
            for *key, count, first, last, from_ms, to_ms in self._file.rows(
                self._sql["talks"], (bucket_ms, *page, MOST_BUCKETS)
            ):
                kept = groups.get(tuple(key))
                if kept is not None:
                    kept[:] = kept[0] + count, kept[1], last, min(kept[3], from_ms), max(kept[4], to_ms)
                elif len(groups) < MOST_BUCKETS:
                    groups[tuple(key)] = [count, first, last, from_ms, to_ms]
        names = self._names("actors", {key[0] for key in groups if key[0] is not None})
        talks: dict[tuple[str, str, int], list[int]] = {}
        for (actor, source, target, at_ms), (count, first, last, from_ms, to_ms) in groups.items():
            said_by = agent_of(names.get(actor, "")) if source is None else str(source)
            kept = talks.setdefault((said_by, target, at_ms), [0, first, last, from_ms, to_ms])
            kept[:] = (
                kept[0] + count, min(kept[1], first), max(kept[2], last), min(kept[3], from_ms), max(kept[4], to_ms)
            )  # fmt: skip
        return tuple(rows.Talk(*key, *kept) for key, kept in sorted(talks.items()))

    def damped(self, limit: int) -> tuple[rows.Damped, ...]:
        return tuple(
            rows.Damped(seq, at_ms, _text(said, "from"), _text(said, "to"))
            for seq, at_ms, _, said in self._newest("message.damped", limit)
        )


def _id_at(wall_ms: int) -> int:
    """Return the lowest id of what began at a moment (agentctl_store/ids.py)."""
    return min(max(wall_ms, 0), (1 << 43) - 1) << 20


def _agent(row: Any, busy: int, hold: Hold | None) -> rows.AgentFacts:
    name, declared, desired, capacity, queues, instances, latched = row
    try:
        served = tuple(str(queue) for queue in loads(queues, "queues"))
    except (AgentctlError, TypeError):
        served = ()
    running = desired == "running" and not (instances and latched == instances)
    return rows.AgentFacts(name, bool(declared), running, desired, capacity, busy, served, hold)


def _stuck(lanes: list[Lane], routes: Routes, queue: str) -> list[Lane]:
    """Return the lanes of a queue that nobody can take from; none where nobody serves the queue in the first place."""
    if routes.why(queue, 0, "ready"):
        return []
    return [one for one in lanes if routes.why(queue, one[3], "ready")]


def _told_stuck(stuck: list[Lane], routes: Routes, queue: str) -> rows.Stuck | None:
    if not stuck:
        return None
    oldest_ms, task, _, lane = min(stuck)
    return rows.Stuck(sum(one[2] for one in stuck), oldest_ms, task, routes.why(queue, lane, "ready"))


def _retried(row: Any) -> rows.Retried:
    seq, at_ms, task, agent, queue, data, cost = row
    said = _said(data)
    run_at = said.get("run_at")
    return rows.Retried(
        seq, at_ms, task, agent or "", queue or "", _text(said, "class"), _text(said, "error"),
        run_at if isinstance(run_at, int) else None, cost or 0,
    )  # fmt: skip


def _said(data: str | None) -> dict[str, Any]:
    """Return what an event tells; nothing where that is not what the store writes: anybody may note an event."""
    try:
        said = {} if data is None else loads(data, "event")
    except AgentctlError:
        return {}
    return said if isinstance(said, dict) else {}


def _text(said: dict[str, Any], name: str) -> str:
    value = said.get(name)
    return value if isinstance(value, str) else ""


def _number(said: dict[str, Any], name: str) -> int:
    value = said.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _add(kept: list[int], counts: Iterable[int]) -> None:
    kept[:] = [one + other for one, other in zip(kept, counts, strict=True)]


def _parts(ids: Iterable[int]) -> Iterator[list[int]]:
    whole = list(ids)
    for start in range(0, len(whole), AT_ONCE):
        yield whole[start : start + AT_ONCE]
