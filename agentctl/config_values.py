"""The kinds of values agentctl.toml knows, and what its tables have in common."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from agentctl_store.domain.task import MAX_CAN
from agentctl_store.errors import BadName
from agentctl_store.ids import check_name

from .quantities import read_duration_ms, read_size_bytes, show_duration, write_duration, write_size


def _words(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise ValueError(f"cannot be split into words: {error}".lower()) from None
    elif isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value):
        words = list(value)
    else:
        raise ValueError('is not a command; write a text ("python review.py") or a list of texts')
    if not words or not words[0]:
        raise ValueError("is empty; write the program to run")
    if any("\0" in word for word in words):
        raise ValueError("holds a NUL character, which no command can")
    return tuple(words)


def folder(value: str) -> str:
    if not value or "\0" in value:
        raise ValueError("is not a folder; write its path, or leave the key out")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise ValueError('is not a list of texts; write ["one", "two"]')
    return tuple(value)


def _names(value: object) -> tuple[str, ...]:
    texts = _texts(value)
    if not texts:
        raise ValueError("is an empty list; name at least one queue, or leave the key out")
    for text in texts:
        try:
            check_name(text, "queue")
        except BadName as error:
            raise ValueError(f"{error.message}; {error.remedy}") from None
    if len(set(texts)) != len(texts):
        raise ValueError("names the same queue twice")
    return texts


def _capabilities(value: object) -> tuple[str, ...]:
    texts = _texts(value)
    for text in texts:
        try:
            check_name(text, "capability")
        except BadName as error:
            raise ValueError(f"{error.message}; {error.remedy}") from None
    if len(set(texts)) > MAX_CAN:
        raise ValueError(f"names more than {MAX_CAN} capabilities; name fewer")
    return tuple(sorted(set(texts)))


def _at_least(least_ms: int) -> Callable[[int], int]:
    def check(value_ms: int) -> int:
        if value_ms < least_ms:
            raise ValueError(f"is {show_duration(value_ms)}; the least is {show_duration(least_ms)}")
        return value_ms

    return check


Command = Annotated[tuple[str, ...], BeforeValidator(_words, json_schema_input_type=str | list[str])]
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts, json_schema_input_type=list[str])]
Queues = Annotated[tuple[str, ...], BeforeValidator(_names, json_schema_input_type=list[str])]
Capabilities = Annotated[tuple[str, ...], BeforeValidator(_capabilities, json_schema_input_type=list[str])]
Duration = Annotated[
    int,
    BeforeValidator(read_duration_ms, json_schema_input_type=str | int | float),
    PlainSerializer(write_duration, when_used="json"),
]
ShortDuration = Annotated[Duration, AfterValidator(_at_least(100))]
CpuDuration = Annotated[Duration, AfterValidator(_at_least(1_000))]
LeaseDuration = Annotated[Duration, AfterValidator(_at_least(2_000))]
Size = Annotated[
    int,
    BeforeValidator(read_size_bytes, json_schema_input_type=str | int),
    PlainSerializer(write_size, when_used="json"),
]


class Section(BaseModel):
    """A table of the file: unknown keys are refused, values are not bent into shape."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=False)
