"""A model that the catalog says is retired is still asked for; every answer of it says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from typing import Any
from urllib.request import Request, urlopen

import pytest

from genai_spine import (
    CompletionRequest,
    CompletionResponse,
    LLMProvider,
    MessageStart,
    ModelCard,
    Notice,
    ProviderManager,
    Text,
)
from genai_spine.providers.registry import build_provider
from genai_spine.settings import ProviderSettings, Secret
from genai_spine.testing.fixtures import RunningGateway, running_gateway, running_simulator
from genai_spine.testing.simulator import Simulator

RETIRED, SAID = "claude-3-opus-20240229", "was retired on 2026-01-05"
USER = [{"role": "user", "content": "hi"}]


class Elder(LLMProvider):
    """A stranger's provider, whose card says it; its stream is its answer replayed."""

    name = "elder"

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        own = Notice(code="dropped", message="teeth", param="teeth")
        return CompletionResponse(model="old", parts=(Text(text="hm"),), notices=(own,))

    def card(self, model: str | None = None) -> ModelCard:
        return ModelCard(id=model or "old", retired=date(2020, 1, 1), successor="young")


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(simulator: Simulator) -> Iterator[RunningGateway]:
    providers = {"anthropic": {"api_key": "k", "base_url": simulator.urls.anthropic}}
    with running_gateway({"providers": providers}) as running:
        yield running


async def test_a_whole_answer_and_a_stream_say_so_once(simulator: Simulator) -> None:
    settings = ProviderSettings(api_key=Secret("k"), base_url=simulator.urls.anthropic)
    provider = build_provider("anthropic", settings)
    answer = await provider.complete(messages=USER, model=RETIRED, max_tokens=9)
    events = [event async for event in provider.stream(messages=USER, model=RETIRED, max_tokens=9)]
    current = await provider.complete(messages=USER, model="claude-sonnet-4-5", max_tokens=9)
    await provider.close()
    first = events[0]
    assert isinstance(first, MessageStart)
    for notices in (answer.notices, first.notices):
        (notice,) = notices
        assert notice.code == "retired_model" and SAID in notice.message
    assert current.notices == ()


async def test_a_strangers_own_card_counts_and_its_notices_stay() -> None:
    async with ProviderManager([Elder()]) as manager:
        answer = await manager.complete("hi")
        events = [event async for event in manager.stream("hi")]
    assert isinstance(events[0], MessageStart)
    for notices in (answer.notices, events[0].notices):
        assert [notice.code for notice in notices] == ["retired_model", "dropped"]
        assert notices[0].message == "old was retired on 2020-01-01; young succeeds it"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"], ids=["relayed", "translated"])
def test_the_gateway_says_so_in_a_header(gateway: RunningGateway, path: str, stream: bool) -> None:
    assert SAID in (_notices(gateway, path, RETIRED, stream) or "")
    assert _notices(gateway, path, "claude-sonnet-4-5", stream) is None


def _notices(gateway: RunningGateway, path: str, model: str, stream: bool) -> str | None:
    body: dict[str, Any] = {"model": f"anthropic/{model}", "max_tokens": 9, "messages": USER, "stream": stream}
    request = Request(gateway.url + path, json.dumps(body).encode(), {"content-type": "application/json"})
    with urlopen(request, timeout=5) as answer:
        assert answer.status == 200 and answer.read()
        notices: str | None = answer.headers["x-spine-notices"]
        return notices
