"""The broker as a driver: each verb of agentctl_store.driver.Driver as one call."""

from __future__ import annotations

import os

from ..later import Part
from .client import Caller
from .link import ANSWER_S, Link
from .wire import SOCKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..clock import Clock, Moment
    from ..domain.agent import Agent, AgentSpec, Desired, Instance, NewSession, Session, SessionEnd
    from ..domain.event import Event
    from ..domain.retry import Failure
    from ..domain.task import Added, Attempt, Claim, Ended, Lease, NewTask, ParentResult, Swept, Task, Turn, Usage
    from ..limitsdriver import LimitsDriver
    from ..messagedriver import MessageDriver
    from ..questiondriver import QuestionDriver
    from ..scheduledriver import ScheduleDriver


def connect(
    directory: str, clock: Clock, *, create: bool, stay: bool, patience_s: float = ANSWER_S
) -> BrokerDriver | None:
    """Return the driver of a store with an owner; None when it has none, unless `stay`: then it waits for one.

    An owner that does not answer for `patience_s` seconds is taken for stuck, and the file is used instead.
    """
    client = int.from_bytes(clock.token(8), "big") >> 1
    token, link = _token(directory), None
    if os.access(f"{directory}/{SOCKET}", os.F_OK):
        try:
            link = Link(directory, client, token, patience_s)
        except OSError:
            pass  # left by a supervisor that was killed
    if link is None and not stay:
        return None
    return BrokerDriver(Caller(directory, link, client, token, clock, create=create, patience_s=patience_s))


def _token(directory: str) -> str | None:
    """Return this session's token, if this is the store it was made for."""
    token, store = os.environ.get("AGENTCTL_TOKEN"), os.environ.get("AGENTCTL_STORE")
    return token if token and store and os.path.realpath(store) == os.path.realpath(directory) else None


