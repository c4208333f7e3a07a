from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from spine_process import NearPlace, Place

from genai_spine.testing.fixtures import running_simulator
from genai_spine.testing.simulator import Simulator


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """Processes of their own, or in a module that says `NEAR = True` the commands called in this one."""
    return NearPlace(tmp_path) if getattr(request.module, "NEAR", False) else Place(tmp_path)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with running_simulator() as simulator:
        yield simulator


@pytest.fixture
def configured(place: Place, simulator: Simulator) -> Place:
    """A place whose settings point the three dialects at the simulator."""
    place.write(settings_for(simulator))
    return place


@pytest.fixture
def no_ollama() -> None:
    """For what is said where nothing is configured: a machine with an Ollama has something."""
    try:
        socket.create_connection(("localhost", 11434), 0.3).close()
    except OSError:
        return
    pytest.skip("an Ollama runs on this machine")


@pytest.fixture
def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def settings_for(simulator: Simulator, key: str = "sk-test-key") -> str:
    urls = simulator.urls
    return f"""
[providers]
default = "openai"
[providers.openai]
api_key = "{key}"
base_url = "{urls.openai}"
model = "sim"
[providers.anthropic]
api_key = "{key}"
base_url = "{urls.anthropic}"
model = "sim"
[providers.ollama]
base_url = "{urls.ollama}"
model = "sim"
[retry]
initial_delay = 0.01
max_delay = 0.02
"""
