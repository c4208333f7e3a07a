"""Clients of Azure OpenAI at the gateway, with nothing but their endpoint changed: OpenAI's own, at both APIs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from genai_spine.testing.fixtures import RunningGateway, running_gateway, running_simulator
from genai_spine.testing.simulator import Simulator

KEY = "key-of-an-application-1"
HELLO: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(simulator: Simulator) -> Iterator[RunningGateway]:
    providers = {
        "openai": {"base_url": simulator.urls.openai, "api_key": "k"},
        "claude": {"base_url": simulator.urls.anthropic, "api_key": "k"},
    }
    routes = {"our-gpt": {"targets": ["openai/gpt-4o-mini"]}}
    with running_gateway({"providers": providers, "routes": routes, "server": {"api_keys": [KEY]}}) as running:
        yield running


@pytest.fixture
def dated(gateway: RunningGateway) -> Iterator[openai.AzureOpenAI]:
    with openai.AzureOpenAI(azure_endpoint=gateway.url, api_key=KEY, api_version="2024-10-21", max_retries=0) as client:
        yield client


def test_a_deployment_is_a_model_or_a_route(dated: openai.AzureOpenAI, simulator: Simulator) -> None:
    for name, model in (("our-gpt", "gpt-4o-mini"), ("gpt-4o", "gpt-4o"), ("claude/claude-haiku-4-5", None)):
        simulator.received.clear()
        answer = dated.chat.completions.create(model=name, messages=HELLO, max_tokens=20)
        assert answer.choices[0].message.content == "You said: Hello"
        if model is not None:
            assert simulator.received[-1].json()["model"] == model
    assert simulator.received[-1].path.endswith("/v1/messages")


def test_the_deployment_of_the_path_is_the_one_that_counts(gateway: RunningGateway, simulator: Simulator) -> None:
    path = f"{gateway.url}/openai/deployments/our-gpt/chat/completions?api-version=2024-10-21"
    for body in ({"messages": HELLO}, {"messages": HELLO, "model": "made-up", "user": "me", "x_unknown": [1.50]}):
        answer = httpx2.post(path, json=body, headers={"api-key": KEY})
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-spine-model"] == "gpt-4o-mini"
        assert simulator.received[-1].json() == {**body, "model": "gpt-4o-mini"}
    assert b"1.5" in simulator.received[-1].body


def test_streams_tools_and_vectors(dated: openai.AzureOpenAI) -> None:
    stream = dated.chat.completions.create(model="our-gpt", messages=HELLO, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert text == "You said: Hello"
    weather: Any = {
        "type": "function",
        "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
    }
    called = dated.chat.completions.create(model="our-gpt", messages=HELLO, tools=[weather], tool_choice="required")
    assert called.choices[0].message.tool_calls is not None
    vectors = dated.embeddings.create(model="openai/text-embedding-3-small", input=["a", "b"])
    assert len(vectors.data) == 2


def test_responses_and_lists_are_below_openai_too(dated: openai.AzureOpenAI) -> None:
    assert dated.responses.create(model="our-gpt", input="Hello").output_text == "You said: Hello"
    assert "our-gpt" in [model.id for model in dated.models.list()]
    with pytest.raises(openai.NotFoundError) as refused:
        dated.responses.retrieve("resp_1")
    assert "/openai" in str(refused.value)


def test_the_v1_api(gateway: RunningGateway) -> None:
    with openai.OpenAI(base_url=f"{gateway.url}/openai/v1/", api_key=KEY, max_retries=0) as client:
        answer = client.chat.completions.create(model="our-gpt", messages=HELLO)
        assert answer.choices[0].message.content == "You said: Hello"
        assert client.responses.create(model="our-gpt", input="Hello").output_text == "You said: Hello"
        assert len(client.embeddings.create(model="openai/text-embedding-3-small", input="a").data) == 1
        assert "our-gpt" in [model.id for model in client.models.list()]


def test_mistakes_are_told_in_their_shape(gateway: RunningGateway) -> None:
    with (
        openai.AzureOpenAI(azure_endpoint=gateway.url, api_key="wrong", api_version="2024-10-21") as stranger,
        pytest.raises(openai.AuthenticationError, match="`api-key`"),
    ):
        stranger.chat.completions.create(model="our-gpt", messages=HELLO)
    for ending in ("our-gpt/images/generations", "/chat/completions", "our-gpt"):
        answer = httpx2.post(f"{gateway.url}/openai/deployments/{ending}", json={}, headers={"api-key": KEY})
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "not_found"
    broken = f"{gateway.url}/openai/deployments/our-gpt/chat/completions"
    answer = httpx2.post(broken, content=b"{", headers={"api-key": KEY})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
