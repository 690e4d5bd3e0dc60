"""P18 for the supervisor: each bug seeded into its rules makes at least one test of its decisions fail."""

from __future__ import annotations

import importlib.util
import inspect
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from agentctl.policy import restart
from agentctl.supervisor import decide, rules_ends, rules_runs, rules_wants, slot

DECISIONS = Path(__file__).parent.parent / "agentctl" / "test_decide.py"

#: what the bug does → (module, the good line, the bad one)
MUTANTS: dict[str, tuple[types.ModuleType, str, str]] = {
    "claims though paused": (slot, 'self.want.desired == "running" and not', "not"),
    "claims while the supervisor ends": (
        slot,
        "and not self.want.gone and not self.want.shutdown",
        "and not self.want.gone",
    ),
    "claims though not ready": (
        slot,
        'slot.phase == "idle" and slot.welcome and ready',
        'slot.phase == "idle" and slot.welcome',
    ),
    "a silence is believed without a look": (rules_runs, "or any(run.look_ms < at for at, _ in due)", ""),
    "a cancel hits another task": (rules_runs, "if run.task != fact.task or run.stop", "if run.stop"),
    "a foreign attempt's loss stops this one": (rules_runs, "(run.task, run.n) != (fact.task, fact.n) or", ""),
    "what ignores TERM is never killed": (rules_runs, "if now.boot_ms >= run.kill_ms:", "if False:"),
    "leases are never extended": (rules_runs, "if run.task is None or run.n is None:", "if True:"),
    "a held start is not held": (rules_runs, "(not slot.held or now.boot_ms >= slot.held_until_ms)", "True"),
    "readiness restarts": (rules_runs, 'fact.kind != "readiness" and state.ok', "state.ok"),
    "a sleep of the machine is a silence": (rules_runs, '"output_ms", "heard_ms", ', ""),
    "an end is recorded twice": (
        rules_ends,
        "if run.end is not None or run.passed is not None:\n        return []",
        "if False:\n        return []",
    ),
    "a success is not checked": (rules_ends, "if unchecked or not isinstance(judge_exit(end), Done):", "if True:"),
    "a check counts twice": (rules_ends, "if run.end is not None or run.passed is None:", "if run.passed is None:"),
    "what a check said is not heard": (rules_ends, "end = replace(run.passed, verify=fact.end)", "end = run.passed"),
    "an ordered stop counts as a crash": (rules_ends, "ended.stop_reason in ORDERED or", ""),
    "a full disk counts as a crash": (rules_ends, "if ended.never and ended.hold_ms:", "if False:"),
    "a latch does not hold": (rules_wants, "if history.latched:", "if False:"),
    "a person's start does not clear the latch": (rules_wants, "if want.reset_seq > history.reset_seq:", "if False:"),
    "a new command does not clear the latch": (rules_wants, "elif needs_restart(", "elif False and needs_restart("),
    "every change restarts": (
        rules_wants,
        "return any(getattr(old, name) != getattr(new, name) for name in names)",
        "return old != new",
    ),
    "a drain stops at once": (
        rules_wants,
        'if run.task is None:\n            return stop(slot, "drain"',
        'if True:\n            return stop(slot, "drain"',
    ),
    "what is gone stays": (rules_wants, ", Gone()]", "]"),
    "a second interrupt waits as well": (
        rules_wants,
        'slot.want.shutdown == "now" and old.want.shutdown != "now"',
        "False",
    ),
    "a clock set back makes the pause long": (
        rules_wants,
        "min(history.due_ms - now.wall_ms, slot.want.section.restart.cap_ms)",
        "history.due_ms - now.wall_ms",
    ),
    "fast crashes never latch": (restart, "if len(recent) >= rules.limit:", "if False:"),
    "no pause between restarts": (restart, "delay_ms = int(bound / 2 + bound / 2 * jitter)", "delay_ms = 0"),
}


def checks() -> list[Callable[[], None]]:
    """The tests of the decisions that need nothing handed in, in a module that sees the code as it is now."""
    spec = importlib.util.spec_from_file_location("decisions_under_test", DECISIONS)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = [f for name, f in vars(module).items() if name.startswith("test_") and not inspect.signature(f).parameters]
    return [*found, lambda: module.test_no_random_life_breaks_the_rules("worker")]


def failing() -> str:
    """The first check that fails, or nothing."""
    for check in checks():
        try:
            check()
        except Exception as error:  # a crash is noticed, too
            return f"{check.__name__}: {type(error).__name__}"
    return ""


def test_the_rules_as_they_are_pass():
    assert not failing()


@pytest.mark.parametrize("name", MUTANTS)
def test_a_seeded_bug_is_caught(name, monkeypatch):
    module, good, bad = MUTANTS[name]
    source = Path(module.__file__ or "").read_text()
    assert source.count(good) >= 1, f"{module.__name__} no longer has {good!r}: renew the mutant"
    before = dict(vars(module))
    try:
        exec(compile(source.replace(good, bad, 1), module.__file__ or "", "exec"), vars(module))
        _spread(before, module, monkeypatch)
        assert failing(), f"the bug {name!r} survives: a test is missing"
    finally:
        vars(module).update(before)


def _spread(before: dict[str, object], module: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everybody who holds a function of the module by name hold its new form; classes stay as they were."""
    for name, old in before.items():
        new = vars(module)[name]
        if inspect.isfunction(old) and old.__module__ == module.__name__:
            for user in (decide, rules_runs, rules_wants, rules_ends, slot):
                if user is not module and vars(user).get(name) is old:
                    monkeypatch.setattr(user, name, new)
            for rule, held in decide._RULES.items():
                if held is old:
                    monkeypatch.setitem(decide._RULES, rule, new)  # type: ignore[arg-type]
        elif inspect.isclass(old) and old.__module__ == module.__name__:
            # Others hold the old class: it gets the new methods, so that there is one class still.
            for key, member in list(vars(new).items()):  # type: ignore[call-overload]
                if isinstance(member, property):
                    monkeypatch.setattr(old, key, member)
            vars(module)[name] = old
