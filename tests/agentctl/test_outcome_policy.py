"""How the end of a process becomes the end of its task."""

from __future__ import annotations

import pytest

from agentctl.policy.outcome import Cancelled, Done, Failed, Released, SessionFacts, describe_end, judge_exit

FAILURES = [
    ({"code": 1, "stderr_tail": "boom\n"}, "transient", "exit 1: boom"),
    ({"code": 65}, "permanent", "exit 65"),
    ({"code": 78}, "permanent", "exit 78"),
    ({"code": 75, "retry_after_ms": 30_000}, "throttled", "exit 75"),
    ({"code": 1, "stderr_tail": "Traceback:\n  here\nKeyError: 3\n"}, "transient", "exit 1: KeyError: 3\nTraceback:"),
    ({"code": 127, "stderr_tail": "mail: not found"}, "transient", "not found"),
    ({"signal": 9}, "crashed", "signal 9"),
    ({"signal": 15, "stop_reason": "timeout", "ran_ms": 600_000}, "timeout", "timeout after 10 min"),
    ({"code": 1, "stop_reason": "silence"}, "timeout", "silence"),
    ({"signal": 24}, "crashed", "killed by signal 24 (its processor time is used up: limits.cpu)"),
    ({"signal": 9, "stop_reason": "liveness"}, "crashed", "liveness"),
    ({"signal": 9, "stop_reason": "liveness: liveness probe failed: http 500"}, "crashed", "failed: http 500 after 0"),
    ({"vanished": "the machine restarted"}, "lost", "restarted"),
]


@pytest.mark.parametrize(("facts", "kind", "text"), FAILURES)
def test_failures(facts, kind, text):
    outcome = judge_exit(SessionFacts(**facts))
    assert isinstance(outcome, Failed)
    assert outcome.failure.kind == kind and text in outcome.failure.message


def test_retry_after_is_kept_for_what_may_be_tried_again():
    outcome = judge_exit(SessionFacts(code=75, retry_after_ms=30_000))
    assert isinstance(outcome, Failed) and outcome.failure.retry_after_ms == 30_000


@pytest.mark.parametrize("reason", ["drain", "stop", "restart", "reload"])
def test_a_stop_from_outside_burns_nothing(reason):
    assert isinstance(judge_exit(SessionFacts(signal=15, stop_reason=reason)), Released)


def test_work_that_was_finished_all_the_same_is_believed():
    assert isinstance(judge_exit(SessionFacts(code=0, stop_reason="drain")), Done)
    assert isinstance(judge_exit(SessionFacts(code=0, orphaned=True)), Done)


def test_cancel_orphan_and_a_command_that_cannot_start():
    assert isinstance(judge_exit(SessionFacts(signal=15, stop_reason="cancel")), Cancelled)
    assert isinstance(judge_exit(SessionFacts(signal=15, orphaned=True)), Released)
    assert isinstance(judge_exit(SessionFacts(spawn_error="no such file")), Released)


CHECKS = [
    ({"code": 0}, Done, ""),
    ({"code": 3, "stderr_tail": "2 failed"}, "verify", "verify exit 3: 2 failed"),
    ({"signal": 9}, "verify", "killed by signal 9"),
    ({"spawn_error": "no such file"}, "verify", "could not be run: no such file"),
    ({"signal": 15, "stop_reason": "verify", "ran_ms": 60_000}, "verify", "did not end within 1 min"),
    ({"code": 0, "stop_reason": "verify"}, Done, ""),
    ({"vanished": "the machine restarted"}, "lost", "restarted"),
    ({"signal": 15, "stop_reason": "cancel"}, Cancelled, ""),
    ({"signal": 15, "stop_reason": "drain"}, Released, "drain"),
    ({"signal": 15, "orphaned": True}, Released, "nobody"),
    ({"spawn_error": "the disk is full", "never": True}, Released, "the disk is full"),
]


@pytest.mark.parametrize(("check", "outcome", "text"), CHECKS)
def test_a_success_is_as_good_as_its_check(check, outcome, text):
    found = judge_exit(SessionFacts(code=0, verify=SessionFacts(**check)))
    if isinstance(outcome, str):
        assert isinstance(found, Failed) and (found.failure.kind, found.failure.exit_code) == (outcome, 0)
        assert text in found.failure.message
    else:
        assert isinstance(found, outcome) and text in getattr(found, "reason", "")


def test_long_output_is_cut_at_its_end_not_its_beginning():
    outcome = judge_exit(SessionFacts(code=1, stderr_tail="x" * 9_000 + "the cause"))
    assert isinstance(outcome, Failed) and outcome.failure.message.endswith("the cause")
    assert len(outcome.failure.message) < 3_000


def test_an_end_is_described_with_its_last_words():
    assert describe_end(SessionFacts(code=127, stderr_tail="a\nmail: not found\n")) == 'exit 127 "mail: not found"'
    assert describe_end(SessionFacts(signal=9)) == "signal 9"
