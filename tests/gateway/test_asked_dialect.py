"""In which dialect a provider of several is asked: a caller of one of them in his, and his bytes; others' requests as
the model wants it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.request import Request, urlopen

import pytest

from genai_spine.testing.fixtures import running_gateway, running_simulator
from genai_spine.testing.simulator import Simulator

KEY = "gw-key-0123456789"
SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}
HI = {"role": "user", "content": "Hi"}
TO_CHAT: dict[str, Any] = {
    "model": "openai/gpt-5.6",
    "messages": [HI],
    "tools": [{"type": "function", "function": {"name": "look", "parameters": SCHEMA}}],
    "seed": 7,
    "x_unknown": {"kept": True},
}
TO_MESSAGES: dict[str, Any] = {
    "model": "openai/gpt-5.6",
    "max_tokens": 64_000,
    "messages": [HI],
    "tools": [{"name": "look", "input_schema": SCHEMA}],
    "output_config": {"effort": "high"},
}


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Simulator, str]]:
    with running_simulator() as simulator:
        providers = {"openai": {"api_key": "k-of-upstream", "base_url": simulator.urls.openai}}
        with running_gateway({"providers": providers, "server": {"api_keys": [KEY]}}) as gateway:
            yield simulator, gateway.url


def compact(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def ask(running: tuple[Simulator, str], path: str, body: dict[str, Any]) -> tuple[str, bytes, str]:
    """Where the provider was asked, what it got, and what the caller reads."""
    simulator, url = running
    simulator.received.clear()
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
    with urlopen(Request(url + path, compact(body), headers), timeout=10) as answer:
        said = answer.read().decode()
    (received,) = simulator.received
    return received.path, received.body, said


@pytest.mark.parametrize("has_tools", [False, True])
def test_a_caller_of_chat_is_relayed_to_chat(running: tuple[Simulator, str], has_tools: bool) -> None:
    body = TO_CHAT if has_tools else {name: value for name, value in TO_CHAT.items() if name != "tools"}
    path, got, said = ask(running, "/v1/chat/completions", body)
    assert path == "/v1/chat/completions"
    assert got == compact({**body, "model": "gpt-5.6"})
    assert json.loads(said)["object"] == "chat.completion"


@pytest.mark.parametrize("stream", [False, True])
def test_another_caller_with_tools_is_asked_for_in_responses(running: tuple[Simulator, str], stream: bool) -> None:
    path, got, said = ask(running, "/v1/messages", {**TO_MESSAGES, "stream": stream})
    sent = json.loads(got)
    assert (path, sent["store"], sent["reasoning"]) == ("/v1/responses", False, {"effort": "high"})
    assert sent["tools"] == [{"type": "function", "name": "look", "parameters": SCHEMA, "strict": False}]
    assert '"tool_use"' in said
    assert ("event: message_stop" in said) == stream


def test_a_tool_that_no_dialect_of_the_provider_knows_does_not_decide(running: tuple[Simulator, str]) -> None:
    code = {"type": "code_execution_20250825", "name": "code_execution"}
    path, got, _ = ask(running, "/v1/messages", {**TO_MESSAGES, "tools": [*TO_MESSAGES["tools"], code]})
    sent = json.loads(got)
    assert (path, sent["store"], [tool["name"] for tool in sent["tools"]]) == ("/v1/responses", False, ["look"])


def test_another_caller_without_tools_is_asked_for_in_chat(running: tuple[Simulator, str]) -> None:
    body = {name: value for name, value in TO_MESSAGES.items() if name != "tools"}
    path, got, _ = ask(running, "/v1/messages", body)
    assert (path, json.loads(got)["reasoning_effort"]) == ("/v1/chat/completions", "high")


@pytest.mark.parametrize("model", ["gpt-5.6", "gpt-5"])
@pytest.mark.parametrize("has_tools", [False, True])
def test_a_caller_of_responses_is_asked_for_there_where_its_bytes_cannot_go_on(
    running: tuple[Simulator, str], model: str, has_tools: bool
) -> None:
    """What an agent remembers of Claude's thoughts is left out; its own settings have words in no other dialect."""
    own = {
        "metadata": {"run": "7"},
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"verbosity": "low"},
        "truncation": "auto",
    }
    thought = {"type": "reasoning", "summary": [], "encrypted_content": "anthropic:EqQBCg"}
    said = [HI, thought, {"role": "assistant", "content": "Hi!"}, HI]
    tool = {"type": "function", "name": "look", "parameters": SCHEMA, "strict": False}
    body = {"model": f"openai/{model}", "input": said, **own, **({"tools": [tool]} if has_tools else {})}
    path, got, _ = ask(running, "/v1/responses", body)
    sent = json.loads(got)
    assert path == "/v1/responses"
    assert {name: sent[name] for name in own} == own
    assert b"EqQBCg" not in got


def test_a_model_that_does_not_think_gets_no_word_on_thoughts_from_a_caller_of_responses(
    running: tuple[Simulator, str],
) -> None:
    thought = {"type": "reasoning", "summary": [], "encrypted_content": "anthropic:EqQBCg"}
    body = {
        "model": "openai/gpt-4o-mini",
        "input": [HI, thought, {"role": "assistant", "content": "Hi!"}, HI],
        "reasoning": {"effort": "low", "summary": "auto"},
        "truncation": "auto",
    }
    path, got, _ = ask(running, "/v1/responses", body)
    assert (path, json.loads(got).get("reasoning")) == ("/v1/responses", None)


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_model_refuses_of_a_caller_of_responses_is_left_out_and_told(
    running: tuple[Simulator, str], stream: bool
) -> None:
    """It is asked for in Responses again, where the service keeps the answer as its caller expects."""
    body = {"model": "openai/gpt-5", "input": "Hi", "temperature": 0.2, "stream": stream}
    path, got, said = ask(running, "/v1/responses", body)
    sent = json.loads(got)
    assert path == "/v1/responses"
    assert sent["input"] in ("Hi", [HI], [{"type": "message", **HI}])
    assert sent.keys() == {"model", "input", *(["stream"] if stream else [])}
    assert '"resp' in said
    _, kept, _ = ask(running, "/v1/responses", {**body, "temperature": 1})
    assert json.loads(kept)["temperature"] == 1


def test_what_the_model_refuses_of_a_caller_of_responses_with_tools_is_kept_by_the_service(
    running: tuple[Simulator, str],
) -> None:
    tool = {"type": "function", "name": "look", "parameters": SCHEMA}
    body = {"model": "openai/gpt-5.6", "input": "Hi", "top_p": 0.2, "tools": [tool], "previous_response_id": "resp_1"}
    path, got, _ = ask(running, "/v1/responses", body)
    sent = json.loads(got)
    assert (path, sent["previous_response_id"], sent.get("store")) == ("/v1/responses", "resp_1", None)
    assert "top_p" not in sent
    _, got, _ = ask(running, "/v1/responses", {**body, "store": False})
    assert json.loads(got)["store"] is False
