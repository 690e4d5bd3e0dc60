"""Writing the end of a session to the store, in one transaction with the end of its task, until it is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentctl.asking import read_question
from agentctl.policy.outcome import Cancelled, Done, Failed, Outcome, Released, describe_end, judge_exit
from agentctl.quantities import show_duration
from agentctl.supervisor import session_dir
from agentctl.supervisor.facts import Recorded
from agentctl.supervisor.perform import usage_of
from agentctl.supervisor.rules_ends import ORDERED, for_budget
from agentctl_store.domain.agent import SessionEnd
from agentctl_store.domain.retry import Failure
from agentctl_store.errors import BadInput, Conflict, NotFound, StoreBusy, StoreError
from agentctl_store.ids import write_attempt, write_id
from agentctl_store.record import replace as replaced
from agentctl_store.text import one_line

if TYPE_CHECKING:
    from typing import Any

    from agentctl.policy.outcome import SessionFacts
    from agentctl.supervisor.sessions import Key
    from agentctl.supervisor.slot import Run
    from agentctl_store.clock import Clock
    from agentctl_store.domain.agent import SessionOutcome
    from agentctl_store.domain.task import Ended
    from agentctl_store.store import Store

FIRST_RETRY_MS, LAST_RETRY_MS = 100, 2_000
HURRY_MS = 250  #: claims ask for what waits to be written before them, at most this often
MAX_DETAIL = 500
NO_RESULT = "exit 0 without a result, which this agent must leave"


@dataclass(slots=True)
class Due:
    """An end that the store would not take yet."""

    key: Key
    run: Run
    end: SessionFacts
    folder: str
    lease_ms: int
    at_ms: int
    wait_ms: int = FIRST_RETRY_MS


class Recorder:
    """Records ends. What the store refuses for now (busy, disk full) stays in the session's folder and is tried
    again for as long as it takes: a finished result is never dropped."""

    def __init__(self, store: Store, clock: Clock, step: Callable[[str], None]) -> None:
        self._store = store
        self._clock = clock
        self._step = step
        self._hurried_ms = 0
        self.moved = False  #: a task became claimable, or will, since somebody last set this back
        self.due: dict[int, Due] = {}

    def record(self, key: Key, run: Run, end: SessionFacts, folder: str, lease_ms: int) -> Recorded | None:
        """Write the end; None when it must be tried again (then it is in `due`)."""
        self._step("record")
        try:
            recorded = self._task(run, end, folder) if run.task is not None else Recorded(self._others(run, end))
        except StoreError as error:
            self._keep(run, lease_ms, error)
            now_ms = self._clock.now().boot_ms
            before = self.due.get(run.session)
            wait_ms = FIRST_RETRY_MS if before is None else min(LAST_RETRY_MS, before.wait_ms * 2)
            self.due[run.session] = Due(key, run, end, folder, lease_ms, now_ms + wait_ms, wait_ms)
            return None
        self.due.pop(run.session, None)
        self._step("recorded")
        return recorded

    def again(self, now_ms: int) -> list[tuple[Due, Recorded]]:
        """Try once more what is due."""
        done: list[tuple[Due, Recorded]] = []
        for one in list(self.due.values()):
            if one.at_ms > now_ms:
                continue
            recorded = self.record(one.key, one.run, one.end, one.folder, one.lease_ms)
            if recorded is not None:
                done.append((one, recorded))
        return done

    @property
    def left(self) -> str:
        """Say what the next supervisor has to record; empty when nothing is left to it."""
        if not self.due:
            return ""
        left = f"{len(self.due)} of the tasks have" if len(self.due) > 1 else "1 of the tasks has"
        return f"{left} ended, which the store does not take now: the next agentctl run records it"

    def hurry(self, now_ms: int) -> None:
        """Make all that waits due now: whoever writes next could take a task whose lease ran out meanwhile for lost."""
        if now_ms >= self._hurried_ms + HURRY_MS:
            self._hurried_ms = now_ms
            for one in self.due.values():
                one.at_ms = min(one.at_ms, now_ms)

    def _keep(self, run: Run, lease_ms: int, error: StoreError) -> None:
        """Hold on to the task of a result that was refused: perhaps there is room for so little."""
        if run.task is None or run.n is None or isinstance(error, StoreBusy):
            return
        try:
            self._store.heartbeat(run.task, run.n, lease_ms=lease_ms)
        except (Conflict, NotFound, StoreError):
            pass

    def _task(self, run: Run, end: SessionFacts, folder: str) -> Recorded:
        assert run.task is not None and run.n is not None
        outcome = judge_exit(end)
        result: str | None = None
        asks = isinstance(outcome, Done) and run.ask is not None
        if isinstance(outcome, Done) and not asks:
            try:
                result = session_dir.result(folder)
            except session_dir.BadResult as error:
                outcome = Failed(Failure("permanent", str(error), end.code))
            else:
                if result is None and end.needs_result:
                    outcome = Failed(Failure("verify", NO_RESULT, end.code))
        elif isinstance(outcome, Failed) and outcome.failure.kind == "policy":
            outcome = Failed(replaced(outcome.failure, partial=_partial(folder)))
        closing = session_end(run.session, end)
        try:
            try:
                if asks:
                    return Recorded(self._ask(run, end, closing), asked=True)
                text = self._write(run, outcome, result, end, closing)
                return Recorded(text, good=isinstance(outcome, Done))
            except BadInput as error:
                what = "its question" if asks else "the result"
                refused = Failed(Failure("permanent", f"{what} is refused: {error.message}", end.code))
                return Recorded(self._write(run, refused, None, end, closing))
        except (Conflict, NotFound) as error:
            # It ended otherwise, by its agent's own word or its lease: its result is not taken, what it used counts.
            self._store.end_session(closing, usage=usage_of(run))
            asked = self._asked(run.task, run.n)
            if asked is not None:  # by `agentctl task ask`
                return Recorded(_asks(run.task, asked), asked=True)
            return Recorded(f"{write_attempt(run.task, run.n)} ended without effect: {error.message}")

    def _ask(self, run: Run, end: SessionFacts, closing: SessionEnd) -> str:
        task, n = run.task or 0, run.n or 0
        question = read_question(run.ask or "")
        code, usage = end.code, usage_of(run)
        after = self._store.questions.ask(task, n, question, usage=usage, exit_code=code, end_session=closing)
        if after.state == "cancelled":
            self.moved |= bool(after.freed)
            return f"{write_id(task)} cancelled after {show_duration(end.ran_ms)}"
        return _asks(task, question.text)

    def _asked(self, task: int, n: int) -> str | None:
        try:
            return next((one.text for one in self._store.questions.of_task(task) if one.n == n), None)
        except StoreError:
            return None

    def _write(self, run: Run, outcome: Outcome, result: str | None, end: SessionFacts, closing: SessionEnd) -> str:
        task, n = run.task or 0, run.n or 0
        name, ran = write_id(task), show_duration(end.ran_ms)
        if isinstance(outcome, Done):
            code, usage = end.code, usage_of(run)
            after = self._store.complete(task, n, result=result, usage=usage, exit_code=code, end_session=closing)
            self.moved |= bool(after.freed)
            return f"{name} done in {ran}"
        if isinstance(outcome, Cancelled):
            after = self._store.cancelled(task, n, end_session=closing, usage=usage_of(run))
            self.moved |= bool(after.freed)
            return f"{name} cancelled after {ran}"
        self.moved = True
        if isinstance(outcome, Released):
            usage = usage_of(run)
            after = self._store.release(task, n, reason=outcome.reason, end_session=closing, usage=usage)
            return f"{name} goes back ({after.state}): {one_line(outcome.reason, MAX_DETAIL)}"
        told = self._fail(task, n, outcome.failure, usage=usage_of(run), end_session=closing)
        return f"{told}: {one_line(outcome.failure.message, MAX_DETAIL)}"

    def _fail(self, task: int, n: int, failure: Failure, **more: Any) -> str:
        after = self._store.fail(task, n, failure, **more)
        return f"{write_id(task)} {_followed(after, self._clock.now().wall_ms, failure.kind)}"

    def _others(self, run: Run, end: SessionFacts) -> str:
        """End a session without a task of its own: what a worker still holds must not wait for its lease."""
        told = []
        budget = for_budget(end.stop_reason)
        ordered = budget or end.stop_reason in ORDERED or end.orphaned or end.spawn_error is not None
        overspent = self._store.limits.overspent() if budget else ()
        spent = {(task, n): why for session, task, n, why in overspent if session == run.session}
        for task, n in self._store.held_tasks(run.session):
            self.moved = True
            try:
                if (task, n) in spent:
                    told.append(self._fail(task, n, Failure("policy", spent[task, n])))
                elif ordered:  # of a worker that a budget ended also what had not spent its own
                    self._store.release(task, n, reason=f"its worker was stopped ({end.stop_reason or 'orphaned'})")
                    told.append(f"{write_id(task)} goes back")
                else:
                    error = f"its worker ended: {describe_end(end)}\n{end.stderr_tail[-2000:]}"
                    told.append(self._fail(task, n, Failure("crashed", error)))
            except (Conflict, NotFound):
                continue
        self._store.end_session(session_end(run.session, end))
        return "; ".join(told)


def _partial(folder: str) -> str | None:
    """Return what a session that was ended had got to: what would have been its result."""
    try:
        return session_dir.result(folder)
    except session_dir.BadResult:
        return None


def session_end(session: int, end: SessionFacts) -> SessionEnd:
    """Return the row that ends a session."""
    outcome: SessionOutcome = "exited"
    if end.spawn_error is not None:
        outcome = "never_started"
    elif end.vanished:
        outcome = "lost"
    elif end.stop_reason or end.orphaned:
        outcome = "stopped"
    elif end.signal is not None:
        outcome = "killed"
    detail = one_line(describe_end(end), MAX_DETAIL)
    plain = detail == f"exit {end.code}"  # says nothing that is not said already
    return SessionEnd(session, outcome, end.code, end.signal, None if plain else detail)


def _asks(task: int, text: str) -> str:
    return f"{write_id(task)} asks a person: {one_line(text, MAX_DETAIL)} (agentctl inbox)"


def _followed(after: Ended, wall_ms: int, kind: str) -> str:
    if after.reason == "fallback":
        return "failed, a fallback takes over" if after.state == "ready" else "failed, a fallback's result stands in"
    if after.state == "dead":
        return f"is a dead letter ({after.reason})"
    if after.run_at_ms is not None:
        what = "was throttled" if kind == "throttled" else "failed"
        return f"{what}, again in {show_duration(max(0, after.run_at_ms - wall_ms))}"
    return f"failed, now {after.state}"
