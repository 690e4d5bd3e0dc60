"""What the fleet's slots and queues say together."""

from dataclasses import replace

import pytest

from agentctl.config import Config
from agentctl.supervisor.fleet import BEGUN_MS, instance_of, just_begun, unserved
from agentctl.supervisor.slot import Run, Slot, Want
from agentctl_store.clock import Moment
from agentctl_store.read.models import QueueRow


def queue(name: str, ready: int) -> QueueRow:
    return QueueRow(name, False, ready, 0, 0, 0, 0, 0, 0, 0)


def begun(mode: str) -> Slot:
    config = Config.model_validate({"agent": {"ann": {"command": ["true"], "mode": mode}}})
    return Slot("ann", 1, Want(config.agent["ann"]), phase="starting", since_ms=1_000, run=Run(9, "n", 1_000))


def at(ms: int) -> Moment:
    return Moment(1_000_000 + ms, ms, ms, "boot")


@pytest.mark.parametrize(
    ("mode", "age_ms", "shown"),
    [("task", 0, "busy"), ("task", BEGUN_MS - 1, "busy"), ("task", BEGUN_MS, "starting"), ("worker", 0, "starting")],
)
def test_a_slot_between_two_tasks_does_not_flash_and_a_slow_start_shows(mode: str, age_ms: int, shown: str) -> None:
    row = instance_of(begun(mode), at(1_000 + age_ms))
    assert (row.phase, row.health) == (shown, "healthy" if shown == "busy" else "starting")
    assert row.session == 9
    assert just_begun(begun(mode), at(1_000 + age_ms)) == (shown == "busy")
    assert not just_begun(replace(begun(mode), phase="busy"), at(1_000))


def test_tasks_that_no_agent_will_take_are_named_and_served_ones_are_not() -> None:
    config = Config.model_validate({"agent": {"ann": {"command": ["true"], "queues": ["docs"]}}})
    assert unserved([queue("docs", 3), queue("empty", 0)], config) == ""
    told = unserved([queue("docs", 3), queue("lost", 1_200), queue("other", 1)], config)
    assert "1,200 in queue lost, 1 in queue other" in told and "docs" not in told
