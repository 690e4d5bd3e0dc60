"""The store's verbs on queues, agents, instances and sessions, as everybody above the driver calls them."""

from __future__ import annotations

from .errors import BadInput, BadName
from .ids import check_name, new_id
from .taskverbs import check_usage, kept_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .clock import Clock
    from .domain.agent import Agent, AgentSpec, Desired, Instance, Session, SessionEnd
    from .domain.task import Usage
    from .driver import Driver


class FleetVerbs:
    """What a person wants of queues and agents, and what the supervisor reports of instances and sessions."""

    driver: Driver
    directory: str
    clock: Clock

    def pause_queue(self, queue: str, *, reason: str = "", actor: str) -> bool:
        check_name(queue, "queue")
        return self.driver.pause_queue(queue, reason=kept_text(reason), actor=actor, now=self.clock.now())

    def resume_queue(self, queue: str, *, actor: str) -> bool:
        check_name(queue, "queue")
        return self.driver.resume_queue(queue, actor=actor, now=self.clock.now())

    def declare_agents(self, specs: Sequence[AgentSpec], *, actor: str) -> None:
        for spec in specs:
            check_taken(check_name(spec.name, "agent"))
        self.driver.declare_agents(specs, actor=actor, now=self.clock.now())

    def set_desired(self, agent: str, desired: Desired, *, actor: str) -> Agent:
        return self.driver.set_desired(check_name(agent, "agent"), desired, actor=actor, now=self.clock.now())

    def restart_agent(self, agent: str, *, actor: str) -> Agent:
        return self.driver.restart_agent(check_name(agent, "agent"), actor=actor, now=self.clock.now())

    def scale_agent(self, agent: str, instances: int | None, *, actor: str) -> Agent:
        if instances is not None and not 0 <= instances <= 1_000:
            raise BadInput(f"{instances} instances are out of range", "Use 0 to 1000")
        return self.driver.scale_agent(check_name(agent, "agent"), instances, actor=actor, now=self.clock.now())

    def agents(self) -> list[Agent]:
        return self.driver.agents()

    def save_instances(self, changed: Sequence[Instance]) -> None:
        self.driver.save_instances(changed, now=self.clock.now())

    def drop_instances(self, gone: Sequence[tuple[str, int]]) -> None:
        self.driver.drop_instances(gone, now=self.clock.now())

    def instances(self) -> list[Instance]:
        return self.driver.instances()

    def open_session(self, agent: str, slot: int, nonce: str) -> Session:
        """Write the intent to start a session that has no task."""
        from .domain.agent import NewSession

        now = self.clock.now()
        return self.driver.open_session(NewSession(new_id(self.clock, now.wall_ms), agent, slot, nonce), now=now)

    def session_started(self, session: int, *, pid: int) -> None:
        self.driver.session_started(session, pid=pid, now=self.clock.now())

    def end_session(self, end: SessionEnd, *, usage: Usage | None = None) -> None:
        """End a session; `usage` counts for its task's attempt, which has ended otherwise. BadInput for no usage."""
        self.driver.end_session(end, usage=check_usage(usage), now=self.clock.now())

    def open_sessions(self) -> list[Session]:
        return self.driver.open_sessions()

    def session(self, session: int) -> Session:
        return self.driver.session(session)

    def held_tasks(self, session: int) -> list[tuple[int, int]]:
        return self.driver.held_tasks(session)


def check_taken(agent: str) -> None:
    """Raise BadName for the name under which people send and get messages: an agent of it would read their mail."""
    from .domain.message import OPERATOR

    if agent == OPERATOR:
        raise BadName(f"agent {agent!r} cannot be: that is who sends and reads outside of any agent", "Rename it")
