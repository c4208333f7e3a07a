from __future__ import annotations

from collections.abc import Iterator

import pytest

from genai_spine.testing.fixtures import running_simulator
from genai_spine.testing.simulator import Simulator


@pytest.fixture(scope="module")
def _shared() -> Iterator[Simulator]:
    with running_simulator() as simulator:
        yield simulator


@pytest.fixture
def simulator(_shared: Simulator) -> Simulator:
    """One simulator for a whole module, as new for each test."""
    _shared.run()
    _shared.received.clear()
    return _shared
