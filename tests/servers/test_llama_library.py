"""The library alone in front of llama.cpp's server: no gateway, no SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from llama_server import LlamaServer

from genai_spine import ProviderError, ProviderManager, SyncManager
from genai_spine.model.errors import AuthenticationError, ContextLengthExceeded
from genai_spine.model.events import MessageEnd, MessageStart
from genai_spine.model.fold import collect

pytestmark = pytest.mark.servers

SCHEMA = {
    "type": "object",
    "properties": {"kind": {"type": "string", "enum": ["circle", "square"]}, "is_big": {"type": "boolean"}},
    "required": ["kind", "is_big"],
}
TOOL = {"name": "draw", "description": "Draw a shape", "input_schema": SCHEMA}
PROVIDERS = ("llama", "compatible", "messages")


@pytest.fixture
def settings(tables: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {"providers": tables, "retry": {"max_retries": 0, "enable_fallback": False}}


@pytest_asyncio.fixture
async def manager(settings: dict[str, Any]) -> AsyncIterator[ProviderManager]:
    manager = ProviderManager.from_settings(settings)
    yield manager
    await manager.close()


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_complete(manager: ProviderManager, provider: str) -> None:
    response = await manager.complete("Hi", model=f"{provider}_plain/tiny", max_tokens=8)
    assert response.success and response.provider == f"{provider}_plain" and response.model == "tiny"
    assert response.usage is not None
    assert response.usage.input_tokens is not None and response.usage.input_tokens > 5
    assert response.usage.output_tokens is not None and response.usage.output_tokens <= 8
    assert response.duration_s is not None and response.duration_s > 0


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_stream(manager: ProviderManager, provider: str) -> None:
    events = [event async for event in manager.stream("Hi", model=f"{provider}_plain/tiny", max_tokens=30)]
    assert isinstance(events[0], MessageStart) and isinstance(events[-1], MessageEnd)
    response = collect(events)
    assert response.usage is not None and response.usage.output_tokens is not None
    texts = [text async for text in manager.text_stream("Hi", model=f"{provider}_plain/tiny", max_tokens=30)]
    assert all(isinstance(text, str) for text in texts)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_tools(manager: ProviderManager, provider: str) -> None:
    request: dict[str, Any] = {
        "model": f"{provider}_tools/tiny",
        "tools": [TOOL],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "max_tokens": 1500,
    }
    plain = await manager.complete("Hi", **request)
    streamed = collect([event async for event in manager.stream("Hi", **request)])
    for response in (plain, streamed):
        (call,) = response.tool_calls
        assert call.name == "draw" and set(call.input) == {"kind", "is_big"}


@pytest.mark.parametrize("provider", ["llama", "compatible"])
async def test_structured_output(manager: ProviderManager, provider: str) -> None:
    response = await manager.complete("Hi", model=f"{provider}_tools/tiny", output_schema=SCHEMA, max_tokens=400)
    assert set(response.json()) == {"kind", "is_big"}


async def test_embeddings_models_and_health(manager: ProviderManager) -> None:
    response = await manager.embed(["one", "two words"], model="llama_plain/tiny")
    assert [len(vector) for vector in response.embeddings] == [64, 64]
    assert "tiny" in [card.id for card in await manager.list_models("llama_plain")]
    provider = manager.registry.get("llama_plain")
    assert await provider.is_healthy()
    assert not await manager.registry.get("locked").is_healthy()
    assert await provider.is_model_available("tiny")


async def test_count_tokens(manager: ProviderManager) -> None:
    counts = [await manager.registry.get(f"{provider}_plain").count_tokens("one two three") for provider in PROVIDERS]
    assert counts[0] == counts[2] > counts[1] > 0
    assert [count.method for count in counts] == ["provider", "estimate", "provider"]


async def test_errors(manager: ProviderManager) -> None:
    with pytest.raises(AuthenticationError):
        await manager.complete("Hi", model="locked/tiny")
    for provider in PROVIDERS:
        with pytest.raises(ContextLengthExceeded):
            await manager.complete("word " * 4000, model=f"{provider}_tools/tiny", max_tokens=8)
        with pytest.raises(ContextLengthExceeded):
            async for _ in manager.stream("word " * 4000, model=f"{provider}_tools/tiny", max_tokens=8):
                pass
    failed = await manager.complete("Hi", model="locked/tiny", raise_errors=False)
    assert not failed.success and failed.error is not None


async def test_leaving_a_stream_frees_the_slot(manager: ProviderManager, plain_server: LlamaServer) -> None:
    await asyncio.to_thread(plain_server.wait_until_idle)
    stream = manager.stream("Hi", model="messages_plain/tiny", max_tokens=10_000_000)
    count = 0
    async for _ in stream:
        count += 1
        if count == 3:
            break
    await stream.aclose()
    await asyncio.to_thread(plain_server.wait_until_idle)


def test_without_async(settings: dict[str, Any]) -> None:
    with SyncManager.from_settings(settings) as manager:
        assert manager.complete("Hi", model="llama_plain/tiny", max_tokens=4).success
        assert isinstance("".join(manager.text_stream("Hi", model="messages_plain/tiny", max_tokens=9)), str)
        with pytest.raises(ProviderError):
            manager.complete("Hi", model="locked/tiny")
