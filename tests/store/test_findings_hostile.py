"""Whatever the history holds, findings are told, harmless to read and true to what exists."""

from __future__ import annotations

import random
import re
import shlex
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from store.findings_kit import DAY_MS, Fleet  # noqa: TID251
from store.test_reader import act  # noqa: TID251
from store.test_replay import eventful  # noqa: TID251

from agentctl import config
from agentctl.cli.verb import VERBS
from agentctl.main import TABLE, split
from agentctl_store.domain.agent import AgentSpec, Instance
from agentctl_store.domain.event import KINDS
from agentctl_store.domain.retry import CLASSES, Failure, RetryPolicy
from agentctl_store.findings import find, starving, storms
from agentctl_store.findings.model import PATTERNS, Finding
from agentctl_store.findings.thresholds import Thresholds
from agentctl_store.read import open_evidence
from agentctl_store.sqlite.verify import verify
from agentctl_store.store import Store
from agentctl_store.text import printable

EVIL = [
    "\x1b[2J\x1b[H", "\x1b]52;c;ZXZpbA==\x07", "\x9b31mC1", "\u202egnp.exe\u2066", "\x01\x08\x7f\x85", "a\r\nb\tc",
    "[bold red]markup[/] [@click=app.quit]x[/]", "\ufeff\u200b\u2028", "日本語" * 60, "x" * 100_000, "' ; rm -rf / '",
    "$(reboot) `reboot`", "sk-0123456789abcdefghijklmnop is my key", "", " ", "0", "\\", '"',
]  # fmt: skip
#: each at its least: whatever could be told is told
EAGER = Thresholds(
    chatty_messages=1, chatty_share=0.01, god_starts=1, god_share=0.01, god_times=1.0, god_queues=1,
    waits_for_ms=1_000, storm_retries=1, storm_share=0.01, lockstep_share=0.01, starved_wait_ms=1_000,
    starved_starts=1, paused_for_ms=1_000, poison_letters=1, flapping_times=1,
).check()  # fmt: skip


def found_in(store: Store, limits: Thresholds = EAGER) -> list[Finding]:
    now = store.clock.now().wall_ms
    with closing(open_evidence(store.directory, 0, now)) as evidence:
        return find(evidence, limits)


def texts_of(found: list[Finding]) -> list[str]:
    return [
        text
        for one in found
        for text in (one.subject, one.summary, one.remedy, *one.tasks, *(str(v) for _, v in one.evidence))
    ]


def anything(dice: random.Random, depth: int = 2) -> Any:
    """Some JSON value that no verb would write."""
    match dice.randrange(8 if depth else 6):
        case 0:
            return None
        case 1:
            return dice.choice((True, False))
        case 2:
            return dice.choice((0, -1, 1 << 62, -(1 << 62), 0.5, 1e300))
        case 3 | 4 | 5:
            return dice.choice(EVIL)[:300]
        case 6:
            return [anything(dice, depth - 1) for _ in range(3)]
    names = ("class", "error", "run_at", "usage", "phase", "health", "reason", "latched", "verb", "more", "source")
    return {name: anything(dice, depth - 1) for name in dice.sample(names, 6)}


