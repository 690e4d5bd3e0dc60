"""What to do about a fact: pure, and total over [phase x fact].

Every cell of the table names a rule in `rules_*.py` or says `-`: nothing to do there. A fact that can only come from
a mistake of ours is `!`: it changes nothing and is told, so that it is found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentctl.supervisor import rules_ends, rules_runs, rules_wants
from agentctl.supervisor.actions import Action, Tell
from agentctl.supervisor.facts import FACTS, Fact
from agentctl.supervisor.snapshot import Snapshot
from agentctl_store.domain.agent import PHASES

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentctl_store.clock import Moment
    from agentctl_store.domain.agent import Phase

    Rule = Callable[["Snapshot", Moment], list[Action]]

_TABLE = """
             stopped  idle    starting  busy     draining    stopping  backoff     failed
WorkSeen     -        claim   -         -        -           -         -           -
Held         -        hold    -         -        -           -         hold        -
Limited      -        limit   -         -        -           -         -           -
Opened       open     open    !         !        !           !         open        open
Started      -        -       start     noted    noted       noted     -           -
Said         -        -       said      said     said        said      -           -
Exited       -        -       end       end      end         end       -           -
Verified     -        -       checked   checked  checked     checked   -           -
Recorded     -        -       after     after    after       after     -           -
Probed       probed   probed  probed    probed   probed      probed    probed      probed
Wanted       rouse    settle  rule      rule     hasten      press     reconsider  unlatch
CancelAsked  -        -       cancel    cancel   cancel      -         -           -
Outlived     -        -       outlive   outlive  outlive     -         -           -
Overspent    -        -       overspend overspend overspend  -         -           -
Slept        -        -       slept     slept    slept       slept     -           -
Delayed      -        -       keep      keep     keep        keep      -           -
Ticked       -        wait    watch     watch    watch       insist    retry       -
"""


def _nothing(snapshot: Snapshot, now: Moment) -> list[Action]:
    return []


def _stray(snapshot: Snapshot, now: Moment) -> list[Action]:
    fact, slot = type(snapshot.fact).__name__, snapshot.slot
    return [Tell("note", f"{slot.name}: {fact} came while it is {slot.phase}; please report this")]


_RULES: dict[str, Rule] = {
    "-": _nothing,
    "!": _stray,
    **{name: getattr(module, name) for module in (rules_runs, rules_wants, rules_ends) for name in module.__all__},
}


def _read(table: str) -> dict[tuple[Phase, type[Fact]], str]:
    header, *rows = (line.split() for line in table.strip().splitlines())
    kinds = {kind.__name__: kind for kind in FACTS}
    cells: dict[tuple[Phase, type[Fact]], str] = {}
    for name, *rules in rows:
        for phase, rule in zip(header, rules, strict=True):
            cells[phase, kinds[name]] = rule  # type: ignore[index]
    return cells


CELLS = _read(_TABLE)
assert set(CELLS) == {(phase, kind) for phase in PHASES for kind in FACTS}, "decide: a cell is missing"


def decide(snapshot: Snapshot, now: Moment) -> list[Action]:
    """Return what to do about the fact, in order. Reads nothing but its arguments."""
    return _RULES[CELLS[snapshot.slot.phase, type(snapshot.fact)]](snapshot, now)
