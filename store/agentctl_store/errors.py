"""Every error agentctl raises on purpose.

    AgentctlError
    ├── BadInput            what was given cannot be accepted as it is        (exit 2)
    │   ├── BadJson         a JSON document is refused
    │   ├── BadName         a name or id has the wrong form
    │   └── BadConfig       agentctl.toml is refused; carries file, line and key
    ├── NotFound            no such task, queue, agent, session, store        (exit 3)
    ├── Conflict            the state does not allow the verb                 (exit 4)
    │   ├── StaleAttempt    the attempt no longer owns its task (the fence)
    │   ├── QueueFull       a queue holds as many tasks as it may
    │   ├── AlreadyRunning  another supervisor owns the store
    │   └── Refused         an agent asked for what it may not do, or is not who it says
    │       └── BadDelegation   a task would come back to who delegated it, or its chain is too long
    ├── TimedOut            a wait ended without what it waited for           (exit 5)
    ├── NoSupervisor        the verb needs a running supervisor               (exit 6)
    ├── NothingToClaim      no ready task for this claim                      (exit 7)
    └── StoreError          the store cannot be used as it is                 (exit 1)
        ├── StoreBusy       another process held the store for too long
        ├── StoreFull       disk full, quota, read-only: reads still work
        ├── StoreCorrupt    integrity or history check failed
        ├── StoreTooNew     written by a newer agentctl
        ├── Interrupted     who asked gave the reading up
        └── UnsafeSqlite    the SQLite library at hand corrupts WAL stores

Each carries a machine-readable `code`, one sentence for a person, and the next step to take.
"""

from __future__ import annotations


class AgentctlError(Exception):
    """Base of all expected errors: `message` says what happened and where, `remedy` what to do next."""

    code = "error"
    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}" if self.remedy else self.message


class BadInput(AgentctlError):
    code = "bad_input"
    exit_code = 2


class BadJson(BadInput):
    code = "bad_json"


class BadName(BadInput):
    code = "bad_name"


class BadConfig(BadInput):
    """`file`, `line` (1-based, 0 when unknown) and dotted `key` point at the place."""

    code = "bad_config"

    def __init__(self, message: str, remedy: str = "", *, file: str = "", line: int = 0, key: str = "") -> None:
        super().__init__(message, remedy)
        self.file, self.line, self.key = file, line, key


class NotFound(AgentctlError):
    code = "not_found"
    exit_code = 3


class Conflict(AgentctlError):
    code = "conflict"
    exit_code = 4


class StaleAttempt(Conflict):
    code = "stale_attempt"


class QueueFull(Conflict):
    code = "queue_full"


class AlreadyRunning(Conflict):
    code = "already_running"


class Refused(Conflict):
    code = "refused"


class BadDelegation(Refused):
    code = "bad_delegation"


class TimedOut(AgentctlError):
    code = "timeout"
    exit_code = 5


class NoSupervisor(AgentctlError):
    code = "no_supervisor"
    exit_code = 6


class NothingToClaim(AgentctlError):
    code = "nothing_to_claim"
    exit_code = 7


class StoreError(AgentctlError):
    code = "store"


class StoreBusy(StoreError):
    code = "store_busy"


class StoreFull(StoreError):
    code = "store_full"


class StoreCorrupt(StoreError):
    code = "store_corrupt"


class StoreTooNew(StoreError):
    code = "store_too_new"


class Interrupted(StoreError):
    code = "interrupted"


class UnsafeSqlite(StoreError):
    code = "unsafe_sqlite"
