"""What llama.cpp's server does beside chat, through the library: embeddings, ranking, token counts."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from llama_server import KEY, LlamaServer

from genai_spine.model.content import Text, ToolCall, ToolResult
from genai_spine.model.embedding import EmbeddingRequest
from genai_spine.model.errors import AuthenticationError, BadRequest, ContextLengthExceeded, ProviderError
from genai_spine.model.request import CompletionRequest, Message
from genai_spine.model.rerank import RerankRequest
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.settings import ProviderSettings, Secret
from genai_spine.testing.fixtures import running_gateway

pytestmark = pytest.mark.servers

TOOL = {
    "name": "draw",
    "description": "Draw a shape",
    "parameters": {"type": "object", "properties": {"kind": {"type": "string"}}, "required": ["kind"]},
}
TALK = (
    Message(role="system", content=(Text(text="Be brief."),)),
    Message(role="user", content=(Text(text="Draw, please."),)),
    Message(role="assistant", content=(ToolCall(id="c1", name="draw", arguments='{"kind": "circle"}'),)),
    Message(role="tool", content=(ToolResult(call_id="c1", content=(Text(text="drawn"),)),)),
    Message(role="user", content=(Text(text="Thanks. And now?"),)),
)
DIALECTS = (None, "openai_chat", "anthropic_messages", "openai_responses")


def provider(server: LlamaServer, **settings: Any) -> HttpProvider:
    given: dict[str, Any] = {"api_key": Secret(KEY), "model": "tiny", **settings}
    return HttpProvider("llamacpp", ProviderSettings(base_url=f"{server.url}/v1", **given))


@pytest_asyncio.fixture
async def ranker(rank_server: LlamaServer) -> AsyncIterator[HttpProvider]:
    made = provider(rank_server)
    yield made
    await made.close()


# ---------------------------------------------------------------- token counts


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_count_is_what_the_answer_says_it_read(tool_server: LlamaServer, dialect: str | None) -> None:
    llama = provider(tool_server, dialect=dialect)
    asked = (
        CompletionRequest(messages="Hi", max_tokens=1),  # type: ignore[arg-type]  # accept.py
        CompletionRequest(messages=TALK[:2], max_tokens=1, tools=(TOOL,), tool_choice="none"),  # type: ignore[arg-type]
    )
    for request in asked:
        count = await llama.count_tokens(request)
        assert count.method == "provider"
        if request.tools and dialect == "anthropic_messages":
            continue  # whose reader of tool calls stumbles over random words (500)
        usage = (await llama.complete(request)).usage
        assert usage is not None and count == usage.input_tokens
    text = await llama.count_tokens("one two three")
    assert text.method == "provider" and text > 3
    await llama.close()


async def test_every_dialect_counts_the_same(tool_server: LlamaServer) -> None:
    counts = set()
    for dialect in DIALECTS:
        llama = provider(tool_server, dialect=dialect)
        counts.add(await llama.count_tokens(CompletionRequest(messages=TALK, tools=(TOOL,))))  # type: ignore[arg-type]
        await llama.close()
    assert len(counts) == 1


async def test_a_wrong_key_is_no_reason_to_estimate(tool_server: LlamaServer) -> None:
    llama = provider(tool_server, api_key=Secret("wrong-key-0123456789"))
    with pytest.raises(AuthenticationError):
        await llama.count_tokens("one")
    await llama.close()


async def test_a_count_is_the_number_of_tokens_that_tokenize_gives(tool_server: LlamaServer) -> None:
    """`/apply-template` and `/tokenize`, the server's own way of saying the same."""
    llama = provider(tool_server)
    templated = tool_server.post("/apply-template", {"messages": [{"role": "user", "content": "one two three"}]})
    tokens = tool_server.post(
        "/tokenize", {"content": templated["prompt"], "add_special": True, "parse_special": True}
    )["tokens"]
    assert await llama.count_tokens("one two three") == len(tokens)
    await llama.close()


# ---------------------------------------------------------------- embeddings


async def test_embeddings(plain_server: LlamaServer) -> None:
    llama = provider(plain_server, embed_model="tiny")
    both = await llama.embed(EmbeddingRequest(input=("one", "two words")))
    assert [len(vector) for vector in both.embeddings] == [64, 64]
    assert both.usage is not None and both.usage.input_tokens
    for vector in both.embeddings:
        assert math.isclose(math.hypot(*vector), 1, abs_tol=1e-3)
    assert both.embeddings[0] != both.embeddings[1]
    by_token = await llama.embed(EmbeddingRequest(input=((300, 301, 302),)))
    assert len(by_token.embeddings[0]) == 64
    await llama.close()


async def test_a_server_without_embeddings_says_so(tool_server: LlamaServer) -> None:
    llama = provider(tool_server, embed_model="tiny")
    with pytest.raises(ProviderError, match="embeddings"):
        await llama.embed(EmbeddingRequest(input=("one",)))
    await llama.close()


# ---------------------------------------------------------------- ranking


async def test_ranking(ranker: HttpProvider) -> None:
    texts = ("a world", "hello", "nothing of the kind")
    ranked = await ranker.rerank(RerankRequest(model="tiny", query="hello world", documents=texts))
    assert sorted(result.index for result in ranked.results) == [0, 1, 2]
    scores = [result.relevance_score for result in ranked.results]
    assert scores == sorted(scores, reverse=True)
    assert ranked.usage is not None and ranked.usage.input_tokens
    best = await ranker.rerank(RerankRequest(model="tiny", query="hello world", documents=texts, top_n=1))
    assert [result.index for result in best.results] == [ranked.results[0].index]


async def test_ranking_at_the_gateway(rank_server: LlamaServer) -> None:
    texts = ["a world", "hello", "nothing of the kind"]
    tables = {"llama": {"type": "llamacpp", "base_url": f"{rank_server.url}/v1", "api_key": KEY}}
    with running_gateway({"providers": tables}) as gateway:
        body = {"model": "llama/tiny", "query": "hello world", "documents": texts}
        there = await asyncio.to_thread(rank_server.post, "/v1/rerank", {**body, "model": "tiny"})
        here = await asyncio.to_thread(httpx2.post, f"{gateway.url}/v1/rerank", json=body)
    assert here.status_code == 200, here.text
    scores = {result["index"]: pytest.approx(result["relevance_score"], abs=1e-4) for result in there["results"]}
    assert {result["index"]: result["relevance_score"] for result in here.json()["results"]} == scores
    assert here.json()["usage"] == there["usage"]


async def test_nothing_to_rank_and_a_server_that_does_not(ranker: HttpProvider, tool_server: LlamaServer) -> None:
    with pytest.raises(BadRequest):
        await ranker.rerank(RerankRequest(model="tiny", query="hello", documents=()))
    other = provider(tool_server)
    with pytest.raises(ProviderError, match="--reranking"):
        await other.rerank(RerankRequest(model="tiny", query="hello", documents=("a",)))
    await other.close()


async def test_a_text_that_is_too_long_to_rank(ranker: HttpProvider) -> None:
    with pytest.raises((ContextLengthExceeded, BadRequest)):
        await ranker.rerank(RerankRequest(model="tiny", query="hello", documents=("word " * 4000,)))
