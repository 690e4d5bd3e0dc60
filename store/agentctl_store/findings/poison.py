"""Poison: many tasks die of one error. What kills them is not in the tasks, so requeuing them pays for it again."""

from __future__ import annotations

from .model import Finding
from .telling import counted, named, quoted, ratio, searched, signature, tally, task_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .model import Dead
    from .port import Evidence
    from .thresholds import Thresholds

LOOKED_AT = 20_000  #: newest dead letters of the window
MOST = 5  #: causes told, the largest first


def poisons(evidence: Evidence, limits: Thresholds) -> list[Finding]:
    """Find the errors that several tasks died of."""
    rows = evidence.dead(LOOKED_AT)
    causes: dict[tuple[str, str], list[Dead]] = {}
    for row in rows:
        text = signature(row.error)
        if text:
            causes.setdefault((row.error_class, text), []).append(row)
    large = [found for found in causes.values() if len(found) >= limits.poison_letters]
    large.sort(key=lambda found: -len(found))
    return [_told(found, len(rows)) for found in large[:MOST]]


def _told(rows: list[Dead], whole: int) -> Finding:
    from collections import Counter

    agents, queues = Counter(row.agent for row in rows), Counter(row.queue for row in rows)
    example = min(row.error for row in rows)  # which one came last is chance
    queue, text = named(queues.most_common(1)[0][0]), quoted(example)
    same = searched(signature(example))
    chosen = f" -t '{same}'" if same else ""
    return Finding(
        "poison",
        "warning",
        queue,
        f"{counted(len(rows), 'dead letter')} of one error: {text}",
        f"Mend the cause, then send them back: agentctl dlq requeue -q {queue}{chosen} --spaced 2s",
        len(rows),
        min(row.died_ms for row in rows),
        max(row.died_ms for row in rows),
        task_ids(row.task for row in rows),
        evidence=(
            ("error_class", named(rows[0].error_class)),
            ("share_of_dead_letters", ratio(len(rows), whole)),
            ("attempts", sum(row.attempts for row in rows)),
            ("agents", tally(agents)),
            ("queues", tally(queues)),
        ),
    )
