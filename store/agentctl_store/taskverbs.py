"""The store's verbs on tasks, as everybody above the driver calls them."""

from __future__ import annotations

from .domain.task import MAX_BATCH, MAX_CAN, MAX_NEEDS, MAX_TEXT, MAX_USED, PRIORITY_MAX, PRIORITY_MIN, NewTask
from .errors import BadInput
from .ids import check_correlation, check_key, check_name, check_own_key, id_range, new_correlation, new_id, write_id
from .jsontext import dumps, loads
from .record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .clock import Clock
    from .domain.agent import SessionEnd
    from .domain.retry import Failure, RetryPolicy
    from .domain.task import (
        Added,
        Attempt,
        Claim,
        Ended,
        Lease,
        OnParentFailure,
        ParentResult,
        Swept,
        Task,
        Turn,
        Usage,
    )
    from .driver import Driver

DEFAULT_LEASE_MS = 60_000
MAX_LEASE_MS = 24 * 3_600_000
MAX_CLAIM = 1_000
MAX_PROGRESS = 500
LOOK_MS = 1_000  #: how often a claim that waits without a supervisor looks for what no commit announces
MAX_WAIT_MS = 3_600_000  #: of one call of the driver; whoever waits longer asks again
FOREVER_MS = 10 * 366 * 24 * 3_600_000


@record
class TaskRequest:
    """What a caller asks to be added. Times are wall milliseconds, durations milliseconds."""

    queue: str
    payload: str = "null"  #: JSON text
    priority: int = 0
    key: str | None = None
    after: tuple[int | str, ...] = ()  #: parents: a task id, or the idempotency key of an earlier task
    on_parent_failure: OnParentFailure = "fail"
    run_at_ms: int | None = None
    delay_ms: int | None = None  #: instead of run_at_ms: from now
    deadline_ms: int | None = None
    timeout_ms: int | None = None
    retry: RetryPolicy | None = None
    correlation: str | None = None
    creator: int | None = None
    needs: tuple[str, ...] = ()  #: what its claimer must be able to


