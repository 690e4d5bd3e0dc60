"""A fleet of a test's making, by the store's own verbs, and what is found in it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from store.store_kit import SetClock, add, new_store  # noqa: TID251

from agentctl_store.domain.agent import AgentSpec
from agentctl_store.domain.retry import Failure, RetryPolicy
from agentctl_store.domain.task import Claim
from agentctl_store.findings import find
from agentctl_store.findings.model import Finding
from agentctl_store.findings.thresholds import HOUR_MS, MINUTE_MS, Thresholds
from agentctl_store.messageverbs import MessageRequest
from agentctl_store.read import open_evidence
from agentctl_store.store import Store

SECOND_MS = 1_000
DAY_MS = 24 * HOUR_MS


class Fleet:
    """A store, its clock, and short words for what agents do."""

    def __init__(self, folder: Path) -> None:
        self.clock = SetClock()
        self.store: Store = new_store(folder, self.clock)

    def declare(self, **queues: str | tuple[str, ...]) -> None:
        """Declare agents by name, each with the queues it serves and two instances."""
        specs = [AgentSpec(name, "task", (q,) if isinstance(q, str) else q, 2) for name, q in queues.items()]
        self.store.declare_agents(specs, actor="supervisor")

    def add(self, queue: str, *, by: Claim | None = None, actor: str | None = None, **more: Any) -> int:
        """Add a task, in the name of a running one but with a trace of its own: within one a circle is refused."""
        if by is not None:
            more = {"creator": by.task.id, "correlation": self.clock.token(16).hex()} | more
            actor = f"{by.task.agent}/1"
        if actor is None:
            return add(self.store, queue, **more)
        from agentctl_store.store import TaskRequest

        return self.store.add([TaskRequest(queue, **more)], actor=actor)[0].id

    def claim(self, agent: str, queue: str, slot: int | None = 1) -> Claim:
        """A claim that must win. Its lease is a day: only the clock is played with here."""
        won = self.store.claim([queue], agent=agent, slot=slot, lease_ms=DAY_MS)
        assert won, f"{agent} found nothing in {queue}"
        return won[0]

    def do(self, agent: str, queue: str, times: int = 1) -> None:
        """Add tasks and have an agent do them."""
        for _ in range(times):
            self.add(queue)
            claim = self.claim(agent, queue)
            self.store.complete(claim.task.id, claim.n)

    def say(self, source: str, target: str, times: int = 1, type: str = "STATUS", **more: Any) -> int:
        """Send messages; return the last one's id."""
        sent = 0
        for _ in range(times):
            request = MessageRequest(source, target, type=type, **more)  # type: ignore[arg-type]
            sent = self.store.messages.send(request, actor=f"{source}/1").id
        return sent

    def fail(self, agent: str, queue: str, error: str = "exit 1: no", kind: str = "transient") -> int:
        """Add a task and have an attempt of it fail; it comes back within a day."""
        task = self.add(queue, retry=RetryPolicy(DAY_MS, 1.0, DAY_MS))
        claim = self.claim(agent, queue)
        self.store.fail(claim.task.id, claim.n, Failure(kind, error))  # type: ignore[arg-type]
        return task

    def minutes(self, count: float) -> None:
        """Let time pass."""
        self.clock.pass_ms(int(count * MINUTE_MS))

    def find(self, *kinds: str, since_ms: int = DAY_MS, **limits: Any) -> list[Finding]:
        """Return what is found now."""
        now = self.clock.wall_ms
        with closing(open_evidence(self.store.directory, now - since_ms, now)) as evidence:
            return find(evidence, Thresholds(**limits).check(), kinds)  # type: ignore[arg-type]

    def one(self, kind: str, **limits: Any) -> Finding:
        """Return the one finding of a kind that there must be."""
        found = self.find(kind, **limits)
        assert len(found) == 1, found
        return found[0]
