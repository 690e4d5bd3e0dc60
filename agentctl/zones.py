"""The time zone of this machine, by its IANA name."""

from __future__ import annotations

import os

_LINK, _ROOT = "/etc/localtime", "/zoneinfo/"


def local_zone() -> str:
    """Return the name of the local time zone, as TZ or /etc/localtime say; UTC when neither names one."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        linked = os.path.realpath(_LINK).partition(_ROOT)[2]
    except OSError:
        linked = ""
    for name in (os.environ.get("TZ", "").removeprefix(":"), linked.removeprefix("posix/").removeprefix("right/")):
        try:
            return ZoneInfo(name).key
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue
    return "UTC"
