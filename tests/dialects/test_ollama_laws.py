"""The laws of a dialect, for Ollama's chat: what one end writes the other reads; garbage is refused."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from genai_spine.dialects import anthropic_models, ollama_embed, ollama_embeddings, openai_embeddings
from genai_spine.dialects.interface import Target
from genai_spine.dialects.ollama_chat import inbound, inbound_generate, models, outbound
from genai_spine.dialects.openai_chat import models as openai_models
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Part, Text, Thinking, ToolCall, ToolResult
from genai_spine.model.errors import InvalidRequest, ProviderError
from genai_spine.model.fold import collect, replay
from genai_spine.model.request import (
    CompletionRequest,
    Message,
    OutputSchema,
    ThinkingConfig,
    Tool,
    ToolChoice,
)
from genai_spine.model.response import CompletionResponse, FinishReason, TokenUsage

TARGET = Target(card=ModelCard(id="gpt-oss"))

texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1)
numbers = st.integers(0, 2**50)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
arguments = st.dictionaries(texts, values, max_size=3).map(lambda value: msgspec.json.encode(value).decode())


# ---------------------------------------------------------------- answers


@st.composite
def responses(draw: st.DrawFn) -> CompletionResponse:
    """What Ollama can say: a thought, a text, calls, in that order."""
    parts: list[Part] = []
    if draw(st.booleans()):
        parts.append(Thinking(text=draw(texts)))
    if draw(st.booleans()):
        parts.append(Text(text=draw(texts)))
    for _ in range(draw(st.integers(0, 2))):
        parts.append(ToolCall(id=draw(texts), name=draw(texts), arguments=draw(arguments)))
    called = any(isinstance(part, ToolCall) for part in parts)
    reason, raw = draw(
        st.sampled_from([(FinishReason.LENGTH, "length"), (FinishReason.OTHER, "load")])
        if not called and draw(st.booleans())
        else st.just((FinishReason.TOOL_CALLS if called else FinishReason.STOP, "stop"))
    )
    counts = st.none() | numbers.filter(lambda count: count <= 10**12)
    usage = TokenUsage(input_tokens=draw(counts), output_tokens=draw(counts), cache_read_tokens=draw(counts))
    return CompletionResponse(
        model=draw(texts),
        created_s=draw(st.integers(0, 4_000_000_000)),
        parts=tuple(parts),
        finish_reason=reason,
        raw_finish_reason=raw,
        usage=usage if usage != TokenUsage() else None,
    )


REQUEST = CompletionRequest(messages=())


def bare(response: CompletionResponse) -> CompletionResponse:
    return msgspec.structs.replace(response, raw=None, extra=None)


def streamed(response: CompletionResponse, dialect: Any, cut: int) -> CompletionResponse:
    encoder, decoder = dialect.stream_encoder(REQUEST), outbound.stream_decoder(TARGET)
    written = b"".join(encoder.encode(event) for event in replay(response))
    cut %= len(written) + 1
    return collect([*decoder.feed(written[:cut]), *decoder.feed(written[cut:]), *decoder.close()])


@given(responses(), st.integers(0))
def test_plain_and_streamed_answers_come_back_the_same(response: CompletionResponse, cut: int) -> None:
    for dialect in (inbound, inbound_generate):
        plain = outbound.decode_response(dialect.encode_response(response, REQUEST), TARGET)
        assert bare(plain) == response
        stream = streamed(response, dialect, cut)
        # A stream is for readers of lines: arguments are the same as values.
        assert with_values(stream) == with_values(msgspec.structs.replace(plain, raw=None))


def with_values(response: CompletionResponse) -> CompletionResponse:
    def valued(part: Part) -> Part:
        if not isinstance(part, ToolCall):
            return part
        return msgspec.structs.replace(part, arguments=json.dumps(json.loads(part.arguments)))

    return msgspec.structs.replace(response, parts=tuple(map(valued, response.parts)))


# ---------------------------------------------------------------- requests

images = st.sampled_from(["iVBORw0KGgoAAAA", "/9j/4AAQ", "R0lGODlh", "UklGRg", "AAAA"]).map(
    lambda data: inbound.wire.image_of(data)
)


@st.composite
def messages(draw: st.DrawFn) -> tuple[Message, ...]:
    written: list[Message] = []
    for role in draw(st.lists(st.sampled_from(["system", "user", "assistant", "tool"]), max_size=5)):
        content: list[Part] = []
        text = [Text(text=draw(texts))] if draw(st.booleans()) else []
        match role:
            case "system" | "user":
                content = [*text, *draw(st.lists(images, max_size=2))]
            case "assistant":
                thought = [Thinking(text=draw(texts))] if draw(st.booleans()) else []
                calls = [
                    ToolCall(id=f"call_{len(written)}_{index}", name=draw(texts), arguments=draw(arguments))
                    for index in range(draw(st.integers(0, 2)))
                ]
                content = [*thought, *text, *calls]
            case "tool":
                call_id = draw(texts)
                content = [ToolResult(call_id=call_id, name=draw(texts), content=tuple(text))]
        written.append(Message(role=role, content=tuple(content)))  # type: ignore[arg-type]
    return tuple(written)


schemas = st.dictionaries(texts, values, max_size=2)
tools = st.builds(Tool, name=texts, description=st.none() | texts, parameters=schemas)
floats = st.none() | st.floats(0, 2)

requests = st.builds(
    CompletionRequest,
    messages=messages(),
    model=st.just("gpt-oss"),
    stream=st.booleans(),
    temperature=floats,
    top_p=floats,
    frequency_penalty=floats,
    presence_penalty=floats,
    top_k=st.none() | numbers,
    seed=st.none() | st.integers(-1, 2**40),
    max_tokens=st.none() | st.integers(1, 2**31),
    context_window=st.none() | st.integers(1, 2**31),
    stop=st.lists(texts, max_size=2).map(tuple),
    tools=st.lists(tools, max_size=2).map(tuple),
    output_schema=st.none() | st.builds(OutputSchema, schema=st.none() | schemas),
    thinking=st.none()
    | st.builds(ThinkingConfig, enabled=st.booleans())
    | st.sampled_from(["low", "medium", "high", "max"]).map(lambda level: ThinkingConfig(enabled=True, effort=level)),
    extra=st.none() | st.just({"ollama_chat": msgspec.Raw(b'{"keep_alive":"5m","options":{"min_p":0.5}}')}),
)


@given(requests)
def test_requests_come_back_the_same(request: CompletionRequest) -> None:
    sent = outbound.encode_request(request, TARGET, stream=request.stream)
    assert sent.notices == ()
    back = inbound.decode_request(sent.body)
    assert msgspec.json.encode(back) == msgspec.json.encode(request)


@given(requests, st.sampled_from(["auto", "none", "required"]))
def test_what_is_sent_is_json_whatever_is_asked(request: CompletionRequest, mode: Any) -> None:
    request = msgspec.structs.replace(request, tool_choice=ToolChoice(mode=mode))
    json.loads(outbound.encode_request(request, TARGET, stream=True).body)


# ---------------------------------------------------------------- garbage

LINE = {
    "model": "m",
    "created_at": "2025-10-17T23:14:07.4Z",
    "message": {
        "role": "assistant",
        "content": "a",
        "thinking": "b",
        "images": ["AAAA"],
        "tool_calls": [{"id": "c", "function": {"index": 0, "name": "f", "arguments": {"x": 1}}}],
    },
    "response": "r",
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 1,
    "eval_count": 2,
}
BODY = {
    "model": "m",
    "prompt": "p",
    "system": "s",
    "input": ["a", [1, 2]],
    "messages": [
        {"role": "user", "content": "a", "images": ["AAAA"]},
        {
            "role": "assistant",
            "content": "",
            "thinking": "t",
            "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {}}}],
        },
        {"role": "tool", "tool_name": "f", "tool_call_id": "c", "content": "r"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    "options": {"temperature": 1, "stop": ["a"], "num_ctx": 1},
    "format": {},
    "think": "low",
    "stream": True,
    "dimensions": 2,
    "encoding_format": "base64",
}
LIST = {
    "object": "list",
    "model": "m",
    "data": [{"index": 0, "embedding": [0.5]}, {"index": 1, "embedding": "AACAPw=="}],
    "embeddings": [[0.5]],
    "usage": {"prompt_tokens": 1},
    "models": [{"model": "m", "modified_at": "2025-10-17T23:14:07.4Z", "details": {"family": "f"}}],
    "capabilities": ["tools"],
    "thinking": {"values": [True]},
    "model_info": {"x.context_length": 1},
}


@st.composite
def mangled(draw: st.DrawFn, document: Any) -> bytes:
    """The document with a value somewhere in it replaced, taken out or cut off."""
    whole = json.loads(json.dumps(document))
    node = whole
    while isinstance(node, dict | list) and node:
        key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if draw(st.booleans()) or not isinstance(node[key], dict | list):
            node[key] = draw(values | st.just("huge"))
            if isinstance(node, dict) and draw(st.booleans()):
                node["more"] = "huge"
            break
        node = node[key]
    # A number that no float holds is valid JSON, and stays unseen where a reader passes over it.
    data = json.dumps(whole).encode().replace(b'"huge"', b"1e999")
    return data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 9)) == 0 else data


def read_stream(data: bytes) -> CompletionResponse:
    decoder = outbound.stream_decoder(TARGET)
    return collect([*decoder.feed(data), *decoder.close()])


@given(mangled(LINE) | st.binary(max_size=60) | values.map(msgspec.json.encode))
def test_bad_answers_are_refused_and_nothing_else(data: bytes) -> None:
    for reader in (lambda data: outbound.decode_response(data, TARGET), read_stream):
        try:
            response = reader(data)
        except ProviderError:
            continue
        inbound.encode_response(response, REQUEST)
        streamed(response, inbound, 0)
    assert isinstance(outbound.decode_error(400, {}, data), ProviderError)


@given(mangled(BODY) | st.binary(max_size=60) | values.map(msgspec.json.encode))
def test_bad_requests_are_refused_and_nothing_else(data: bytes) -> None:
    for dialect in (inbound, inbound_generate):
        try:
            request = dialect.decode_request(data)
            outbound.encode_request(request, TARGET, stream=True)
        except InvalidRequest:
            pass
    for embeddings in (openai_embeddings, ollama_embed, ollama_embeddings):
        try:
            embeddings.decode_request(data)
        except InvalidRequest:
            pass
    try:
        models.decode_model_name(data)
    except InvalidRequest:
        pass


@given(mangled(LIST) | st.binary(max_size=60) | values.map(msgspec.json.encode))
def test_bad_lists_are_refused_and_nothing_else(data: bytes) -> None:
    for reader in (
        lambda data: openai_embeddings.decode_response(data, TARGET),
        lambda data: ollama_embed.decode_response(data, TARGET),
        models.decode_models,
        lambda data: models.decode_show(data, TARGET.card),
        openai_models.decode_models,
        anthropic_models.decode_models,
        anthropic_models.next_page,
    ):
        try:
            reader(data)
        except ProviderError:
            pass
