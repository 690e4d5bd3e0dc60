"""The SQLite driver: each domain verb as one write transaction on one connection."""

from __future__ import annotations

from ..domain.event import KINDS
from ..domain.task import WAITING, Turn
from ..errors import NotFound, StoreError
from ..ids import write_id
from ..later import Part, later
from . import sqltext
from .connection import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..clock import Moment
    from ..domain.agent import Agent, AgentSpec, Desired, Instance, NewSession, Session, SessionEnd
    from ..domain.event import Event
    from ..domain.retry import Failure
    from ..domain.task import Added, Attempt, Claim, Ended, Lease, NewTask, ParentResult, Swept, Task, Usage
    from ..limitsdriver import LimitsDriver
    from ..questiondriver import QuestionDriver
    from ..scheduledriver import ScheduleDriver
    from . import adding, claiming, clocks, deciding, ending, fleet, history, holding, routing, rows, sweeping, waiting
    from .messages import SqliteMessages
    from .transaction import Transaction
else:
    rooms = ("adding", "claiming", "clocks", "deciding", "ending", "fleet", "history", "holding")
    later(globals(), __package__, *rooms, "routing", "rows", "sweeping", "waiting")


PARENTS_AT_ONCE = 16  #: read in one go where what they left is limited: each may hold 2 MiB


