"""JSON and whole-file writes for the shim, without importing `json` (25 ms on a cold, busy machine).

A leaf module: importable both from the package and, with the folder on `sys.path`, by the shim.
"""

import posix

try:
    from _json import encode_basestring_ascii, make_scanner
except ImportError:  # another Python than CPython: slower to start, the same results
    from json.encoder import encode_basestring_ascii

    make_scanner = None  # type: ignore[assignment,misc]

quote = encode_basestring_ascii
"""A str as a JSON string in ASCII."""


class _Plain:
    """What the C scanner wants to know: standard JSON, standard types."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: dict[str, str] = {}  # noqa: RUF012 - the scanner owns and clears it


def loads(text: str) -> object:
    """The value of a JSON text that starts at its first character. Raises ValueError."""
    if make_scanner is None:
        import json

        return json.loads(text)
    try:
        return make_scanner(_Plain)(text, 0)[0]  # type: ignore[arg-type]
    except StopIteration:
        raise ValueError("not JSON") from None


def dumps(value: object) -> str:
    """Compact ASCII JSON of None, bool, int, float, str, list, tuple and dict with str keys."""
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{quote(str(k))}:{dumps(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(dumps, value)) + "]"
    raise TypeError(f"cannot write {type(value).__name__} as JSON")


def read_bytes(path: str, limit: int = 1 << 20) -> bytes:
    """A small file's bytes, at most `limit` of them. Raises OSError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        parts = []
        while limit > 0 and (part := posix.read(fd, min(limit, 1 << 16))):
            parts.append(part)
            limit -= len(part)
        return b"".join(parts)
    finally:
        posix.close(fd)


def read_object(path: str) -> dict[str, object] | None:
    """The JSON object in a file that is replaced whole, or None: no such file, or not an object."""
    try:
        value = loads(read_bytes(path).decode())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write_whole(path: str, text: str, *, durable: bool, reserved: bool = False) -> None:
    """Replace a file by tmp + fsync + rename. Raises OSError, leaving the old file as it was.

    `reserve` made the tmp file ahead: then this works on a full disk too.
    """
    tmp = path + ".tmp"
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_CLOEXEC | (0 if reserved else posix.O_TRUNC)
    fd = posix.open(tmp, flags, 0o600)
    try:
        data = text.encode()
        size = len(data)
        while data:
            data = data[posix.write(fd, data) :]
        posix.ftruncate(fd, size)
        if durable:
            posix.fsync(fd)
    finally:
        posix.close(fd)
    posix.rename(tmp, path)
    if durable:
        sync_folder(path.rpartition("/")[0])


def sync_folder(path: str) -> None:
    """Make renames inside a folder durable."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        posix.fsync(fd)
    finally:
        posix.close(fd)


def reserve(path: str, size: int = 4096) -> None:
    """Take disk space for a later `write_whole(path, reserved=True)`. Raises OSError (no space)."""
    fd = posix.open(path + ".tmp", posix.O_WRONLY | posix.O_CREAT | posix.O_CLOEXEC, 0o600)
    try:
        if hasattr(posix, "posix_fallocate"):
            posix.posix_fallocate(fd, 0, size)
        else:
            posix.write(fd, b" " * size)
    finally:
        posix.close(fd)
