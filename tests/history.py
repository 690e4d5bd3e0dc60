"""What clients of a store saw, and whether any store could honestly have answered that.

Each client writes a line before it asks and one after the answer; a client that was killed in between leaves an
operation whose outcome is unknown: it may or may not have happened, and both must be allowed. `anomalies` compares
all clients' logs with each other, in real time, and with what the store holds in the end.
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Outcome = Literal["acked", "refused", "unknown"]
ENDING = ("complete", "fail", "release")


@dataclass(frozen=True, slots=True)
class Op:
    """One operation of one client. Times are CLOCK_MONOTONIC nanoseconds, comparable between processes."""

    client: str
    verb: str
    sent_ns: int
    ended_ns: int | None
    outcome: Outcome
    task: int | None = None
    n: int | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Final:
    """A task as the store holds it in the end."""

    state: str
    attempts: int
    key: str | None = None


class Log:
    """One client's log. Each line is one write(2): a kill leaves whole lines only."""

    def __init__(self, folder: str, client: str) -> None:
        self._file = os.open(os.path.join(folder, f"{client}.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def sent(self, verb: str, **about: Any) -> None:
        self._write({"phase": "sent", "verb": verb, "at": time.monotonic_ns(), **about})

    def acked(self, **answer: Any) -> None:
        self._write({"phase": "acked", "at": time.monotonic_ns(), **answer})

    def refused(self) -> None:
        self._write({"phase": "refused", "at": time.monotonic_ns()})

    def _write(self, line: dict[str, Any]) -> None:
        os.write(self._file, json.dumps(line).encode() + b"\n")


def read(folder: Path) -> list[Op]:
    """All operations of all clients that logged to `folder`."""
    ops = []
    for file in sorted(folder.glob("*.log")):
        sent: dict[str, Any] | None = None
        for line in file.read_text().splitlines():
            entry = json.loads(line)
            if entry["phase"] == "sent":
                if sent is not None:
                    ops.append(_op(file.stem, sent, None))
                sent = entry
            elif sent is not None:
                ops.append(_op(file.stem, sent, entry))
                sent = None
        if sent is not None:
            ops.append(_op(file.stem, sent, None))
    return ops


def _op(client: str, sent: dict[str, Any], end: dict[str, Any] | None) -> Op:
    about = {name: value for name, value in sent.items() if name in ("task", "n", "key")}
    about.update({name: value for name, value in (end or {}).items() if name in ("task", "n", "key")})
    outcome: Outcome = "unknown" if end is None else end["phase"]
    return Op(client, sent["verb"], sent["at"], None if end is None else end["at"], outcome, **about)


def anomalies(ops: Iterable[Op], final: Mapping[int, Final]) -> list[str]:
    """What no honest store could have done, one sentence each; empty when all is well."""
    everything = list(ops)
    acked = [op for op in everything if op.outcome == "acked" and op.task is not None]
    by_task: dict[int, list[Op]] = defaultdict(list)
    for op in acked:
        by_task[op.task].append(op)  # type: ignore[index]
    found = []
    for task, its in by_task.items():
        found += _lost(task, its, final.get(task))
        found += _doubled(task, its)
        found += _stale(task, its)
    return found + _keys(acked, final)


def _lost(task: int, its: list[Op], final: Final | None) -> list[str]:
    if final is None:
        return [f"task {task}: lost; {its[0].client} was told that {its[0].verb} happened"]
    found = []
    most = max((op.n or 0 for op in its), default=0)
    if final.attempts < most:
        found.append(f"task {task}: attempt {most} was acknowledged and the store knows {final.attempts}")
    if any(op.verb == "complete" for op in its) and final.state != "done":
        found.append(f"task {task}: its completion was acknowledged and it is {final.state}")
    return found


def _doubled(task: int, its: list[Op]) -> list[str]:
    found = []
    winners: dict[int | None, list[str]] = defaultdict(list)
    enders: dict[int | None, set[str]] = defaultdict(set)
    for op in its:
        if op.verb == "claim":
            winners[op.n].append(op.client)
        elif op.verb in ENDING:
            enders[op.n].add(op.verb)
    for n, clients in winners.items():
        if len(clients) > 1:
            found.append(f"task {task}: attempt {n} was won by {len(clients)}: {', '.join(clients)}")
    for n, verbs in enders.items():
        if len(verbs) > 1:
            found.append(f"task {task}: attempt {n} ended in {len(verbs)} ways: {', '.join(sorted(verbs))}")
    completed = {op.n for op in its if op.verb == "complete"}
    if len(completed) > 1:
        found.append(f"task {task}: completed by {len(completed)} attempts: {sorted(completed, key=str)}")
    return found


def _stale(task: int, its: list[Op]) -> list[str]:
    found = []
    claims = [op for op in its if op.verb == "claim"]
    for op in its:
        if op.verb == "add":
            continue
        for claim in claims:
            assert claim.ended_ns is not None
            if claim.ended_ns >= op.sent_ns or op.n is None or claim.n is None:
                continue  # the two overlapped: either order is honest
            if op.verb != "claim" and op.n < claim.n:
                found.append(
                    f"task {task}: {op.verb} by stale attempt {op.n} of {op.client} was accepted after {claim.client} "
                    f"had won attempt {claim.n}"
                )
            elif op.verb == "claim" and op.n <= claim.n and op is not claim:
                found.append(f"task {task}: the fence went back from {claim.n} to {op.n}")
    for end in its:
        if end.verb == "complete" and any(claim.sent_ns > (end.ended_ns or 0) for claim in claims):
            found.append(f"task {task}: claimed again after its completion was acknowledged")
    return found


def _keys(acked: list[Op], final: Mapping[int, Final]) -> list[str]:
    answers: dict[str, set[int]] = defaultdict(set)
    for op in acked:
        if op.verb == "add" and op.key is not None and op.task is not None:
            answers[op.key].add(op.task)
    held: dict[str, list[int]] = defaultdict(list)
    for task, end in final.items():
        if end.key is not None:
            held[end.key].append(task)
    found = [f"key {key}: answered with {len(tasks)} tasks" for key, tasks in answers.items() if len(tasks) > 1]
    found += [f"key {key}: the store holds {len(tasks)} tasks" for key, tasks in held.items() if len(tasks) > 1]
    return found
