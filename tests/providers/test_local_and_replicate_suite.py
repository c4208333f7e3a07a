"""The suite for third parties over the providers whose calls are more than one exchange."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from genai_spine import LLMProvider, ProviderSettings
from genai_spine.providers.ollama_provider import OllamaProvider
from genai_spine.providers.replicate_provider import ReplicateProvider
from genai_spine.settings import Secret
from genai_spine.testing.fixtures import running_simulator
from genai_spine.testing.simulator import Simulator
from genai_spine.testing.suite import ProviderTestSuite


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


class TestOllama(ProviderTestSuite):
    @pytest.fixture
    def provider(self, simulator: Simulator) -> LLMProvider:
        given: dict[str, Any] = {"model": "simulated", "embed_model": "sim-embed", "auto_pull": True}
        return OllamaProvider("ollama", ProviderSettings(base_url=simulator.urls.ollama, **given))


class TestReplicate(ProviderTestSuite):
    @pytest.fixture
    def provider(self, simulator: Simulator) -> LLMProvider:
        url = f"{simulator.urls.root}/replicate/v1"
        settings = ProviderSettings(base_url=url, api_key=Secret("r8_a-key-of-a-test"), model="simulated/sim-echo")
        return ReplicateProvider("replicate", settings)
