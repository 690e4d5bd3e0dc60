"""What looking after a store finds and does."""

from __future__ import annotations

from ..record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .machine import State
    from .message_machine import MessageState


@record
class StoreInfo:
    """What a store is made of. Sizes in bytes, times in wall milliseconds."""

    directory: str
    schema: int
    library: str  #: version of the SQLite library
    store_bytes: int
    log_bytes: int  #: the write-ahead log
    free_bytes: int  #: inside the file, used again before it grows
    sessions_bytes: int  #: output files of sessions
    tasks: tuple[tuple[State, int], ...]
    events: int
    sessions: int
    first_event_ms: int | None
    last_event_ms: int | None
    pruned_to_ms: int | None  #: the history begins after this
    messages: tuple[tuple[MessageState, int], ...] = ()


@record
class Finding:
    """One thing a check looked at."""

    name: str
    ok: bool
    said: str
    remedy: str = ""


@record
class Backup:
    """A backup that was read back and verified."""

    path: str
    bytes: int
    events: int
    head: str  #: hash of its last event, in hex


@record
class Pruned:
    """What was forgotten."""

    tasks: int
    sessions: int
    events: int
    freed_bytes: int
    longest_hold_ms: float  #: the longest that a step kept other writers waiting
    messages: int = 0
    lanes: int = 0  #: sets of capabilities that no task asks for any more
