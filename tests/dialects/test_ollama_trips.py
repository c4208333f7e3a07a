"""Trips between Ollama's chat and the others: what two dialects can both say survives in both directions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_ollama_recordings import check_schema

from genai_spine.dialects.anthropic_messages import inbound as anthropic_in
from genai_spine.dialects.anthropic_messages import outbound as anthropic_out
from genai_spine.dialects.interface import Target
from genai_spine.dialects.ollama_chat import inbound as ollama_in
from genai_spine.dialects.ollama_chat import inbound_generate
from genai_spine.dialects.ollama_chat import outbound as ollama_out
from genai_spine.dialects.openai_chat import inbound as openai_in
from genai_spine.dialects.openai_chat import outbound as openai_out
from genai_spine.dialects.quirks import Quirks
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Text, Thinking, ToolCall
from genai_spine.model.fold import collect, replay
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse, FinishReason, TokenUsage

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TARGET = Target(card=ModelCard(id="m", max_output_tokens=4096), quirks=Quirks(reasoning_field="reasoning_content"))
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}

OPENAI = {
    "model": "m",
    "temperature": 0.5,
    "top_p": 0.9,
    "seed": 7,
    "stop": ["END"],
    "max_completion_tokens": 100,
    "frequency_penalty": 0.1,
    "presence_penalty": 0.2,
    "reasoning_effort": "high",
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
    "tools": [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}},
    ],
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "hm",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1.0}'}},
                {"id": "call_2", "type": "function", "function": {"name": "f", "arguments": '{"a": 2}'}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "one"},
        {"role": "tool", "tool_call_id": "call_2", "content": "two"},
        {"role": "user", "content": "So?"},
    ],
}

IN_OLLAMAS_WORDS: dict[str, Any] = {
    "model": "m",
    "stream": False,
    "think": True,
    "format": SCHEMA,
    "options": {
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "num_predict": 100,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "stop": ["END"],
    },
    "tools": OPENAI["tools"],
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is this?", "images": [PNG]},
        {
            "role": "assistant",
            "content": "",
            "thinking": "hm",
            "tool_calls": [
                {"id": "call_1", "function": {"name": "f", "arguments": {"a": 1.0}}},
                {"id": "call_2", "function": {"name": "f", "arguments": {"a": 2}}},
            ],
        },
        {"role": "tool", "content": "one", "tool_call_id": "call_1", "tool_name": "f"},
        {"role": "tool", "content": "two", "tool_call_id": "call_2", "tool_name": "f"},
        {"role": "user", "content": "So?"},
    ],
}


def passed_on(body: Any, inbound: Any, outbound: Any, *, stream: bool = False) -> Any:
    request = inbound.decode_request(json.dumps(body).encode())
    return json.loads(outbound.encode_request(request, TARGET, stream=stream).body)


# ---------------------------------------------------------------- requests


def test_openai_to_ollama() -> None:
    sent = passed_on(OPENAI, openai_in, ollama_out)
    assert sent == IN_OLLAMAS_WORDS
    check_schema(sent)


def test_ollama_to_openai() -> None:
    sent = passed_on(IN_OLLAMAS_WORDS, ollama_in, openai_out)
    first, user, assistant, *results, last = sent["messages"]
    assert first == {"role": "system", "content": "Be brief."}
    assert user["content"] == OPENAI["messages"][1]["content"]  # type: ignore[index]
    assert assistant == OPENAI["messages"][2]  # type: ignore[index]
    assert [(result["tool_call_id"], result["content"]) for result in results] == [
        ("call_1", "one"),
        ("call_2", "two"),
    ]
    assert last == {"role": "user", "content": "So?"}
    assert sent["response_format"]["json_schema"]["schema"] == SCHEMA
    assert sent["tools"] == OPENAI["tools"]
    for name in ("temperature", "top_p", "seed", "stop", "frequency_penalty", "presence_penalty"):
        assert sent[name] == OPENAI[name]
    assert sent["max_tokens"] == 100


def test_openai_to_ollama_and_back_is_the_same_but_for_the_level_of_thought() -> None:
    request = openai_in.decode_request(json.dumps(OPENAI).encode())
    gpt_oss = Target(card=ModelCard(id="gpt-oss"))
    outgoing = ollama_out.encode_request(request, gpt_oss, stream=False)
    assert outgoing.notices == ()
    back = ollama_in.decode_request(outgoing.body)
    assert back.thinking == request.thinking
    assert back.messages[1:3] == request.messages[1:3]
    assert (
        [message.content[0].content for message in back.messages[3:5]]
        == [  # type: ignore[union-attr]
            message.content[0].content
            for message in request.messages[3:5]  # type: ignore[union-attr]
        ]
    )
    assert back.tools == request.tools
    assert back.output_schema is not None
    assert back.output_schema.schema == SCHEMA
    assert (back.stop, back.seed, back.max_tokens) == (request.stop, request.seed, request.max_tokens)


ANTHROPIC = {
    "model": "m",
    "max_tokens": 100,
    "temperature": 0.5,
    "top_k": 20,
    "stop_sequences": ["END"],
    "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}],
    "tools": [{"name": "f", "description": "d", "input_schema": SCHEMA}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "sig"},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "toolu_2", "name": "f", "input": {"a": 2}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "one"},
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_2",
                    "is_error": True,
                    "content": [
                        {"type": "text", "text": "two"},
                        {
                            "type": "image",
                            "source": {"type": "base64", "media_type": "image/png", "data": PNG},
                        },
                    ],
                },
                {"type": "text", "text": "So?"},
            ],
        },
    ],
}


def test_anthropic_to_ollama() -> None:
    sent = passed_on(ANTHROPIC, anthropic_in, ollama_out)
    check_schema(sent)
    assert sent["options"] == {"temperature": 0.5, "top_k": 20, "num_predict": 100, "stop": ["END"]}
    assert sent["tools"][0]["function"]["parameters"] == SCHEMA
    roles = [message["role"] for message in sent["messages"]]
    assert roles[-6:] == ["user", "assistant", "tool", "tool", "user", "user"]
    assert "Be brief." in sent["messages"][0]["content"]
    assert any("Be kind." in message["content"] for message in sent["messages"][:2])
    question, assistant, one, two, picture, so = sent["messages"][-6:]
    assert question == {"role": "user", "content": "What is this?", "images": [PNG]}
    assert assistant["thinking"] == "hm"
    assert [call["function"]["arguments"] for call in assistant["tool_calls"]] == [{"a": 1}, {"a": 2}]
    assert one == {"role": "tool", "content": "one", "tool_call_id": "toolu_1", "tool_name": "f"}
    assert two["content"] == "two"
    assert picture["images"] == [PNG]
    assert so["content"] == "So?"
    request = anthropic_in.decode_request(json.dumps(ANTHROPIC).encode())
    notices = ollama_out.encode_request(request, TARGET, stream=False).notices
    assert {(notice.code, (notice.param or "").rpartition(".")[2]) for notice in notices} >= {("dropped", "is_error")}


def test_ollama_to_anthropic() -> None:
    body = {**IN_OLLAMAS_WORDS, "think": False}
    sent = passed_on(body, ollama_in, anthropic_out)
    assert "Be brief." in json.dumps(sent["system"])
    assert sent["max_tokens"] == 100
    assert sent["stop_sequences"] == ["END"]
    assert sent["tools"][0]["input_schema"] == SCHEMA
    user, assistant, results = sent["messages"][:3]
    assert {"type": "base64", "media_type": "image/png", "data": PNG} in [
        block.get("source") for block in user["content"]
    ]
    calls = [block for block in assistant["content"] if block["type"] == "tool_use"]
    assert [(call["id"], call["name"], call["input"]) for call in calls] == [
        ("call_1", "f", {"a": 1.0}),
        ("call_2", "f", {"a": 2}),
    ]
    blocks = [block for block in results["content"] if block["type"] == "tool_result"]
    assert [block["tool_use_id"] for block in blocks] == ["call_1", "call_2"]


def test_generate_is_a_chat_to_everybody() -> None:
    body = {"model": "m", "prompt": "What is this?", "system": "Be brief.", "images": [PNG], "stream": False}
    as_openai = passed_on(body, inbound_generate, openai_out)
    assert [message["role"] for message in as_openai["messages"]] == ["system", "user"]
    as_anthropic = passed_on(body, inbound_generate, anthropic_out)
    assert [message["role"] for message in as_anthropic["messages"]] == ["user"]


# ---------------------------------------------------------------- answers

texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1)


@st.composite
def answers(draw: st.DrawFn) -> CompletionResponse:
    """What all three can say."""
    parts: list[Any] = [Thinking(text=draw(texts))] if draw(st.booleans()) else []
    called = draw(st.booleans())
    if not called or draw(st.booleans()):
        parts.append(Text(text=draw(texts)))
    if called:
        parts.extend(
            ToolCall(id=f"call_{index}", name=f"f{index}", arguments=json.dumps({"a": draw(texts)}))
            for index in range(draw(st.integers(1, 2)))
        )
    reasons = [FinishReason.TOOL_CALLS] if called else [FinishReason.STOP, FinishReason.LENGTH]
    return CompletionResponse(
        id="answer-1",
        model="m",
        created_s=1760742847,
        parts=tuple(parts),
        finish_reason=draw(st.sampled_from(reasons)),
        usage=TokenUsage(input_tokens=26, output_tokens=5, cache_read_tokens=20),
    )


REQUEST = CompletionRequest(
    messages="hi", model="m", extra={"openai_chat": {"stream_options": {"include_usage": True}}}
)  # type: ignore[arg-type]
ENDS = {
    "openai": (openai_in, openai_out),
    "anthropic": (anthropic_in, anthropic_out),
    "ollama": (ollama_in, ollama_out),
}
PAIRS = [(one, other) for one in ENDS for other in ENDS if "ollama" in (one, other)]


def essence(response: CompletionResponse) -> Any:
    usage = response.usage or TokenUsage()
    return (
        response.model,
        response.thinking,
        response.content,
        [(call.id, call.name, call.input) for call in response.tool_calls],
        response.finish_reason,
        (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens),
    )


def stream_of(response: CompletionResponse, dialect: str) -> bytes:
    encoder = ENDS[dialect][0].stream_encoder(REQUEST)
    return b"".join(encoder.encode(event) for event in replay(response))


@pytest.mark.parametrize(("provider", "caller"), PAIRS)
@given(answer=answers())
def test_answers_survive_the_way_to_the_caller(provider: str, caller: str, answer: CompletionResponse) -> None:
    upstream = ENDS[provider][0].encode_response(answer, REQUEST)
    read = ENDS[provider][1].decode_response(upstream, TARGET)
    written = ENDS[caller][0].encode_response(read, REQUEST)
    assert essence(ENDS[caller][1].decode_response(written, TARGET)) == essence(answer)


@pytest.mark.parametrize(("provider", "caller"), PAIRS)
@given(answer=answers(), cut=st.integers(0))
def test_streams_survive_the_way_to_the_caller(
    provider: str, caller: str, answer: CompletionResponse, cut: int
) -> None:
    upstream = stream_of(answer, provider)
    cut %= len(upstream) + 1
    decoder = ENDS[provider][1].stream_decoder(TARGET)
    encoder = ENDS[caller][0].stream_encoder(REQUEST)
    written = b"".join(
        encoder.encode(event)
        for event in [*decoder.feed(upstream[:cut]), *decoder.feed(upstream[cut:]), *decoder.close()]
    )
    last = ENDS[caller][1].stream_decoder(TARGET)
    assert essence(collect([*last.feed(written), *last.close()])) == essence(answer)
