"""What must not look at every row does not: beside many tasks it costs what it costs beside none."""

from __future__ import annotations

import pytest
from store.store_kit import SetClock, new_store  # noqa: TID251

from agentctl_store import upkeep
from agentctl_store.store import TaskRequest

FEW = 20_000  #: steps of SQLite's machine for all of it; one scan of the tasks takes more than there are tasks


@pytest.mark.parametrize("count", [20_000])
def test_no_verb_and_no_step_of_pruning_scans_the_tasks(tmp_path_factory: pytest.TempPathFactory, count: int) -> None:
    clock = SetClock()
    with new_store(tmp_path_factory.mktemp("many"), clock) as store:
        (task,) = (one.id for one in store.add([TaskRequest("work", payload='"first"')]))
        store.claim(["work"], agent="ann")
        store.complete(task, 1, result="1")
        clock.pass_ms(10_000)
        for start in range(0, count, 10_000):
            store.add([TaskRequest("idle", payload=str(n)) for n in range(start, start + 10_000)])
        db = store.driver.conn.db  # type: ignore[attr-defined]
        steps = [0]

        def tick() -> int:
            steps[0] += 1
            return 0

        db.set_progress_handler(tick, 1_000)
        assert store.complete(task, 1, result='"again"').state == "done"
        store.cancel(store.add([TaskRequest("work")])[0].id, actor="t")
        db.set_progress_handler(None, 0)
        assert steps[0] * 1_000 < FEW
        clock.pass_ms(1_000)
        pruned = upkeep.prune(store.directory, 5_000, clock, "t")
        assert pruned.tasks == 1
