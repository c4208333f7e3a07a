"""Whatever bytes come from Cohere: nothing but BadReply or a provider's error comes out. And the laws that a dialect
which only speaks to a provider can keep: the stream and the plain answer of one exchange are the same answer, however
the stream is cut; an answer goes back as a turn of the conversation. The other end is the simulator's."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from genai_spine.dialects import cohere_embed, cohere_models, cohere_rerank, jina_rerank, rankings
from genai_spine.dialects.cohere_chat import outbound
from genai_spine.dialects.cohere_chat.schema import plan_of
from genai_spine.dialects.interface import Target
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Audio, Document, Image, Part, Refusal, Text, Thinking, ToolCall, ToolResult
from genai_spine.model.errors import BadReply, InvalidRequest, ProviderError
from genai_spine.model.fold import collect, replay
from genai_spine.model.request import CompletionRequest, Message
from genai_spine.model.rerank import RerankRequest
from genai_spine.model.response import CompletionResponse, FinishReason, TokenUsage
from genai_spine.testing.simulator import cohere

TARGET = Target(card=ModelCard(id="m"))
QUICK = settings(max_examples=80)

CITATION = {"start": 0, "end": 1, "text": "a", "sources": [], "type": "TEXT_CONTENT", "content_index": 1}
CALL = {"id": "i", "type": "function", "function": {"name": "f", "arguments": "{}"}}
USAGE = {"billed_units": {"input_tokens": 1, "output_tokens": 2}, "tokens": {"input_tokens": 3}, "cached_tokens": 1}
ANSWER: dict[str, Any] = {
    "id": "1",
    "message": {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "t"}, {"type": "text", "text": "a"}],
        "tool_plan": "p",
        "tool_calls": [CALL],
        "citations": [CITATION],
    },
    "finish_reason": "COMPLETE",
    "usage": USAGE,
    "logprobs": [{"text": "a", "token_ids": [1]}],
}


def event(kind: str, message: Any = None, **more: Any) -> dict[str, Any]:
    return {"type": kind, **more, **({"delta": {"message": message}} if message is not None else {})}


EVENTS: list[dict[str, Any]] = [
    event("message-start", {"role": "assistant", "content": []}, id="1"),
    event("content-start", {"content": {"type": "thinking", "thinking": ""}}, index=0),
    event("content-delta", {"content": {"thinking": "t"}}, index=0),
    event("content-end", index=0),
    event("content-start", {"content": {"type": "text", "text": ""}}, index=1),
    event("content-delta", {"content": {"text": "a"}}, index=1, logprobs={"text": "a", "token_ids": [1]}),
    event("citation-start", {"citations": CITATION}, index=0),
    event("citation-end", index=0),
    event("content-end", index=1),
    event("tool-plan-delta", {"tool_plan": "p"}),
    event("tool-call-start", {"tool_calls": {**CALL, "function": {"name": "f", "arguments": ""}}}, index=0),
    event("tool-call-delta", {"tool_calls": {"function": {"arguments": "{}"}}}, index=0),
    event("tool-call-end", index=0),
    event("debug", prompt="x"),
    {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": USAGE}},
]
VECTORS = {
    "id": "1",
    "embeddings": {"float": [[0.5, 1]], "int8": [[1, 2]]},
    "meta": {"billed_units": {"input_tokens": 1}},
}
RANKING = {"id": "1", "results": [{"index": 1, "relevance_score": 0.5}], "meta": {"billed_units": {"search_units": 1}}}
MODELS = {"models": [{"name": "m", "context_length": 5.0, "features": ["tools"], "endpoints": ["chat"]}]}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "text", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@st.composite
def mutated(draw: st.DrawFn, seed: Any) -> Any:
    """The value with a few of its members replaced or removed, at any depth."""
    value = json.loads(json.dumps(seed))
    for _ in range(draw(st.integers(1, 3))):
        node = value
        while keys := list(node) if isinstance(node, dict) else list(range(len(node))):
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


def read(data: bytes, cut: int = 0) -> CompletionResponse:
    decoder = outbound.stream_decoder(TARGET)
    return collect([*decoder.feed(data[:cut]), *decoder.feed(data[cut:]), *decoder.close()])


# ---------------------------------------------------------------- garbage


@QUICK
@given(st.binary(max_size=200) | mutated(ANSWER).map(encoded))
def test_any_answer_is_read_or_a_bad_reply(body: bytes) -> None:
    with contextlib.suppress(ProviderError):
        response = outbound.decode_response(body, TARGET)
        outbound.encode_request(
            CompletionRequest(messages=(Message(role="assistant", content=response.parts),)), TARGET, stream=False
        )


@QUICK
@given(mutated(EVENTS))
def test_any_stream_is_read_or_a_bad_reply(events: list[Any]) -> None:
    with contextlib.suppress(ProviderError):
        read(b"".join(b"data: " + encoded(event) + b"\n\n" for event in events))


@QUICK
@given(st.binary(max_size=300))
def test_any_bytes_are_no_stream(data: bytes) -> None:
    for stream in (data, b"data: " + data + b"\n\n"):
        with contextlib.suppress(ProviderError):
            read(stream)


@QUICK
@given(st.binary(max_size=200) | mutated(ANSWER).map(encoded), st.integers(0, 999))
def test_any_body_of_an_error_is_an_error(body: bytes, status: int) -> None:
    assert isinstance(outbound.decode_error(status, {}, body), ProviderError)
    outbound.decode_embedded_error(body)


@QUICK
@given(mutated(VECTORS).map(encoded), mutated(RANKING).map(encoded), mutated(MODELS).map(encoded))
def test_any_vectors_rankings_and_models_are_read_or_a_bad_reply(vectors: bytes, ranking: bytes, models: bytes) -> None:
    request = RerankRequest(query="q", documents=("a", "b"))
    with contextlib.suppress(BadReply):
        cohere_embed.decode_response(vectors, TARGET)
    with contextlib.suppress(BadReply):
        rankings.ranked(cohere_rerank.decode_response(ranking, TARGET), request)
    with contextlib.suppress(ProviderError):
        rankings.ranked(jina_rerank.decode_response(ranking, TARGET), request)
    with contextlib.suppress(BadReply):
        cohere_models.decode_models(models)


@QUICK
@given(st.binary(max_size=200))
def test_any_bytes_are_no_vectors_rankings_or_models(body: bytes) -> None:
    for decode in (cohere_embed.decode_response, cohere_rerank.decode_response, jina_rerank.decode_response):
        with contextlib.suppress(ProviderError):
            decode(body, TARGET)
    with contextlib.suppress(BadReply):
        cohere_models.decode_models(body)


# ---------------------------------------------------------------- laws

words = st.text(max_size=12, alphabet=st.characters(exclude_categories=("Cs",)))
name = st.text(min_size=1, max_size=8, alphabet="abc_-1")
contents = st.lists(st.builds(Text, text=words) | st.builds(Thinking, text=words), max_size=3)
plans = st.lists(words.filter(bool).map(plan_of), max_size=1)
calls = st.lists(
    st.builds(ToolCall, id=name, name=name, arguments=st.just('{"a": [1.0, "é\u2028"]}')),
    max_size=2,
    unique_by=lambda call: call.id,
)
answers = st.builds(
    lambda content, plan, called, usage: CompletionResponse(
        id="1",
        model="m",
        parts=(*content, *plan, *called),
        finish_reason=FinishReason.STOP,
        raw_finish_reason="COMPLETE",
        usage=usage,
    ),
    contents,
    plans,
    calls,
    st.builds(TokenUsage, input_tokens=st.integers(0, 9), output_tokens=st.integers(0, 9)),
)


def without_usage(response: CompletionResponse) -> CompletionResponse:
    return msgspec.structs.replace(response, raw=None, usage=None)


@QUICK
@given(answers, st.integers(0, 2000), st.booleans())
def test_the_stream_and_the_plain_answer_are_the_same_answer(
    response: CompletionResponse, cut: int, has_documents: bool
) -> None:
    extra = {"cohere_chat": {"documents": [{"id": "d", "data": {"text": "x"}}]}} if has_documents else None
    asked = CompletionRequest(messages="Hi", extra=extra)  # type: ignore[arg-type]  # accepted
    plain = outbound.decode_response(cohere.encode_response(response, asked), TARGET)
    encoder = cohere.stream_encoder(asked)
    stream = b"".join(encoder.encode(event) for event in replay(response))
    assert read(stream, cut % (len(stream) + 1)) == msgspec.structs.replace(plain, raw=None)
    assert collect(replay(plain)) == msgspec.structs.replace(plain, raw=None)
    if not has_documents:  # which are cited
        assert without_usage(plain) == without_usage(response)
        assert plain.usage is not None
        assert response.usage is not None
        assert plain.usage.total_tokens == response.usage.total_tokens


said = st.one_of(
    st.builds(Text, text=words.filter(bool)),
    st.builds(Thinking, text=words),
    st.builds(Thinking, redacted=name),
    st.builds(ToolCall, id=name, name=name, arguments=st.just("{}")),
    st.builds(Refusal, text=words),
    st.builds(Image, data=name) | st.builds(Image, file_id=name) | st.builds(Image, url=name),
    st.builds(Document, text=words, name=name | st.none()) | st.builds(Document, url=name),
    st.builds(Audio, data=name),
    st.builds(ToolResult, call_id=name, content=st.lists(st.builds(Text, text=words), max_size=2).map(tuple)),
)
roles: Any = st.sampled_from(["system", "developer", "user", "assistant", "tool"])


@QUICK
@given(st.lists(st.builds(Message, role=roles, content=st.lists(said, max_size=4).map(tuple)), max_size=4))
def test_any_conversation_is_written_or_refused_and_what_is_written_is_a_request(messages: list[Message]) -> None:
    request = CompletionRequest(model="m", messages=tuple(messages))
    with contextlib.suppress(InvalidRequest):
        sent = outbound.encode_request(request, TARGET, stream=True)
        again = cohere.decode_request(sent.body)
        words_sent = json.loads(sent.body)
        for part in (part for message in messages for part in message.content):
            if isinstance(part, Text | Refusal) and part.text:
                assert json.dumps(part.text) in json.dumps(words_sent)
        assert again.stream


def part_kinds(parts: tuple[Part, ...]) -> list[type]:
    return [type(part) for part in parts]


@QUICK
@given(answers)
def test_an_answer_goes_back_as_a_turn_of_the_conversation(response: CompletionResponse) -> None:
    turn = Message(role="assistant", content=response.parts)
    sent = outbound.encode_request(CompletionRequest(model="m", messages=(turn,)), TARGET, stream=False)
    (message,) = cohere.decode_request(sent.body).messages
    # One empty text and none are the same message; a string is the shorthand for one text.
    kept_parts = tuple(part for part in response.parts if part != Text(text=""))
    assert tuple(part for part in message.content if part != Text(text="")) == kept_parts
    assert not sent.notices
