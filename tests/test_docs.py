"""The README tells the truth: its commands print what it shows, and nothing is left out of its lists."""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from readme import README, masked, play
from textual.binding import Binding

from agentctl import config, config_limits, main
from agentctl.policy.outcome import EXIT_PERMANENT, EXIT_THROTTLED
from agentctl.quantities import read_duration_ms, read_size_bytes
from agentctl.supervisor import jsonlines, session_dir
from agentctl_store import errors
from agentctl_store.domain import machine, message, retry
from agentctl_tui import bindings
from agentctl_tui.screens.help import _NAMES
from agentctl_tui.widgets.table import LiveTable

ROOT = Path(README).parent
TEXT = Path(README).read_text(encoding="utf-8")
LINES = TEXT.split("\n")
HEADS = re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
#: heading of a table → the model whose keys it lists
TABLES: dict[str, type[BaseModel]] = {
    "[fleet]": config.FleetSection,
    "[retry]": config.RetrySection,
    "[findings]": config.FindingsSection,
    "[messages]": config.MessagesSection,
    "[agent.NAME]": config.AgentSection,
    "[agent.NAME.restart]": config.RestartSection,
    "[agent.NAME.limits]": config.LimitsSection,
    "[agent.NAME.probe.liveness]": config.ProbeSection,
    "[schedule.NAME]": config.ScheduleSection,
    "[limits.queue.NAME]": config_limits.QueueBoundSection,
    "[budget]": config_limits.BudgetTable,
    "[budget.fleet.day]": config_limits.SpendSection,
    "[breaker.agent.NAME]": config_limits.BreakerSection,
}


def section(heading: str) -> str:
    """The text under a heading, up to the next one of its rank."""
    match = re.search(rf"^(###?) {re.escape(heading)}.*?$(.*?)(?=^\1 |^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert match, f"the README has no section {heading!r}"
    return match[2]


def test_the_commands_print_what_is_shown(tmp_path):
    differing = []
    for command, text, printed in play(LINES, str(tmp_path)):
        shown, found = masked(command.expected), masked(printed)
        if shown != found:
            differing += [f"README.md:{command.line + 1}: $ {text}", "  shown:", *shown, "  printed:", *found]
    assert not differing, "Look, then `python tests/readme.py` puts in what is printed:\n" + "\n".join(differing)


def test_every_verb_is_listed_and_no_other():
    block = re.search(r"```text\n(.*?)```", section("Commands"), re.DOTALL)
    assert block
    listed = set()
    for line in block[1].splitlines():
        words = line.removeprefix("agentctl ").split()
        listed |= {word for word in words if word != "·"} if "·" in words else {f"{words[0]} {w}" for w in words[1:]}
    assert listed == set(main.TABLE)


def test_every_option_that_is_named_exists():
    from agentctl.cli.verb import VERBS

    for module in set(main.TABLE.values()):
        __import__(f"agentctl.cli.{module}")
    known = {flag for verb in VERBS.values() for flag in verb.options} | {"--help"}
    assert set(re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*", TEXT)) <= known


@pytest.mark.parametrize("heading", TABLES)
def test_every_key_of_the_configuration_is_listed_with_its_default(heading):
    rows = re.findall(r"^\| (`[^|]*`) \| ([^|]*) \|", section(f"`{heading}`"), re.MULTILINE)
    listed = {key: default.strip() for keys, default in rows for key in re.findall(r"`(\w+)`", keys)}
    fields = {field.alias or name: field for name, field in TABLES[heading].model_fields.items()}
    assert list(listed) == list(fields)
    for key, field in fields.items():
        said, default = listed[key].strip("`"), field.default
        if isinstance(default, (int, float)):
            read = read_size_bytes if "B" in said else read_duration_ms if said[-1] in "smh" else type(default)
            assert read(said) == default, key
        elif isinstance(default, (str, tuple, dict)):
            assert said == {(): "[]"}.get(default, f'"{default}"') if default != {} else "{}", key


def test_the_diagram_is_the_state_machine():
    block = re.search(r"```mermaid\n(.*?)```", TEXT, re.DOTALL)
    assert block
    arrows = re.findall(r"(\w+|\[\*\]) --> (\w+)(?:: (.+))?", block[1])
    still_open = [state for state in machine.STATES if state not in machine.FINAL]
    drawn = {
        (state, verb, target)
        for source, target, verbs in arrows
        if source != "[*]"
        for verb in verbs.split(", ")
        for state in (still_open if source == "open" else [source])
    }
    moves = {(state, verb, target) for (state, verb), target in machine.MOVES.items() if target not in (None, state)}
    assert drawn == moves


def test_the_contract_of_an_executable_is_whole():
    contract = section("What an agent is")
    named = re.findall(r'"(AGENTCTL_\w+|TRACEPARENT|NOTIFY_SOCKET|WATCHDOG_USEC)"', inspect.getsource(session_dir))
    named += re.findall(r'"(AGENTCTL_\w+|NOTIFY_SOCKET)"', (ROOT / "agentctl/supervisor/shim_session.py").read_text())
    assert set(named) <= set(re.findall(r"`(\w+)`", contract))
    for name in session_dir.BASE_ENV[:4]:
        assert name in ("LANG", "LANGUAGE") or f"`{name}`" in contract
    assert f"exit {EXIT_THROTTLED} " in contract and "exit {} or {} ".format(*EXIT_PERMANENT) in contract
    for line in re.findall(r'^\{"agentctl".*$', contract, re.MULTILINE):
        assert line.startswith(jsonlines.MARK)
        assert jsonlines.read_line(line) or '"heartbeat"' in line


def test_every_reason_of_a_dead_letter_is_named():
    reasons = re.findall(r'"(\w+)"', inspect.getsource(retry).partition("DeadReason = Literal[")[2].partition("]")[0])
    assert reasons and all(f"`{reason}`" in section("Retries and dead letters") for reason in reasons)


def test_every_type_of_message_and_every_reason_for_a_dead_one_is_named():
    assert all(f"`{word}`" in section("Messages") for word in (*message.TYPES, *message.REASONS))


def test_every_exit_code_is_listed():
    found = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")}
    assert {int(code) for code in re.findall(r"`(\d)` ", section("Commands"))} == found | {0}


def test_every_key_of_the_dashboard_is_listed():
    told = set(re.findall(r"`([^`]+)`", section("The dashboard")))
    keys = [*bindings.APP, *bindings.BOARD, *bindings.FLEET, *bindings.DEAD]
    for binding in keys:
        assert isinstance(binding, Binding)
        assert told & {_NAMES.get(key, key) for key in binding.key.split(",")}, binding.tooltip
    assert {"space"} <= {key for b in LiveTable.BINDINGS if isinstance(b, Binding) for key in b.key.split(",")}


def test_it_is_short_and_its_pictures_and_links_exist():
    assert len(LINES) < 960
    prose = re.sub(r"^```.*?^```", "", TEXT, flags=re.MULTILINE | re.DOTALL).split("\n")
    assert max(len(line) for line in prose if not line.startswith("|")) <= 125
    anchors = ["#" + re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in HEADS]
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert target.startswith("https://") or target in anchors or os.path.exists(ROOT / target), target
    assert re.findall(r"\]\((#[^)]+)\)", TEXT)[: len(anchors)] == anchors, "the contents"
    assert not re.findall(r"/(?:tmp|home|root|work|Users)/", TEXT)
