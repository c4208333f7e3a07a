"""Bare prompts through the gateway to llama.cpp's server: relayed to its completions, or asked as a chat."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from client_stage import KEY

pytestmark = pytest.mark.servers


@pytest.fixture
def client(gateway_url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway_url}/v1", api_key=KEY, max_retries=0, timeout=60)


@pytest.mark.parametrize("provider", ["llama_plain", "compatible_plain", "messages_plain"])
def test_a_prompt_is_continued_whole_and_streamed(client: openai.OpenAI, provider: str) -> None:
    asked: dict[str, Any] = {"model": f"{provider}/tiny", "prompt": "Once upon a time", "max_tokens": 8, "seed": 1}
    answer = client.completions.create(**asked, temperature=0)
    assert answer.object == "text_completion"
    assert answer.choices[0].finish_reason in ("length", "stop")
    assert answer.usage is not None and 0 < answer.usage.completion_tokens <= 8
    chunks = list(
        client.completions.create(**asked, temperature=0, stream=True, stream_options={"include_usage": True})
    )
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == answer.choices[0].text
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [answer.usage.completion_tokens]


def test_several_prompts_and_tokens_reach_the_server(client: openai.OpenAI) -> None:
    several = client.completions.create(model="llama_plain/tiny", prompt=["one", "two"], max_tokens=4)
    assert [choice.index for choice in several.choices] == [0, 1]
    assert client.completions.create(model="llama_plain/tiny", prompt=[5, 6, 7], max_tokens=4).choices
    with pytest.raises(openai.BadRequestError, match="send one prompt"):
        client.completions.create(model="compatible_plain/tiny", prompt=["one", "two"], max_tokens=4)


def test_the_servers_refusal_is_told(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model="llama_plain/tiny", prompt="word " * 20_000, max_tokens=4)
