"""Questions that tasks ask a person, and their answers."""

from __future__ import annotations

from ..errors import BadInput
from ..record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    How = Literal["answered", "default", "rejected", "unanswered", "dropped"]

#: how a question ends: a person answered · its default was given at the deadline · a person refused, the task is dead ·
#: nobody answered in time, the task is dead · its task ended otherwise
HOWS: tuple[How, ...] = ("answered", "default", "rejected", "unanswered", "dropped")
MAX_QUESTION = 4_000  #: characters
MAX_OPTION = 200
MAX_OPTIONS = 20
MAX_ANSWER = 16_000
MOST_DEFAULTS = 100  #: default answers that one task is given: asking burns no try, so it could go on for ever
LEAST_DEADLINE_MS = 1_000
MOST_DEADLINE_MS = 366 * 86_400_000


@record
class NewQuestion:
    """What an attempt asks. Its task waits for a person until `deadline_ms` from now, else for ever.

    At the deadline `fallback` is given for an answer; without one the task becomes a dead letter.
    """

    text: str
    options: tuple[str, ...] = ()  #: the answers there are; none: any text
    deadline_ms: int | None = None
    fallback: str | None = None

    def check(self) -> NewQuestion:
        """Return self if it makes sense. Raises BadInput."""
        if not self.text.strip() or len(self.text) > MAX_QUESTION:
            raise BadInput(
                f"a question has 1 to {MAX_QUESTION:,} characters, not {len(self.text):,}",
                "Ask shortly; leave the rest in a file and name that",
            )
        if len(self.options) > MAX_OPTIONS or len(set(self.options)) != len(self.options):
            raise BadInput(f"the options are more than {MAX_OPTIONS}, or the same twice", "Offer fewer")
        for option in self.options:
            if not 1 <= len(option) <= MAX_OPTION or option != option.strip() or not option.isprintable():
                raise BadInput(
                    f"the option {option[:40]!a} cannot be chosen",
                    f"An option is one line of 1 to {MAX_OPTION} characters, without spaces around it",
                )
        if self.deadline_ms is None:
            if self.fallback is not None:
                raise BadInput("a default answer needs a deadline", "Give one, or leave the default out")
        elif not LEAST_DEADLINE_MS <= self.deadline_ms <= MOST_DEADLINE_MS:
            raise BadInput("the deadline of a question is out of range", "Use 1s to 366d")
        if self.fallback is not None:
            check_answer(self.fallback, self.options)
        return self


@record
class Question:
    """A question as it stands; (`task`, `n`) is the attempt that asked it. Times are wall milliseconds."""

    task: int
    n: int
    queue: str
    agent: str  #: whose attempt asked: an agent or instance
    asked_ms: int
    text: str
    options: tuple[str, ...]
    deadline_ms: int | None
    fallback: str | None
    ended_ms: int | None = None
    how: How | None = None
    answer: str | None = None
    by: str | None = None  #: the person who answered or refused; a default has nobody


def check_answer(answer: str, options: tuple[str, ...]) -> str:
    """Return an answer that may be given. Raises BadInput."""
    if options and answer not in options:
        shown = ", ".join(repr(one) for one in options)
        raise BadInput(f"{answer[:60]!a} is none of the answers that were asked for", f"Answer one of {shown}")
    if not answer.strip() or len(answer) > MAX_ANSWER:
        raise BadInput(f"an answer has 1 to {MAX_ANSWER:,} characters, not {len(answer):,}", "Answer shortly")
    return answer