def test_no_history_can_stop_the_detectors(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    for part in range(4):
        dice = random.Random(seed + part)
        folder = tmp_path / str(part)
        folder.mkdir()
        store = eventful(folder, seed + part)
        with store:
            assert not verify(store.directory).faults and found_in(store)
            for kind in KINDS:  # and beyond: what no verb writes, and verify complains of
                for _ in range(5 if kind in ("access.refused", "instance.changed", "task.retried") else 1):
                    store.note(kind, actor=dice.choice(EVIL)[:200] or "x", data=anything(dice))
            found = found_in(store)
            assert found and all(printable(text) == text for text in texts_of(found))
            for limits in (Thresholds(), EAGER):
                for window in ((0, 0), (1 << 50, 1 << 51), (-5, 1 << 62)):
                    with closing(open_evidence(store.directory, *window)) as evidence:
                        find(evidence, limits)


def evil_fleet(fleet: Fleet) -> None:
    """Every pattern, with hostile words wherever an agent or a person can put some."""
    store, dice = fleet.store, random.Random(11)
    store.declare_agents(
        [AgentSpec("ann", "task", ("work", "plan"), 1), AgentSpec("bob", "task", ("code",), 1),
         AgentSpec("cid", "task", ("idle",), 1)], actor=EVIL[0],
    )  # fmt: skip
    for text in EVIL * 2:
        fleet.add("work", payload='"x"', retry=RetryPolicy(DAY_MS, 1.0, DAY_MS), actor=text[:200] or "x")
        claim = fleet.claim("ann", "work")
        kind = dice.choice(("transient", "permanent"))
        store.fail(claim.task.id, claim.n, Failure(kind, text))  # type: ignore[arg-type]
        store.save_instances([Instance("ann", 1, "backoff", "unhealthy", text[:300], latched=True)])
        store.save_instances([Instance("ann", 1, "idle", "healthy", "")])
        store.note("access.refused", actor=text[:200] or "x", data={"verb": "add", "reason": "a circle: " + text[:300]})
    store.save_instances([Instance("ann", 1, "failed", "unhealthy", EVIL[0], latched=True)])
    fleet.add("plan")
    first = fleet.claim("ann", "plan")
    fleet.add("code", by=first)
    second = fleet.claim("bob", "code")
    fleet.add("plan", by=second)
    third = fleet.claim("ann", "plan", 2)
    fleet.add("code", by=third)
    fleet.add("plan", after=(fleet.add("idle"),))
    for name in ("ann", "bob"):
        fleet.say(name, "bob" if name == "ann" else "ann", 5, payload='"\\u001b[2J"')
        store.note("message.sent", actor=EVIL[0], data={"from": EVIL[2], "to": EVIL[3]})
    store.pause_queue("idle", reason=EVIL[3], actor=EVIL[2])
    fleet.minutes(120)


def test_what_others_wrote_steers_no_terminal_and_no_shell(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    with fleet.store:
        evil_fleet(fleet)
        found = found_in(fleet.store)
    assert {one.kind for one in found} == set(PATTERNS)
    for text in texts_of(found):
        assert printable(text) == text and "\n" not in text and len(text) < 2_000
        assert "0123456789abcdefghijklmnop" not in text, "a key is told"
    for one in found:
        for command in commands(one.remedy):
            assert not set(command) & set("$`\\&|;<>(){}*?"), command


def commands(remedy: str) -> list[str]:
    """The commands that a remedy names."""
    return [text.strip() for text in re.findall(r"agentctl [^;]*?(?=;|, |$| with )", remedy)]


def test_a_remedy_names_what_there_is(tmp_path: Path) -> None:
    for module in set(TABLE.values()):
        import_module(f"agentctl.cli.{module}")
    fleet = Fleet(tmp_path)
    with fleet.store:
        evil_fleet(fleet)
        fleet.store.sweep()
        found = found_in(fleet.store)
    remedies = [one.remedy for one in found] + list(starving.SEE.values())
    remedies += [storms.remedy(kind, "ann", "work", kind == "crashed") for kind in CLASSES]
    named = 0
    for remedy in remedies:
        for command in commands(remedy):
            path, rest = split(shlex.split(command)[1:])
            assert path, command
            for word in rest:
                if word.startswith("-"):
                    assert word in VERBS[path].options, command
            named += 1
        sections = {"retry": config.RetrySection, "restart": config.RestartSection, "": config.AgentSection}
        for keys, section in re.findall(r"((?:`\w+`[^`\[]*)+)\[agent\.(?:[a-z]+|NAME)\.?(\w*)\]", remedy):
            known = {field.alias or name for name, field in sections[section].model_fields.items()}
            assert set(re.findall(r"`(\w+)`", keys)) <= known, remedy
    assert named >= 6


@pytest.mark.parametrize("seed", range(3))
def test_findings_name_tasks_and_events_that_exist(tmp_path: Path, seed: int) -> None:
    store = eventful(tmp_path, seed)
    with store:
        dice = random.Random(seed)
        ids = [task for (task,) in store.driver.conn.rows("SELECT id FROM task")]  # type: ignore[attr-defined]
        for _ in range(50):
            act(store, dice, ids)
        last = store.changed()
        for one in found_in(store):
            for task in one.tasks:
                store.task(store.find_task(task))
            assert all(store.events(after=seq - 1, limit=1)[0].seq == seq <= last for seq in one.events)
