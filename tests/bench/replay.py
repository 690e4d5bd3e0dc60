"""The same statements again on a bare connection: what a verb could cost at least.

A verb's statements are recorded on one copy of a store and executed on another, which is in the same state, so that
they do exactly the same work there.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from agentctl_store.sqlite import gate
from agentctl_store.sqlite.transaction import digest, link
from agentctl_store.sqlite.writelock import WriteLock

Statement = tuple[str, Any]


class Recorder:
    """A connection that remembers what it executed."""

    def __init__(self, db: Any) -> None:
        self.db = db
        self.seen: list[Statement] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.db, name)

    def cursor(self) -> Recorder:
        return self

    def execute(self, sql: str, values: Any = ()) -> Any:
        self.seen.append((sql, values))
        return self.db.execute(sql, values)

    def executemany(self, sql: str, rows: Any) -> Any:
        self.seen += [(sql, values) for values in rows]
        return self.db.executemany(sql, rows)


def bare(path: str, synchronous: str) -> Any:
    """A connection as the store sets it up, and nothing around it."""
    db = gate.load().connect(path, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA foreign_keys=ON")
    db.execute("PRAGMA trusted_schema=OFF")
    db.execute("PRAGMA cell_size_check=ON")
    db.execute("PRAGMA mmap_size=0")
    db.execute("PRAGMA journal_size_limit=67108864")
    db.execute(f"PRAGMA synchronous={synchronous}")
    return db


def run(db: Any, statements: list[Statement], clock: Callable[[], float]) -> float:
    """Execute all as the library does it by itself, without what our gate spares it; the seconds it took by `clock`."""
    module, execute = gate.load(), db.execute
    for kind in (type(None), bytes):
        module.adapters.pop((kind, module.PrepareProtocol), None)
    try:
        began = clock()
        for sql, values in statements:
            execute(sql, values).fetchall()
        return clock() - began
    finally:
        gate.ease(module)


def promised(folder: str, statements: list[Statement], clock: Callable[[], float]) -> float:
    """Return the seconds that what is promised beyond SQL takes for these statements, by the store's own means.

    Of each transaction: the writers' lock, whether somebody else wrote, and the mark that tells an older copy. Of each
    event its link in the chain of hashes, of each body its digest. Nothing that could be spared is in it.
    """
    lock = WriteLock(folder)
    began = clock()
    for sql, values in statements:
        if sql.startswith("INSERT INTO event"):
            seq, at, kind, task, attempt, actor, session, body, data, correlation, head = values
            link(head, seq, at, kind, task, attempt, actor, session, body, data, correlation, b"")
        elif sql.startswith("INSERT INTO body"):
            digest(values[0])
        elif sql.startswith("BEGIN"):
            lock.take(1)
            lock.unmoved()
        elif sql == "COMMIT":
            lock.mark(1, b"*")
            lock.let_go()
    took = clock() - began
    lock.close()
    return took


def packed(statements: list[Statement]) -> bytes:
    """The statements as floor.c reads them."""
    texts = list(dict.fromkeys(sql for sql, _ in statements))
    index = {sql: number for number, sql in enumerate(texts)}
    out = [struct.pack("=i", len(texts))]
    for sql in texts:
        data = sql.encode()
        out += [struct.pack("=i", len(data)), data]
    for sql, values in statements:
        out.append(struct.pack("=ii", index[sql], len(values)))
        for value in values:
            if value is None:
                out.append(struct.pack("=i", 0))
            elif isinstance(value, int):
                out.append(struct.pack("=iq", 1, value))
            else:
                data = value if isinstance(value, bytes) else value.encode()
                out += [struct.pack("=ii", 4 if isinstance(value, bytes) else 3, len(data)), data]
    return b"".join(out)
