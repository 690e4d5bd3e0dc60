"""The broker's part `questions`: each verb of agentctl_store.questiondriver as one call."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..clock import Moment
    from ..domain.agent import SessionEnd
    from ..domain.question import NewQuestion, Question
    from ..domain.task import Ended, Usage


class BrokerQuestions:
    """See agentctl_store.questiondriver.QuestionDriver, whose words these are."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

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
        given = (task, n, question, usage, exit_code, end_session)
        return self._call("questions.ask", *given, now=now)  # type: ignore[no-any-return]

    def answer(self, task: int, n: int | None, answer: str, *, actor: str, now: Moment) -> Ended:
        return self._call("questions.answer", task, n, answer, actor, now=now)  # type: ignore[no-any-return]

    def reject(self, task: int, n: int | None, reason: str, *, actor: str, now: Moment) -> Ended:
        return self._call("questions.reject", task, n, reason, actor, now=now)  # type: ignore[no-any-return]

    def open(self, limit: int) -> list[Question]:
        return self._call("questions.open", limit)  # type: ignore[no-any-return]

    def of_task(self, task: int) -> list[Question]:
        return self._call("questions.of_task", task)  # type: ignore[no-any-return]
