"""Folding the history into queues, agents, instances and sessions; see replay.py."""

from __future__ import annotations

from ..domain.event import KINDS
from ..jsontext import dumps
from .nouns import TABLES
from .tasks import exit_of, told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .tasks import Line, Row

_SESSION_DEFAULTS: Row = dict.fromkeys(
    ("nonce", "task", "attempt", "pid", "started_ms", "ended_ms", "outcome", "exit_code", "signal", "detail")
)


_AGENT_DEFAULTS: Row = {
    "can": "[]",
    "fallback": None,
    "max_depth": None,
    "checked": 0,
}  #: what an older snapshot does not say


class FleetFold:
    """Queues, agents and actors by number, instances by (agent name, slot), and the tables of few rows."""

    def __init__(self) -> None:
        self.queues: dict[int, Row] = {}
        self.agents: dict[int, Row] = {}
        self.actors: dict[int, str] = {}
        self.instances: dict[tuple[str, int], Row] = {}
        self.tables = {kind.table: kind() for kind in TABLES}
        self._agent_ids: dict[str, int] = {}

    def apply(self, line: Line) -> None:
        """Apply one event, whatever its kind."""
        if line[2] not in FLEET_KINDS:
            return
        said, step = told(line[8]), _STEPS.get(line[2])
        if step is not None:
            step(self, line, said)
        for table in self.tables.values():
            if line[2] in table.steps:
                table.steps[line[2]](table, line, said)

    def snapshot(self) -> Row:
        """Return this fold as plain data, for a `store.pruned` event."""
        return {
            "queues": [{"id": number, **row} for number, row in self.queues.items()],
            "agents": [{"id": number, **row} for number, row in self.agents.items()],
            "actors": [[number, name] for number, name in self.actors.items()],
            "instances": [{"agent": key[0], "slot": key[1], **row} for key, row in self.instances.items()],
            "tables": {name: table.snapshot() for name, table in self.tables.items() if table.rows},
        }

    def load(self, data: Row) -> None:
        """Begin again with a snapshot."""
        self.queues = {row["id"]: _without(row, "id") for row in data["queues"]}
        self.agents = {row["id"]: _AGENT_DEFAULTS | _without(row, "id") for row in data["agents"]}
        self.actors = {number: name for number, name in data["actors"]}  # noqa: C416 - pairs are lists
        self.instances = {(row["agent"], row["slot"]): _without(row, "agent", "slot") for row in data["instances"]}
        self._agent_ids = {row["name"]: number for number, row in self.agents.items()}
        for name, rows in data.get("tables", {}).items():
            self.tables[name].load(rows)

    def _agent(self, name: str) -> Row | None:
        return self.agents.get(self._agent_ids.get(name, -1))

    def _named(self, line: Line, said: Row) -> None:
        number = said["id"]
        if "queue" in said:
            self.queues[number] = {"name": said["queue"], "paused_ms": None, "paused_by": None, "reason": None}
        elif "agent" in said:
            self.agents[number] = {
                "name": said["agent"], "mode": None, "queues": "[]", "instances": 0, "scale": None, "retry": None,
                "desired": "running", "restart_seq": 0, "reset_seq": 0, "declared": 0, "since_ms": line[1], "can": "[]",
                "fallback": None, "max_depth": None, "checked": 0,
            }  # fmt: skip
            self._agent_ids[said["agent"]] = number
        else:
            self.actors[number] = said["actor"]

    def _paused(self, line: Line, said: Row) -> None:
        if said["queue"] in self.queues:
            self.queues[said["queue"]].update(paused_ms=line[1], paused_by=line[5], reason=said["reason"])

    def _resumed(self, line: Line, said: Row) -> None:
        if said["queue"] in self.queues:
            self.queues[said["queue"]].update(paused_ms=None, paused_by=None, reason=None)

    def _declared(self, line: Line, said: Row) -> None:
        agent = self._agent(said["agent"])
        if agent is not None:
            agent.update(mode=said["mode"], queues=dumps(said["queues"]), instances=said["instances"])
            agent.update(retry=said.get("retry"), declared=1, can=dumps(said.get("can", [])))
            agent.update(fallback=said.get("fallback"), max_depth=said.get("max_depth"))
            agent["checked"] = said.get("checked", 0)

    def _withdrawn(self, line: Line, said: Row) -> None:
        agent = self._agent(said["agent"])
        if agent is not None:
            agent["declared"] = 0

    def _desired(self, line: Line, said: Row) -> None:
        agent = self._agent(said["agent"])
        if agent is None:
            return
        if said.get("restart"):
            agent["restart_seq"] += 1
            return
        agent.update(desired=said["desired"], since_ms=line[1])
        agent["reset_seq"] += said["desired"] == "running"

    def _scaled(self, line: Line, said: Row) -> None:
        agent = self._agent(said["agent"])
        if agent is not None:
            agent["scale"] = said["instances"]

    def _instance(self, line: Line, said: Row) -> None:
        agent, _, slot = line[5].partition("/")
        self.instances[agent, int(slot)] = {
            "phase": said["phase"], "health": said["health"], "reason": said.get("reason", ""),
            "latched": said.get("latched", 0), "since_ms": line[1],
        }  # fmt: skip

    def _removed(self, line: Line, said: Row) -> None:
        agent, _, slot = line[5].partition("/")
        self.instances.pop((agent, int(slot)), None)


