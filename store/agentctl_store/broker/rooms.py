"""The rooms of the driver that it enters when first needed, which is for short commands: here all of them at once."""

from __future__ import annotations

from ..sqlite import (  # noqa: F401
    adding,
    claiming,
    deciding,
    delivering,
    ending,
    explain,
    fleet,
    history,
    holding,
    letters,
    limiting,
    limits,
    messages,
    questions,
    schedules,
    schemas,
    sending,
    settling,
    sweeping,
    waiting,
)