class TaskVerbs:
    """Adding, claiming and ending tasks, and what a person decides about them."""

    driver: Driver
    directory: str
    clock: Clock

    def add(self, requests: Sequence[TaskRequest], *, actor: str | None = None) -> list[Added]:
        """Add all or none, durably before this returns. BadInput and its kinds, NotFound for an unknown parent."""
        if len(requests) > MAX_BATCH:
            raise BadInput(f"{len(requests):,} tasks at once; the limit is {MAX_BATCH:,}", "Add them in parts")
        now = self.clock.now()
        first = new_id(self.clock, now.wall_ms)
        # Ids of one batch count up, so that tasks of one millisecond keep their order.
        tasks = []
        for index, request in enumerate(requests):
            try:
                tasks.append(self._new(request, first + index, now.wall_ms))
            except BadInput as error:
                if len(requests) > 1:
                    error.message = f"task {index + 1:,} of {len(requests):,}: {error.message}"
                raise
        return self.driver.add(tasks, actor=actor, now=now)

    def _new(self, request: TaskRequest, number: int, wall_ms: int) -> NewTask:
        check_name(request.queue, "queue")
        if not PRIORITY_MIN <= request.priority <= PRIORITY_MAX:
            raise BadInput(f"priority {request.priority} is out of range", "Use -100 to 100; higher is sooner")
        if request.key is not None:
            check_own_key(check_key(request.key))
        for parent in request.after:
            if isinstance(parent, str):
                check_key(parent)
        if request.on_parent_failure not in ("fail", "run", "cancel"):
            raise BadInput(f"on_parent_failure {request.on_parent_failure!r} is unknown", "Use fail, run or cancel")
        run_at = request.run_at_ms if request.delay_ms is None else wall_ms + request.delay_ms
        _check_time(run_at, "run at", wall_ms)
        _check_time(request.deadline_ms, "deadline", wall_ms)
        if request.timeout_ms is not None and not 1 <= request.timeout_ms <= FOREVER_MS:
            raise BadInput("the timeout is out of range", "Use a duration of at least 1 ms")
        if request.retry is not None:
            request.retry.check()
        correlation = request.correlation
        if correlation is not None:
            check_correlation(correlation)
        else:
            correlation = self._inherited(request.creator) or new_correlation(self.clock, number)
        needs = check_words(request.needs, MAX_NEEDS, "needs") if request.needs else ()
        return NewTask(
            number, request.queue, dumps(loads(request.payload)), correlation, request.priority, request.key,
            tuple(request.after), request.on_parent_failure, run_at, request.deadline_ms, request.timeout_ms,
            request.retry, request.creator, needs,
        )  # fmt: skip

    def _inherited(self, creator: int | None) -> str | None:
        return None if creator is None else self.driver.task(creator).correlation

    def claim(
        self,
        queues: Sequence[str],
        *,
        agent: str,
        slot: int | None = None,
        session: int | None = None,
        open_session: bool = False,
        lease_ms: int = DEFAULT_LEASE_MS,
        limit: int = 1,
        wait_ms: int = 0,
        can: Sequence[str] | None = None,
    ) -> list[Claim]:
        """Claim up to `limit` tasks; an empty list when nothing is ready, nor became so within `wait_ms`.

        With `open_session` the intent to start a session for the one task is written in the same
        transaction and `Claim.session` names it; `slot` is needed then.
        """
        able = check_claim(queues, agent, lease_ms, limit, can)
        now = self.clock.now()
        new = None
        if open_session:
            from .domain.agent import NewSession

            if slot is None or limit != 1:
                raise BadInput("a claim that opens a session names a slot and takes one task")
            new = NewSession(new_id(self.clock, now.wall_ms), agent, slot)
        names, until_ms = tuple(dict.fromkeys(queues)), now.boot_ms + wait_ms
        seen = self.driver.changed(0, task=None, wait_ms=0) if wait_ms else 0
        while True:
            won = self.driver.claim(
                names,
                agent=agent,
                slot=slot,
                session=session,
                open_session=new,
                lease_ms=lease_ms,
                limit=limit,
                wait_ms=min(max(0, until_ms - now.boot_ms), MAX_WAIT_MS),
                can=able,
                now=now,
            )
            if won or not wait_ms:
                return won
            now = self.clock.now()
            if now.boot_ms >= until_ms:
                return won
            # Looks again now and then all the same: a lease may run out, a time may come, and neither is a commit.
            look_ms = min(until_ms - now.boot_ms, LOOK_MS)
            held = self.driver.limits.hold(names, agent, now.wall_ms)
            if held is not None and held.until_ms is not None:
                look_ms = min(look_ms, max(held.until_ms - now.wall_ms, 1))
            seen = self.driver.changed(seen, task=None, wait_ms=look_ms)
            now = self.clock.now()

    def complete_and_claim(
        self,
        task: int,
        n: int,
        queues: Sequence[str],
        *,
        agent: str,
        slot: int | None = None,
        session: int | None = None,
        lease_ms: int = DEFAULT_LEASE_MS,
        result: str | None = None,
        usage: Usage | None = None,
        can: Sequence[str] | None = None,
    ) -> Turn:
        """Finish a task and claim the next, in one commit. StaleAttempt as for `complete`; then nothing is claimed."""
        able = check_claim(queues, agent, lease_ms, 1, can)
        return self.driver.complete_and_claim(
            task,
            n,
            result=None if result is None else dumps(loads(result, "result")),
            usage=check_usage(usage),
            queues=tuple(dict.fromkeys(queues)),
            agent=agent,
            slot=slot,
            session=session,
            lease_ms=lease_ms,
            can=able,
            now=self.clock.now(),
        )

    def heartbeat(
        self,
        task: int,
        n: int,
        *,
        lease_ms: int = DEFAULT_LEASE_MS,
        progress: str | None = None,
        usage: Usage | None = None,
    ) -> Lease:
        """Extend a lease. StaleAttempt when the attempt no longer owns the task."""
        check_lease(lease_ms)
        said = None if progress is None else storable(progress[:MAX_PROGRESS])
        return self.driver.heartbeat(
            task, n, lease_ms=lease_ms, progress=said, usage=check_usage(usage), now=self.clock.now()
        )

    def complete(
        self,
        task: int,
        n: int,
        *,
        result: str | None = None,
        usage: Usage | None = None,
        exit_code: int | None = None,
        end_session: SessionEnd | None = None,
    ) -> Ended:
        """Finish a task; `result` is JSON text. StaleAttempt when the attempt no longer owns the task."""
        compact = None if result is None else dumps(loads(result, "result"))
        return self.driver.complete(
            task,
            n,
            result=compact,
            usage=check_usage(usage),
            exit_code=exit_code,
            end_session=end_session,
            now=self.clock.now(),
        )

    def fail(
        self,
        task: int,
        n: int,
        failure: Failure,
        *,
        usage: Usage | None = None,
        end_session: SessionEnd | None = None,
    ) -> Ended:
        """End an attempt badly; what follows is in Ended. StaleAttempt when it no longer owns the task."""
        from .domain.retry import CLASSES, Failure

        if failure.kind not in CLASSES:
            raise BadInput(f"there is no error class {failure.kind!r}", f"Classes are: {', '.join(CLASSES)}")
        partial = None if failure.partial is None else dumps(loads(failure.partial, "partial result"))
        cut = Failure(failure.kind, kept_text(failure.message), failure.exit_code, failure.retry_after_ms, partial)
        jitter = self.clock.random()
        now = self.clock.now()
        return self.driver.fail(task, n, cut, usage=check_usage(usage), jitter=jitter, end_session=end_session, now=now)

    def release(
        self,
        task: int,
        n: int,
        *,
        reason: str = "released",
        end_session: SessionEnd | None = None,
        usage: Usage | None = None,
    ) -> Ended:
        """Give a task back untried. StaleAttempt when the attempt no longer owns the task."""
        why, used, now = kept_text(reason), check_usage(usage), self.clock.now()
        return self.driver.release(task, n, reason=why, end_session=end_session, usage=used, now=now)

    def cancel(self, task: int, *, reason: str = "cancelled", actor: str) -> Ended:
        """Cancel a task; a running one is asked (state stays `active` until it ends)."""
        return self.driver.cancel(task, reason=kept_text(reason), actor=actor, now=self.clock.now())

    def cancelled(
        self, task: int, n: int, *, end_session: SessionEnd | None = None, usage: Usage | None = None
    ) -> Ended:
        """Say that an attempt has ended because a cancel was asked."""
        now = self.clock.now()
        return self.driver.cancelled(task, n, end_session=end_session, usage=check_usage(usage), now=now)

    def hasten(self, task: int, *, actor: str) -> Ended:
        """Run a scheduled task now."""
        return self.driver.hasten(task, actor=actor, now=self.clock.now())

    def requeue(
        self,
        task: int,
        *,
        payload: str | None = None,
        run_at_ms: int | None = None,
        note: str = "",
        actor: str,
    ) -> Ended:
        """Send a dead letter back, with `payload` (JSON text) in place of the old one when given."""
        edited = None if payload is None else dumps(loads(payload))
        now = self.clock.now()
        return self.driver.requeue(
            task, payload=edited, run_at_ms=run_at_ms, note=kept_text(note), actor=actor, now=now
        )

    def discard(self, task: int, *, reason: str = "discarded", actor: str) -> Ended:
        """Give a dead letter up."""
        return self.driver.discard(task, reason=kept_text(reason), actor=actor, now=self.clock.now())

    def sweep(self, *, limit: int = 1_000) -> Swept:
        """Do what time asks for: promote, expire, bury what is overdue."""
        return self.driver.sweep(limit=limit, jitter=self.clock.random(), now=self.clock.now())

    def task(self, task: int) -> Task:
        """NotFound when there is none."""
        return self.driver.task(task)

    def find_task(self, text: str) -> int:
        """Return the task a person names by its id or the id's beginning. NotFound, BadName, BadInput if several."""
        low, high = id_range(text)
        found = self.driver.find_tasks(low, high, 3)
        if len(found) > 1:
            shown = ", ".join(write_id(one) for one in found[:3])
            raise BadInput(f"{text!r} could be {shown}{' …' if len(found) > 2 else ''}", "Give more of the id")
        return found[0] if found else (self.driver.task(low).id if low == high else self._none(text))

    def _none(self, text: str) -> int:
        from .errors import NotFound

        raise NotFound(f"there is no task {text}", "Look for it with: agentctl task list")

    def unfinished(self, queues: Sequence[str], agents: Sequence[str] | None = None) -> bool:
        """Return whether work is left in these queues, of what `agents` may take (None: anybody)."""
        return self.driver.unfinished(queues, agents)

    def attempts(self, task: int) -> list[Attempt]:
        return self.driver.attempts(task)

    def parents(self, task: int) -> list[ParentResult]:
        return self.driver.parents(task)


