"""The columns of tasks, claims and attempts; their values are made in cli/task_rows.py."""

from __future__ import annotations

from .table import Column

ATTEMPTS = (
    Column("attempt"),
    Column("agent"),
    Column("outcome"),
    Column("class"),
    Column("exit_code", "number", title="exit"),
    Column("claimed_at", "time", title="claimed"),
    Column("ended_at", "time", title="ended"),
    Column("session"),
    Column("error"),
)
PARENTS = (
    Column("task"),
    Column("queue"),
    Column("state"),
    Column("result", "json"),
    Column("reason"),
    Column("degraded", "flag"),
)
ANSWERS = (
    Column("question"),
    Column("options", "list"),
    Column("answer"),
    Column("how"),
    Column("by"),
    Column("asked_at", "time", title="asked"),
    Column("ended_at", "time", title="ended"),
)
ADDED = (Column("task"), Column("created", "flag"), Column("state"), Column("result", "json"))
CLAIM = (
    Column("attempt"),
    Column("task"),
    Column("queue"),
    Column("payload", "json"),
    Column("priority", "number"),
    Column("correlation", wide=True),
    Column("attempts", "number"),
    Column("deadline_at", "time", title="deadline", wide=True),
    Column("timeout_ms", "span", wide=True),
    Column("needs", "list"),
    Column("degraded", "flag", wide=True),
    Column("parents", "rows", parts=PARENTS, wide=True),
    Column("answers", "rows", parts=ANSWERS, wide=True),
)
TASK = (
    Column("task"),
    Column("queue"),
    Column("state"),
    Column("unroutable"),
    Column("degraded", "flag"),
    Column("reason"),
    Column("class"),
    Column("error"),
    Column("payload", "json"),
    Column("result", "json"),
    Column("partial", "json"),
    Column("priority", "number"),
    Column("needs", "list"),
    Column("agent"),
    Column("session", wide=True),
    Column("created_at", "time", title="created"),
    Column("available_at", "time", title="available", wide=True),
    Column("finished_at", "time", title="finished"),
    Column("deadline_at", "time", title="deadline", wide=True),
    Column("timeout_ms", "span", wide=True),
    Column("burnt", "number"),
    Column("key", wide=True),
    Column("correlation"),
    Column("creator", wide=True),
    Column("chain", "list"),
    Column("open_parents", "number", wide=True),
    Column("cancel_asked", "flag", wide=True),
    Column("parents", "rows", parts=PARENTS),
    Column("attempts", "rows", parts=ATTEMPTS),
    Column("answers", "rows", parts=ANSWERS),
)
