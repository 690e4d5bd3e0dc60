"""What the fleet's slots and queues say together."""

from agentctl.config import Config
from agentctl.supervisor.fleet import unserved
from agentctl_store.read.models import QueueRow


def queue(name: str, ready: int) -> QueueRow:
    return QueueRow(name, False, ready, 0, 0, 0, 0, 0, 0, 0)


def test_tasks_that_no_agent_will_take_are_named_and_served_ones_are_not() -> None:
    config = Config.model_validate({"agent": {"ann": {"command": ["true"], "queues": ["docs"]}}})
    assert unserved([queue("docs", 3), queue("empty", 0)], config) == ""
    told = unserved([queue("docs", 3), queue("lost", 1_200), queue("other", 1)], config)
    assert "1,200 in queue lost, 1 in queue other" in told and "docs" not in told
