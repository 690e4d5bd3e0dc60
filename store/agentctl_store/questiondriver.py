"""The driver's part `questions`: what a driver must do with them, in the words of the domain.

As in driver.py each verb is one transaction at a moment that is given. That a question's deadline is kept is the
business of `Driver.sweep` and `Driver.claim`; one whose task ends otherwise ends with it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from .clock import Moment
    from .domain.agent import SessionEnd
    from .domain.question import NewQuestion, Question
    from .domain.task import Ended, Usage

    class QuestionDriver(Protocol):
        def ask(
            self,
            task: int,
            n: int,
            question: NewQuestion,
            *,
            usage: Usage | None,
            exit_code: int | None,
            end_session: SessionEnd | None,
            now: Moment,
        ) -> Ended:
            """The attempt ends as asked, no try burnt, and its task waits. Asking the same again changes nothing.

            Ends as cancelled if that was asked. StaleAttempt when the attempt does not own its task.
            """

        def answer(self, task: int, n: int | None, answer: str, *, actor: str, now: Moment) -> Ended:
            """Let the task go on. `n` is the attempt whose question was read: StaleAttempt when it asks another now.

            BadInput for what is none of the options; Conflict when the task asks nothing; NotFound.
            """

        def reject(self, task: int, n: int | None, reason: str, *, actor: str, now: Moment) -> Ended:
            """Make the task a dead letter instead. Errors as for `answer`."""

        def open(self, limit: int) -> list[Question]:
            """Return what is asked now, the oldest first."""

        def of_task(self, task: int) -> list[Question]:
            """Return all a task ever asked, and how that ended, the oldest first."""
