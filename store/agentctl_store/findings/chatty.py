"""Chatty pairs: two agents that write to each other all the time, both ways, like two polite machines that thank one
another for their thanks.
"""

from __future__ import annotations

from ..domain.message import OPERATOR
from .model import Finding
from .telling import counted, named, share, some, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .model import Damped, Talk
    from .port import Evidence
    from .thresholds import Thresholds

PARTS = 6  #: buckets per window
MOST = 10  #: pairs told
DAMPED = 5_000  #: newest damped conversations of the window


def chatty_pairs(evidence: Evidence, limits: Thresholds) -> list[Finding]:
    """Find them, and those who were damped for it; the busiest first."""
    bucket_ms = max(limits.chatty_window_ms // PARTS, 1)
    pairs: dict[tuple[str, str], list[Talk]] = {}
    for talk in evidence.talks(bucket_ms):
        if talk.source != talk.target and OPERATOR not in (talk.source, talk.target):
            pairs.setdefault(_pair(talk), []).append(talk)
    damped: dict[tuple[str, str], list[Damped]] = {}
    for event in evidence.damped(DAMPED):
        damped.setdefault(_pair(event), []).append(event)
    found = []
    for pair in pairs.keys() | damped.keys():
        worst = _busiest(pairs.get(pair, []), bucket_ms)
        if worst and (pair in damped or _is_ping_pong(worst, limits)):
            found.append(_told(pair, worst, damped.get(pair, []), bucket_ms))
    found.sort(key=lambda one: (-one.count, one.subject))  # not in the order of a set
    return found[:MOST]


def _pair(said: Talk | Damped) -> tuple[str, str]:
    first, second = sorted((said.source, said.target))
    return first, second


def _is_ping_pong(talks: list[Talk], limits: Thresholds) -> bool:
    whole = sum(talk.messages for talk in talks)
    forth = sum(talk.messages for talk in talks if talk.source < talk.target)
    return whole >= limits.chatty_messages and min(forth, whole - forth) >= limits.chatty_share * whole


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


def _told(pair: tuple[str, str], worst: list[Talk], damped: list[Damped], bucket_ms: int) -> Finding:
    one, other = named(pair[0]), named(pair[1])
    count = sum(talk.messages for talk in worst)
    forth = sum(talk.messages for talk in worst if talk.source == pair[0])
    lasted = worst[-1].at_ms - worst[0].at_ms + bucket_ms  # whole buckets: the window as it is set
    summary = f"{counted(count, 'message')} within {span(lasted)}, {share(forth, count)} of them from {one}"
    if damped:
        summary += (
            f"; {counted(len(damped), 'conversation')} got nowhere and {'was' if len(damped) == 1 else 'were'} damped"
        )
    seqs = [worst[0].first_seq, *(event.seq for event in damped), worst[-1].last_seq]
    return Finding(
        "chatty_pair",
        "warning",
        f"{one} ⇄ {other}",
        summary,
        f"Read what they say: agentctl msg list --agent {one}; stop one of them: agentctl agent pause {other}",
        count,
        worst[0].first_ms,
        max([*(talk.last_ms for talk in worst), *(event.at_ms for event in damped)]),
        events=some(sorted(set(seqs))),
        evidence=(("from_first", forth), ("from_second", count - forth), ("damped", len(damped))),
    )
