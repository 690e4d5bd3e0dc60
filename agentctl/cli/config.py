"""Verbs on agentctl.toml."""

from __future__ import annotations

import os
from typing import Any

from agentctl_store.errors import BadInput

from . import output
from .call import FLEET_FILE, Call
from .diagnostics import counted, narrate
from .verb import arg, opt, verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agentctl.config import Config

_FILE = "The file (default: the nearest agentctl.toml)."


def _path(given: str | None) -> str:
    from agentctl.config import find_config

    if given is None:
        return find_config(otherwise="name it as the argument")
    if "\0" in given:
        raise BadInput("the file's name holds a NUL character", "Use another name")
    return os.path.join(given, FLEET_FILE) if os.path.isdir(given) else given


@verb(
    "config check",
    summary="Check agentctl.toml; every mistake is told with its line and key.",
    store=False,
    file=arg(_FILE, "FILE"),
)
def check(call: Call, *, file: str | None = None) -> int:
    """Check a configuration file."""
    from agentctl.config import load_config

    path = _path(file)
    config = load_config(path)
    _check_sandboxes(config, path)
    instances = sum(section.instances for section in config.agent.values())
    output.say(
        f"{os.path.relpath(path)} is good: {counted(len(config.agent), 'agent')}, {counted(instances, 'instance')}"
    )
    if not config.agent:
        narrate("It names no agent yet; add a table like [agent.reviewer] with a command.")
    served = {queue for name in config.agent for queue in config.queues_of(name)}
    for name, section in config.schedule.items():
        if section.queue not in served:
            narrate(f"No agent here serves queue {section.queue}, which schedule {name} adds tasks to.")
    return 0


def _check_sandboxes(config: Config, path: str) -> None:
    """Refuse a file whose agents could not start here: what its text alone does not tell."""
    if all(section.sandbox == "none" for section in config.agent.values()):
        return
    from agentctl.config_problems import BadConfigs, lines_of
    from agentctl.supervisor import run, sandbox
    from agentctl_store.errors import BadConfig

    store = os.environ.get("AGENTCTL_STORE") or run.store_of(path)
    with open(path, encoding="utf-8") as file:
        lines = lines_of(file.read())
    problems = []
    for name, why in sandbox.refusals(config, path, store):
        line = lines.get(("agent", name, "sandbox"), 1)
        what, _, remedy = why.partition("; ")
        key = f"agent.{name}.sandbox"
        remedy = remedy[:1].upper() + remedy[1:]
        problems.append(BadConfig(f"{path}:{line}: agent {name}: {what}", remedy, file=path, line=line, key=key))
    if problems:
        raise BadConfigs(problems)


@verb(
    "config show",
    summary="Show agentctl.toml as it is understood, defaults included, in JSON.",
    store=False,
    file=arg(_FILE, "FILE"),
    agent=opt("-a", help="Only this agent.", metavar="AGENT"),
)
def show(call: Call, *, file: str | None = None, agent: str | None = None) -> int:
    """Print the effective configuration as JSON."""
    import json

    from agentctl.config import load_config

    config = load_config(_path(file))
    document: dict[str, Any] = config.model_dump(mode="json", by_alias=True)
    for name, section in document.get("agent", {}).items():
        section["queues"] = list(config.queues_of(name))
        # Values of the environment may be secrets; their names tell enough.
        section["env"] = dict.fromkeys(section.get("env", {}), "…")
    if agent is not None:
        if agent not in document["agent"]:
            named = ", ".join(document["agent"]) or "none"
            raise BadInput(f"agentctl.toml names no agent {agent[:64]!a}", f"It names {named}")
        document = document["agent"][agent]
    output.write(output.escaped(json.dumps(document, indent=2, ensure_ascii=False), lines=True) + "\n")
    return 0


@verb("config schema", summary="Print the JSON Schema of agentctl.toml, for editors.", store=False)
def schema(call: Call) -> int:
    """Print the schema."""
    import json

    from agentctl.config import json_schema

    output.write(json.dumps(json_schema(), indent=2) + "\n")
    return 0
