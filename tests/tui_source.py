"""A fleet in memory for the dashboard's tests: a Reader, Logs and Operator whose rows a test can change."""

from __future__ import annotations

import json
from collections import Counter
from threading import Event

from agentctl_store.errors import Conflict, Interrupted, NotFound
from agentctl_store.read.models import (
    HEALTH_ORDER,
    AttemptRow,
    DeadLetter,
    DeadLetterGroup,
    DeadLetterRow,
    Filter,
    FleetSummary,
    InstanceRow,
    SupervisorRow,
)
from agentctl_store.record import as_dict, replace
from agentctl_tui.ports import LogLine, Receipt

NOW = 1_795_000_121_000  #: 2026-11-18 at the same second everywhere: tests set TZ
MIN = 60_000


def task_id(number: int) -> str:
    return f"01k9x4m2v{number:04d}"


def instance(name: str, health: str = "healthy", **more) -> InstanceRow:
    agent = name.split("/")[0]
    values = {
        "instance": name,
        "agent": agent,
        "mode": "task",
        "desired": "running",
        "phase": "idle",
        "health": health,
        "reason": "",
        "since_ms": NOW - 50 * MIN,
        "session": task_id(7000 + sum(map(ord, name))),
        "pid": 4000 + len(name),
        "started_ms": NOW - 150 * MIN,
        "heartbeat_ms": NOW - 1_200,
        "output_ms": NOW - 4_000,
        "memory_bytes": 84_000_000,
        "done": 12,
    }
    return InstanceRow(**{**values, **more})


def busy(name: str, number: int, title: str, since_s: int, **more) -> InstanceRow:
    return instance(
        name,
        task=task_id(number),
        attempt=1,
        queue="review",
        title=title,
        claimed_ms=NOW - since_s * 1000,
        phase="busy",
        **more,
    )


def review_team() -> list[InstanceRow]:
    return [
        instance("aggregator/1", phase="idle", done=0, memory_bytes=31_000_000),
        instance("planner/1", done=3, flow=(0, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0), memory_bytes=38_500_000),
        busy(
            "reviewer/1",
            41,
            "http/client.py",
            3,
            flow=(2, 3, 1, 4, 2, 3, 5, 2, 3, 4, 3, 2),
            done=118,
            progress="complexity 214/380",
        ),
        busy(
            "reviewer/2",
            44,
            "asyncio/base_events.py",
            12,
            flow=(1, 3, 2, 2, 2, 3, 2, 4, 3, 1, 3, 2),
            done=109,
        ),
        busy(
            "reviewer/3",
            47,
            "tarfile.py",
            98,
            health="degraded",
            reason="no output for 94 s",
            since_ms=NOW - 64_000,
            output_ms=NOW - 94_000,
            flow=(3, 2, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0),
            done=87,
            memory_bytes=312_000_000,
            restarts=1,
        ),
        busy(
            "reviewer/4",
            48,
            "email/_header_value_parser.py",
            1,
            flow=(2, 2, 3, 3, 1, 2, 2, 4, 3, 2, 3, 4),
            done=121,
        ),
        instance("shell/1", done=402, flow=(8, 9, 7, 8, 8, 9, 8, 7, 9, 8, 8, 9), memory_bytes=4_100_000),
        instance(
            "shell/2",
            phase="starting",
            health="starting",
            session=None,
            pid=None,
            started_ms=None,
            heartbeat_ms=None,
            output_ms=None,
            memory_bytes=None,
            done=0,
            since_ms=NOW - 400,
        ),
        instance(
            "mailer/1",
            health="unhealthy",
            phase="failed",
            latched=True,
            session=None,
            pid=None,
            reason='5 starts in 60 s, exit 127 "mail: not found"',
            started_ms=None,
            heartbeat_ms=None,
            output_ms=None,
            memory_bytes=None,
            restarts=5,
            since_ms=NOW - 130_000,
            done=0,
        ),
        instance("watcher/1", mode="service", flow=(), done=0, probe="ready", memory_bytes=22_000_000),
    ]


REASONS = ("permanent", "max_attempts", "deadline", "parent_failed")
ERRORS = {
    "permanent": "SyntaxError: invalid syntax (bad_coding.py, line 1)",
    "max_attempts": "exit 1: Traceback (most recent call last): ConnectionResetError: [Errno 104] peer",
    "deadline": "the deadline passed 4 s before the first claim",
    "parent_failed": "parent 01k9x4m2v0031 is dead",
}


