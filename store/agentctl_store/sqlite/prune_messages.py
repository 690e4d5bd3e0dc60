"""Forgetting messages: those that were acked, that expired or were discarded. Dead ones wait for a person."""

from __future__ import annotations

from ..domain.event import KINDS
from ..errors import StoreCorrupt
from ..ids import write_id
from ..jsontext import dumps
from .message_parts import message_parts
from .transaction import digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..replay.messages import MessageFold
    from .pruning import Pruning
    from .transaction import Transaction

_PRUNED, _CARRIED = KINDS["message.pruned"], KINDS["message.carried"]
LOOK_AHEAD = 500


def forget_messages(pruning: Pruning, cutoff_ms: int) -> None:
    """Forget what ended before the cutoff; `pruning.messages` counts them."""
    last, most = -1, cutoff_ms << 20  # what ended before was sent before
    while rows := pruning.file.rows(pruning.sql["ended_messages"], (last, most, cutoff_ms, LOOK_AHEAD)):
        last = rows[-1][0]
        pruning.steps([row[0] for row in rows], lambda tx, message: _forget(pruning, tx, message))
        pruning.progress("messages", pruning.messages)


def _forget(pruning: Pruning, tx: Transaction, message: int) -> None:
    for body, text in tx.execute(pruning.sql["message_bodies"], (message,)).fetchall():
        tx.execute(pruning.sql["empty_body"], (digest(text), body))
    if tx.execute(pruning.sql["drop_message"], (message,)).rowcount:
        tx.event(_PRUNED, message)
        pruning.messages += 1


def carry_messages(pruning: Pruning, cut_to: int) -> None:
    """Write how every message that still is stood at `cut_to`."""
    for part in message_parts(pruning.file, pruning.read, cut_to):
        if part.unreadable:
            raise StoreCorrupt(
                f"the history of message {write_id(part.unreadable[0])} cannot be read, so nothing can be pruned",
                "Look what is wrong with: agentctl store check",
            )
        kept = [fold for message, fold in sorted(part.folds.items()) if fold.row is not None and message in part.rows]
        pruning.steps(kept, lambda tx, fold: _carry(pruning, tx, fold, cut_to))


def _carry(pruning: Pruning, tx: Transaction, fold: MessageFold, cut_to: int) -> None:
    assert fold.row is not None
    payload = fold.row["payload"]
    data, brought = dumps(fold.carried(cut_to)), pruning.digest(tx, payload)
    tx.event(_CARRIED, fold.row["id"], data=data, body=payload, body_digest=brought)
