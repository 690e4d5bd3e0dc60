"""agentctl.toml: what it may hold, its defaults, and reading it.

Imported only inside commands that need the fleet's configuration, never on the path of a hot verb: pydantic
costs more than such a verb in all. Every field is named in the file as its alias; inside, names carry their
unit.
"""

from __future__ import annotations

import os
import tomllib
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from agentctl_store.domain.agent import AgentSpec
from agentctl_store.domain.retry import RetryPolicy
from agentctl_store.domain.routing import MAX_DEPTH
from agentctl_store.domain.schedule import MAX_SCHEDULES, ScheduleSpec
from agentctl_store.errors import BadConfig, BadInput, BadName, NotFound
from agentctl_store.fleetverbs import check_taken
from agentctl_store.ids import check_name

from .config_file import read_text
from .config_findings import FindingsSection
from .config_limits import BreakerTable, BudgetTable, LimitsTable, Provider, name_problems
from .config_problems import BadConfigs, explain, no_reader_takes, syntax_problem
from .config_schedules import ScheduleSection
from .config_values import (
    Capabilities,
    Command,
    CpuDuration,
    Duration,
    LeaseDuration,
    Queues,
    Section,
    ShortDuration,
    Size,
    Texts,
    folder,
)  # fmt: skip
from .config_workflow import workflow_errors

FILE_NAME = "agentctl.toml"
MAX_INSTANCES = 1000
MAX_AGENTS = 1000


class FleetSection(Section):
    """`[fleet]`: what holds for all agents."""

    name: str = ""
    grace_ms: Duration = Field(30_000, alias="grace", description="how long a drain lets current tasks finish")
    min_free_memory_bytes: Size = Field(
        512_000_000, alias="min_free_memory", description="no new start while less memory than this is free"
    )
    min_free_disk_bytes: Size = Field(
        100_000_000, alias="min_free_disk", description="no new start while the store's disk has less space than this"
    )
    keep_output_bytes: Size = Field(
        5_000_000_000, alias="keep_output", description="what ended sessions have printed is kept up to this size"
    )
    orphan_grace_ms: Duration = Field(
        600_000, alias="orphan_grace", description="agents that nobody supervises for so long stop; 0 = never"
    )
    lease_ms: LeaseDuration = Field(60_000, alias="lease")
    max_delegation_depth: int = Field(
        MAX_DEPTH, ge=1, le=1_000, description="so many agents may delegate a piece of work, one after the other"
    )


class RetrySection(Section):
    """`[retry]` and `agent.*.retry`: how failed attempts are tried again."""

    base_ms: Duration = Field(1_000, alias="base")
    factor: float = Field(2.0, ge=1, le=100, strict=False)
    cap_ms: Duration = Field(300_000, alias="cap")
    max_attempts: int = Field(5, ge=1, le=1000)

    def policy(self) -> RetryPolicy:
        """Return it as the domain's policy. Raises BadInput when base is above cap."""
        return RetryPolicy(self.base_ms, self.factor, self.cap_ms, self.max_attempts).check()

    @model_validator(mode="after")
    def _ordered(self) -> RetrySection:
        try:
            self.policy()
        except BadInput as error:
            raise ValueError(error.message.removeprefix("retry: ")) from None
        return self


class MessagesSection(Section):
    """`[messages]`: when conversations are damped, and how full an inbox gets."""

    loop_limit: int = Field(20, ge=0, le=1000, description="so many between two without progress are enough; 0 = never")
    loop_window_ms: ShortDuration = Field(60_000, alias="loop_window")
    inbox_limit: int = Field(
        1_000, ge=0, le=10_000, description="so many unread of one sender are enough; 0 = any number"
    )


class RestartSection(Section):
    """`agent.*.restart`: what happens when a worker's or service's process ends, or a start fails."""

    policy: Literal["always", "on-failure", "never"] = "on-failure"
    base_ms: Duration = Field(1_000, alias="base")
    cap_ms: Duration = Field(60_000, alias="cap")
    limit: int = Field(5, ge=1, le=1000, description="this many starts within the window latch the instance")
    window_ms: Duration = Field(60_000, alias="window")
    reset_after_ms: Duration = Field(600_000, alias="reset_after", description="a run this long is stable")


class LimitsSection(Section):
    """`agent.*.limits`: what the kernel allows one session."""

    memory_bytes: Size | None = Field(None, alias="memory")
    cpu_ms: CpuDuration | None = Field(None, alias="cpu")
    files: int | None = Field(None, ge=16, le=1 << 20)
    processes: int | None = Field(None, ge=1, le=1 << 22)


