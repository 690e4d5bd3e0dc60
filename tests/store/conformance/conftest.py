from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from store.conformance.drivers import DRIVERS  # noqa: TID251
from store.store_kit import SetClock  # noqa: TID251

from agentctl_store.store import Store


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(params=DRIVERS)
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: SetClock) -> Iterator[Store]:
    with Store(DRIVERS[request.param](tmp_path, clock), str(tmp_path / ".agentctl"), clock) as made:
        yield made
