"""The JSON lines on an agent's stdout that agentctl understands: `{"agentctl": "progress", …}`.

Forms: `progress` {text | message, share?}, `usage` {input_tokens?, output_tokens?, cost_usd?} as totals of the attempt,
`retry_after` {seconds}, `ask` {question, options?, deadline?, default?, or_fail?} (counts when the process then exits
with 0), `heartbeat` {}, `log` {level?, message}, `checkpoint` and `span` (kept in the session's log).
A line of any other form is a log line like all others.
"""

from __future__ import annotations

from agentctl_store import jsontext
from agentctl_store.domain.task import MAX_USED
from agentctl_store.errors import BadJson
from agentctl_store.text import printable

MARK = '{"agentctl"'
MAX_PROGRESS = 300
MAX_LINE = 1 << 16
MAX_COUNT = MAX_USED
MAX_COST_USD = MAX_USED / 1_000_000


def read_line(raw: str) -> dict[str, object]:
    """Return the fields of `facts.Said` that a line sets; none for a line that is not understood."""
    try:
        value = jsontext.loads(raw, "line", MAX_LINE)
    except BadJson:
        return {}
    if not isinstance(value, dict):
        return {}
    kind = value.get("agentctl")
    if kind == "progress":
        return _progress(value)
    if kind == "usage":
        return _usage(value)
    if kind == "ask":
        return {"ask": raw}  # what is wrong with it is told when it is asked: its task must not end as done
    if kind == "retry_after":
        seconds = value.get("seconds")
        if isinstance(seconds, int | float) and _number(seconds, 366 * 86_400):
            return {"retry_after_ms": int(seconds * 1000)}
    return {}


def _progress(value: dict[str, object]) -> dict[str, object]:
    text = value.get("text", value.get("message", ""))
    said = printable(text)[:MAX_PROGRESS] if isinstance(text, str) else ""
    share = value.get("share")
    if isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share <= 1:
        said = f"{share:.0%} {said}".strip()
    return {"progress": said} if said else {}


def _usage(value: dict[str, object]) -> dict[str, object]:
    said: dict[str, object] = {}
    for name in ("input_tokens", "output_tokens"):
        count = value.get(name)
        if isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= MAX_COUNT:
            said[name] = count
    cost = value.get("cost_usd")
    if isinstance(cost, int | float) and _number(cost, MAX_COST_USD):
        said["cost_microusd"] = round(cost * 1_000_000)
    return said


def _number(value: object, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most
