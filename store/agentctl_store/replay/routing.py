"""Folding the history into lanes and chains; see domain/routing.py."""

from __future__ import annotations

from ..domain.event import KINDS
from ..jsontext import dumps
from .tables import TableFold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

    from .tasks import Line, Row


class Lanes(TableFold):
    """What tasks ask of their claimers."""

    table, keys, columns = "lane", ("id",), ("queue", "needs", "barred")

    def _named(self, line: Line, said: Row) -> None:
        self.rows[(said["id"],)] = {
            "queue": said["queue"], "needs": dumps(said["needs"]), "barred": dumps(said["barred"]),
        }  # fmt: skip

    def _dropped(self, line: Line, said: Row) -> None:
        self.rows.pop((said["id"],), None)

    steps: ClassVar = {KINDS["lane.named"]: _named, KINDS["lane.dropped"]: _dropped}


class Chains(TableFold):
    """Who delegated, one after the other."""

    table, keys, columns = "chain", ("id",), ("before", "agent")

    def _named(self, line: Line, said: Row) -> None:
        self.rows[(said["id"],)] = {"before": said["before"], "agent": said["agent"]}

    steps: ClassVar = {KINDS["chain.named"]: _named}
