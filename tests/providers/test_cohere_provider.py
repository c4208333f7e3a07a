"""Cohere's row over a real socket: the suite for providers, and what only Cohere has."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from genai_spine import (
    CompletionRequest,
    EmbeddingRequest,
    HttpProvider,
    LLMProvider,
    ModelNotFound,
    ProviderSettings,
    RateLimitError,
    StreamBroken,
    collect,
)
from genai_spine.dialects.metadata import kept
from genai_spine.settings import Secret
from genai_spine.testing.fixtures import running_simulator
from genai_spine.testing.simulator import Simulator
from genai_spine.testing.suite import ProviderTestSuite, TestConfig

DOCUMENTS = {"cohere_chat": {"documents": [{"id": "d1", "data": {"text": "Tea is hot."}}]}}


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with running_simulator(key="k") as simulator:
        yield simulator


@pytest.fixture
def provider(simulator: Simulator) -> LLMProvider:
    return HttpProvider("cohere", ProviderSettings(base_url=simulator.urls.root, api_key=Secret("k")))


class TestCohereOverHttp(ProviderTestSuite):
    config = TestConfig(test_models=("simulated",), timeout_s=10)

    @pytest.fixture
    def provider(self) -> Iterator[LLMProvider]:
        with running_simulator() as simulator:
            settings = ProviderSettings(
                base_url=simulator.urls.root, api_key=Secret("k"), model="simulated", embed_model="sim-embed"
            )
            yield HttpProvider("cohere", settings, name="over-http")


async def test_an_answer_and_its_stream_cite_the_documents(provider: LLMProvider, simulator: Simulator) -> None:
    request = CompletionRequest(messages="Is tea hot?", model="simulated", extra=DOCUMENTS)  # type: ignore[arg-type]  # accepted
    plain = await provider.complete(request)
    streamed = collect([event async for event in provider.stream(request)])
    assert streamed.parts == plain.parts
    (citation,) = kept(plain.parts[0].provider_metadata, "cohere_chat")["citations"]
    assert citation["text"] == plain.content
    assert citation["sources"][0]["id"] == "d1"
    assert [received.path for received in simulator.received] == ["/v2/chat", "/v2/chat"]
    assert simulator.received[0].header("authorization") == "Bearer k"
    assert simulator.received[0].json()["documents"] == DOCUMENTS["cohere_chat"]["documents"]


async def test_cost_is_reckoned_from_what_is_billed(provider: LLMProvider) -> None:
    answer = await provider.complete("Is tea hot?", model="simulated")
    assert answer.usage is not None and answer.usage.input_tokens is not None
    assert answer.usage.input_tokens < 100
    read = kept(answer.usage.provider_metadata, "cohere_chat")
    assert read["tokens"]["input_tokens"] == answer.usage.input_tokens + 1000
    assert read["cached_tokens"] == 992


async def test_texts_and_images_are_embedded(provider: LLMProvider, simulator: Simulator) -> None:
    request = EmbeddingRequest(input=("tea", "data:image/png;base64,iVBORw0KGgo="), model="embed-v4.0", dimensions=8)
    response = await provider.embed(request)
    assert [len(vector) for vector in response.embeddings] == [8, 8]
    assert [notice.param for notice in response.notices] == ["input_type"]
    sent = simulator.received[0].json()
    assert [content["content"][0]["type"] for content in sent["inputs"]] == ["text", "image_url"]
    assert sent["output_dimension"] == 8


async def test_models_are_listed_a_thousand_at_a_time(provider: LLMProvider, simulator: Simulator) -> None:
    cards = await provider.list_models()
    assert "simulated" in [card.id for card in cards]
    assert (simulator.received[0].path, simulator.received[0].query) == ("/v1/models", "page_size=1000")


async def test_errors_are_read_plain_and_in_a_stream(provider: LLMProvider, simulator: Simulator) -> None:
    simulator.run("status=429; retry_after=7", "status=404", "error_at=3; message=boom")
    with pytest.raises(RateLimitError) as limited:
        await provider.complete("Hi", model="simulated")
    assert limited.value.retry_after_s == 7
    with pytest.raises(ModelNotFound) as unknown:
        await provider.complete("Hi", model="simulated")
    assert unknown.value.request_id == json.loads(json.dumps(simulator.received[1].request_id))
    with pytest.raises(StreamBroken, match="boom"):
        _ = [event async for event in provider.stream("Hi", model="simulated")]
