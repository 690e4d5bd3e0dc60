"""Which SQLite library may be used, decided in one place.

SQLite 3.7.0 to 3.51.2 can corrupt a WAL database used by several processes (the WAL-reset bug, fixed in 3.51.3:
https://www.sqlite.org/wal.html#walresetbug). Python's own sqlite3 is often older, so on Linux and Apple silicon the
`pysqlite3` wheel, which carries a fixed SQLite, is used, and an affected library is refused.

Only one SQLite library may open a store in one process: a second one drops the first one's POSIX locks.
"""

from __future__ import annotations

import sys

from ..errors import UnsafeSqlite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FIRST_SAFE = (3, 51, 3)


def _bundled() -> Any:
    """Load pysqlite3's C module alone: its Python half imports datetime and costs 2 ms of start-up."""
    name = "pysqlite3._sqlite3"
    found = sys.modules.get(name)
    if found is not None:
        return found
    import _frozen_importlib
    import _frozen_importlib_external

    finder = _frozen_importlib_external.PathFinder
    package = finder.find_spec("pysqlite3")
    if package is None or package.submodule_search_locations is None:
        return None
    spec = finder.find_spec(name, package.submodule_search_locations)
    if spec is None or spec.loader is None:
        return None
    module = _frozen_importlib.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[name] = module  # so that a later `import pysqlite3` is this very library
    return module


def ease(module: Any) -> None:
    """Let NULL and bytes be bound as they are.

    The library asks of each value that is not a number or a text how to adapt it, and finds out by failing look-ups
    that it need not: a microsecond each, half of an event's insert. A look-up that answers at once spares them.
    """
    module.register_adapter(type(None), {}.get)  # what it answers for None is None
    module.register_adapter(bytes, bytes)  # which returns what it is given


def load() -> Any:
    """Return the SQLite module to use (the DB-API's names). Raises UnsafeSqlite, naming the remedy."""
    module = _bundled()
    if module is None:
        import sqlite3 as module
    version = tuple(int(part) for part in module.sqlite_version.split("."))
    if version < FIRST_SAFE:
        raise UnsafeSqlite(
            f"the SQLite library at hand is {module.sqlite_version}, which can corrupt a store that several "
            "processes use (WAL-reset bug)",
            "Install one that cannot: pip install 'pysqlite3>=0.6.1', or a Python built with SQLite 3.51.3 or newer",
        )
    ease(module)
    return module
