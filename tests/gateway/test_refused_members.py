"""What OpenAI's newer models and OpenAI itself refuse, in a caller's own bytes: mended, told, and told back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.request import Request, urlopen

import pytest

from genai_spine.testing.fixtures import running_gateway, running_simulator
from genai_spine.testing.simulator import Simulator

CHAT = "/v1/chat/completions"
HI: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
ODD = "github.create_issue"
FUNCTION = {"name": ODD, "parameters": {"type": "object", "properties": {}}}


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Simulator, str]]:
    with running_simulator() as simulator:
        providers = {
            "openai": {"api_key": "k", "base_url": simulator.urls.openai},
            "vllm": {"base_url": simulator.urls.openai},
            "gone": {"type": "openai", "api_key": "k", "base_url": "http://127.0.0.1:9/v1"},
        }
        routes = {"smart": {"targets": ["gone/gpt-4o", "openai/gpt-5"]}}
        with running_gateway({"providers": providers, "routes": routes, "retry": {"max_retries": 0}}) as gateway:
            yield simulator, gateway.url


def ask(running: tuple[Simulator, str], path: str, body: dict[str, Any]) -> tuple[dict[str, Any], str, str]:
    """What the provider got, what the caller reads, and what it is told of."""
    simulator, url = running
    simulator.received.clear()
    headers = {"content-type": "application/json", "openai-project": "proj_1"}
    data = json.dumps(body, separators=(",", ":")).encode()
    with urlopen(Request(url + path, data, headers), timeout=10) as answer:
        said, told = answer.read().decode(), answer.headers.get("x-spine-notices") or ""
    (received,) = simulator.received
    assert path != CHAT or (b"openai-project", b"proj_1") in received.headers
    return json.loads(received.body), said, told


@pytest.mark.parametrize("stream", [False, True])
def test_a_fallback_to_a_reasoning_model_answers(running: tuple[Simulator, str], stream: bool) -> None:
    asked = {"temperature": 0.2, "stop": ["x"], "max_tokens": 50, "x_unknown": {"a": True}, "verbosity": "low"}
    got, said, told = ask(running, CHAT, {"model": "smart", "messages": HI, "stream": stream, **asked})
    got.pop("stream", None)
    got.pop("stream_options", None)
    assert got == {
        "model": "gpt-5",
        "messages": HI,
        "max_completion_tokens": 50,
        "x_unknown": {"a": True},
        "verbosity": "low",
    }
    assert "dropped temperature" in told
    assert "dropped stop" in told
    assert ("chat.completion.chunk" in said) is stream


def test_what_the_model_takes_is_relayed_byte_for_byte(running: tuple[Simulator, str]) -> None:
    body = {"temperature": 1, "reasoning_effort": "low", "messages": HI, "max_completion_tokens": 50}
    got, _, told = ask(running, CHAT, {"model": "openai/gpt-5", **body})
    assert list(got) == ["model", *body]
    assert told == ""
    for model in ("openai/gpt-4o", "vllm/gpt-5"):
        body = {"temperature": 0.2, "messages": HI, "stop": "x", "max_tokens": 5, "presence_penalty": 1}
        got, _, told = ask(running, CHAT, {"model": model, **body})
        assert list(got) == ["model", *body]
        assert told == ""


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["openai/sim-think", "openai/gpt-5.6"])
def test_a_tool_is_called_by_the_callers_own_name(running: tuple[Simulator, str], model: str, stream: bool) -> None:
    tools = [{"type": "function", "function": FUNCTION}]
    got, said, told = ask(running, CHAT, {"model": model, "messages": HI, "tools": tools, "stream": stream})
    (tool,) = got["tools"]
    sent = tool.get("function", tool)["name"]
    assert sent.startswith("github_create_issue_")
    assert f'"name":"{ODD}"' in said
    assert sent not in said
    assert "changed tools" in told


def test_so_it_is_for_callers_of_other_dialects(running: tuple[Simulator, str]) -> None:
    tool = {"name": ODD, "input_schema": FUNCTION["parameters"]}
    body = {"model": "openai/sim-think", "max_tokens": 50, "messages": HI, "tools": [tool]}
    got, said, _ = ask(running, "/v1/messages", body)
    assert ODD not in json.dumps(got)
    assert f'"name":"{ODD}"' in said


@pytest.mark.parametrize("model", ["openai/gpt-4o", "vllm/m"])
def test_a_call_that_another_service_made_has_an_id_that_openai_takes(
    running: tuple[Simulator, str], model: str
) -> None:
    long_id = "chatcmpl-tool-" + "0" * 32
    call = {"id": long_id, "type": "function", "function": {"name": "sky", "arguments": "{}"}}
    turns = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": long_id, "content": "blue"},
    ]
    got, _, told = ask(running, CHAT, {"model": model, "messages": [*HI, *turns]})
    _, asked, answered = got["messages"]
    assert asked["tool_calls"][0]["id"] == answered["tool_call_id"]
    assert (len(answered["tool_call_id"]) <= 40) is model.startswith("openai")
    assert ("changed tool_call_id" in told) is model.startswith("openai")
