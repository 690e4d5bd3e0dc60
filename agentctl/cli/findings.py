"""`agentctl findings`: what goes wrong between agents, as the history shows it."""

from __future__ import annotations

import os
import time

from agentctl.quantities import show_duration
from agentctl_store.errors import BadConfig, BadInput, NotFound
from agentctl_store.text import one_line

from .call import FLEET_FILE, Call
from .table import Column
from .times import iso, read_span, read_time
from .verb import opt, verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agentctl_store.findings.model import Finding
    from agentctl_store.findings.thresholds import Thresholds

SINCE = "24h"
KINDS = (
    "circular_delegation", "chatty_pair", "god_agent", "blocking_waits", "retry_storm", "starved_queue",
    "poison", "flapping",
)  # fmt: skip


class _Figures(Column):
    """Evidence: an object for machines, words for people."""

    def machine(self, value: Any) -> Any:
        return dict(value)

    def person(self, value: Any, now_ms: int, limit: int) -> str:
        return one_line(" · ".join(_figure(name, one) for name, one in value), limit) or "-"


def _figure(name: str, value: str | int | float) -> str:
    words = name.removesuffix("_ms").removesuffix("_microusd").replace("_", " ")
    if isinstance(value, float):
        return f"{words} {100 * value:.0f}%"
    if isinstance(value, str):
        return f"{words} {value}"
    if name.endswith("_ms"):
        return f"{words} {show_duration(value // 1000 * 1000)}"
    return f"{words} ${value / 1e6:,.2f}" if name.endswith("_microusd") else f"{words} {value:,}"


_COLUMNS = (
    Column("kind", title="finding"),
    Column("severity"),
    Column("subject", title="about"),
    Column("summary", title="what"),
    _Figures("evidence", "figures"),
    Column("count", "number", wide=True),
    Column("first_at", "time", title="first"),
    Column("last_at", "time", title="last"),
    Column("tasks", "list"),
    Column("events", "list"),
    Column("remedy"),
)


@verb(
    "findings",
    summary="Tell what goes wrong between agents: loops, storms, queues nobody serves.",
    details="Computed from the history, which is only read. Exit code 0 with and without findings; --fail-on is for "
    "scripts. From when on something is told stands in [findings] of agentctl.toml.",
    reads=True,
    since=opt(help="How far back to look: a length of time, or a time.", metavar="TIME"),
    kind=opt("-k", help="Only findings of this kind; repeatable.", choices=KINDS, metavar="KIND"),
    fail_on=opt(help="Exit code 1 when a finding is at least so severe.", choices=("info", "warning", "critical")),
)
def findings(call: Call, *, since: str = SINCE, kind: tuple[str, ...] = (), fail_on: str | None = None) -> int:
    """Tell findings."""
    from agentctl_store.findings.model import SEVERITIES

    unknown = [one for one in kind if one not in KINDS]
    if unknown:
        raise BadInput(f"there is no kind of finding called {unknown[0][:60]!a}", f"Kinds are: {', '.join(KINDS)}")
    limits, worst, told = thresholds(call), -1, False
    since_of(since)

    def fetch() -> list[dict[str, Any]]:
        nonlocal worst, told
        found, cut_ms = look(call, since_of(since), limits, kind)
        worst = max((SEVERITIES.index(one.severity) for one in found), default=-1)
        if cut_ms is not None and not told:
            call.note(f"Only the newest events were looked at, those since {iso(cut_ms)}.")
            told = True
        return [_row(one) for one in found]

    call.show(_COLUMNS, fetch, empty="No findings.", tall=True)
    return int(fail_on is not None and worst >= SEVERITIES.index(fail_on))


def look(
    call: Call, since_ms: int, limits: Thresholds, kinds: tuple[str, ...] = ()
) -> tuple[list[Finding], int | None]:
    """Return what is found since a wall time, and since when it was looked at instead if that is too long ago."""
    from contextlib import closing

    from agentctl_store.findings import find
    from agentctl_store.read import open_evidence

    call.reader.version()  # makes the store of a fleet that never ran, which has no findings
    with closing(open_evidence(call.place()[0], since_ms, time.time_ns() // 1_000_000)) as evidence:
        found = find(evidence, limits, kinds)  # type: ignore[arg-type]
        return found, evidence.window.since_ms if evidence.window.cut else None


def since_of(text: str) -> int:
    """Read `24h`, or a time, as wall milliseconds. Raises BadInput."""
    now_ms = time.time_ns() // 1_000_000
    short = text[:1].isdigit() and text[-1:].isalpha() and "T" not in text
    return max(now_ms - read_span(text, "--since") if short else read_time(text, "--since", now_ms), 0)


def thresholds(call: Call) -> Thresholds:
    """Return the thresholds of the fleet that the store belongs to; the usual ones where its file cannot tell."""
    from agentctl_store.findings.thresholds import Thresholds

    path = os.path.join(os.path.dirname(os.path.abspath(call.place()[0])), FLEET_FILE)
    if not os.path.isfile(path):
        return Thresholds()
    from agentctl.config import load_config

    try:
        return load_config(path).findings.thresholds()
    except (BadConfig, NotFound) as error:
        call.note(f"The usual thresholds are used: {error.message}")
        return Thresholds()


def _row(one: Finding) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "severity": one.severity,
        "subject": one.subject,
        "summary": one.summary,
        "evidence": one.evidence,
        "count": one.count,
        "first_at": one.first_ms,
        "last_at": one.last_ms,
        "tasks": one.tasks,
        "events": one.events,
        "remedy": one.remedy,
    }
