"""The seam below the store: what a driver must do, in the words of the domain, never in SQL.

Each verb is one transaction that appends one event per state change, and takes the moment it happens at; nothing in
a driver reads a clock or dice. Writes that end or extend an attempt are guarded by state and fence, and raise
StaleAttempt when the attempt no longer owns its task. `tests/store/` holds the conformance suite each driver passes.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from .clock import Moment
    from .domain.agent import Agent, AgentSpec, Desired, Instance, NewSession, Session, SessionEnd
    from .domain.event import Event
    from .domain.retry import Failure
    from .domain.task import (
        Added,
        Attempt,
        Claim,
        Ended,
        Lease,
        NewTask,
        ParentResult,
        Swept,
        Task,
        Turn,
        Usage,
    )
    from .limitsdriver import LimitsDriver
    from .messagedriver import MessageDriver
    from .questiondriver import QuestionDriver
    from .scheduledriver import ScheduleDriver

    class Driver(Protocol):
        @property
        def messages(self) -> MessageDriver: ...

        @property
        def schedules(self) -> ScheduleDriver: ...

        @property
        def questions(self) -> QuestionDriver: ...

        @property
        def limits(self) -> LimitsDriver: ...

        # --- tasks -------------------------------------------------------------------------------------------
        def add(self, tasks: Sequence[NewTask], *, actor: str | None, now: Moment) -> list[Added]:
            """Add all or none. A known idempotency key answers its first task. NotFound for an unknown parent.

            BadDelegation for a task that could only come back to an agent that delegated it, or whose chain is too
            long. Of tasks that no declared agent can take, `Added.unroutable` says why.
            """

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
            can: Sequence[str] | None,
            now: Moment,
        ) -> list[Claim]:
            """Claim up to `limit` ready tasks, best rank first, from queues that are not paused.

            Of those alone that the agent may take: what they need it `can` (None: what it was declared with), and it
            is none of those who delegated them; see domain/routing.py.

            Promotes due and expires lost tasks of these queues first, so that no supervisor is needed. With
            `open_session` (limit 1) the session's intent row is written in the same transaction, when a task was won.
            With nothing to claim, a driver that can lets the claim wait for `wait_ms`; the others answer at once.
            """

        def heartbeat(
            self, task: int, n: int, *, lease_ms: int, progress: str | None, usage: Usage | None, now: Moment
        ) -> Lease:
            """Extend the lease, never shorten it."""

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
            """The attempt succeeded. Children whose last parent this was become claimable."""

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
            can: Sequence[str] | None,
            now: Moment,
        ) -> Turn:
            """`complete`, then `claim` of one task, in one transaction: what a worker does between two tasks."""

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
            """The attempt failed: retried later, or a dead letter (see domain.retry.judge)."""

        def release(
            self, task: int, n: int, *, reason: str, end_session: SessionEnd | None, usage: Usage | None, now: Moment
        ) -> Ended:
            """Give the task back untried: ready at once, no try burnt. Ends as cancelled if that was asked."""

        def cancel(self, task: int, *, reason: str, actor: str, now: Moment) -> Ended:
            """Cancel what waits; of what runs, ask: `Lease.cancel_asked` and the supervisor tell the attempt."""

        def cancelled(
            self, task: int, n: int, *, end_session: SessionEnd | None, usage: Usage | None, now: Moment
        ) -> Ended:
            """The attempt ended because a cancel was asked."""

        def hasten(self, task: int, *, actor: str, now: Moment) -> Ended:
            """A scheduled task becomes ready now."""

        def requeue(
            self, task: int, *, payload: str | None, run_at_ms: int | None, note: str, actor: str, now: Moment
        ) -> Ended:
            """A dead letter becomes claimable again with fresh tries, and `payload` when given."""

        def discard(self, task: int, *, reason: str, actor: str, now: Moment) -> Ended:
            """A dead letter is given up."""

        def sweep(self, *, limit: int, jitter: float, now: Moment) -> Swept:
            """Promote due tasks, expire leases, bury what is past its deadline; give leases grace after a sleep."""

        def task(self, task: int) -> Task:
            """Raises NotFound."""

        def find_tasks(self, low: int, high: int, limit: int) -> list[int]:
            """Return up to `limit` ids from `low` to `high`: prefix lookup."""

        def task_by_key(self, key: str) -> int | None: ...

        def attempts(self, task: int) -> list[Attempt]: ...

        def unfinished(self, queues: Sequence[str], agents: Sequence[str] | None) -> bool:
            """Return whether a task of these queues is ready, scheduled or active: whether work is left to do.

            With `agents`, ready and scheduled ones count only if one of these may take them.
            """

        def parents(self, task: int) -> list[ParentResult]:
            """The results a child sees, oldest parent first."""

        # --- queues ------------------------------------------------------------------------------------------
        def pause_queue(self, queue: str, *, reason: str, actor: str, now: Moment) -> bool:
            """Stop claims from `queue` (made known if new). False when it was paused already."""

        def resume_queue(self, queue: str, *, actor: str, now: Moment) -> bool: ...

        # --- agents ------------------------------------------------------------------------------------------
        def declare_agents(self, specs: Sequence[AgentSpec], *, actor: str, now: Moment) -> None:
            """Make the fleet's agents these; others stay as identities, no longer declared."""

        def set_desired(self, agent: str, desired: Desired, *, actor: str, now: Moment) -> Agent:
            """`running` also clears a start-limit latch (`reset_seq`). NotFound for an unknown agent."""

        def restart_agent(self, agent: str, *, actor: str, now: Moment) -> Agent: ...

        def scale_agent(self, agent: str, instances: int | None, *, actor: str, now: Moment) -> Agent: ...

        def agents(self) -> list[Agent]: ...

        def save_instances(self, changed: Sequence[Instance], *, now: Moment) -> None:
            """Write what the supervisor saw; one event per instance whose phase, health or reason changed."""

        def drop_instances(self, gone: Sequence[tuple[str, int]], *, now: Moment) -> None: ...

        def instances(self) -> list[Instance]: ...

        def open_session(self, session: NewSession, *, now: Moment) -> Session:
            """Write the intent to start a session that has no task (worker and service)."""

        def session_started(self, session: int, *, pid: int, now: Moment) -> None: ...

        def end_session(self, end: SessionEnd, *, usage: Usage | None, now: Moment) -> None:
            """End a session; its unfinished attempts are released by the caller, or expire. Idempotent.

            `usage` is what its task's attempt has used in all, told where that has ended already, in whatever way.
            """

        def open_sessions(self) -> list[Session]:
            """Sessions that have not ended: what a new supervisor adopts."""

        def session(self, session: int) -> Session: ...

        def held_tasks(self, session: int) -> list[tuple[int, int]]:
            """Return (task, n) of the attempts a session still holds."""

        # --- history -----------------------------------------------------------------------------------------
        def note(self, kind: str, *, actor: str, data: str | None, now: Moment) -> None:
            """Append an event that changes no row (supervisor.started, supervisor.noted …)."""

        def events(
            self,
            *,
            after: int = 0,
            limit: int = 100,
            task: int | None = None,
            kinds: Sequence[str] = (),
            newest_first: bool = False,
        ) -> list[Event]:
            """Return events with seq > `after` (or, newest first, < `after` when it is not 0)."""

        def changed(self, after: int, *, task: int | None, wait_ms: int) -> int:
            """Return the number of the last event (of `task`, when given), 0 when there is none.

            Waits up to `wait_ms` of real time for one beyond `after`.
            """

        def receipt(self, client: int, request: int) -> str | None:
            """Return what the broker answered to a client's last request, as JSON text, if it was this one."""

        def version(self) -> int:
            """Return a number that changes when another connection has committed (PRAGMA data_version)."""

        def close(self) -> None: ...
