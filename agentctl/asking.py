"""Reading a question to a person, as an agent asks it on the command line or as a line of JSON."""

from __future__ import annotations

from agentctl.quantities import read_duration_ms
from agentctl_store import jsontext
from agentctl_store.domain.question import NewQuestion
from agentctl_store.errors import BadInput

MAX_LINE = 1 << 16


def question_of(
    text: str, options: tuple[str, ...], deadline: object, default: str | None, or_fail: bool
) -> NewQuestion:
    """Return what is to be asked. A deadline must say what happens then: a default answer, or failing. BadInput."""
    if deadline is None:
        if default is not None or or_fail:
            raise BadInput("a default, and failing, need a deadline", "Say by when, or leave them out")
        return NewQuestion(text, options).check()
    if (default is not None) == or_fail:
        raise BadInput("what happens at the deadline?", "Give a default answer, or say that the task fails then")
    try:
        deadline_ms = read_duration_ms(deadline)
    except ValueError as error:
        raise BadInput(f"the deadline {error}") from None
    return NewQuestion(text, options, deadline_ms, default).check()


def read_question(line: str) -> NewQuestion:
    """Return what a line `{"agentctl": "ask", "question": …}` asks. Raises BadInput."""
    said = jsontext.loads(line, "line", MAX_LINE)
    assert isinstance(said, dict), "it was read before"
    text, options, default = said.get("question"), said.get("options", []), said.get("default")
    if not isinstance(text, str):
        raise BadInput("an ask has no question", 'Write {"agentctl": "ask", "question": "…"}')
    if not isinstance(options, list) or not all(isinstance(one, str) for one in options):
        raise BadInput("the options of a question are a list of texts", 'Write "options": ["yes", "no"]')
    if default is not None and not isinstance(default, str):
        raise BadInput("the default answer is not a text", "Write it in quotes")
    return question_of(text, tuple(options), said.get("deadline"), default, said.get("or_fail") is True)