def letter(number: int, reason: str | None = None, **more) -> DeadLetter:
    why = reason or REASONS[(number * number) % 4 if number % 3 else 1]
    path = ("lib2to3/tests/data/bad_coding.py", "test/badsyntax_future.py", "xml/sax/expat.py", "net/poll.py")
    title = more.pop("title", path[number % 4])
    payload = more.pop("payload", json.dumps({"path": title, "depth": number % 5, "tags": ["stdlib", "review"]}))
    tries = {"permanent": 1, "max_attempts": 5, "deadline": 0, "parent_failed": 0}.get(why, 1)
    died = NOW - (number + 1) * 97_000
    error = more.pop("error", ERRORS.get(why, why))
    attempts = tuple(
        AttemptRow(
            task_id(number),
            n,
            f"reviewer/{1 + n % 4}",
            task_id(5000 + number),
            died - (tries - n + 1) * 64_000,
            died - (tries - n + 1) * 64_000 + 1_340 * n,
            "failed",
            "permanent" if why == "permanent" else "transient",
            error,
            65 if why == "permanent" else 1,
        )
        for n in range(1, tries + 1)
    )
    row = DeadLetterRow(
        task=task_id(number),
        queue="review" if number % 5 else "mail",
        reason=why,
        error_class=attempts[-1].error_class if attempts else None,
        error=error[:200],
        agent="reviewer" if attempts else None,
        attempts=tries,
        died_ms=died,
        title=title,
    )
    values = {
        "row": row,
        "payload": payload,
        "error": error,
        "correlation": "4bf92f3577b34da6a3ce929d0e0e4736",
        "created_ms": died - 600_000,
        "attempts": attempts,
        "session": task_id(5000 + number) if attempts else None,
        "claimed_ms": attempts[-1].claimed_ms if attempts else None,
        "ended_ms": attempts[-1].ended_ms if attempts else None,
    }
    return DeadLetter(**{**values, **more})


