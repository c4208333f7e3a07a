"""A conversation that goes from one provider to another: thoughts that only the first can vouch for."""

import json
from urllib.request import Request, urlopen

import pytest

from genai_spine.testing.fixtures import running_gateway, running_simulator

UNSIGNED = {"type": "thinking", "thinking": "hm", "signature": ""}
OPENAIS = {"type": "thinking", "thinking": "hm", "signature": "openai:gAAAA"}


@pytest.mark.parametrize("thought", [UNSIGNED, OPENAIS])
def test_a_thought_that_claude_has_not_signed_is_left_out_on_its_way_to_anthropic(thought: dict[str, str]) -> None:
    with running_simulator() as simulator:
        settings = {"providers": {"anthropic": {"api_key": "k", "base_url": simulator.urls.anthropic}}}
        with running_gateway(settings) as gateway:
            body = {
                "model": "anthropic/claude-sonnet-4-5",
                "max_tokens": 100,
                "messages": [
                    {"role": "user", "content": "hi"},
                    {"role": "assistant", "content": [thought, {"type": "text", "text": "hello"}]},
                    {"role": "user", "content": "again"},
                ],
            }
            request = Request(
                f"{gateway.url}/v1/messages", json.dumps(body).encode(), {"content-type": "application/json"}
            )
            with urlopen(request, timeout=5) as answer:
                assert "omitted_thinking" in answer.headers["x-spine-notices"]
        sent = simulator.received[-1].json()["messages"][1]["content"]
    assert "hm" not in json.dumps(sent)


def test_a_thought_of_claudes_is_left_out_on_its_way_to_openai() -> None:
    thought = {"type": "reasoning", "summary": [], "encrypted_content": "anthropic:EqkW"}
    with running_simulator() as simulator:
        settings = {"providers": {"openai": {"api_key": "k", "base_url": simulator.urls.openai}}}
        with running_gateway(settings) as gateway:
            body = {"model": "openai/gpt-x", "input": [thought, {"role": "user", "content": "again"}]}
            request = Request(
                f"{gateway.url}/v1/responses", json.dumps(body).encode(), {"content-type": "application/json"}
            )
            with urlopen(request, timeout=5) as answer:
                assert "omitted_thinking" in answer.headers["x-spine-notices"]
        assert b"EqkW" not in simulator.received[-1].body
