"""P18 for the broker: each bug seeded into it, or into its clients, makes a test of its promises fail."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path

import pytest
from faults import broker_kit, test_broker_batches, test_broker_failover, test_broker_waits, test_unknown_outcomes
from faults.seeding import seed

from agentctl_store.broker import client, desk, server
from agentctl_store.sqlite import transaction

Check = Callable[[Path], None]


def _batch(durable: bool) -> Check:
    return lambda root: test_broker_batches.test_an_error_at_commit_is_told_to_the_whole_batch_and_the_next_one_works(
        root, durable
    )


def _outcomes(when: str, end: str) -> Check:
    return lambda root: test_unknown_outcomes.test_it_is_done_once_and_its_answer_is_the_first_one(root, when, end)


def _untold(root: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        test_broker_batches.test_what_cannot_be_told_is_not_done(root, patch)


UNHEARD = test_broker_waits.test_a_claim_nobody_heard_of_goes_back_at_once
#: what the bug does → (module, the good line, the bad one, the test that must see it)
MUTANTS: dict[str, tuple[types.ModuleType, str, str, Check]] = {
    "who waits is taken off the line whatever becomes of the commit": (
        desk, "return self._undone(calls, handed + answers, error)", "self._waiting.lines.clear(); return []",
        _batch(durable=False),
    ),
    "who was told of an error waits on": (desk, "self._waiting.unpark(call)", "pass", _batch(durable=False)),
    "claims of a commit that may have happened are kept": (
        desk, "self.give_back([answer for answer in answers if answer.claims])  # it may", "pass  # it may",
        _batch(durable=True),
    ),
    "reads fail with the writes beside them": (
        desk, "elif not call.until_ms and (answer := self._read(call)) is not None:",
        "elif answer := self.failed(call, error):", _batch(durable=False),
    ),
    "what cannot be told is done": (desk, "with self.driver.conn.write(now):  # what", "if True:  # what", _untold),
    "a bad call leaves its events": (
        transaction, "        del group.told[self._before :]\n", "", test_broker_batches.test_a_bad_call_fails_alone
    ),
    "what is left of a bad call stays": (
        transaction, 'group.execute("ROLLBACK TO step")', "pass", test_broker_batches.test_a_bad_call_fails_alone
    ),
    "who has gone is served": (
        server, "if peer is not None and mask & self._gone:\n                peer", "if False:\n                peer",
        test_broker_batches.test_what_one_asked_who_has_gone_is_not_done,
    ),
    "a claim nobody read is kept": (server, "if unheard is not None:", "if False:", UNHEARD),
    "a claim that went back wakes nobody": (server, "self._rung = True  # others", "pass  # others", UNHEARD),
    "a claim that was recalled goes back": (
        desk, "if self.driver.drop_receipt(group, answer.peer.client, answer.number):", "if True:",
        test_broker_waits.test_who_asked_the_file_for_his_receipt_first_keeps_his_claim,
    ),
    "another's receipt is given": (
        desk, 'if arguments["client"] != peer.said:', "if False:",
        test_broker_failover.test_an_agent_may_ask_for_its_own_receipts_and_for_no_other,
    ),
    "the file is not asked for the receipt": (
        client, "if kept is None:\n                return reach", "if True:\n                return reach",
        _outcomes("after", "on the file"),
    ),
    "the next owner is not asked for the receipt": (
        client, "if verb in ONCE:\n                    kept", "if False:\n                    kept",
        _outcomes("after", "by the next broker"),
    ),
    "a wait begins anew with each owner": (
        client, "wait_ms = max(0, int((until_s - time.monotonic()) * 1000)) if until_s else 0",
        "wait_ms = given[-1] if until_s else 0",
        test_broker_waits.test_a_wait_is_as_long_as_it_was_asked_for_whoever_owns_the_store,
    ),
    "a silent owner is asked again": (
        client, "if lost.silent or losses", "if losses",
        test_broker_failover.test_a_stopped_owner_keeps_nobody_for_longer_than_his_patience,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_a_seeded_bug_is_caught(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, good, bad, check = MUTANTS[name]
    monkeypatch.setattr(broker_kit, "ANSWERED_S", 1.0)
    monkeypatch.setattr(client, "AGAIN_S", 2.0)
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    seed(module, good, bad, monkeypatch)
    try:
        check(tmp_path)
    except (Exception, pytest.fail.Exception):  # a crash is noticed, too
        return
    pytest.fail(f"the bug {name!r} survives: a test is missing")