def _check_time(moment: int | None, name: str, wall_ms: int) -> None:
    if moment is not None and not 0 <= moment <= wall_ms + FOREVER_MS:
        raise BadInput(f"the {name} time is out of range", "Use a time from 1970 to ten years from now")


def check_claim(
    queues: Sequence[str], agent: str, lease_ms: int, limit: int, can: Sequence[str] | None = None
) -> tuple[str, ...] | None:
    """Return `can` as a claim takes it. Raises BadInput for a claim that cannot be meant."""
    for queue in queues:
        check_name(queue, "queue")
    check_name(agent, "agent")
    check_lease(lease_ms)
    if not queues or not 1 <= limit <= MAX_CLAIM:
        raise BadInput(f"a claim names at least one queue and 1 to {MAX_CLAIM:,} tasks")
    return None if can is None else check_words(can, MAX_CAN, "can")


def check_words(words: Sequence[str], most: int, what: str) -> tuple[str, ...]:
    """Return capabilities sorted, each once. BadName for one that is no name, BadInput for too many."""
    named = tuple(sorted({check_name(word, "capability") for word in words}))
    if len(named) > most:
        raise BadInput(f"{what} names {len(named):,} capabilities; the limit is {most}")
    return named


def check_usage(usage: Usage | None) -> Usage | None:
    """Return what an attempt says it used. BadInput for what nobody can have used."""
    if usage is not None:
        for amount in (usage.input_tokens, usage.output_tokens, usage.cost_microusd):
            if type(amount) is not int or not 0 <= amount <= MAX_USED:
                raise BadInput("usage is out of range", f"Use 0 to {MAX_USED:,}, in all so far")
    return usage


def check_lease(lease_ms: int) -> None:
    """Raise BadInput for a lease that is too short or too long."""
    if not 1 <= lease_ms <= MAX_LEASE_MS:
        raise BadInput(f"a lease of {lease_ms} ms is out of range", "Use 1 ms to 24 h")


def kept_text(text: str) -> str:
    """Keep MAX_TEXT characters, the beginning and the end, and nothing SQLite or JSON could choke on."""
    clean = storable(text)
    if len(clean) <= MAX_TEXT:
        return clean
    half = MAX_TEXT // 2 - 10
    return f"{clean[:half]} … {clean[-half:]}"


def storable(text: str) -> str:
    return text.encode(errors="replace").decode().replace("\x00", "")
