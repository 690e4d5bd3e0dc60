"""The store's verbs on questions, as everybody above the driver calls them."""

from __future__ import annotations

from .record import replace
from .taskverbs import check_usage, kept_text, storable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .clock import Clock
    from .domain.agent import SessionEnd
    from .domain.question import NewQuestion, Question
    from .domain.task import Ended, Usage
    from .driver import Driver

MOST_LISTED = 1_000


class QuestionVerbs:
    """What tasks ask a person, and what the person says."""

    def __init__(self, driver: Driver, clock: Clock) -> None:
        self._driver, self._clock = driver.questions, clock

    def ask(
        self,
        task: int,
        n: int,
        question: NewQuestion,
        *,
        usage: Usage | None = None,
        exit_code: int | None = None,
        end_session: SessionEnd | None = None,
    ) -> Ended:
        """End an attempt with a question; no try is burnt. BadInput; StaleAttempt when it does not own its task."""
        clean = replace(question, text=storable(question.text)).check()
        now = self._clock.now()
        return self._driver.ask(
            task, n, clean, usage=check_usage(usage), exit_code=exit_code, end_session=end_session, now=now
        )

    def answer(self, task: int, answer: str, *, n: int | None = None, actor: str) -> Ended:
        """Answer what a task asks; `n` says which of its attempts' questions was read.

        BadInput for what is none of the options, NotFound, Conflict when it asks nothing, StaleAttempt when it asks
        something else by now.
        """
        return self._driver.answer(task, n, storable(answer), actor=actor, now=self._clock.now())

    def reject(self, task: int, *, reason: str = "", n: int | None = None, actor: str) -> Ended:
        """Make a task that asks a dead letter. Errors as for `answer`."""
        why = kept_text(reason) or "a person refused what it asked"
        return self._driver.reject(task, n, why, actor=actor, now=self._clock.now())

    def open(self, limit: int = MOST_LISTED) -> list[Question]:
        """Return what is asked now, the oldest first."""
        return self._driver.open(limit)

    def of_task(self, task: int) -> list[Question]:
        """Return all a task ever asked, the oldest first."""
        return self._driver.of_task(task)
