"""A provider of several dialects is asked in the one that can say what the request holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from genai_spine.dialects.metadata import keep
from genai_spine.model.content import Opaque, Text
from genai_spine.model.errors import InvalidRequest
from genai_spine.model.request import CompletionRequest, Message, ProviderTool, Tool
from genai_spine.providers.http_provider import HttpProvider
from genai_spine.settings import ProviderSettings, Secret
from genai_spine.testing.fixtures import running_simulator
from genai_spine.testing.simulator import Simulator

SEARCH = ProviderTool(dialect="openai_responses", name="web_search", raw=msgspec.Raw(b'{"type":"web_search"}'))
REFERENCE = Opaque(
    dialect="openai_responses", kind="item_reference", raw=msgspec.Raw(b'{"type":"item_reference","id":"msg_1"}')
)
HI = Message(role="user", content=(Text(text="Hi"),))


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as simulator:
        yield simulator


def provider_at(simulator: Simulator, **settings: Any) -> HttpProvider:
    return HttpProvider(
        "openai", ProviderSettings(api_key=Secret("k"), base_url=simulator.urls.openai, model="sim-echo", **settings)
    )


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        (CompletionRequest(messages=(HI,)), "/v1/chat/completions"),
        (CompletionRequest(messages=(HI,), tools=(SEARCH,)), "/v1/responses"),
        (CompletionRequest(messages=(Message(role="user", content=(REFERENCE,)), HI)), "/v1/responses"),
    ],
    ids=["plain", "a tool", "a part"],
)
async def test_the_dialect_that_can_say_it_is_spoken(
    simulator: Simulator, request_: CompletionRequest, path: str
) -> None:
    provider = provider_at(simulator)
    simulator.received.clear()
    assert (await provider.complete(request_)).content == "You said: Hi"
    said = [event async for event in provider.stream(request_)]
    assert said
    assert [received.path for received in simulator.received] == [path, path]
    await provider.close()


TOOL = Tool(name="f", parameters={"type": "object", "properties": {}})


@pytest.mark.parametrize(
    ("model", "tools", "path"),
    [
        ("gpt-5.3", (TOOL,), "/v1/chat/completions"),
        ("gpt-5.4-mini", (), "/v1/chat/completions"),
        ("gpt-5.4-mini", (TOOL,), "/v1/responses"),
        ("gpt-6-luna", (TOOL,), "/v1/responses"),
        ("gpt-5.3-codex", (), "/v1/responses"),
        ("o3-pro", (), "/v1/responses"),
    ],
)
async def test_a_model_is_asked_in_the_dialect_in_which_it_answers(
    simulator: Simulator, model: str, tools: tuple[Tool, ...], path: str
) -> None:
    provider = provider_at(simulator)
    request = CompletionRequest(model=model, messages=(HI,), tools=tools)
    simulator.received.clear()
    assert (await provider.complete(request)).parts
    assert [event async for event in provider.stream(request)]
    assert [received.path for received in simulator.received] == [path, path]
    told = [json.loads(received.body).get("store") for received in simulator.received]
    assert told == ([False, False] if path == "/v1/responses" else [None, None])
    await provider.close()


async def test_what_the_caller_says_of_the_dialect_stands(simulator: Simulator) -> None:
    provider = provider_at(simulator)
    extra = keep("openai_responses", {"store": True, "truncation": "auto"})
    simulator.received.clear()
    await provider.complete(CompletionRequest(model="gpt-5.4", messages=(HI,), tools=(TOOL,), extra=extra))
    sent = json.loads(simulator.received[-1].body)
    assert (sent["store"], sent["truncation"]) == (True, "auto")
    strict = msgspec.structs.replace(TOOL, strict=True)
    await provider.complete(CompletionRequest(model="gpt-5.4", messages=(HI,), tools=(TOOL, strict)))
    assert [tool["strict"] for tool in json.loads(simulator.received[-1].body)["tools"]] == [False, True]
    set_to = provider_at(simulator, dialect="openai_chat")
    await set_to.complete(CompletionRequest(model="gpt-5.4", messages=(HI,), tools=(TOOL,)))
    assert simulator.received[-1].path == "/v1/chat/completions"
    await provider.close()
    await set_to.close()


async def test_a_dialect_that_is_set_stands(simulator: Simulator) -> None:
    provider = provider_at(simulator, dialect="openai_chat")
    answer = await provider.complete(CompletionRequest(messages=(HI,), tools=(SEARCH,)))
    assert "web_search" in str(answer.notices)
    with pytest.raises(InvalidRequest, match="openai_responses"):
        await provider.complete(CompletionRequest(messages=(Message(role="user", content=(REFERENCE,)), HI)))
    await provider.close()
