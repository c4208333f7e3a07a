"""Whatever bytes come: nothing but BadReply, a provider's error or InvalidRequest comes out."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from genai_spine.dialects.anthropic_messages import inbound, outbound
from genai_spine.dialects.interface import Target
from genai_spine.model.card import Capabilities, ModelCard
from genai_spine.model.content import Document, Image, Part, Text, Thinking, ToolCall
from genai_spine.model.errors import InvalidRequest, ProviderError
from genai_spine.model.fold import collect, replay
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse, FinishReason, TokenUsage

TARGET = Target(card=ModelCard(id="m", capabilities=Capabilities(thinking_style="budget")))
ASKED = CompletionRequest(messages="Hi")
QUICK = settings(max_examples=80)

REQUEST: dict[str, Any] = {
    "model": "m",
    "max_tokens": 4000,
    "system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    "messages": [
        {
            "role": "user",
            "content": [{"type": "image", "source": {"type": "url", "url": "u"}}, {"type": "text", "text": "b"}],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "t", "signature": "s"},
                {"type": "tool_use", "id": "i", "name": "f", "input": {"a": 1}},
                {"type": "server_tool_use", "id": "i", "name": "f", "input": {}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "i", "content": "c", "is_error": True}]},
        {"role": "system", "content": "d"},
    ],
    "tools": [{"name": "f", "input_schema": {"type": "object"}}, {"type": "web_search_20250305", "name": "w"}],
    "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 2000, "display": "omitted"},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    "metadata": {"user_id": "u"},
    "temperature": 0.5,
    "stop_sequences": ["x"],
    "fallbacks": ["y"],
    "cost_limit": 1,
}
ANSWER: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "model": "m",
    "content": [
        {"type": "text", "text": "a", "citations": [{"b": 1}]},
        {"type": "thinking", "thinking": "t", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "tool_use", "id": "i", "name": "f", "input": {"a": 1}},
        {"type": "server_tool_use", "id": "i", "name": "f", "input": {}},
    ],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 2, "cache_creation": {"ephemeral_1h_input_tokens": 1}},
}
EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": {"b": 1}}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "server_tool_use", "input": {}}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
    {"type": "content_block_stop", "index": 1},
    {
        "type": "content_block_start",
        "index": 2,
        "content_block": {"type": "tool_use", "id": "i", "name": "f", "input": {}},
    },
    {"type": "content_block_stop", "index": 2},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "error", "error": {"type": "api_error", "message": "x"}},
    {"type": "message_stop"},
]

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "text", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def mutated(draw: st.DrawFn, seed: Any) -> Any:
    """The value with a few of its members replaced, removed or added, at any depth."""
    value = json.loads(json.dumps(seed))
    for _ in range(draw(st.integers(1, 3))):
        node = value
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(node[key], dict | list) and node[key] and draw(st.booleans()):
                node = node[key]
                continue
            if draw(st.integers(0, 4)) == 0:
                del node[key]
            else:
                node[key] = draw(anything)
            break
    return value


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def read_stream(data: bytes) -> None:
    with contextlib.suppress(ProviderError):
        decoder = outbound.stream_decoder(TARGET)
        response = collect([*decoder.feed(data), *decoder.close()])
        inbound.encode_response(response, ASKED)
        encoder = inbound.stream_encoder(ASKED)
        for event in replay(response):
            encoder.encode(event)


@QUICK
@given(st.binary(max_size=200) | mutated(REQUEST).map(encoded))
def test_any_request_is_read_and_written_or_refused(body: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        request = inbound.decode_request(body)
        sent = outbound.encode_request(request, TARGET, stream=request.stream)
        # What we wrote we can read: no request becomes one that is none.
        inbound.decode_request(sent.body)
        outbound.encode_count_request(request, TARGET)
    with contextlib.suppress(InvalidRequest):
        inbound.decode_count_request(body)


@QUICK
@given(st.binary(max_size=200) | mutated(ANSWER).map(encoded))
def test_any_answer_is_read_or_a_bad_reply(body: bytes) -> None:
    with contextlib.suppress(ProviderError):
        response = outbound.decode_response(body, TARGET)
        inbound.encode_response(response, ASKED)
    with contextlib.suppress(ProviderError):
        outbound.decode_count_response(body)


@QUICK
@given(st.binary(max_size=200) | mutated(ANSWER).map(encoded), st.integers(0, 999))
def test_any_body_of_an_error_is_an_error(body: bytes, status: int) -> None:
    assert isinstance(outbound.decode_error(status, {}, body), ProviderError)


@QUICK
@given(mutated(EVENTS))
def test_any_stream_is_read_or_a_bad_reply(events: list[Any]) -> None:
    read_stream(b"".join(b"data: " + encoded(event) + b"\n\n" for event in events))


@QUICK
@given(st.binary(max_size=300))
def test_any_bytes_are_no_stream(data: bytes) -> None:
    read_stream(data)
    read_stream(b"data: " + data + b"\n\n")


name = st.text(min_size=1, max_size=8, alphabet="abc_-1")
words = st.text(max_size=12, alphabet=st.characters(exclude_categories=("Cs",)))
parts: st.SearchStrategy[Part] = (
    st.builds(Text, text=words.filter(str.strip))
    | st.builds(Thinking, text=words, signature=name)
    | st.builds(Thinking, redacted=name)
    | st.builds(ToolCall, id=name, name=name, arguments=st.just('{"a": [1.0, "é\u2028"]}'))
)
count = st.integers(0, 10**6)


@QUICK
@given(
    st.builds(
        CompletionResponse,
        id=name.map("msg_".__add__),
        model=name,
        parts=st.lists(parts, max_size=4).map(tuple),
        finish_reason=st.just(FinishReason.STOP),
        raw_finish_reason=st.just("end_turn"),
        usage=st.builds(TokenUsage, input_tokens=count, output_tokens=count, reasoning_tokens=count | st.none()),
    )
)
def test_answers_survive_being_written_plain_and_streamed(response: CompletionResponse) -> None:
    plain = outbound.decode_response(inbound.encode_response(response, ASKED), TARGET)
    assert msgspec.structs.replace(plain, raw=None) == response
    encoder, decoder = inbound.stream_encoder(ASKED), outbound.stream_decoder(TARGET)
    stream = b"".join(encoder.encode(event) for event in replay(response))
    assert collect([*decoder.feed(stream), *decoder.close()]) == response


user_parts: st.SearchStrategy[Part] = (
    st.builds(Text, text=words.filter(str.strip))
    | st.builds(Image, data=name, media_type=st.just("image/png"))
    | st.builds(Document, url=name, name=name | st.none())
)


@QUICK
@given(
    st.lists(user_parts, min_size=1, max_size=3).map(tuple),
    st.lists(parts, min_size=1, max_size=3).map(tuple),
    count,
    st.none() | st.floats(0, 1),
)
def test_requests_survive_being_written_and_read(
    question: tuple[Part, ...], said: tuple[Part, ...], max_tokens: int, temperature: float | None
) -> None:
    request = CompletionRequest(
        model="m",
        messages=(
            {"role": "system", "content": "Be brief."},  # type: ignore[arg-type]  # accepted, and made a Message
            {"role": "user", "content": question},
            {"role": "assistant", "content": said},
            {"role": "user", "content": "Go on."},
        ),
        max_tokens=max_tokens + 1,
        temperature=temperature,
        stop=("x",),
    )
    sent = outbound.encode_request(request, Target(card=ModelCard(id="m")), stream=False)
    again = inbound.decode_request(sent.body)
    if not any(isinstance(part, ToolCall) for part in said):  # arguments are written anew: spaces go
        assert again == request
    assert [len(message.content) for message in again.messages] == [1, len(question), len(said), 1]
