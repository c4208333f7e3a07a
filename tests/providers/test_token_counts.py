"""Who counts tokens: the provider in whichever dialect it can, or an estimate; and how the gateway tells which."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import Any

import pytest
from cloud_peers import Asked, running

from genai_spine.catalog.rows import load_rows
from genai_spine.model.content import Audio, Text
from genai_spine.model.errors import BadReply, InvalidRequest, PermissionDenied
from genai_spine.model.request import CompletionRequest, Message
from genai_spine.policy.tokens import TokenCount
from genai_spine.providers import codecs
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.providers.provider import LLMProvider
from genai_spine.settings import ProviderSettings
from genai_spine.testing.fixtures import running_gateway, running_simulator

PATH = "/v1/messages/count_tokens"
BODY = {"messages": [{"role": "user", "content": "one two three"}]}
NOT_THERE = {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}}


def llamacpp(url: str, **settings: Any) -> HttpProvider:
    return HttpProvider("llamacpp", ProviderSettings(base_url=f"{url}/v1", model="tiny", **settings))


def test_what_rows_count_in_is_a_dialect_that_counts() -> None:
    rows = [row for row in load_rows().values() if row.counts is not None]
    assert {row.id for row in rows} >= {"llamacpp", "vllm"}
    for row in rows:
        assert row.counts in codecs.COUNTING and row.counts in row.chat


@pytest.mark.parametrize("dialect", [None, "openai_chat", "anthropic_messages", "openai_responses"])
async def test_a_server_counts_whichever_dialect_is_spoken_to_it(dialect: str | None) -> None:
    async with running(lambda asked: (200, {"input_tokens": 42})) as peer:
        provider = llamacpp(peer.url, dialect=dialect)
        count = await provider.count_tokens("one two three")
        assert (count, count.method) == (42, "provider")
        await provider.close()
    (asked,) = peer.asked
    assert (asked.method, asked.target) == ("POST", PATH)
    assert json.loads(asked.body) == {"model": "tiny", **BODY}


@pytest.mark.parametrize("status", [404, 405, 501])
@pytest.mark.parametrize("dialect", [None, "anthropic_messages"])
async def test_a_server_too_old_to_count_is_estimated(status: int, dialect: str | None) -> None:
    async with running(lambda asked: (status, NOT_THERE)) as peer:
        provider = llamacpp(peer.url, dialect=dialect)
        count = await provider.count_tokens("one two three")
        assert count > 0 and count.method == "estimate"
        await provider.close()
    assert len(peer.asked) == 1


async def test_other_failures_of_counting_are_raised() -> None:
    def answer(asked: Asked) -> tuple[int, Any]:
        return (403, {"error": {"message": "no"}}) if b"forbidden" in asked.body else (200, {"tokens": 3})

    async with running(answer) as peer:
        provider = llamacpp(peer.url)
        with pytest.raises(PermissionDenied):
            await provider.count_tokens("forbidden")
        with pytest.raises(BadReply):
            await provider.count_tokens("one")
        await provider.close()


async def test_what_the_counting_dialect_cannot_say_is_estimated_where_another_is_spoken() -> None:
    sound = Message(role="user", content=(Text(text="What is it?"), Audio(data="UklGRg==", format="wav")))
    request = CompletionRequest(messages=(sound,))
    provider = llamacpp("http://127.0.0.1:9")
    assert (await provider.count_tokens(request)).method == "estimate"
    with pytest.raises(InvalidRequest):
        await llamacpp("http://127.0.0.1:9", dialect="anthropic_messages").count_tokens(request)


# ---------------------------------------------------------------- the gateway's word for it


class Exact(LLMProvider):
    async def complete(self, request: CompletionRequest) -> Any:
        raise NotImplementedError

    async def count_tokens(self, content: Any, model: str | None = None) -> TokenCount:
        return TokenCount(7, "exact") if model == "sure" else 7  # type: ignore[return-value]  # as plug-ins may


def counted(url: str, model: str) -> tuple[Any, Any, str | None]:
    """By Anthropic's path and by Google's, and the notice, which says the same for both but the number's name."""
    numbers, notices = [], []
    contents = [{"role": "user", "parts": [{"text": "one two three"}]}]
    calls: dict[str, Any] = {
        PATH: {**BODY, "model": model},
        f"/v1beta/models/{model}:countTokens": {"contents": contents},
    }
    for path, body in calls.items():
        request = urllib.request.Request(url + path, json.dumps(body).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as response:
            (number,) = json.load(response).values()
            notice = response.headers["x-spine-notices"]
        numbers.append(number)
        notices.append(notice and notice.replace("totalTokens", "input_tokens"))
    assert notices[0] == notices[1]
    return numbers[0], numbers[1], notices[0]


def test_the_gateway_says_how_a_number_came_about() -> None:
    with running_simulator() as simulator:
        urls = simulator.urls
        providers = {
            "llama": {"type": "llamacpp", "base_url": urls.openai},
            "claude": {"type": "anthropic", "base_url": urls.anthropic, "api_key": "k"},
            "gpt": {"type": "openai", "base_url": urls.openai, "api_key": "k"},
        }
        with running_gateway({"providers": providers}) as gateway:
            gateway.manager.registry.register("own", Exact())
            for model in ("llama/sim-echo", "claude/sim-echo"):
                simulator.received.clear()
                *numbers, notice = counted(gateway.url, model)
                assert min(numbers) > 0 and notice is None
                assert [received.path for received in simulator.received] == [PATH, PATH]
            *_, notice = counted(gateway.url, "gpt/sim-echo")
            assert notice == "estimated input_tokens: this is not the provider's own count"
            exactly = counted(gateway.url, "own/sure")
            assert exactly == (7, 7, "counted input_tokens: here, with the model's own vocabulary")
            assert counted(gateway.url, "own/unsure") == (7, 7, notice)


async def test_the_gateway_in_front_of_a_server_too_old_to_count() -> None:
    async with running(lambda asked: (404, NOT_THERE)) as peer:
        with running_gateway({"providers": {"llama": {"type": "llamacpp", "base_url": f"{peer.url}/v1"}}}) as gateway:
            *numbers, notice = await asyncio.to_thread(counted, gateway.url, "llama/tiny")
    assert min(numbers) > 0
    assert notice == "estimated input_tokens: this is not the provider's own count"
