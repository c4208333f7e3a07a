"""Callers of other dialects in front of Cohere; OpenAI's callers in front of Mistral, whose form is stricter."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from genai_spine.testing.fixtures import running_gateway, running_simulator
from genai_spine.testing.simulator import Simulator


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[str, Simulator]]:
    with running_simulator() as simulator:
        providers = {
            "cohere": {"base_url": simulator.urls.root, "api_key": "k"},
            "mistral": {"base_url": simulator.urls.openai, "api_key": "k"},
        }
        with running_gateway({"providers": providers}) as running:
            yield running.url, simulator


def post(url: str, body: dict[str, Any]) -> str:
    headers = {"content-type": "application/json", "anthropic-version": "2023-06-01"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        text: str = response.read().decode()
        return text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/chat"])
def test_every_dialect_is_answered_by_cohere(path: str, stream: bool, place: tuple[str, Simulator]) -> None:
    url, simulator = place
    simulator.received.clear()
    body = {"model": "cohere/simulated", "max_tokens": 50, "messages": [{"role": "user", "content": "tea"}]}
    said = post(url + path, {**body, "stream": stream})
    for word in ("You", "said", "tea"):
        assert word in said
    assert "event: error" not in said
    (received,) = simulator.received
    assert received.path == "/v2/chat"
    assert received.json()["messages"] == [{"role": "user", "content": "tea"}]


def test_a_tool_is_called_through_anthropics_dialect(place: tuple[str, Simulator]) -> None:
    url, _ = place
    tool = {"name": "sky", "input_schema": {"type": "object", "properties": {"of": {"type": "string"}}}}
    body = {
        "model": "cohere/sim-think",
        "max_tokens": 500,
        "messages": [{"role": "user", "content": "Ask the sky."}],
        "tools": [tool],
    }
    first = json.loads(post(f"{url}/v1/messages", body))
    call = first["content"][-1]
    assert (first["stop_reason"], call["type"], call["name"]) == ("tool_use", "tool_use", "sky")
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "blue"}
    turns = [{"role": "assistant", "content": first["content"]}, {"role": "user", "content": [result]}]
    second = json.loads(post(f"{url}/v1/messages", {**body, "messages": [*body["messages"], *turns]}))  # type: ignore[misc]  # a list
    assert second["content"][-1]["text"].startswith("The tool said: blue")


CALL = {"id": "call_of_another", "type": "function", "function": {"name": "sky", "arguments": "{}"}}


def conversation(call_id: str) -> dict[str, Any]:
    return {
        "model": "mistral/simulated",
        "messages": [
            {"role": "user", "content": "Sky?"},
            {"role": "assistant", "content": None, "tool_calls": [{**CALL, "id": call_id}]},
            {"role": "tool", "tool_call_id": call_id, "content": "blue"},
        ],
    }


def test_a_conversation_that_fits_mistral_is_relayed_and_another_is_fitted(place: tuple[str, Simulator]) -> None:
    url, simulator = place
    for call_id in ("cNojwOqrH", "call_of_another"):
        simulator.received.clear()
        said = json.loads(post(f"{url}/v1/chat/completions", conversation(call_id)))
        assert said["choices"][0]["message"]["content"].startswith("The tool said: blue")
        (received,) = simulator.received
        _, assistant, result = received.json()["messages"]
        assert assistant["tool_calls"][0]["id"] == result["tool_call_id"]
        assert len(result["tool_call_id"]) == 9
        # Relayed, the caller's bytes are those that arrive, but for the model's name.
        asked = {**conversation(call_id), "model": "simulated"}
        assert (received.json() == asked) == (call_id == "cNojwOqrH")
