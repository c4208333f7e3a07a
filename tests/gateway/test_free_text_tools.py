"""A caller's free-text tool in Responses or chat, as Codex' `apply_patch`, with models that know functions only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.request import Request, urlopen

import pytest

from genai_spine.testing.fixtures import running_gateway, running_simulator
from genai_spine.testing.simulator import Simulator

KEY = "gw-key-0123456789"
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}
PATCH = {"type": "custom", "name": "apply_patch", "description": "Patches files.", "format": GRAMMAR}
HI = {"role": "user", "content": "Hi"}
MODELS = [
    "claude/claude-sonnet-4-5",
    "gemini/gemini-2.5-flash",
    "ollama/llama3.2",
    "cohere/command-a-03-2025",
    "mistral/mistral-small-latest",
    "bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0",
]


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Simulator, str]]:
    with running_simulator() as simulator:
        urls, key = simulator.urls, "k-of-upstream"
        providers = {
            "gemini": {"api_key": key, "base_url": urls.gemini},
            "claude": {"type": "anthropic", "api_key": key, "base_url": urls.root},
            "ollama": {"base_url": urls.ollama},
            "bedrock": {"api_key": key, "base_url": urls.root, "region": "us-east-1"},
            "cohere": {"api_key": key, "base_url": urls.root},
            "mistral": {"api_key": key, "base_url": urls.openai},
        }
        with running_gateway({"providers": providers, "server": {"api_keys": [KEY]}}) as gateway:
            yield simulator, gateway.url


def ask(running: tuple[Simulator, str], path: str, body: dict[str, Any]) -> tuple[Any, str, str]:
    """What the provider got, what the caller reads, and the notices."""
    simulator, url = running
    simulator.received.clear()
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
    with urlopen(Request(url + path, json.dumps(body).encode(), headers), timeout=10) as answer:
        said = answer.read().decode()
    received = simulator.received[-1]
    return json.loads(received.body), said, answer.headers.get("x-spine-notices") or ""


@pytest.mark.parametrize("model", MODELS)
def test_a_caller_of_responses_has_it_called_with_text(running: tuple[Simulator, str], model: str) -> None:
    body = {"model": model, "input": "Hi", "tools": [PATCH], "tool_choice": "required"}
    got, said, notices = ask(running, "/v1/responses", body)
    assert "start: /.+/" in json.dumps(got), "the grammar is told in the description"
    (call,) = [item for item in json.loads(said)["output"] if item["type"].endswith("_call")]
    assert (call["type"], call["name"]) == ("custom_tool_call", "apply_patch")
    assert call["input"]
    assert "{" not in call["input"]
    assert "apply_patch is sent as a function" in notices
    assert "format" not in notices


@pytest.mark.parametrize("model", MODELS)
def test_a_stream_has_the_same_call(running: tuple[Simulator, str], model: str) -> None:
    body = {"model": model, "input": "Hi", "tools": [PATCH], "tool_choice": "required"}
    plain = json.loads(ask(running, "/v1/responses", body)[1])["output"][-1]
    events = [
        json.loads(line[6:])
        for line in ask(running, "/v1/responses", {**body, "stream": True})[1].splitlines()
        if line.startswith("data: ")
    ]
    deltas = [event["delta"] for event in events if event["type"] == "response.custom_tool_call_input.delta"]
    (done,) = [event["input"] for event in events if event["type"] == "response.custom_tool_call_input.done"]
    assert "".join(deltas) == done == plain["input"]
    assert events[-1]["response"]["output"][-1]["input"] == done


@pytest.mark.parametrize("model", MODELS)
def test_the_next_turn_has_the_call_and_its_result(running: tuple[Simulator, str], model: str) -> None:
    call = {"type": "custom_tool_call", "call_id": "call_1", "name": "apply_patch", "input": "*** Begin\n*** End"}
    output = {"type": "custom_tool_call_output", "call_id": "call_1", "output": "Done!"}
    body = {"model": model, "input": [HI, call, output], "tools": [PATCH]}
    sent = json.dumps(ask(running, "/v1/responses", body)[0])
    assert sent.count("*** Begin") == 1
    assert "Done!" in sent


@pytest.mark.parametrize("model", MODELS)
def test_a_caller_of_chat_has_it_called_with_text(running: tuple[Simulator, str], model: str) -> None:
    """Also where chat itself would be relayed, as to Mistral."""
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /.+/"}}
    tool = {"type": "custom", "custom": {"name": "apply_patch", "format": grammar}}
    body = {"model": model, "messages": [HI], "tools": [tool]}
    got, said, _ = ask(running, "/v1/chat/completions", body)
    assert "start: /.+/" in json.dumps(got)
    (call,) = json.loads(said)["choices"][0]["message"]["tool_calls"]
    assert call["type"] == "custom"
    assert call["custom"]["name"] == "apply_patch"
