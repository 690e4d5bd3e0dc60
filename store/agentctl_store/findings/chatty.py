"""Chatty pairs: two agents that write to each other all the time, both ways, like two polite machines that thank one
another for their thanks.
"""

from __future__ import annotations

from .model import Finding
from .telling import counted, named, share, some, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .model import Talk
    from .port import Evidence
    from .thresholds import Thresholds

PARTS = 6  #: buckets per window
MOST = 10  #: pairs told


def chatty_pairs(evidence: Evidence, limits: Thresholds) -> list[Finding]:
    """Find them; the busiest first."""
    bucket_ms = max(limits.chatty_window_ms // PARTS, 1)
    pairs: dict[tuple[str, str], list[Talk]] = {}
    for talk in evidence.talks(bucket_ms):
        if talk.source != talk.target:
            first, second = sorted((talk.source, talk.target))
            pairs.setdefault((first, second), []).append(talk)
    found = []
    for pair, talks in pairs.items():
        worst = _busiest(talks, bucket_ms)
        if sum(talk.messages for talk in worst) >= limits.chatty_messages:
            forth = sum(talk.messages for talk in worst if talk.source == pair[0])
            whole = sum(talk.messages for talk in worst)
            if min(forth, whole - forth) >= limits.chatty_share * whole:
                found.append(_told(pair, worst, talks, bucket_ms))
    found.sort(key=lambda one: -one.count)
    return found[:MOST]


def _busiest(talks: list[Talk], bucket_ms: int) -> list[Talk]:
    """Return what was said within the window in which most was said."""
    ordered = sorted(talks, key=lambda talk: talk.at_ms)
    best: list[Talk] = []
    most = said = start = 0
    for end, talk in enumerate(ordered):
        said += talk.messages
        while talk.at_ms - ordered[start].at_ms >= PARTS * bucket_ms:
            said -= ordered[start].messages
            start += 1
        if said > most:
            most, best = said, ordered[start : end + 1]
    return best


def _told(pair: tuple[str, str], worst: list[Talk], talks: list[Talk], bucket_ms: int) -> Finding:
    one, other = named(pair[0]), named(pair[1])
    count, whole = sum(talk.messages for talk in worst), sum(talk.messages for talk in talks)
    forth = sum(talk.messages for talk in worst if talk.source == pair[0])
    lasted = worst[-1].at_ms - worst[0].at_ms + bucket_ms
    return Finding(
        "chatty_pair",
        "warning",
        f"{one} ⇄ {other}",
        f"{counted(count, 'message')} within {span(lasted)}, {share(forth, count)} of them from {one}",
        f"Read what they say: agentctl msg list --agent {one}; stop one of them: agentctl agent pause {other}",
        count,
        worst[0].at_ms,
        worst[-1].at_ms + bucket_ms,
        events=some([worst[0].first_seq, worst[-1].last_seq]),
        evidence=(
            ("from_first", forth),
            ("from_second", count - forth),
            ("in_window", whole),
        ),
    )
