"""`[findings]` of agentctl.toml: from when on `agentctl findings` tells something."""

from __future__ import annotations

from pydantic import Field

from agentctl_store.findings.thresholds import MOST_COUNT, MOST_SPAN_MS, Thresholds

from .config_values import Duration, Section

_USUAL = Thresholds()


def _count(usual: int, about: str) -> int:
    return Field(usual, ge=1, le=MOST_COUNT, description=about)


def _share(usual: float, about: str) -> float:
    return Field(usual, gt=0, le=1, strict=False, description=about)


def _span(usual_ms: int, key: str, about: str) -> int:
    return Field(usual_ms, ge=1_000, le=MOST_SPAN_MS, alias=key, description=about)


class FindingsSection(Section):
    """The fields of `Thresholds`, where the reason of each default stands."""

    circular_returns: int = _count(_USUAL.circular_returns, "so often a chain comes back to an agent")
    chatty_messages: int = _count(_USUAL.chatty_messages, "messages between two agents within the window")
    chatty_window_ms: Duration = _span(_USUAL.chatty_window_ms, "chatty_window", "see chatty_messages")
    chatty_share: float = _share(_USUAL.chatty_share, "of them from the one who writes less, at least")
    god_starts: int = _count(_USUAL.god_starts, "starts (or tasks added) by one agent, at least")
    god_share: float = _share(_USUAL.god_share, "of all, at least")
    god_times: float = Field(_USUAL.god_times, ge=1, le=1000, strict=False, description="times its share by slots")
    god_queues: int = _count(_USUAL.god_queues, "or so many queues that it serves nearly alone")
    waits_for_ms: Duration = _span(_USUAL.waits_for_ms, "waits_for", "tasks and attempts that wait longer")
    storm_retries: int = _count(_USUAL.storm_retries, "retries within the window")
    storm_window_ms: Duration = _span(_USUAL.storm_window_ms, "storm_window", "see storm_retries")
    storm_share: float = _share(_USUAL.storm_share, "of the starts meanwhile, at least")
    lockstep_share: float = _share(_USUAL.lockstep_share, "of them due within one second: critical")
    starved_wait_ms: Duration = _span(_USUAL.starved_wait_ms, "starved_wait", "a ready task that waits longer")
    starved_starts: int = _count(_USUAL.starved_starts, "starts from other queues meanwhile, at least")
    paused_for_ms: Duration = _span(_USUAL.paused_for_ms, "paused_for", "a queue with tasks paused for longer")
    poison_letters: int = _count(_USUAL.poison_letters, "dead letters of one error")
    flapping_times: int = _count(_USUAL.flapping_times, "so often an instance goes down within the window")
    flapping_window_ms: Duration = _span(_USUAL.flapping_window_ms, "flapping_window", "see flapping_times")

    def thresholds(self) -> Thresholds:
        """Return them as the detectors take them."""
        return Thresholds(**{name: getattr(self, name) for name in type(self).model_fields})