def _check_address(url: str) -> None:
    """Raise ValueError for a host or port that no probe can reach."""
    from urllib.parse import urlsplit

    try:
        port = urlsplit(url).port
    except ValueError as error:
        raise ValueError(f"has an address that cannot be used: {str(error)[:100]}") from None
    if port == 0:
        raise ValueError("has an address that cannot be used: port 0")


class ProbeSection(Section):
    """One probe, with the names and defaults of Kubernetes."""

    exec: Command | None = None
    http: str | None = Field(None, pattern=r"^https?://[^\s/]+")
    tcp: str | None = Field(None, pattern=r"^[^\s:]*:\d{1,5}$|^\[[0-9a-fA-F:]+\]:\d{1,5}$")
    log: str | None = None
    period_ms: ShortDuration = Field(10_000, alias="period")
    timeout_ms: Duration = Field(1_000, alias="timeout")
    failures: int = Field(3, ge=1, le=1000)
    successes: int = Field(1, ge=1, le=1000)
    initial_delay_ms: Duration = Field(0, alias="initial_delay")

    @model_validator(mode="after")
    def _one_kind(self) -> ProbeSection:
        import re

        for address in (self.http, self.tcp and f"tcp://{self.tcp}"):
            _check_address(address or "http://localhost")
        if sum(kind is not None for kind in (self.exec, self.http, self.tcp, self.log)) != 1:
            raise ValueError("needs exactly one of exec, http, tcp or log")
        if self.log is not None:
            try:
                re.compile(self.log)
            except re.error as error:
                raise ValueError(f"log is not a regular expression: {error}") from None
        return self


class ProbesSection(Section):
    """`agent.*.probe`: startup goes before the others; liveness restarts; readiness only stops claims."""

    liveness: ProbeSection | None = None
    readiness: ProbeSection | None = None
    startup: ProbeSection | None = None


class AgentSection(Section):
    """`[agent.NAME]`."""

    command: Command
    mode: Literal["task", "worker", "service"] = "task"
    queues: Queues | None = None
    provider: Provider | None = Field(None, description="whose account it spends; its limits and breaker are shared")
    instances: int = Field(1, ge=0, le=MAX_INSTANCES)
    cwd: Annotated[str, AfterValidator(folder)] = "."
    env: dict[str, str] = Field({})
    pass_env: Texts = ()
    timeout_ms: ShortDuration | None = Field(None, alias="timeout")
    silence_timeout_ms: ShortDuration | None = Field(None, alias="silence_timeout")
    lease_ms: LeaseDuration | None = Field(None, alias="lease")
    grace_ms: Duration = Field(10_000, alias="grace", description="from the polite signal to the kill")
    heartbeat_timeout_ms: ShortDuration | None = Field(None, alias="heartbeat_timeout")
    retry: RetrySection | None = None
    restart: RestartSection = RestartSection.model_validate({})
    limits: LimitsSection = LimitsSection.model_validate({})
    sandbox: Literal["landlock", "none"] = Field(
        "none", description="landlock: its processes reach neither the store, agentctl.toml nor other processes"
    )
    watchdog_ms: ShortDuration | None = Field(None, alias="watchdog")
    ready: Literal["notify", "none"] = "none"
    probe: ProbesSection = ProbesSection.model_validate({})
    can: Capabilities = Field((), description="what it is able to: it gets the tasks that need no more")
    verify: Command | None = Field(None, description="must exit 0 before a result is believed")
    verify_timeout_ms: ShortDuration = Field(60_000, alias="verify_timeout")
    result: Literal["optional", "required"] = "optional"
    fallback: str | None = Field(None, description="the agent that takes over after the last try of this one")
    fallback_result: Any = Field(None, description="the result that stands in after the last try")


