"""A gateway as users run it, a process of its own, in front of a simulator."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from client_gateway import gateway_process
from client_stage import KEY, Place

from genai_spine.testing.fixtures import running_simulator
from genai_spine.testing.simulator import Received, Simulator

UPSTREAM_KEY = "sk-of-the-upstream-9876543210"


@pytest.fixture(scope="session")
def _simulator() -> Iterator[Simulator]:
    with running_simulator(key=UPSTREAM_KEY) as simulator:
        yield simulator


@pytest.fixture(scope="session")
def gateway_url(_simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with gateway_process(settings_text(_simulator), tmp_path_factory.mktemp("gateway")) as url:
        yield url


@pytest.fixture
def simulator(_simulator: Simulator) -> Simulator:
    """One simulator for all, as new for each test."""
    _simulator.run()
    _simulator.received.clear()
    return _simulator


@pytest.fixture
def place_of(gateway_url: str, simulator: Simulator) -> Callable[[str], Place]:
    """The place in front of an upstream."""
    return lambda upstream: Place(gateway_url, upstream, lambda: received(simulator))


@pytest.fixture
def upstream_of(simulator: Simulator) -> Callable[[str], Place]:
    """The simulator itself as a place, called as the service that a client takes it for."""
    return lambda service: Place(simulator.urls.root, service, lambda: received(simulator))


def settings_text(simulator: Simulator) -> str:
    urls = simulator.urls
    providers = {
        "compatible": ("openai_compatible", urls.openai),
        "openai": ("openai", urls.openai),
        "anthropic": ("anthropic", urls.anthropic),
        "ollama": ("ollama", urls.ollama),
    }
    tables = "".join(
        f'[providers.{id}]\ntype = "{kind}"\nbase_url = "{url}"\napi_key = "{UPSTREAM_KEY}"\n'
        + ('dialect = "ollama_chat"\n' if id == "ollama" else "")
        for id, (kind, url) in providers.items()
    )
    return f"""
[server]
port = 0
api_keys = ["{KEY}"]
[retry]
max_retries = 1
budget = 10  # one gateway for all clients: the failures of one must not use up the retries of the next
initial_delay = 0.01
[timeouts]
idle = 5
{tables}"""


def received(simulator: Simulator) -> list[dict[str, Any]]:
    return [_told(request) for request in simulator.received]


def _told(request: Received) -> dict[str, Any]:
    return {
        "path": request.path,
        "headers": {name.decode(): value.decode("latin-1") for name, value in request.headers},
        "body": json.loads(request.body) if request.body else None,
        "raw": request.body.decode("utf-8", "replace"),
        "status": request.status,
        "outcome": request.outcome,
    }
