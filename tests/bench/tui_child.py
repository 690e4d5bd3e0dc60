"""Textual's DataTable on a fleet in memory, in a terminal of its own; started by test_tui.py."""

from __future__ import annotations

import random
import sys
import time

from tui_source import busy, instance

from agentctl_store.record import replace
from agentctl_tui.units import age, size

BEAT_S = 0.25
INSTANCES = 100


def fleet() -> list:
    now = int(time.time() * 1000)
    rows = []
    for number in range(INSTANCES):
        name = f"worker-{number:03d}/1"
        row = busy(name, number, f"lib/module_{number}.py", 3) if number % 2 else instance(name)
        rows.append(replace(row, since_ms=now, started_ms=now, claimed_ms=now if row.task else None))
    return rows


def change(rows: list, rng: random.Random) -> list:
    """Every row gets another progress, memory and flow, as a very lively fleet would."""
    return [
        replace(
            row,
            progress=f"step {rng.randrange(1000)}/1000" if row.task else "",
            memory_bytes=rng.randrange(10_000_000, 900_000_000),
            done=row.done + 1,
            flow=(*row.flow[-11:], rng.randrange(9)),
            output_ms=int(time.time() * 1000),
        )
        for row in rows
    ]


def data_table(live: bool) -> None:
    from textual.app import App, ComposeResult
    from textual.widgets import DataTable

    class Table(App[None]):
        def compose(self) -> ComposeResult:
            yield DataTable(cursor_type="row")

        def on_mount(self) -> None:
            self.rows, self.rng = fleet(), random.Random(7)
            table = self.query_one(DataTable)
            for title in ("INSTANCE", "HEALTH", "TASK", "DOING", "DONE", "MEMORY", "UP"):
                table.add_column(title, key=title)
            for row in self.rows:
                table.add_row(*self.cells(row), key=row.instance)
            if live:
                self.set_interval(BEAT_S, self.beat)

        def cells(self, row) -> tuple[str, ...]:
            up = age(int(time.time() * 1000) - row.started_ms)
            return (row.instance, row.health, row.title, row.progress, str(row.done), size(row.memory_bytes), up)

        def beat(self) -> None:
            self.rows = change(self.rows, self.rng)
            table = self.query_one(DataTable)
            for row in self.rows:
                cells = self.cells(row)
                for title, cell in (("DOING", cells[3]), ("DONE", cells[4]), ("MEMORY", cells[5]), ("UP", cells[6])):
                    table.update_cell(row.instance, title, cell)

    Table().run()


if __name__ == "__main__":
    data_table(sys.argv[1:] == ["live"])
