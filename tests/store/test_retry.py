"""What follows a failure, class by class."""

import random

import pytest

from agentctl_store.domain.retry import CLASSES, MAX_RETRY_AFTER_MS, MAX_THROTTLED, Failure, RetryPolicy, judge
from agentctl_store.errors import BadInput

POLICY = RetryPolicy(base_ms=1_000, factor=2.0, cap_ms=10_000, max_attempts=3)


def test_the_delay_is_drawn_from_zero_to_a_bound_that_doubles_up_to_the_cap() -> None:
    policy = RetryPolicy(base_ms=1_000, factor=2.0, cap_ms=10_000, max_attempts=99)
    almost = 1 - 1e-9
    bounds = [judge(Failure("transient"), policy, burnt, 0, almost).delay_ms + 1 for burnt in range(8)]
    assert bounds == [1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000, 10_000]
    assert judge(Failure("transient"), policy, 5, 0, 0.0).delay_ms == 0


def test_the_last_try_ends_in_the_dead_letters() -> None:
    assert judge(Failure("transient"), POLICY, 1, 0, 0.5).dead is None
    assert judge(Failure("transient"), POLICY, 2, 0, 0.5).dead == "max_attempts"
    assert judge(Failure("verify"), POLICY, 2, 0, 0.5).dead == "verify"


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_either_burns_a_try_or_is_the_provider_s_doing(kind: str) -> None:
    verdict = judge(Failure(kind), POLICY, 0, 0, 0.5)  # type: ignore[arg-type]
    assert verdict.burns == (kind != "throttled")
    assert (verdict.dead is not None) == (kind in ("permanent", "policy"))


def test_throttled_attempts_are_not_burnt_and_back_off_all_the_same() -> None:
    late = judge(Failure("throttled"), POLICY, 2, 8, 0.999)
    assert late.dead is None and not late.burns and late.delay_ms > 9_000
    assert judge(Failure("throttled"), POLICY, 0, MAX_THROTTLED, 0.5).dead == "max_attempts"


def test_retry_after_is_never_undercut_and_is_bounded() -> None:
    asked = judge(Failure("throttled", retry_after_ms=30_000), POLICY, 0, 0, 0.0)
    assert asked.delay_ms == 30_000
    staggered = judge(Failure("throttled", retry_after_ms=30_000), POLICY, 0, 0, 0.9)
    assert 30_000 < staggered.delay_ms <= 31_000
    forever = judge(Failure("throttled", retry_after_ms=10**15), POLICY, 0, 0, 0.0)
    assert forever.delay_ms == MAX_RETRY_AFTER_MS


def test_the_first_loss_is_claimable_at_once_and_later_ones_back_off() -> None:
    assert judge(Failure("lost"), POLICY, 0, 0, 0.999).delay_ms == 0
    assert judge(Failure("lost"), POLICY, 1, 0, 0.999).delay_ms > 1_900


def test_tasks_that_fail_together_do_not_come_back_together() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    delays = [judge(Failure("transient"), RetryPolicy(), 3, 0, dice.random()).delay_ms for _ in range(1_000)]
    buckets = [0] * 8
    for delay in delays:
        buckets[delay * 8 // 8_000] += 1
    assert min(buckets) > 60, f"lockstep: {buckets}"


@pytest.mark.parametrize(
    "policy",
    [
        RetryPolicy(base_ms=-1),
        RetryPolicy(base_ms=10, cap_ms=5),
        RetryPolicy(factor=0.5),
        RetryPolicy(max_attempts=0),
        RetryPolicy(max_attempts=10**6),
        RetryPolicy(cap_ms=10**12),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(policy: RetryPolicy) -> None:
    with pytest.raises(BadInput, match="retry"):
        policy.check()