_STEPS: dict[int, Callable[[FleetFold, Line, Row], None]] = {
    KINDS["store.named"]: FleetFold._named,
    KINDS["queue.paused"]: FleetFold._paused,
    KINDS["queue.resumed"]: FleetFold._resumed,
    KINDS["agent.declared"]: FleetFold._declared,
    KINDS["agent.withdrawn"]: FleetFold._withdrawn,
    KINDS["agent.desired"]: FleetFold._desired,
    KINDS["agent.scaled"]: FleetFold._scaled,
    KINDS["instance.changed"]: FleetFold._instance,
    KINDS["instance.removed"]: FleetFold._removed,
}


class SessionFold:
    """Sessions that have not ended; `apply` gives back each one that ends, so that memory stays bounded."""

    def __init__(self) -> None:
        self.open: dict[int, Row] = {}

    def carry(self, data: Row) -> list[Row]:
        """Begin with the sessions of a `task.carried` event; return those that had ended already."""
        ended = []
        for row in data.get("sessions", ()):
            whole = _SESSION_DEFAULTS | row
            if whole["ended_ms"] is None:
                self.open[row["id"]] = whole
            else:
                ended.append(whole)
        return ended

    def apply(self, line: Line) -> Row | None:
        """Apply one event that names a session; return the session if this one ended it."""
        _, at, kind, task, attempt, actor, session, _, data, _ = line
        if kind == _OPENED or (kind == _CLAIMED and told(data).get("opens", session >> 20 == at)):
            agent, _, slot = actor.partition("/")
            nonce = told(data)["nonce"] if kind == _OPENED else None
            self.open[session] = _SESSION_DEFAULTS | {
                "id": session, "agent": agent, "slot": int(slot), "nonce": nonce, "task": task, "attempt": attempt,
            }  # fmt: skip
        elif kind == _STARTED and session in self.open:
            self.open[session].update(pid=told(data)["pid"], started_ms=at)
        elif (kind == _ENDED or kind in _WITH_TASK) and session in self.open:
            said = told(data)
            how = said if kind == _ENDED else {"exit": exit_of(session, said), **said.get("session", {})}
            row = self.open.pop(session)
            row.update(ended_ms=at, outcome=how.get("outcome"), exit_code=how.get("exit"))
            row.update(signal=how.get("signal"), detail=how.get("detail"))
            if row["task"] is not None:
                row.update(pid=how.get("pid"), started_ms=how.get("started"))
            return row
        return None


def packed(session: Row) -> Row:
    """Return a session as the entry of a `task.carried` event."""
    return {name: value for name, value in session.items() if value is not None}


def _without(row: Row, *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


_OPENED, _STARTED, _ENDED = KINDS["session.opened"], KINDS["session.started"], KINDS["session.ended"]
_CLAIMED = KINDS["task.claimed"]
#: kinds that end a session with its attempt when they name one
_WITH_TASK = frozenset(
    KINDS[f"task.{how}"]
    for how in ("completed", "retried", "released", "cancelled", "buried", "asked", "fell_back", "stood_in")
)  # fmt: skip
FLEET_KINDS = frozenset(_STEPS).union(*(table.steps for table in TABLES))
