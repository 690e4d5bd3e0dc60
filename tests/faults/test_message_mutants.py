"""P18 for messages: each bug seeded into them makes a test of what every driver promises fail."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faults.seeding import seed
from store.conformance import test_messages as promises  # noqa: TID251
from store.store_kit import SetClock, new_store  # noqa: TID251

from agentctl_store.domain import message
from agentctl_store.replay import verify
from agentctl_store.sqlite import delivering, letters, sending, signing, sqltext
from agentctl_store.store import Store

Check = Callable[..., Any]

#: what the bug does → (module, the good line, the bad one, the test that must see it)
CODE: dict[str, tuple[types.ModuleType, str, str, Check]] = {
    "keys are ignored": (
        sending, "if new.key is not None and", "if False and",
        promises.test_a_key_answers_its_first_message_whatever_became_of_it,
    ),
    "a retried reply acks again": (
        sending, "if new.key is not None and", "if new.key is not None and new.acks is None and",
        promises.test_a_reply_to_what_was_delivered_again_is_not_sent,
    ),
    "a reply acks nothing": (
        sending, "if new.acks is not None and", "if False and",
        promises.test_a_reply_goes_to_the_sender_in_the_same_conversation_and_acks_in_the_same_step,
    ),
    "publishers hear themselves": (
        sending, "found.discard(new.source)", "pass",
        promises.test_each_subscriber_gets_a_copy_of_its_own_and_the_publisher_none,
    ),
    "nobody is damped": (
        sending, "if len(said) < damping.messages or", "if True or",
        promises.test_two_who_go_on_and_on_are_damped_until_the_window_has_passed,
    ),
    "an inbox takes any number": (
        sending, "if envelope.topic is None and _is_crowded(", "if False and _is_crowded(",
        promises.test_an_inbox_takes_so_many_unread_messages_of_one_sender_in_whatever_conversations,
    ),
    "what has expired fills an inbox": (
        sending, "return not outlived or tx", "return True or tx",
        promises.test_what_has_expired_fills_no_inbox_though_nobody_sweeps_or_reads,
    ),
    "each refusal of an inbox is an event": (
        sending, "(oldest, _CROWDED)).fetchone()[0] is None:", "(oldest, _CROWDED)) is not None:",
        promises.test_an_inbox_takes_so_many_unread_messages_of_one_sender_in_whatever_conversations,
    ),
    "what a crowded inbox refuses acks": (
        sending, 'return Sent(0, True, "crowded", error=_crowded(tx, messages, envelope, [target]))',
        'ack(tx, messages, new.reply_to or 0, new.acks or 0); return Sent(0, True, "crowded")',
        promises.test_what_a_crowded_inbox_refuses_acks_nothing_and_takes_no_key,
    ),
    "a publication asks no inbox": (
        sending, "if _is_crowded(tx, messages, new.source, agent)]", "if False]",
        promises.test_a_publication_leaves_out_crowded_inboxes_and_says_so,
    ),
    "each refusal is an event": (
        sending, "if last is None or", "if True or",
        promises.test_two_who_go_on_and_on_are_damped_until_the_window_has_passed,
    ),
    "no progress counts": (
        sending, 'any(type == "RESULT" for _, type in said)', "False",
        promises.test_progress_is_a_result_or_a_task_that_ended,
    ),
    "schemas are not asked": (
        sending, "if held else None", "if False else None",
        promises.test_a_payload_that_breaks_its_type_s_schema_is_a_dead_letter,
    ),
    "deliveries never end": (
        delivering, "if burnt >= most:", "if False:",
        promises.test_the_pause_before_each_delivery_grows_and_the_last_one_leads_to_the_dead_letters,
    ),
    "no backoff": (
        delivering, "(now.boot_ms + wait_ms, 0, message, n)", "(now.boot_ms + 3_600_000, 0, message, n)",
        promises.test_what_is_not_acked_in_time_is_delivered_again_and_the_late_ack_refused,
    ),
    "what is awaited is not looked for": (
        delivering, "if not rows or rows[0][0]:", "if False:",
        promises.test_after_a_reboot_nobody_holds_a_message,
    ),
    "a damped reply acks": (
        sending, "return _damped(tx, messages, envelope, target, damping)",
        "ack(tx, messages, new.reply_to or 0, new.acks or 0); return _damped(tx, messages, envelope, target, damping)",
        promises.test_a_reply_that_is_damped_acks_nothing,
    ),
    "no jitter": (
        message, "* jitter)", "* 3)",
        promises.test_the_pause_before_each_delivery_grows_and_the_last_one_leads_to_the_dead_letters,
    ),
    "a requeued message keeps its old signature": (
        letters, 'text, message.correlation', 'text + " ", message.correlation',
        promises.test_a_refused_message_is_a_dead_letter_until_a_person_decides,
    ),
    "no signature is good": (
        signing, "return same(made, signature)", "return False",
        promises.test_a_message_is_stored_then_delivered_then_acked,
    ),
}  # fmt: skip
FENCE, NO_FENCE = "AND deliveries = ?", "AND ? > 0"
SQL: dict[str, tuple[str, str, str, Check]] = {
    "ack without fence": (
        "ack", FENCE, NO_FENCE,
        promises.test_what_is_not_acked_in_time_is_delivered_again_and_the_late_ack_refused,
    ),
    "ack in any state": (
        "ack", "state IN ('delivered')", "state <> ''", promises.test_between_two_deliveries_an_ack_is_stale
    ),
    "everybody's inbox": ("next", "m.target = ?3 AND", "m.target <> ?3 AND",
                          promises.test_an_inbox_is_read_by_its_owner_alone),
    "no priority": (
        "next", "ORDER BY (m.id >> 20) - m.priority * 60000", "ORDER BY m.id",
        promises.test_the_higher_priority_and_the_longer_wait_go_first,
    ),
    "delivered twice": (
        "deliver", "state = 'delivered', ", "", promises.test_a_message_is_stored_then_delivered_then_acked
    ),
    "what was outlived is delivered": (
        "next", "OR m.expires_ms > ?2", "OR m.expires_ms > ?2 - 10000000",
        promises.test_of_many_whose_time_is_over_none_is_delivered,
    ),
    "what was outlived is delivered again": (
        "next_again", "OR m.expires_ms > ?", "OR m.expires_ms > ? - 10000000",
        promises.test_of_many_given_back_whose_time_is_over_none_is_delivered,
    ),
    "another sender's room is made": (
        "outlived_from", "m.source = ?1", "m.source <> ?1",
        promises.test_what_has_expired_fills_no_inbox_though_nobody_sweeps_or_reads,
    ),
    "never outlived": (
        "outlived", "expires_ms <= ?", "expires_ms + ? < 0", promises.test_a_message_expires_when_its_time_is_over
    ),
    "a key is everybody's": ("by_key", "source = ? AND key", "? <> '' AND key",
                             promises.test_a_key_is_its_sender_s_own),
    "requeued with burnt deliveries": (
        "requeue", "burnt = 0,", "", promises.test_a_refused_message_is_a_dead_letter_until_a_person_decides
    ),
}  # fmt: skip


def holds(folder: Path, check: Check) -> bool:
    """Whether a promise is seen to hold, and the history to tell what was done."""
    folder.mkdir()
    clock = SetClock()
    with new_store(folder, clock) as store:
        promises.known(store, "ann", "bob", "carl")
        wanted: dict[str, Any] = {"store": store, "clock": clock}
        names = check.__code__.co_varnames[: check.__code__.co_argcount]
        try:
            check(**{name: wanted[name] for name in names})
        except (Exception, pytest.fail.Exception):  # a crash is noticed, too
            return False
        return told(store)


def told(store: Store) -> bool:
    return verify(store.directory).intact


CHECKS = {check.__name__: check for *_, check in (*CODE.values(), *SQL.values())}


@pytest.mark.parametrize("name", CHECKS)
def test_messages_as_they_are_pass(name: str, tmp_path: Path) -> None:
    assert holds(tmp_path / "as it is", CHECKS[name])


@pytest.mark.parametrize("name", CODE)
def test_a_seeded_bug_is_caught(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, good, bad, check = CODE[name]
    seed(module, good, bad, monkeypatch)
    assert not holds(tmp_path / "mutant", check), f"the bug {name!r} survives: a test is missing"


@pytest.mark.parametrize("name", SQL)
def test_a_seeded_bug_in_sql_is_caught(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block, good, bad, check = SQL[name]
    load = sqltext.load

    def broken(file: str, *states: Any) -> dict[str, str]:
        blocks = dict(load(file, *states))
        if file == "message":
            assert good in blocks[block], f"the block {block} no longer has {good!r}: renew the mutant"
            blocks[block] = blocks[block].replace(good, bad)
        return blocks

    monkeypatch.setattr(sqltext, "load", broken)
    assert not holds(tmp_path / "mutant", check), f"the bug {name!r} survives: a test is missing"
