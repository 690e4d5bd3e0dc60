"""The one state machine of a task, as a total table: every (verb, state) pair is either a target or a refusal.

SQL never spells a state on its own: drivers take `sources(verb)` and `target(verb)` as parameters, and the schema's
CHECK constraint, the README's diagram and this table are held together by tests.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    State = Literal["blocked", "scheduled", "ready", "active", "waiting", "done", "dead", "cancelled"]
    Verb = Literal[
        "unblock", "defer", "promote", "hasten", "claim", "heartbeat", "complete", "retry", "release",
        "fall_back", "stand_in", "ask", "answer", "ask_cancel", "cancel", "bury", "requeue", "requeue_later", "discard",
    ]  # fmt: skip

# A row per verb, a column per state, "-" where the verb is refused.
_TABLE = """
               blocked    scheduled  ready      active     waiting    done       dead       cancelled
unblock        ready      -          -          -          -          -          -          -
defer          scheduled  -          -          -          -          -          -          -
promote        -          ready      -          -          -          -          -          -
hasten         -          ready      -          -          -          -          -          -
claim          -          -          active     -          -          -          -          -
heartbeat      -          -          -          active     -          -          -          -
complete       -          -          -          done       -          -          -          -
retry          -          -          -          scheduled  -          -          -          -
release        -          -          -          ready      -          -          -          -
fall_back      -          -          -          ready      -          -          -          -
stand_in       -          -          -          done       -          -          -          -
ask            -          -          -          waiting    -          -          -          -
answer         -          -          -          -          ready      -          -          -
ask_cancel     -          -          -          active     -          -          -          -
cancel         cancelled  cancelled  cancelled  cancelled  cancelled  -          -          -
bury           dead       dead       dead       dead       dead       -          -          -
requeue        -          -          -          -          -          -          ready      -
requeue_later  -          -          -          -          -          -          scheduled  -
discard        -          -          -          -          -          -          cancelled  -
"""
# What the verbs mean, in the order above: all parents ended and the time has come · all parents ended, not yet the
# time · the time has come · a person wants it now · a session takes it · its lease is extended · it succeeded · it
# failed or was throttled and runs again later · given back untried · its agent failed for good and another one takes
# over · the same, and a result that was agreed upon stands in for it · it asks a person · the person answered · a
# person asks a running attempt to end · it ends for good without a result · no more tries until a person decides
# · a person sends a dead letter back · the same, spaced out · a person gives a dead letter up.


def _read(table: str) -> tuple[tuple[State, ...], dict[tuple[State, Verb], State | None]]:
    header, *rows = (line.split() for line in table.strip().splitlines())
    moves: dict[tuple[State, Verb], State | None] = {}
    for verb, *targets in rows:
        for state, target in zip(header, targets, strict=True):
            moves[state, verb] = None if target == "-" else target  # type: ignore[index, assignment]
    return tuple(header), moves  # type: ignore[arg-type]


STATES, MOVES = _read(_TABLE)
VERBS: tuple[Verb, ...] = tuple(dict.fromkeys(verb for _, verb in MOVES))
INITIAL: tuple[State, ...] = ("blocked", "scheduled", "ready")  #: the states a task can be added in
FINAL: tuple[State, ...] = ("done", "dead", "cancelled")  #: ended; only a dead letter can still move


def sources(verb: Verb) -> tuple[State, ...]:
    """Return the states in which `verb` is allowed."""
    return tuple(state for state in STATES if MOVES[state, verb] is not None)


def target(verb: Verb) -> State:
    """Return the one state `verb` leads to."""
    found = {moved for (_, by), moved in MOVES.items() if by == verb and moved is not None}
    (state,) = found
    return state
