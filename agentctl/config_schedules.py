"""`[schedule.NAME]` in agentctl.toml."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from agentctl_store.domain.schedule import MAX_BACKLOG, ScheduleSpec, after_cron
from agentctl_store.errors import BadInput
from agentctl_store.ids import check_name
from agentctl_store.jsontext import dumps, loads

from .config_values import Duration, Section
from .zones import local_zone


def _cron(line: str) -> str:
    return _checked(line, lambda: after_cron(line, "UTC", 0))


def _zone(name: str) -> str:
    return _checked(name, lambda: after_cron("* * * * *", name, 0))


def _queue(name: str) -> str:
    return _checked(name, lambda: check_name(name, "queue"))


def _checked(value: str, check: Any) -> str:
    try:
        check()
    except BadInput as error:
        raise ValueError(f"is refused: {error.message}; {error.remedy}") from None
    return value


def _moment(value: object) -> int:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(found, datetime):
            return int(found.astimezone().timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        pass
    raise ValueError("is not a time; write it like 2026-03-01T08:00:00 or 2026-03-01T08:00:00Z")


def _json(value: object) -> str:
    if _has_times(value):
        raise ValueError("holds a date or time, which JSON does not know; write it as a text")
    try:
        text = dumps(value)
        loads(text)
    except (BadInput, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"cannot be a payload: {getattr(error, 'message', error)}") from None
    return text


def _has_times(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_has_times, value.values()))
    if isinstance(value, list):
        return any(map(_has_times, value))
    return isinstance(value, (date, time))


class ScheduleSection(Section):
    """`[schedule.NAME]`: a task that is added again and again."""

    queue: Annotated[str, AfterValidator(_queue)]
    payload: Annotated[
        str | None,
        BeforeValidator(_json, json_schema_input_type=Any),
        PlainSerializer(lambda text: None if text is None else loads(text), when_used="json"),
    ] = None
    cron: Annotated[str, AfterValidator(_cron)] | None = None
    tz: Annotated[str, AfterValidator(_zone)] | None = Field(None, description="IANA name; this machine's zone if none")
    every_ms: Duration | None = Field(None, alias="every")
    at_ms: (
        Annotated[
            int,
            BeforeValidator(_moment, json_schema_input_type=str),
            PlainSerializer(lambda ms: datetime.fromtimestamp(ms / 1000).astimezone().isoformat(), when_used="json"),
        ]
        | None
    ) = Field(None, alias="at")
    overlap: Literal["skip", "queue", "replace"] = Field(
        "skip", description=f"when the run before has not ended; up to {MAX_BACKLOG} runs queue, then they are skipped"
    )
    jitter_ms: Duration = Field(0, alias="jitter")
    catch_up: bool = True
    priority: int = Field(0, ge=-100, le=100)
    timeout_ms: Duration | None = Field(None, alias="timeout")

    @model_validator(mode="after")
    def _whole(self) -> ScheduleSection:
        if self.cron is None and self.tz is not None:
            raise ValueError("has a tz but no cron line; leave tz out, or write a cron line")
        try:
            self.spec("x")
        except BadInput as error:
            raise ValueError(f"is refused: {error.message}; {error.remedy}") from None
        return self

    def spec(self, name: str) -> ScheduleSpec:
        """Return it as the domain's. Raises BadInput."""
        return ScheduleSpec(
            name,
            self.queue,
            self.payload or "null",
            self.cron,
            None if self.cron is None else self.tz or local_zone(),
            self.every_ms,
            self.at_ms,
            self.overlap,
            self.jitter_ms,
            self.catch_up,
            self.priority,
            self.timeout_ms,
        ).check()
