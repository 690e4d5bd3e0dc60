"""Reading the text of agentctl.toml, whatever stands in its place. Imports little: hot verbs read it, too."""

from __future__ import annotations

import os
import stat

from agentctl_store.errors import BadConfig, NotFound

MAX_FILE_BYTES = 1 << 20


def read_text(path: str) -> str:
    """Return the file's text. Raises NotFound, or BadConfig for what is no readable UTF-8 file of at most 1 MiB."""
    try:
        # Whoever opens a pipe waits for its other end, unless told not to.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise BadConfig(f"{path} is not a regular file", "Name the fleet's own agentctl.toml", file=path)
            raw = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}", "Run `agentctl init` to write one") from None
    except IsADirectoryError:
        raise BadConfig(f"{path} is a folder", "Name the agentctl.toml in it", file=path) from None
    except OSError as error:
        raise BadConfig(f"{path} cannot be read: {error.strerror}", "Check its permissions", file=path) from None
    if len(raw) > MAX_FILE_BYTES:
        raise BadConfig(f"{path} is larger than 1 MiB", "Name the fleet's own agentctl.toml", file=path)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise BadConfig(f"{path}:{line}: is not UTF-8", "Save the file as UTF-8 text", file=path, line=line) from None
