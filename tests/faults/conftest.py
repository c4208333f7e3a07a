from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from callers import plain_settings

from genai_spine.testing.fixtures import RunningGateway, running_gateway, running_simulator
from genai_spine.testing.simulator import Simulator

pytest.register_assert_rewrite("stage")  # its failures are then told with their values


@pytest.fixture(scope="session")
def _simulator() -> Iterator[Simulator]:
    with running_simulator() as simulator:
        yield simulator


@pytest.fixture
def simulator(_simulator: Simulator) -> Simulator:
    """One simulator for all, as new for each test."""
    _simulator.run()
    _simulator.received.clear()
    return _simulator


@pytest.fixture(scope="session")
def _gateway(_simulator: Simulator) -> Iterator[RunningGateway]:
    with running_gateway(plain_settings(_simulator)) as running:
        yield running


@pytest.fixture
def gateway(_gateway: RunningGateway, simulator: Simulator) -> RunningGateway:
    """In front of the simulator, with a provider of each dialect, and without retries."""
    return _gateway


@pytest.fixture(scope="session")
def _simulators() -> Iterator[dict[str, Simulator]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(running_simulator()) for name in "abc"}


@pytest.fixture
def simulators(_simulators: dict[str, Simulator]) -> dict[str, Simulator]:
    """Three of them, each a provider of its own, as new for each test."""
    for simulator in _simulators.values():
        simulator.run()
        simulator.received.clear()
        simulator.key = None
    return _simulators
