"""Checking what an attempt left before it is believed: the agent's `verify` command, as a process of its own.

It runs like a session, kept by a shim in a folder below the attempt's: with the agent's environment, folder and
sandbox, the result on stdin, its output kept, its whole tree ended with it. So a supervisor that was killed meanwhile
is followed by one that takes it over.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from agentctl.policy.outcome import SessionFacts
from agentctl.supervisor import observe, recover, session_dir
from agentctl.supervisor.facts import Fact, Verified
from agentctl.supervisor.process import LaunchError, launch
from agentctl_store.domain.task import Claim
from agentctl_store.errors import AgentctlError

if TYPE_CHECKING:
    from agentctl.supervisor.perform import Hands
    from agentctl.supervisor.process import LaunchSpec
    from agentctl.supervisor.sessions import Live
    from agentctl.supervisor.slot import Slot

MOST_RUNS = 100  #: of one attempt: a later one follows a supervisor that was killed


def verify(hands: Hands, slot: Slot) -> list[Fact]:
    """Begin to verify what the slot's attempt left, or go on with what an earlier supervisor began.

    Answers nothing while it runs; Verified at once where there is nothing to run, or nothing could be run.
    """
    run, live = slot.run, None if slot.run is None else hands.live.get(slot.run.session)
    if run is None or live is None or run.task is None or run.n is None:
        return []
    try:
        result = session_dir.settle_result(live.folder)
        if result is None and slot.want.section.result == "required":
            return [Verified(None)]  # recording its end tells
        task = hands.store.task(run.task)
        won = Claim(task, run.n, 0, run.session)
        return _begun(hands, live, hands.spec_of(slot, run.session, run.nonce, live.folder, won))
    except session_dir.BadResult:
        return [Verified(None)]
    except (OSError, LaunchError, AgentctlError) as error:
        return [Verified(SessionFacts(spawn_error=str(error), never=True))]


def end_stray(live: Live) -> None:
    """End a check that an earlier supervisor began, where the configuration asks for none any more."""
    first = next(session_dir.verify_folders(live.folder, 1))
    if not live.verify and os.path.isdir(first):
        recover.sweep(live.nonce)


def _begun(hands: Hands, live: Live, spec: LaunchSpec) -> list[Fact]:
    stdin = os.path.join(session_dir.files(live.folder), session_dir.RESULT)
    for folder in session_dir.verify_folders(live.folder, MOST_RUNS):
        if not os.path.isdir(folder):
            hands.step("verify")
            os.mkdir(folder, 0o700)
            hands.step("verify folder")
            there = stdin if os.path.exists(stdin) else None
            live.take(folder, launch(replace(spec, session_dir=folder, stdin=there, notify=False), hands.pool))
            hands.step("verifying")
            return []
        found = recover.adopt(folder, live.nonce)
        if isinstance(found, recover.Running):
            live.take(folder, found.shim)
            return []
        if isinstance(found, recover.Ended):
            live.take(folder, None)
            return [Verified(observe.verify_end(folder, found.exit))]
    return [Verified(SessionFacts(spawn_error="it was begun too often", never=True))]
