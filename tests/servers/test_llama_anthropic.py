"""Anthropic's SDK, our gateway, llama.cpp's server: its Anthropic endpoint relayed, its OpenAI one translated."""

from __future__ import annotations

from typing import Any, Literal

import anthropic
import pydantic
import pytest
from client_stage import KEY
from llama_server import LlamaServer

pytestmark = pytest.mark.servers

PROVIDERS = ("llama", "messages", "compatible")
HI: list[Any] = [{"role": "user", "content": "Hi"}]
TOOL: Any = {
    "name": "draw",
    "description": "Draw a shape",
    "input_schema": {
        "type": "object",
        "properties": {"kind": {"type": "string", "enum": ["circle", "square"]}, "is_big": {"type": "boolean"}},
        "required": ["kind", "is_big"],
    },
}


class Shape(pydantic.BaseModel):
    kind: Literal["circle", "square"]
    is_big: bool


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def client(gateway_url: str) -> Any:
    return anthropic.Anthropic(base_url=gateway_url, api_key=KEY, max_retries=0, timeout=60)


def test_chat(client: Any, provider: str) -> None:
    message = client.messages.create(
        model=f"{provider}_plain/tiny", messages=HI, max_tokens=8, system=[{"type": "text", "text": "Be brief."}]
    )
    assert all(block.type == "text" for block in message.content)
    assert message.stop_reason in ("end_turn", "max_tokens")
    assert message.model == "tiny" and message.role == "assistant" and message.id
    assert message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0) > 5
    assert 0 <= message.usage.output_tokens <= 8


def test_stream(client: Any, provider: str) -> None:
    with client.messages.stream(model=f"{provider}_plain/tiny", messages=HI, max_tokens=30) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_message()
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"
    assert message.stop_reason in ("end_turn", "max_tokens")
    assert 0 <= message.usage.output_tokens <= 30
    assert "".join(block.text for block in message.content) == message.content[0].text


def test_stop_sequences(client: Any, provider: str) -> None:
    # In the noise of random weights llama.cpp overlooks some, where characters are cut: not five times.
    messages = [
        client.messages.create(
            model=f"{provider}_plain/tiny", messages=HI, max_tokens=200, stop_sequences=["e", "a", " ", "t"]
        )
        for _ in range(5)
    ]
    assert any(not set("".join(block.text for block in message.content)) & set("ea t") for message in messages)


def test_tools(client: Any, provider: str) -> None:
    request: Any = {"model": f"{provider}_tools/tiny", "max_tokens": 1500}
    messages = list(HI)
    message = client.messages.create(
        messages=messages, tools=[TOOL], tool_choice={"type": "any", "disable_parallel_tool_use": True}, **request
    )
    assert message.stop_reason == "tool_use"
    (call,) = (block for block in message.content if block.type == "tool_use")
    assert call.name == "draw" and call.id
    Shape.model_validate(call.input)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "drawn"}
    messages += [{"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    answer = client.messages.create(messages=messages, **request)
    assert all(block.type == "text" for block in answer.content)


def test_streamed_tools(client: Any, provider: str) -> None:
    # With random weights llama.cpp breaks off some streams itself, since what came is no call; that is passed on.
    for _ in range(20):
        try:
            with client.messages.stream(
                model=f"{provider}_tools/tiny",
                max_tokens=1500,
                messages=HI,
                tools=[TOOL],
                tool_choice={"type": "any", "disable_parallel_tool_use": True},
            ) as stream:
                message = stream.get_final_message()
        except anthropic.APIError as broken:
            assert "peg-native" in broken.message, broken.message
            continue
        break
    (call,) = (block for block in message.content if block.type == "tool_use")
    Shape.model_validate(call.input)
    assert message.stop_reason == "tool_use"


def test_structured_output(client: Any, provider: str) -> None:
    if provider != "compatible":
        pytest.skip("llama.cpp's Anthropic endpoint reads over output_config (0.3.36, 2026-11)")
    message = client.messages.parse(model="compatible_tools/tiny", messages=HI, max_tokens=400, output_format=Shape)
    assert isinstance(message.parsed_output, Shape)


def test_count_tokens(client: Any, provider: str) -> None:
    raw = client.messages.with_raw_response.count_tokens(model=f"{provider}_plain/tiny", messages=HI)
    count = raw.parse().input_tokens
    assert count > 0
    if provider != "compatible":  # llama.cpp counts itself
        assert "x-spine-notices" not in raw.headers
        usage = client.messages.create(model=f"{provider}_plain/tiny", messages=HI, max_tokens=1).usage
        assert count == usage.input_tokens + (usage.cache_read_input_tokens or 0)
    else:
        assert raw.headers["x-spine-notices"].startswith("estimated input_tokens")


def test_a_prompt_that_is_too_long(client: Any, provider: str, tool_server: LlamaServer) -> None:
    for stream in (False, True):
        with pytest.raises(anthropic.BadRequestError) as failed:
            client.messages.create(
                model=f"{provider}_tools/tiny",
                messages=[{"role": "user", "content": "word " * 4000}],
                max_tokens=8,
                stream=stream,
            )
        body: Any = failed.value.body
        assert body["error"]["type"] == "invalid_request_error"
        assert "context size" in body["error"]["message"]
        assert tool_server.url not in body["error"]["message"]


def test_wrong_keys(client: Any, gateway_url: str) -> None:
    with pytest.raises(anthropic.APIStatusError) as failed:
        client.messages.create(model="locked/tiny", messages=HI, max_tokens=4)
    assert "locked" in failed.value.message and "wrong-key" not in failed.value.message
    stranger = anthropic.Anthropic(base_url=gateway_url, api_key="sk-nobody-0123456789", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError):
        stranger.messages.create(model="llama_plain/tiny", messages=HI, max_tokens=4)


def test_a_caller_who_leaves_frees_the_slot(client: Any, provider: str, plain_server: LlamaServer) -> None:
    plain_server.wait_until_idle()
    stream = client.messages.create(
        model=f"{provider}_plain/tiny",
        messages=HI,
        max_tokens=10_000_000,
        stream=True,
    )
    for _, _ in zip(range(5), stream, strict=False):
        pass
    stream.close()  # the answer may be over: this endpoint has no word for ignore_eos
    plain_server.wait_until_idle()
