"""The states of a message, as a total table: every (verb, state) pair is either a target or a refusal."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    MessageState = Literal["stored", "delivered", "acked", "expired", "dead", "discarded"]
    MessageVerb = Literal["deliver", "ack", "give_back", "expire", "bury", "requeue", "discard"]

# A row per verb, a column per state, "-" where the verb is refused.
_TABLE = """
           stored     delivered  acked      expired    dead       discarded
deliver    delivered  -          -          -          -          -
ack        -          acked      -          -          -          -
give_back  -          stored     -          -          -          -
expire     expired    expired    -          -          -          -
bury       dead       dead       -          -          -          -
requeue    -          -          -          stored     stored     -
discard    -          -          -          discarded  discarded  -
"""
# What the verbs mean, in the order above: its recipient takes it · the recipient has dealt with it · no ack came in
# time, or the reader was never told · its time to live is over · no more deliveries until a person decides · a person
# sends a dead letter back · a person gives a dead letter up.


def _read(table: str) -> tuple[tuple[MessageState, ...], dict[tuple[MessageState, MessageVerb], MessageState | None]]:
    header, *rows = (line.split() for line in table.strip().splitlines())
    moves: dict[tuple[MessageState, MessageVerb], MessageState | None] = {}
    for verb, *targets in rows:
        for state, target in zip(header, targets, strict=True):
            moves[state, verb] = None if target == "-" else target  # type: ignore[index, assignment]
    return tuple(header), moves  # type: ignore[arg-type]


STATES, MOVES = _read(_TABLE)
VERBS: tuple[MessageVerb, ...] = tuple(dict.fromkeys(verb for _, verb in MOVES))
INITIAL: tuple[MessageState, ...] = ("stored", "dead")  #: the states a message can be sent into
ENDED: tuple[MessageState, ...] = ("acked", "expired", "dead", "discarded")
LETTERS: tuple[MessageState, ...] = ("expired", "dead")  #: what waits for a person among the dead letters


def sources(verb: MessageVerb) -> tuple[MessageState, ...]:
    """Return the states in which `verb` is allowed."""
    return tuple(state for state in STATES if MOVES[state, verb] is not None)


def target(verb: MessageVerb) -> MessageState:
    """Return the one state `verb` leads to."""
    (state,) = {moved for (_, by), moved in MOVES.items() if by == verb and moved is not None}
    return state