class BrokerDriver:
    """See agentctl_store.driver.Driver, whose words these are."""

    limits: LimitsDriver = Part(f"{__package__}.limits", "BrokerLimits", "call")  # type: ignore[assignment]
    messages: MessageDriver = Part(f"{__package__}.messages", "BrokerMessages", "call")  # type: ignore[assignment]
    schedules: ScheduleDriver = Part(f"{__package__}.schedules", "BrokerSchedules", "call")  # type: ignore[assignment]
    questions: QuestionDriver = Part(f"{__package__}.questions", "BrokerQuestions", "call")  # type: ignore[assignment]

    def __init__(self, caller: Caller) -> None:
        self.call = caller.call
        self.close = caller.close

    # --- tasks ------------------------------------------------------------------------------------------------
    def add(self, tasks: Sequence[NewTask], *, actor: str | None, now: Moment) -> list[Added]:
        return self.call("add", tasks, actor, now=now)  # type: ignore[no-any-return]

    def claim(
        self,
        queues: Sequence[str],
        *,
        agent: str,
        slot: int | None,
        session: int | None,
        open_session: NewSession | None,
        lease_ms: int,
        limit: int,
        wait_ms: int,
        can: Sequence[str] | None = None,
        now: Moment,
    ) -> list[Claim]:
        given = (queues, agent, slot, session, open_session, lease_ms, limit, can, wait_ms)
        return self.call("claim", *given, now=now, wait_ms=wait_ms)  # type: ignore[no-any-return]

    def heartbeat(
        self, task: int, n: int, *, lease_ms: int, progress: str | None, usage: Usage | None, now: Moment
    ) -> Lease:
        return self.call("heartbeat", task, n, lease_ms, progress, usage, now=now)  # type: ignore[no-any-return]

    def complete(
        self,
        task: int,
        n: int,
        *,
        result: str | None,
        usage: Usage | None,
        exit_code: int | None,
        end_session: SessionEnd | None,
        now: Moment,
    ) -> Ended:
        given = (task, n, result, usage, exit_code, end_session)
        return self.call("complete", *given, now=now)  # type: ignore[no-any-return]

    def complete_and_claim(
        self,
        task: int,
        n: int,
        *,
        result: str | None,
        usage: Usage | None,
        queues: Sequence[str],
        agent: str,
        slot: int | None,
        session: int | None,
        lease_ms: int,
        can: Sequence[str] | None = None,
        now: Moment,
    ) -> Turn:
        given = (task, n, result, usage, queues, agent, slot, session, lease_ms, can)
        return self.call("complete_and_claim", *given, now=now)  # type: ignore[no-any-return]

    def fail(
        self,
        task: int,
        n: int,
        failure: Failure,
        *,
        usage: Usage | None,
        jitter: float,
        end_session: SessionEnd | None,
        now: Moment,
    ) -> Ended:
        return self.call("fail", task, n, failure, usage, jitter, end_session, now=now)  # type: ignore[no-any-return]

    def release(
        self, task: int, n: int, *, reason: str, end_session: SessionEnd | None, usage: Usage | None, now: Moment
    ) -> Ended:
        return self.call("release", task, n, reason, end_session, usage, now=now)  # type: ignore[no-any-return]

    def cancel(self, task: int, *, reason: str, actor: str, now: Moment) -> Ended:
        return self.call("cancel", task, reason, actor, now=now)  # type: ignore[no-any-return]

    def cancelled(
        self, task: int, n: int, *, end_session: SessionEnd | None, usage: Usage | None, now: Moment
    ) -> Ended:
        return self.call("cancelled", task, n, end_session, usage, now=now)  # type: ignore[no-any-return]

    def hasten(self, task: int, *, actor: str, now: Moment) -> Ended:
        return self.call("hasten", task, actor, now=now)  # type: ignore[no-any-return]

    def requeue(
        self, task: int, *, payload: str | None, run_at_ms: int | None, note: str, actor: str, now: Moment
    ) -> Ended:
        return self.call("requeue", task, payload, run_at_ms, note, actor, now=now)  # type: ignore[no-any-return]

    def discard(self, task: int, *, reason: str, actor: str, now: Moment) -> Ended:
        return self.call("discard", task, reason, actor, now=now)  # type: ignore[no-any-return]

    def sweep(self, *, limit: int, jitter: float, now: Moment) -> Swept:
        return self.call("sweep", limit, jitter, now=now)  # type: ignore[no-any-return]

    def task(self, task: int) -> Task:
        return self.call("task", task)  # type: ignore[no-any-return]

    def find_tasks(self, low: int, high: int, limit: int) -> list[int]:
        return self.call("find_tasks", low, high, limit)  # type: ignore[no-any-return]

    def task_by_key(self, key: str) -> int | None:
        return self.call("task_by_key", key)  # type: ignore[no-any-return]

    def attempts(self, task: int) -> list[Attempt]:
        return self.call("attempts", task)  # type: ignore[no-any-return]

    def unfinished(self, queues: Sequence[str], agents: Sequence[str] | None = None) -> bool:
        return self.call("unfinished", queues, agents)  # type: ignore[no-any-return]

    def parents(self, task: int) -> list[ParentResult]:
        return self.call("parents", task)  # type: ignore[no-any-return]

    # --- queues -----------------------------------------------------------------------------------------------
    def pause_queue(self, queue: str, *, reason: str, actor: str, now: Moment) -> bool:
        return self.call("pause_queue", queue, reason, actor, now=now)  # type: ignore[no-any-return]

    def resume_queue(self, queue: str, *, actor: str, now: Moment) -> bool:
        return self.call("resume_queue", queue, actor, now=now)  # type: ignore[no-any-return]

    # --- agents -----------------------------------------------------------------------------------------------
    def declare_agents(self, specs: Sequence[AgentSpec], *, actor: str, now: Moment) -> None:
        self.call("declare_agents", specs, actor, now=now)

    def set_desired(self, agent: str, desired: Desired, *, actor: str, now: Moment) -> Agent:
        return self.call("set_desired", agent, desired, actor, now=now)  # type: ignore[no-any-return]

    def restart_agent(self, agent: str, *, actor: str, now: Moment) -> Agent:
        return self.call("restart_agent", agent, actor, now=now)  # type: ignore[no-any-return]

    def scale_agent(self, agent: str, instances: int | None, *, actor: str, now: Moment) -> Agent:
        return self.call("scale_agent", agent, instances, actor, now=now)  # type: ignore[no-any-return]

    def agents(self) -> list[Agent]:
        return self.call("agents")  # type: ignore[no-any-return]

    def save_instances(self, changed: Sequence[Instance], *, now: Moment) -> None:
        self.call("save_instances", changed, now=now)

    def drop_instances(self, gone: Sequence[tuple[str, int]], *, now: Moment) -> None:
        self.call("drop_instances", gone, now=now)

    def instances(self) -> list[Instance]:
        return self.call("instances")  # type: ignore[no-any-return]

    def open_session(self, session: NewSession, *, now: Moment) -> Session:
        return self.call("open_session", session, now=now)  # type: ignore[no-any-return]

    def session_started(self, session: int, *, pid: int, now: Moment) -> None:
        self.call("session_started", session, pid, now=now)

    def end_session(self, end: SessionEnd, *, usage: Usage | None, now: Moment) -> None:
        self.call("end_session", end, usage, now=now)

    def open_sessions(self) -> list[Session]:
        return self.call("open_sessions")  # type: ignore[no-any-return]

    def session(self, session: int) -> Session:
        return self.call("session", session)  # type: ignore[no-any-return]

    def held_tasks(self, session: int) -> list[tuple[int, int]]:
        return [(task, n) for task, n in self.call("held_tasks", session)]

    # --- history ----------------------------------------------------------------------------------------------
    def note(self, kind: str, *, actor: str, data: str | None, now: Moment) -> None:
        self.call("note", kind, actor, data, now=now)

    def events(
        self,
        *,
        after: int = 0,
        limit: int = 100,
        task: int | None = None,
        kinds: Sequence[str] = (),
        newest_first: bool = False,
    ) -> list[Event]:
        return self.call("events", after, limit, task, kinds, newest_first)  # type: ignore[no-any-return]

    def changed(self, after: int, *, task: int | None, wait_ms: int) -> int:
        return self.call("changed", after, task, wait_ms, wait_ms=wait_ms)  # type: ignore[no-any-return]

    def receipt(self, client: int, request: int) -> str | None:
        return self.call("receipt", client, request)  # type: ignore[no-any-return]

    def version(self) -> int:
        return self.call("version")  # type: ignore[no-any-return]