class SqliteDriver:
    """See agentctl_store.driver.Driver, whose words these are."""

    limits: LimitsDriver = Part(f"{__package__}.limits", "SqliteLimits", "conn")  # type: ignore[assignment]
    messages: SqliteMessages = Part(f"{__package__}.messages", "SqliteMessages", "conn")  # type: ignore[assignment]
    schedules: ScheduleDriver = Part(f"{__package__}.schedules", "SqliteSchedules", "conn")  # type: ignore[assignment]
    questions: QuestionDriver = Part(f"{__package__}.questions", "SqliteQuestions", "conn")  # type: ignore[assignment]

    def __init__(self, directory: str, *, create: bool = False, synchronous: str = "FULL") -> None:
        self.conn = Connection(directory, create=create, synchronous=synchronous)
        self.sql = self.conn.sql = sqltext.load("task")
        self._quiet: waiting.Quiet | None = None  #: since its last claim, if that waits and found nothing

    # What a verb needs is asked for before its turn to write: it may have to be imported, and all others wait for the
    # end of a turn.
    # --- tasks ------------------------------------------------------------------------------------------------
    def add(self, tasks: Sequence[NewTask], *, actor: str | None, now: Moment) -> list[Added]:
        add = adding.add
        with self.conn.write(now) as tx:
            return add(tx, self.sql, tasks, actor)

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
        who, waits = (queues, agent, can), wait_ms > 0 and self.conn.group is None
        if waits and self._quiet is not None and self._quiet.lasts(self.conn, who, now):
            return []
        notice, claim, quiet = clocks.clocks, claiming.claim, None
        with self.conn.write(now) as tx:
            notice(tx, self.conn)
            won = claim(tx, self.conn, queues, agent, slot, session, open_session, lease_ms, limit, can)
            if waits and not won:
                quiet = waiting.quiet(tx, self.conn, who)
        self._quiet = quiet  # only now: what was not committed says nothing
        return won

    def heartbeat(
        self, task: int, n: int, *, lease_ms: int, progress: str | None, usage: Usage | None, now: Moment
    ) -> Lease:
        notice, heartbeat = clocks.clocks, holding.heartbeat
        with self.conn.write(now) as tx:
            # After a reboot the old leases go before this one is given: who keeps its task here keeps it for good.
            notice(tx, self.conn)
            return heartbeat(tx, self.sql, task, n, lease_ms, progress, usage)

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
        complete = ending.complete
        with self.conn.write(now) as tx:
            return complete(tx, self.sql, task, n, result, usage, exit_code, end_session)

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
        notice, complete, claim = clocks.clocks, ending.complete, claiming.claim
        with self.conn.write(now) as tx:
            notice(tx, self.conn)
            ended = complete(tx, self.sql, task, n, result, usage, None, None)
            won = claim(tx, self.conn, queues, agent, slot, session, None, lease_ms, 1, can)
        return Turn(ended, won[0] if won else None)

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
        fail = ending.fail
        with self.conn.write(now) as tx:
            return fail(tx, self.sql, task, n, failure, usage, jitter, end_session)

    def release(
        self, task: int, n: int, *, reason: str, end_session: SessionEnd | None, usage: Usage | None, now: Moment
    ) -> Ended:
        release = ending.release
        with self.conn.write(now) as tx:
            return release(tx, self.sql, task, n, reason, end_session, usage)

    def cancel(self, task: int, *, reason: str, actor: str, now: Moment) -> Ended:
        with self.conn.write(now) as tx:
            return deciding.cancel(tx, self.conn, task, reason, actor)

    def cancelled(
        self, task: int, n: int, *, end_session: SessionEnd | None, usage: Usage | None, now: Moment
    ) -> Ended:
        with self.conn.write(now) as tx:
            return ending.cancelled(tx, self.sql, task, n, end_session, usage)

    def hasten(self, task: int, *, actor: str, now: Moment) -> Ended:
        with self.conn.write(now) as tx:
            return deciding.hasten(tx, self.conn, task, actor)

    def requeue(
        self, task: int, *, payload: str | None, run_at_ms: int | None, note: str, actor: str, now: Moment
    ) -> Ended:
        with self.conn.write(now) as tx:
            return deciding.requeue(tx, self.conn, task, payload, run_at_ms, note, actor)

    def discard(self, task: int, *, reason: str, actor: str, now: Moment) -> Ended:
        with self.conn.write(now) as tx:
            return deciding.discard(tx, self.conn, task, reason, actor)

    def sweep(self, *, limit: int, jitter: float, now: Moment) -> Swept:
        with self.conn.write(now) as tx:
            return sweeping.sweep(tx, self.conn, self.messages.shared, limit, jitter)

    def task(self, task: int) -> Task:
        found = self.conn.rows(self.sql["one"], (task,))
        if not found:
            raise NotFound(f"there is no task {write_id(task)}", "Look for it with: agentctl task list")
        why = routing.why(self.conn, found[0]) if found[0][2] in WAITING else ""
        return rows.task_from(found[0], self.conn, why)

    def find_tasks(self, low: int, high: int, limit: int) -> list[int]:
        return [row[0] for row in self.conn.rows(self.sql["between"], (low, high, limit))]

    def task_by_key(self, key: str) -> int | None:
        found = self.conn.rows(self.sql["parent_by_key"], (key,))
        return found[0][0] if found else None

    def attempts(self, task: int) -> list[Attempt]:
        return [rows.attempt_from(row) for row in self.conn.rows(self.sql["attempts"], (task,))]

    def unfinished(self, queues: Sequence[str], agents: Sequence[str] | None = None) -> bool:
        return routing.unfinished(self.conn, queues, agents)

    def can_of(self, agent: str) -> tuple[str, ...]:
        return routing.can_of(self.conn, agent)

    def parents(self, task: int, most: int | None = None) -> list[ParentResult]:
        """See Driver.parents. StoreError when they left more than `most` characters, before all are read."""
        found: list[ParentResult] = []
        limit, left = (-1, 0) if most is None else (PARENTS_AT_ONCE, most)
        while True:
            page = self.conn.rows(self.sql["parents"], (task, found[-1].task if found else -1, limit))
            found += [rows.parent_from(row) for row in page]
            if len(page) < limit or limit < 0:
                return found
            left -= sum(len(row[3]) + len(row[4] or "") for row in page)
            if left < 0:
                raise StoreError(
                    f"what the tasks left that {write_id(task)} waited for is more than {most or 0:,} characters",
                    "Have fewer parents, or let them leave the names of files",
                )

    # --- queues -----------------------------------------------------------------------------------------------
    def pause_queue(self, queue: str, *, reason: str, actor: str, now: Moment) -> bool:
        with self.conn.write(now) as tx:
            return fleet.pause_queue(tx, queue, reason, actor)

    def resume_queue(self, queue: str, *, actor: str, now: Moment) -> bool:
        with self.conn.write(now) as tx:
            return fleet.resume_queue(tx, queue, actor)

    # --- agents -----------------------------------------------------------------------------------------------
    def declare_agents(self, specs: Sequence[AgentSpec], *, actor: str, now: Moment) -> None:
        with self.conn.write(now) as tx:
            fleet.declare_agents(tx, self.sql, specs, actor)

    def set_desired(self, agent: str, desired: Desired, *, actor: str, now: Moment) -> Agent:
        with self.conn.write(now) as tx:
            return fleet.set_desired(tx, agent, desired, actor)

    def restart_agent(self, agent: str, *, actor: str, now: Moment) -> Agent:
        with self.conn.write(now) as tx:
            return fleet.restart_agent(tx, agent, actor)

    def scale_agent(self, agent: str, instances: int | None, *, actor: str, now: Moment) -> Agent:
        with self.conn.write(now) as tx:
            return fleet.scale_agent(tx, agent, instances, actor)

    def agents(self) -> list[Agent]:
        return fleet.agents(self.conn)

    def save_instances(self, changed: Sequence[Instance], *, now: Moment) -> None:
        with self.conn.write(now) as tx:
            fleet.save_instances(tx, changed)

    def drop_instances(self, gone: Sequence[tuple[str, int]], *, now: Moment) -> None:
        with self.conn.write(now) as tx:
            fleet.drop_instances(tx, gone)

    def instances(self) -> list[Instance]:
        return fleet.instances(self.conn)

    def open_session(self, session: NewSession, *, now: Moment) -> Session:
        with self.conn.write(now) as tx:
            claiming.open_session(tx, session)
        return self.session(session.id)

    def session_started(self, session: int, *, pid: int, now: Moment) -> None:
        with self.conn.write(now) as tx:
            fleet.session_started(tx, session, pid)

    def end_session(self, end: SessionEnd, *, usage: Usage | None, now: Moment) -> None:
        with self.conn.write(now) as tx:
            ending.write_session_end(tx, end)
            if usage is not None:
                holding.used_by_session(tx, end.id, usage)

    def open_sessions(self) -> list[Session]:
        return fleet.sessions(self.conn, "s.ended_ms IS NULL", ())

    def session(self, session: int) -> Session:
        found = fleet.sessions(self.conn, "s.id = ?", (session,))
        if not found:
            raise NotFound(f"there is no session {write_id(session)}", "List the instances with: agentctl ps")
        return found[0]

    def held_tasks(self, session: int) -> list[tuple[int, int]]:
        return [(row[0], row[1]) for row in self.conn.rows(self.sql["held_by_session"], (session,))]

    # --- history ----------------------------------------------------------------------------------------------
    def note(self, kind: str, *, actor: str, data: str | None, now: Moment) -> None:
        with self.conn.write(now) as tx:
            tx.event(KINDS[kind], actor=actor, data=data)

    def events(
        self,
        *,
        after: int = 0,
        limit: int = 100,
        task: int | None = None,
        kinds: Sequence[str] = (),
        newest_first: bool = False,
    ) -> list[Event]:
        return history.events(self.conn, after, limit, task, kinds, newest_first)

    def changed(self, after: int, *, task: int | None, wait_ms: int) -> int:
        return waiting.changed(self.conn, after, task, wait_ms)

    def receipt(self, client: int, request: int) -> str | None:
        found = self.conn.rows("SELECT answer FROM receipt WHERE client = ? AND request = ?", (client, request))
        return found[0][0] if found else None

    def keep_receipt(self, tx: Transaction, client: int, request: int, answer: str) -> None:
        """Note in a group's transaction what its client is about to be told."""
        tx.execute(self.sql["keep_receipt"], (client, request, tx.now.awake_ms, answer))

    def drop_receipt(self, tx: Transaction, client: int, request: int) -> bool:
        """Forget what a client was to be told, in a group's transaction; whether it was still there."""
        return bool(tx.execute(self.sql["drop_receipt"], (client, request)).rowcount)

    def forget_receipts(self, *, older_than_ms: int, now: Moment) -> None:
        """Forget what was answered long ago, or before a reboot: nobody asks any more."""
        with self.conn.write(now) as tx:
            tx.execute(self.sql["forget_receipts"], (now.awake_ms - older_than_ms, now.awake_ms))

    # --- who may see what (broker/rights.py) ------------------------------------------------------------------
    def holder(self, task: int, n: int) -> tuple[str, int | None, int] | None:
        """Return the agent and session of an attempt, and whether its success is checked; None when there is none."""
        found = self.conn.rows(self.sql["holder"], (task, n))
        return found[0] if found else None

    def runs(self, session: int) -> bool:
        """Return whether a session is known and has not ended."""
        return bool(self.conn.rows(self.sql["runs"], (session,)))

    def took_part(self, agent: str, task: int) -> bool:
        """Return whether `agent` ever had an attempt of `task`."""
        return bool(self.conn.rows(self.sql["took_part"], (task, agent)))

    def visible_to(self, agent: str, session: int, task: int) -> bool:
        """Return whether an agent works or worked on `task`, or on one of its piece of work in this session."""
        return self.took_part(agent, task) or bool(self.conn.rows(self.sql["same_work"], (task, session)))

    def added_by(self, agent: str, task: int) -> bool:
        """Return whether `agent` works or worked on the task that added this one."""
        return bool(self.conn.rows(self.sql["added_by"], (task, agent)))

    def part_in_work(self, task: int | None, session: int, correlation: str) -> int | None:
        """Return `task` if it has that correlation id, else one that a session holds and that has; None: neither."""
        found = self.conn.rows(self.sql["part_in_work"], (task, session, bytes.fromhex(correlation)))
        return found[0][0] if found else None

    def version(self) -> int:
        return int(self.conn.rows("PRAGMA data_version")[0][0])

    def close(self) -> None:
        self.conn.close()