class Config(Section):
    """The whole file."""

    fleet: FleetSection = FleetSection.model_validate({})
    retry: RetrySection = RetrySection.model_validate({})
    findings: FindingsSection = FindingsSection.model_validate({})
    messages: MessagesSection = MessagesSection.model_validate({})
    agent: dict[str, AgentSection] = Field({}, max_length=MAX_AGENTS)
    limits: LimitsTable = LimitsTable.model_validate({})
    budget: BudgetTable = BudgetTable.model_validate({})
    breaker: BreakerTable = BreakerTable.model_validate({})
    schedule: dict[str, ScheduleSection] = Field({}, max_length=MAX_SCHEDULES)

    def queues_of(self, agent: str) -> tuple[str, ...]:
        """Return the queues an agent serves: those it names, else the one that bears its name."""
        section = self.agent[agent]
        return section.queues or ((agent,) if section.mode != "service" else ())

    def lease_ms_of(self, agent: str) -> int:
        """Return for how long a claim of this agent owns its task between two heartbeats."""
        return self.agent[agent].lease_ms or self.fleet.lease_ms

    def members(self) -> list[tuple[str, str]]:
        """Return the agents that have a provider, each with it."""
        return [(name, section.provider) for name, section in self.agent.items() if section.provider is not None]

    def schedules(self) -> list[ScheduleSpec]:
        """Return the schedules as the store must know them."""
        return [section.spec(name) for name, section in self.schedule.items()]

    def specs(self) -> list[AgentSpec]:
        """Return what the store must know of the agents, in the file's order."""
        from agentctl_store.jsontext import dumps

        specs = []
        for name, section in self.agent.items():
            retry = section.retry or self.retry
            text = dumps({
                "base_ms": retry.base_ms, "factor": retry.factor,
                "cap_ms": retry.cap_ms, "max_attempts": retry.max_attempts,
            })  # fmt: skip
            stands_in = None
            if section.fallback is not None:
                stands_in = dumps({"agent": section.fallback})
            elif section.fallback_result is not None:
                stands_in = dumps({"result": section.fallback_result})
            specs.append(
                AgentSpec(
                    name, section.mode, self.queues_of(name), section.instances, text, section.can, stands_in,
                    self.fleet.max_delegation_depth, section.verify is not None or section.result == "required",
                )
            )  # fmt: skip
        return specs


def find_config(start: str | None = None, *, otherwise: str = "go to the fleet's folder") -> str:
    """Return the path of the nearest agentctl.toml at or above `start` (default: here).

    Raises NotFound; `otherwise` is its remedy beside `agentctl init`.
    """
    here = os.path.abspath(start or os.getcwd())
    folder = here
    while True:
        path = os.path.join(folder, FILE_NAME)
        if os.path.exists(path):  # whatever it is: what is no file is told as such when it is read
            return path
        above = os.path.dirname(folder)
        if above == folder:
            raise NotFound(
                f"there is no {FILE_NAME} in {here} or above it",
                f"Run `agentctl init` to write one, or {otherwise}",
            )
        folder = above


def load_config(path: str) -> Config:
    """Read and check the file. Raises NotFound, or BadConfigs with every problem of the file."""
    return parse_config(read_text(path), path)


def parse_config(text: str, file: str = FILE_NAME) -> Config:
    """Check the text of a file; `file` names it in errors. Raises BadConfigs with every problem found."""
    try:
        document = tomllib.loads(text)
    except RecursionError:
        raise BadConfigs([syntax_problem("its brackets are nested too deeply", text, file)]) from None
    except ValueError as error:  # a plain ValueError: CPython reads no number of so many digits
        raise BadConfigs([syntax_problem(str(error), text, file)]) from None
    unfit = list(no_reader_takes(document))
    if unfit:  # and none of the checks below is made for such values
        raise BadConfigs(explain(unfit, Config, text, file))
    problems: list[BadConfig] = []
    config: Config | None = None
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        problems += explain(error.errors(include_url=False), Config, text, file)
    problems += _check_names(document, text, file)
    if problems or config is None:
        raise BadConfigs(sorted(problems, key=lambda problem: problem.line))
    return config


def _check_names(document: dict[str, Any], text: str, file: str) -> list[BadConfig]:
    agents = document.get("agent")
    errors: list[dict[str, Any]] = []
    for noun in ("agent", "schedule"):
        tables = document.get(noun)
        for name in tables if isinstance(tables, dict) else ():
            try:
                check_name(name, noun)
                if noun == "agent":
                    check_taken(name)
            except BadName as error:
                errors.append({"type": "name", "loc": (noun, name), "msg": str(error)})
    for name, section in agents.items() if isinstance(agents, dict) else ():
        env = section.get("env") if isinstance(section, dict) else None
        for key, value in env.items() if isinstance(env, dict) else ():
            if not key or "=" in key or "\0" in key:
                message = "is not an environment variable; its name needs a letter and neither = nor NUL"
                errors.append({"type": "value", "loc": ("agent", name, "env", key), "msg": message})
            elif isinstance(value, str) and "\0" in value:
                message = "holds a NUL character, which no environment variable can. Leave it out"
                errors.append({"type": "value", "loc": ("agent", name, "env", key), "msg": message})
    errors += workflow_errors(agents if isinstance(agents, dict) else {})
    return explain([*errors, *name_problems(document)], Config, text, file)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of agentctl.toml, for editors."""
    schema = Config.model_json_schema(by_alias=True, mode="validation")
    schema["title"] = FILE_NAME
    return schema
