"""Documents in order of how well they answer a query: by Cohere, in Jina's form, by strangers, through the manager."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from genai_spine import HttpProvider, LLMProvider, ProviderManager, ProviderSettings, SimulatedProvider, SyncManager
from genai_spine.dialects import cohere_rerank, rankings
from genai_spine.dialects.interface import Target
from genai_spine.dialects.metadata import kept
from genai_spine.model.card import ModelCard
from genai_spine.model.errors import BadReply, BadRequest, InvalidRequest
from genai_spine.model.rerank import RerankRequest, RerankResponse, RerankResult
from genai_spine.model.response import TokenUsage
from genai_spine.settings import Secret
from genai_spine.testing.fixtures import running_simulator
from genai_spine.testing.simulator import Simulator

QUERY = "hot tea"
DOCUMENTS = ["a cold lake", "hot green tea", "tea leaves"]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with running_simulator() as simulator:
        yield simulator


def rows(simulator: Simulator) -> dict[str, Any]:
    return {
        "cohere": {"base_url": simulator.urls.root, "api_key": "k"},
        "llamacpp": {"base_url": simulator.urls.openai},
        "anthropic": {"base_url": simulator.urls.root, "api_key": "k"},
    }


@pytest.mark.parametrize("row", ["cohere", "llamacpp"])
async def test_the_best_document_is_the_first(row: str, simulator: Simulator) -> None:
    async with ProviderManager.from_settings({"providers": rows(simulator)}) as manager:
        response = await manager.rerank(QUERY, documents=DOCUMENTS, model=f"{row}/rerank-v3.5", top_n=2)
    assert [(result.index, result.document) for result in response.results] == [(1, DOCUMENTS[1]), (2, DOCUMENTS[2])]
    assert [result.relevance_score for result in response.results] == [1.0, 0.5]
    assert response.provider == row
    assert response.usage is not None
    (received,) = simulator.received
    assert received.path == {"cohere": "/v2/rerank", "llamacpp": "/v1/rerank"}[row]
    assert received.json() == {"model": "rerank-v3.5", "query": QUERY, "documents": DOCUMENTS, "top_n": 2}


async def test_without_a_key_words_that_are_shared_decide() -> None:
    response = await SimulatedProvider().rerank(QUERY, documents=DOCUMENTS, top_n=2)
    assert [(result.relevance_score, result.document) for result in response.results] == [
        (1.0, DOCUMENTS[1]),
        (0.5, DOCUMENTS[2]),
    ]
    assert (response.model, response.cost_usd, response.provider) == ("sim-rerank", 0, "simulated")
    assert response.usage is not None and response.usage.input_tokens


def test_it_waits_for_code_that_waits(simulator: Simulator) -> None:
    with SyncManager.from_settings({"providers": rows(simulator)}) as manager:
        response = manager.rerank(QUERY, documents=DOCUMENTS, model="cohere/rerank-v3.5")
    assert [result.index for result in response.results] == [1, 2, 0]


async def test_searches_are_counted_and_other_dialects_members_left_out(simulator: Simulator) -> None:
    provider = HttpProvider("cohere", ProviderSettings(base_url=simulator.urls.root, api_key=Secret("k")))
    extra = {"cohere_rerank": {"max_tokens_per_doc": 9}, "jina_rerank": {"return_documents": True}}
    response = await provider.rerank(QUERY, documents=DOCUMENTS, model="rerank-v3.5", extra=extra)
    assert response.usage is not None
    assert kept(response.usage.provider_metadata, "cohere_rerank") == {"search_units": 1}
    assert response.usage.details is not None and response.usage.details.searches == 1
    assert response.usage.total_tokens is None
    assert [notice.param for notice in response.notices] == ["return_documents"]
    assert simulator.received[0].json()["max_tokens_per_doc"] == 9
    assert provider.usage().call_count == 1


async def test_a_provider_that_does_not_rerank_says_so(simulator: Simulator) -> None:
    async with ProviderManager.from_settings({"providers": rows(simulator)}) as manager:
        with pytest.raises(InvalidRequest, match="anthropic does not rerank documents"):
            await manager.rerank(QUERY, documents=DOCUMENTS, model="anthropic/claude")
    with pytest.raises(InvalidRequest, match="no model named"):
        await HttpProvider("llamacpp").rerank(QUERY, documents=DOCUMENTS)


async def test_errors_are_read_in_each_form(simulator: Simulator) -> None:
    simulator.run("status=400; message=documents must not be empty", "status=400; message=no reranking here")
    async with ProviderManager.from_settings({"providers": rows(simulator)}) as manager:
        for row, words in (("cohere", "documents must not be empty"), ("llamacpp", "no reranking here")):
            with pytest.raises(BadRequest, match=words) as raised:
                await manager.rerank(QUERY, documents=DOCUMENTS, model=f"{row}/m")
            assert raised.value.provider == row


class Lengthy(LLMProvider):
    """A stranger that holds long documents for good ones."""

    name = "lengthy"

    async def complete(self, *args: Any, **options: Any) -> Any:
        raise NotImplementedError

    async def rerank(self, request: RerankRequest) -> RerankResponse:
        scores = [RerankResult(index=index, relevance_score=len(text)) for index, text in enumerate(request.documents)]
        best_first = sorted(scores, key=lambda result: -result.relevance_score)
        return RerankResponse(model="m", results=tuple(best_first), usage=TokenUsage(input_tokens=3))


async def test_a_strangers_rerank_is_named_and_counted() -> None:
    provider = Lengthy()
    response = await provider.rerank(QUERY, documents=DOCUMENTS)
    assert response.results[0].index == 1
    assert response.provider == "lengthy"
    assert provider.usage().total_input == 3


# ---------------------------------------------------------------- what is no ranking

TARGET = Target(card=ModelCard(id="m"))


def ranked(*results: str, top_n: int | None = None) -> RerankResponse:
    body = b'{"results":[%s]}' % ",".join(results).encode()
    request = RerankRequest(query=QUERY, documents=("a", "b"), top_n=top_n)
    return rankings.ranked(cohere_rerank.decode_response(body, TARGET), request)


def test_results_are_ordered_and_no_more_than_asked_for() -> None:
    """Voyage, which knows no `top_n`, sends them all."""
    response = ranked('{"index":0,"relevance_score":-8.5}', '{"index":1,"relevance_score":0.5,"x":1}', top_n=1)
    assert [(result.index, result.document) for result in response.results] == [(1, "b")]
    assert kept(response.results[0].provider_metadata, "cohere_rerank") == {"x": 1}


@pytest.mark.parametrize(
    "results",
    [
        ('{"index":2,"relevance_score":0.5}',),
        ('{"index":-1,"relevance_score":0.5}',),
        ('{"index":0,"relevance_score":0.5}', '{"index":0,"relevance_score":0.5}'),
        ('{"index":0}',),
        ('{"index":true,"relevance_score":0.5}',),
        ('{"index":0,"relevance_score":"high"}',),
        ("null",),
    ],
)
def test_a_place_that_no_document_has_is_refused(results: tuple[str, ...]) -> None:
    with pytest.raises(BadReply):
        ranked(*results)