class Source:
    """Reader, Logs and Operator in one; `touch()` after a change, as a store's version would move."""

    def __init__(self, instances=None, letters=None, now_ms: int = NOW) -> None:
        self.rows: list[InstanceRow] = review_team() if instances is None else list(instances)
        self.letters: dict[str, DeadLetter] = {
            item.row.task: item for item in ([letter(n) for n in range(5)] if letters is None else letters)
        }
        self.now = now_ms
        self.flow = (2, 4, 3, 5, 6, 4, 7, 8, 6, 9, 11, 10)
        self.ready = 47
        self.changes = 0
        self.acts: list[tuple] = []
        self.refuse: Exception | None = None
        self.broken: Exception | None = None
        self.slow = False  #: whether dead letters are searched for ever
        self.searches = Event()  #: such a search has begun
        self.given_up = Event()
        self.supervisor = SupervisorRow(True, 4242, NOW - 151 * MIN)
        self.held = ()  # what holds agents back
        self.output = [
            LogLine(NOW - 9_000, "out", "reading tarfile.py"),
            LogLine(NOW - 7_500, "out", "complexity: TarFile.extract 31, TarInfo.frombuf 24"),
            LogLine(NOW - 5_000, "err", "warning: 3 functions are longer than 100 lines"),
            LogLine(NOW - 4_000, "out", '{"agentctl": "progress", "text": "214/380"}'),
        ]

    def touch(self) -> None:
        self.changes += 1

    def version(self) -> int:
        if self.broken is not None:
            raise self.broken
        return self.changes

    # --- reader

    def interrupt(self):
        self.given_up.set()

    def _search(self):
        """Take for ever, as a text that is nowhere in a huge store may, until given up or `slow` is unset."""
        while self.slow:
            self.searches.set()
            if self.given_up.wait(0.01):
                self.given_up.clear()
                raise Interrupted("given up")

    def summary(self, now_ms: int) -> FleetSummary:
        healths = Counter(row.health for row in self.rows)
        tasks = {
            "ready": self.ready,
            "active": sum(r.task is not None for r in self.rows),
            "dead": len(self.letters),
        }
        return FleetSummary(
            now_ms=now_ms,
            fleet="review",
            supervisor=self.supervisor,
            health=tuple((name, healths[name]) for name in HEALTH_ORDER if healths[name]),
            tasks=tuple((state, n) for state, n in tasks.items() if n),
            flow=self.flow,
        )

    def _instances(self, sort: str, wanted: Filter) -> list[InstanceRow]:
        rows = [row for row in self.rows if _matches(row, wanted)]
        by = sort.lstrip("-")
        if by == "health":
            rows.sort(key=lambda row: (not row.latched, HEALTH_ORDER.index(row.health), row.instance))
        else:
            field = {"since": "started_ms", "memory": "memory_bytes"}.get(by, by)
            rows.sort(
                key=lambda row: (
                    (getattr(row, field) is None, getattr(row, field) or 0, row.instance)
                    if field != "instance"
                    else row.instance
                )
            )
        return rows[::-1] if sort.startswith("-") else rows

    def instances(self, offset, limit, sort, filter):
        return tuple(self._instances(sort, filter)[offset : offset + limit])

    def instance_count(self, filter):
        return len(self._instances("instance", filter))

    def instance_position(self, instance, sort, filter):
        names = [row.instance for row in self._instances(sort, filter)]
        return names.index(instance) if instance in names else None

    def holds(self, now_ms):
        return self.held

    def instance(self, instance):
        return next((row for row in self.rows if row.instance == instance), None)

    def sessions(self, instance, limit):
        return ()

    def sessions_now(self, since_ms, known=()):
        return ()

    def _letters(self, sort: str, wanted: Filter) -> list[DeadLetterRow]:
        rows = [item.row for item in self.letters.values() if _matches(item.row, wanted)]
        if wanted.reason is not None:
            rows = [row for row in rows if row.reason == wanted.reason]
        field = {"died": "died_ms", "id": "task"}.get(sort.lstrip("-"), sort.lstrip("-"))
        rows.sort(key=lambda row: (getattr(row, field) or "" if field != "died_ms" else row.died_ms, row.task))
        return rows[::-1] if sort.startswith("-") else rows

    def dead_letters(self, offset, limit, sort, filter):
        return tuple(self._letters(sort, filter)[offset : offset + limit])

    def dead_letter_count(self, filter):
        self._search()
        return len(self._letters("died", filter))

    def dead_letter_position(self, task, sort, filter):
        ids = [row.task for row in self._letters(sort, filter)]
        return ids.index(task) if task in ids else None

    def dead_letter_groups(self, filter):
        rows = self._letters("died", replace(filter, reason=None))
        groups: dict[str, list[int]] = {}
        for row in rows:
            groups.setdefault(row.reason, []).append(row.died_ms)
        made = [DeadLetterGroup(key, len(ms), min(ms), max(ms)) for key, ms in groups.items()]
        return tuple(sorted(made, key=lambda group: (-group.count, group.key)))

    def dead_letter_ids(self, filter, limit):
        return tuple(row.task for row in self._letters("-died", filter)[:limit])

    def dead_letter(self, task):
        return self.letters.get(task)

    # --- logs

    def tail(self, session, lines, until_ms=None):
        return tuple(self.output[-lines:])

    # --- operator

    def _act(self, *what) -> Receipt:
        if self.refuse is not None:
            raise self.refuse
        self.acts.append(what)
        self.touch()
        return Receipt(len(what[1]))

    def requeue(self, tasks, payload=None):
        for task in tasks:
            if task not in self.letters:
                raise NotFound(f"no dead letter {task}", "Look at agentctl dlq list")
        receipt = self._act("requeue", tuple(tasks), payload)
        for task in tasks:
            del self.letters[task]
        return receipt

    def discard(self, tasks):
        receipt = self._act("discard", tuple(tasks))
        for task in tasks:
            self.letters.pop(task, None)
        return receipt

    def start(self, targets):
        return self._act("start", tuple(targets))

    def stop(self, targets):
        return self._act("stop", tuple(targets))

    def restart(self, targets):
        return self._act("restart", tuple(targets))

    def drain(self, targets):
        return self._act("drain", tuple(targets))

    def pause(self, targets):
        return self._act("pause", tuple(targets))

    def resume(self, targets):
        return self._act("resume", tuple(targets))


def _matches(row: object, wanted: Filter) -> bool:
    if not wanted.text:
        return True
    return any(wanted.text.lower() in value.lower() for value in as_dict(row).values() if isinstance(value, str))


REFUSED = Conflict("the task is active again", "Look at it with agentctl task show")
