"""P18 for who may what: each bug seeded into the broker's door, its rights or its fairness makes a test fail."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faults import raw_kit, store_kit, test_broker_abuse, test_callers
from faults.seeding import seed

from agentctl.supervisor import owner
from agentctl_store.broker import desk, peer, refusals, rights, server, shapes, tokens
from agentctl_store.sqlite import adding, claiming, driver, transaction

Check = Callable[[Path], None]
TRIED = test_broker_abuse


def patched(test: Callable[..., None]) -> Check:
    def check(root: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            test(root, patch)

    return check


def secret(test: Callable[..., None], *given: Any) -> Check:
    def check(root: Path) -> None:
        with test_broker_abuse.secret_world(root) as world:
            test(*given, world)

    return check


def known(test: Callable[..., None], *more: Any) -> Check:
    def check(root: Path) -> None:
        with test_callers.known_session(root) as made, pytest.MonkeyPatch.context() as patch:
            test(made, *([patch] if more else []))

    return check


NUMBER = TRIED.test_a_client_number_is_worth_nothing_to_another
ENDED = TRIED.test_an_ended_session_is_refused_on_the_connection_it_has
ANOTHER = secret(TRIED.test_nobody_claims_ends_or_adds_as_another)
READS = secret(TRIED.test_reads_of_it_are_refused_and_told_once_with_their_number)
CHILD = secret(TRIED.test_a_child_of_it_is_refused_for_it_would_be_told_the_result)
KEY = secret(TRIED.test_a_key_that_is_known_does_not_give_its_result)
TOKEN = known(test_callers.test_a_token_is_believed_by_its_mac_and_until_it_expires)
WAY = known(test_callers.test_a_process_that_ends_while_the_way_up_is_followed_hides_no_keeper, True)
NO_WAY = known(test_callers.test_a_way_up_that_is_never_the_same_is_refused, True)
FED = patched(TRIED.test_a_claim_that_waits_is_fed_by_the_commit_and_not_by_a_look)
COMMIT = patched(TRIED.test_an_answer_comes_after_the_commit_and_never_without)
RECEIPT = TRIED.test_what_was_answered_is_kept_until_the_next_call
ROOM = patched(TRIED.test_a_session_holds_few_connections_and_all_agents_leave_some)
LAZY = patched(TRIED.test_whoever_never_reads_or_never_finishes_keeps_nobody_waiting)

#: what the bug does → (module, the good line, the bad one, the test that must see it)
MUTANTS: dict[str, tuple[types.ModuleType, str, str, Check]] = {
    "it answers before the commit": (
        desk, "                        answers.append(answer)\n                fed",
        "                        call.peer.send(answer.data, 0)\n                fed", COMMIT,
    ),
    "a bad call leaves what it wrote": (
        transaction, 'group.execute("ROLLBACK TO step")', "pass",
        TRIED.test_one_bad_call_in_a_batch_leaves_nothing_and_takes_nobody_with_it,
    ),
    "a bad call fails its neighbours": (
        desk, "            return self.failed(call, error)\n\n    def _once", "            raise\n\n    def _once",
        TRIED.test_one_bad_call_in_a_batch_leaves_nothing_and_takes_nobody_with_it,
    ),
    "events of what SQLite undid are written": (
        transaction, "if not conn.db.in_transaction:\n                # SQLite", "if False:\n                # SQLite",
        TRIED.test_a_transaction_that_sqlite_gave_up_writes_no_events,
    ),
    "who waits is not fed": (
        desk, "        return self._feed_all(group, now, answers, fed)\n", "        return {}\n", FED,
    ),
    "who waits for news is not told": (desk, "if wanted is None or wanted in tasks:", "if False:", FED),
    "who waits is fed by lines and not by coming": (
        desk, "heappush(heads, (line[served[name]].came, name))", "heappush(heads, (0, name))",
        TRIED.test_those_who_wait_are_served_in_the_order_they_came,
    ),
    "the receipt of a write is not kept": (
        desk, "        self.driver.keep_receipt(group, peer.client, call.number, text_of(kept))\n", "", RECEIPT,
    ),
    "the receipt of a claim is not kept": (
        desk, "self.driver.keep_receipt(group, call.peer.client, call.number, text_of(claims))", "pass", RECEIPT,
    ),
    "who has gone is served": (
        server, "if peer is not None and mask & self._gone:\n                peer", "if False:\n                peer",
        TRIED.test_what_somebody_asked_who_has_gone_is_not_done,
    ),
    "writes are not checked": (
        desk, "allow(peer.identity, verb, arguments, self.driver)", "pass", ANOTHER,
    ),
    "reads are not checked": (desk, "allow(peer.identity, call.verb, arguments, self.driver)", "pass", READS),
    "a verb without a rule is anybody's": (
        rights, "    if rule is None:\n        raise", "    if rule is None:\n        return\n        raise",
        secret(TRIED.test_what_is_the_operators_is_refused, TRIED.OPERATORS[0]),
    ),
    "an agent claims as any other": (rights, 'arguments["agent"] != who.agent or', "", ANOTHER),
    "an agent claims for any slot": (rights, "slot not in (None, who.slot) or", "", ANOTHER),
    "an agent ends what is another's": (
        rights, "if holder is not None and (holder[0]", "if False and (holder[0]", ANOTHER,
    ),
    "an agent adds in another's name": (
        rights, "if task.creator is not None and not driver.took_part(who.agent, task.creator):", "if False:", ANOTHER,
    ),
    "an actor is who he says": (
        rights, '            _parent(who, parent, ours, driver)\n    arguments["actor"] = who.instance\n',
        "            _parent(who, parent, ours, driver)\n", ANOTHER,
    ),
    "a key gives the result": (rights, "if one.result is None or driver.visible", "if True or driver.visible", KEY),
    "any task may be a parent": (rights, "        and not driver.visible_to(who.agent, who.session, number)\n",
        "        and False\n", CHILD),
    "any piece of work may be joined": (
        rights, "if part is None and not begins:", "if False:",
        secret(TRIED.test_its_work_cannot_be_joined_by_its_correlation_id),
    ),
    "an agent names the ids of its tasks": (
        rights, '        object.__setattr__(task, "id", first + index)\n', "",
        TRIED.test_ids_that_an_agent_asks_for_are_not_used,
    ),
    "a session that ended goes on": (rights, "if not driver.runs(who.session):", "if False:", ENDED),
    "a claim that waits outlives its session": (
        desk, "                allow_still(call.peer.identity, self.driver)\n", "                pass\n", ENDED,
    ),
    "a client number is whoever's says it": (tokens, "    if who is None:\n        return client", "    return client",
        NUMBER),
    "another's receipt is given": (
        desk, 'if arguments["client"] != peer.said:\n                    raise',
        "if False:\n                    raise", secret(TRIED.test_a_receipt_is_its_callers_alone),
    ),
    "a token's mac is not looked at": (tokens, "not hmac.compare_digest(_mac(key, said), mac)", "False", TOKEN),
    "a token never expires": (tokens, "int(until) <= now_s", "False", TOKEN),
    "a sibling's token is good": (owner, "if mine is not None and mine != who:", "if False:", TOKEN),
    "a process that ended may have connected": (
        peer, "if _readable(pinned):", "if False:", TRIED.test_a_connection_of_a_process_that_has_ended_is_nobodys,
    ),
    "a way up that breaks off is the operator's": (
        owner, "        if above is None:\n            return None\n",
        "        if above is None:\n            return tuple(way)\n", NO_WAY,
    ),
    "a way up is looked at once": (owner, "if way and way == before:", "if way:", WAY),
    "a way up too long is the operator's": (
        owner, "            raise _untold(pid)\n        way", "            return tuple(way)\n        way", NO_WAY,
    ),
    "orphans below us are the operator": (
        owner, "way[-1] == own and pid != own", "False",
        known(test_callers.test_an_orphan_without_its_environment_is_known_by_whose_child_it_became),
    ),
    "orphans below init are the operator": (
        owner, "if stray or (mine is None and self._came_from_an_agent(pid)):", "if stray:",
        known(test_callers.test_what_anothers_keeper_left_is_known_by_its_environment),
    ),
    "a refusal of a read is not told": (
        desk, "self.refusals.add(peer, verb, error, self._clock.now().boot_ms)", "pass", READS,
    ),
    "every refusal is told": (refusals, "now_ms - kind.told_ms < kind.pause_ms", "False", READS),
    "an error of ours ends the broker": (
        server, "                    self._stumble(error, calls, answers)\n", "                    raise\n",
        lambda root: patched(lambda *given: TRIED.test_a_mistake_of_ours_is_told_and_the_broker_goes_on(
            "_calls", *given))(root),
    ),
    "an error of ours is quoted": (
        desk, '{type(error).__name__}", "Please report it")', '{error}", "Please report it")',
        patched(TRIED.test_a_verb_that_breaks_takes_nobody_with_it_and_quotes_nothing),
    ),
    "a session opens any number of connections": (server, "for one in agents) >= MOST_OF_ONE", "for one in agents) < 0",
        ROOM),
    "agents may take all connections": (server, "if len(agents) >= MOST_AGENTS or", "if", ROOM),
    "who says nothing stays for good": (server, "if (peer.half and dawdles) or", "if", LAZY),
    "who takes nothing stays for good": (server, "or (peer.stuck_ms and now_ms", "or (False and now_ms", LAZY),
    "who connects and says nothing keeps others out": (
        server, "        if silent is not None:\n", "        if False:\n",
        patched(TRIED.test_those_who_say_nothing_make_room),
    ),
    "a claim wins more than an answer holds": (
        claiming, "or much >= MOST_CLAIMED", "", TRIED.test_a_claim_of_a_thousand_large_tasks_wins_what_fits,
    ),
    "one key is answered without end": (
        adding, "if answered > MOST_ANSWERED:", "if False:",
        patched(TRIED.test_one_key_ten_thousand_times_does_not_fill_the_memory),
    ),
    "parents are all read": (
        driver, "            if left < 0:\n", "            if False:\n",
        patched(TRIED.test_parents_that_left_too_much_are_not_all_read),
    ),
    "a policy is any text": (
        shapes, "    RetryPolicy(**found).check()\n    return value\n", "    return value\n",
        lambda root: TRIED.test_an_agent_is_not_declared_with_a_policy_that_nobody_can_read('{"base_ms":31536000000}',
            root),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_a_seeded_bug_is_caught(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, good, bad, check = MUTANTS[name]
    monkeypatch.setattr(raw_kit, "WITHIN_S", 2.0)
    monkeypatch.setattr(store_kit.until, "__defaults__", (3.0,))
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    seed(module, good, bad, monkeypatch)
    try:
        check(tmp_path)
    except (Exception, pytest.fail.Exception):  # a crash is noticed, too
        return
    pytest.fail(f"the bug {name!r} survives: a test is missing")
