"""What a supervisor learns of a claim that a limit held back, on a real store and a clock of the test's."""

from __future__ import annotations

from pathlib import Path

from store.store_kit import SetClock, add, new_store  # noqa: TID251

from agentctl.config import parse_config
from agentctl.supervisor.facts import Limited
from agentctl.supervisor.perform import Hands
from agentctl.supervisor.slot import Slot, Want
from agentctl_store.clock import Moment
from agentctl_store.domain.limits import Bound

CONFIG = parse_config(
    '[fleet]\nmin_free_memory = 0\nmin_free_disk = 0\n[agent.ann]\ncommand = "true"\nqueues = ["work"]\n'
)


class Ticking(SetClock):
    """Time passes with each look at it, as on a machine that has much to do."""

    step_ms = 0

    def now(self) -> Moment:
        now = super().now()
        self.pass_ms(self.step_ms)
        return now


def test_a_limit_that_ends_while_it_is_looked_at_is_no_empty_queue(tmp_path: Path) -> None:
    clock = Ticking()
    with new_store(tmp_path, clock) as store:
        store.limits.set_bound(Bound("agent", "ann", 1, 1_000), actor="t")
        add(store), add(store)
        assert len(store.claim(["work"], agent="ann")) == 1
        hands = Hands(store, CONFIG, "agentctl.toml", clock, None, None, "", lambda *_: "")  # type: ignore[arg-type]
        due = clock.boot_ms + 1_000
        clock.pass_ms(1_000 - 4)
        clock.step_ms = 3  # the claim comes just before it is due, whoever asks why just after
        (fact,) = hands.claim(Slot("ann", 1, Want(CONFIG.agent["ann"]), phase="idle"))
        assert fact == Limited("", due)
