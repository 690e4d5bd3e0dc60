"""Retry storms: so many attempts are tried again at once that they are what the fleet does.

Full jitter spreads tasks that failed together (M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog,
2015); where `base` is small beside the number of tasks, or a provider told all the same time, they come back together.
"""

from __future__ import annotations

from .model import Finding
from .telling import named, quoted, ratio, share, signature, some, span, tally, task_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .model import Burst, Retried
    from .port import Evidence
    from .thresholds import Thresholds

PARTS = 6  #: buckets per window: a storm is seen wherever in the clock's minutes it lies
MOST_STORMS = 5  #: told, the largest first
LOOKED_AT = 5_000  #: retries of a storm that are read one by one
FIERCE = 10  #: times `storm_retries` in one window: critical


def retry_storms(evidence: Evidence, limits: Thresholds) -> list[Finding]:
    """Find them; the largest first."""
    bucket_ms = max(limits.storm_window_ms // PARTS, 1)
    storms = gathered(evidence.bursts(bucket_ms), bucket_ms, limits)
    storms.sort(key=lambda storm: -sum(burst.retries for burst in storm))
    found = []
    for storm in storms[:MOST_STORMS]:
        finding = _told(evidence, storm, limits)
        if finding is not None:
            found.append(finding)
    return found


def gathered(bursts: tuple[Burst, ...], bucket_ms: int, limits: Thresholds) -> list[list[Burst]]:
    """Return the storms: neighbouring windows with enough retries, as the buckets they are made of."""
    storms: list[list[Burst]] = []
    window: list[Burst] = []
    for burst in bursts:
        window = [one for one in window if burst.at_ms - one.at_ms < PARTS * bucket_ms]
        window.append(burst)
        if sum(one.retries for one in window) < limits.storm_retries:
            continue
        if storms and window[0].at_ms <= storms[-1][-1].at_ms + bucket_ms:
            storms[-1] += [one for one in window if one.at_ms > storms[-1][-1].at_ms]
        else:
            storms.append(list(window))
    return storms


def _told(evidence: Evidence, storm: list[Burst], limits: Thresholds) -> Finding | None:
    from collections import Counter

    first, last = min(one.first_seq for one in storm), max(one.last_seq for one in storm)
    retries, starts = sum(one.retries for one in storm), evidence.starts(first, last)
    if retries < limits.storm_share * max(starts, 1):
        return None
    rows = evidence.retried(first, last, LOOKED_AT)
    if not rows:
        return None
    errors = Counter((row.error_class, signature(row.error)) for row in rows)
    (kind, text), same = errors.most_common(1)[0]
    example = next(row for row in rows if (row.error_class, signature(row.error)) == (kind, text))
    agents, queues = Counter(row.agent for row in rows), Counter(row.queue for row in rows)
    together = lockstep(rows)
    in_step = together > limits.lockstep_share
    agent = named(agents.most_common(1)[0][0])
    ends = rows[-1:] if rows[-1].seq == last else evidence.retried(last, last, 1) or rows[-1:]
    lasted = max(ends[0].at_ms - rows[0].at_ms, 1_000)
    summary = (
        f"{retries:,} retries within {span(lasted)}, "
        f"{share(same, len(rows))} of them for {quoted(example.error) or kind!r}"
    )
    if in_step:
        summary += f"; {share(together, 1)} of them come due within the same second"
    cost, whole = sum(row.cost_microusd for row in rows), evidence.cost_microusd()
    figures: list[tuple[str, str | int | float]] = [
        ("error_class", named(kind)),
        ("starts_meanwhile", starts),
        ("share_of_starts", ratio(min(retries, starts), starts)),
        ("share_of_one_error", ratio(same, len(rows))),
        ("share_due_in_one_second", together),
        ("agents", tally(agents)),
        ("queues", tally(queues)),
        ("retries_looked_at", len(rows)),
    ]
    if whole:
        figures += [("cost_microusd", cost), ("share_of_cost", ratio(cost, whole))]
    peak = max(one.retries for one in storm) * PARTS
    return Finding(
        "retry_storm",
        "critical" if in_step or peak >= FIERCE * limits.storm_retries else "warning",
        agent,
        summary,
        remedy(kind, agent, named(queues.most_common(1)[0][0]), in_step),
        retries,
        rows[0].at_ms,
        ends[0].at_ms,
        task_ids(row.task for row in rows),
        some([row.seq for row in rows]),
        tuple(figures),
    )


def lockstep(rows: tuple[Retried, ...]) -> float:
    """Return the largest share of retries that come due within one second of each other, from 0 to 1."""
    due = sorted(row.run_at_ms for row in rows if row.run_at_ms is not None)
    most = start = 0
    for end, moment in enumerate(due):
        while moment - due[start] >= 1_000:
            start += 1
        most = max(most, end - start + 1)
    return most / len(rows) if rows else 0.0


def remedy(kind: str, agent: str, queue: str, in_step: bool) -> str:
    """Return what helps against a storm of errors of one class."""
    if in_step:
        return f"Spread them: raise `base` in [agent.{agent}.retry] of agentctl.toml"
    if kind == "throttled":
        return f"Ask the provider less: agentctl limit set agent:{agent} --rate 30/min, or at a rate it allows"
    if kind == "timeout":
        return f"Raise `timeout` in [agent.{agent}] of agentctl.toml, or make the tasks smaller"
    if kind == "lost":
        return f"Raise `lease` in [agent.{agent}] of agentctl.toml, or have its workers send heartbeats"
    return f"Stop it while you look for the cause: agentctl queue pause {queue}"
