"""Streams of Anthropic's Messages, read and written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from genai_spine.dialects.anthropic_messages import inbound, outbound
from genai_spine.dialects.interface import Target
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Audio, Citation, Opaque, Part, Refusal, Text, Thinking, ToolCall
from genai_spine.model.errors import (
    BadReply,
    BadRequest,
    ContextLengthExceeded,
    InvalidRequest,
    Overloaded,
    ProviderError,
    RateLimitError,
    ServerError,
    StreamBroken,
)
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.model.fold import collect, replay
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse, FinishReason, TokenUsage
from genai_spine.wire.sse import SSEParser

HERE = "anthropic_messages"
TARGET = Target(card=ModelCard(id="asked-model"))
ASKED = CompletionRequest(messages="Hi")


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def frame(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def start(**members: Any) -> bytes:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    return frame("message_start", message=message | {"usage": {"input_tokens": 5, "output_tokens": 1}} | members)


def block(index: int, content: dict[str, Any], *deltas: dict[str, Any], stop: bool = True) -> bytes:
    events = [frame("content_block_start", index=index, content_block=content)]
    events += [frame("content_block_delta", index=index, delta=delta) for delta in deltas]
    return b"".join(events) + (frame("content_block_stop", index=index) if stop else b"")


def text(index: int, *deltas: str, stop: bool = True) -> bytes:
    said = [{"type": "text_delta", "text": delta} for delta in deltas]
    return block(index, {"type": "text", "text": ""}, *said, stop=stop)


def end(reason: str | None = "end_turn", **usage: Any) -> bytes:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return frame("message_delta", delta=delta, usage={"output_tokens": 9, **usage}) + frame("message_stop")


def read(*frames: bytes) -> list[StreamEvent]:
    decoder = outbound.stream_decoder(TARGET)
    return [*decoder.feed(b"".join(frames)), *decoder.close()]


# ---------------------------------------------------------------- reading


def test_a_stream_of_text_is_start_deltas_end() -> None:
    assert read(start(), frame("ping"), text(0, "He", "", "llo"), end()) == [
        MessageStart(id="msg_1", model="m", usage=TokenUsage(input_tokens=5, output_tokens=1)),
        PartStart(index=0, part=Text(text="")),
        PartDelta(0, "He"),
        PartDelta(0, "llo"),
        PartEnd(index=0),
        MessageEnd(
            finish_reason=FinishReason.STOP,
            raw_finish_reason="end_turn",
            usage=TokenUsage(input_tokens=5, output_tokens=9),
        ),
    ]


def test_an_answer_without_a_word_may_come_without_its_start() -> None:
    # As llama.cpp's server sends it where the model's first token is the end.
    assert read(end()) == [
        MessageStart(model="asked-model"),
        MessageEnd(finish_reason=FinishReason.STOP, raw_finish_reason="end_turn", usage=TokenUsage(output_tokens=9)),
    ]
    with pytest.raises(BadReply, match="without an answer"):
        read(frame("message_stop"))


def test_a_thoughts_signature_comes_with_its_end() -> None:
    thought = block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "Hm", "estimated_tokens": 4},
        {"type": "signature_delta", "signature": "c2ln"},
    )
    events = read(start(), thought, end())
    assert events[1:4] == [
        PartStart(index=0, part=Thinking()),
        PartDelta(0, "Hm"),
        PartEnd(index=0, signature="c2ln"),
    ]
    assert collect(events).parts == (Thinking(text="Hm", signature="c2ln"),)


def test_omitted_and_redacted_thoughts_are_kept() -> None:
    omitted = block(
        0, {"type": "thinking", "thinking": "", "signature": ""}, {"type": "signature_delta", "signature": "s"}
    )
    redacted = block(1, {"type": "redacted_thinking", "data": "ZW5j"})
    assert collect(read(start(), omitted, redacted, end())).parts == (
        Thinking(signature="s"),
        Thinking(redacted="ZW5j"),
    )


@pytest.mark.parametrize(
    ("given", "fragments", "arguments"),
    [
        ({}, ["", '{"city": ', '"Oslo"}'], '{"city": "Oslo"}'),
        ({}, [], "{}"),
        ({}, [""], "{}"),
        ({"city": "Oslo"}, [], '{"city": "Oslo"}'),
        ({"old": 1}, ['{"city":1}'], '{"city":1}'),
    ],
)
def test_arguments_come_in_pieces_or_whole(given: Any, fragments: list[str], arguments: str) -> None:
    said = [{"type": "input_json_delta", "partial_json": fragment} for fragment in fragments]
    call = block(0, {"type": "tool_use", "id": "toolu_1", "name": "f", "input": given}, *said)
    events = read(start(), call, end("tool_use"))
    assert events[1] == PartStart(index=0, part=ToolCall(id="toolu_1", name="f"))
    assert collect(events).parts == (ToolCall(id="toolu_1", name="f", arguments=arguments),)


def test_citations_are_gathered_for_the_end_of_their_text() -> None:
    cited = block(
        0,
        {"type": "text", "text": "", "citations": []},
        {"type": "text_delta", "text": "So."},
        {"type": "citations_delta", "citation": {"cited_text": "a"}},
        {"type": "citations_delta", "citation": {"cited_text": "b"}},
    )
    metadata = {HERE: raw({"citations": [{"cited_text": "a"}, {"cited_text": "b"}]})}
    citations = (Citation(cited_text="a"), Citation(cited_text="b"))
    assert collect(read(start(), cited, end())).parts == (
        Text(text="So.", citations=citations, provider_metadata=metadata),
    )


@pytest.mark.parametrize(
    ("begun", "deltas", "whole"),
    [
        (
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            [{"type": "input_json_delta", "partial_json": part} for part in ("", '{"query":', '"q"}')],
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
        ),
        ({"type": "web_search_tool_result", "content": [{"a": 1}]}, [], None),
        (
            {"type": "compaction", "content": None},
            [{"type": "compaction_delta", "content": "Long"}, {"type": "compaction_delta", "content": " ago"}],
            {"type": "compaction", "content": "Long ago"},
        ),
        (
            {"type": "of_tomorrow", "list": [1]},
            [{"type": "x_delta", "list": [2], "n": 3}, {"type": "citations_delta", "citation": {"c": 1}}],
            {"type": "of_tomorrow", "list": [1, 2], "n": 3, "citations": [{"c": 1}]},
        ),
    ],
)
def test_blocks_that_only_anthropic_knows_are_whole_at_their_end(begun: Any, deltas: Any, whole: Any) -> None:
    events = read(start(), text(0, "a"), block(1, begun, *deltas), text(2, "b"), end())
    opaque = collect(events).parts[1]
    assert isinstance(opaque, Opaque)
    assert opaque.kind == begun["type"]
    assert msgspec.json.decode(opaque.raw) == (whole or begun)
    assert [event.index for event in events if isinstance(event, PartStart)] == [0, 1, 2]


def test_a_stream_and_a_plain_answer_are_the_same_response() -> None:
    content = [
        {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {}},
    ]
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content}
    ending = {"stop_reason": "tool_use", "stop_sequence": None, "stop_details": {"a": 1}, "container": {"id": "c"}}
    usage = {"input_tokens": 5, "output_tokens": 9, "service_tier": "standard"}
    body = json.dumps({**message, **ending, "usage": usage, "context_management": {"x": 1}}).encode()
    streamed = read(
        start(usage={"input_tokens": 5, "output_tokens": 1, "service_tier": "standard"}),
        block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "Hm"},
            {"type": "signature_delta", "signature": "c2ln"},
        ),
        text(1, "Hel", "lo"),
        block(2, content[2]),
        frame("message_delta", delta=ending, usage={"output_tokens": 9}, context_management={"x": 1}),
        frame("message_stop"),
    )
    plain = msgspec.structs.replace(outbound.decode_response(body, TARGET), raw=None)
    assert collect(streamed) == plain


def test_usage_is_cumulative_and_the_last_valid_count_stands() -> None:
    usage = {"input_tokens": 472, "cache_read_input_tokens": 10, "output_tokens": 2, "service_tier": "standard"}
    events = read(
        start(usage=usage),
        frame("message_delta", delta={}, usage={"output_tokens": 7, "input_tokens": None}),
        frame("message_delta", delta={}, usage={"output_tokens": "many", "cache_read_input_tokens": -4}),
        frame("message_delta", delta={}, usage="none"),
        end(server_tool_use={"web_search_requests": 1}, output_tokens=89),
    )
    counted = collect(events).usage
    assert counted is not None
    assert (counted.input_tokens, counted.output_tokens, counted.cache_read_tokens) == (482, 89, 10)
    assert counted.provider_metadata == {
        HERE: raw({"service_tier": "standard", "server_tool_use": {"web_search_requests": 1}})
    }


def test_a_counter_of_counters_is_cumulative_too() -> None:
    creation = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 20}
    usage = {"input_tokens": 1, "cache_creation_input_tokens": 20, "cache_creation": creation}
    events = read(start(usage=usage), end(cache_creation={"ephemeral_5m_input_tokens": 5}))
    counted = collect(events).usage
    assert counted is not None
    assert (counted.input_tokens, counted.cache_write_1h_tokens) == (21, 20)


def test_unknown_events_of_any_shape_are_ignored() -> None:
    odd = [frame("of_tomorrow", index="x", delta=[1]), frame("ping", delta=7), b": comment\n\n"]
    assert collect(read(start(), *odd, text(0, "a"), *odd, end())).content == "a"


def test_data_after_the_end_is_ignored() -> None:
    events = read(start(), text(0, "a"), end(), start(), text(0, "b"), b"event: x\ndata: {\n\n", end())
    assert collect(events).content == "a"
    assert sum(isinstance(event, MessageEnd) for event in events) == 1


def test_data_needs_no_space_before_it() -> None:
    whole = start() + text(0, "a") + end()
    assert read(whole.replace(b"\ndata: ", b"\ndata:")) == read(whole)


def test_a_stream_without_message_stop_is_whole_after_its_stop_reason() -> None:
    whole = start() + text(0, "a") + end()
    cut = whole[: whole.index(b"event: message_stop")]
    assert collect(read(cut)).finish_reason is FinishReason.STOP
    assert collect(read(cut.rstrip(b"\n"))).finish_reason is FinishReason.STOP


@pytest.mark.parametrize("kept", [b"", start(), start() + text(0, "a", stop=False), start() + text(0, "a")])
def test_a_stream_that_ends_too_early_is_broken(kept: bytes) -> None:
    with pytest.raises(StreamBroken):
        read(kept)


def test_blocks_left_open_are_closed_by_the_end() -> None:
    assert read(start(), text(0, "a", stop=False), end())[-2] == PartEnd(index=0)


def test_a_missing_message_start_is_made_up_for() -> None:
    events = read(text(0, "a"), end())
    assert events[0] == MessageStart(model="asked-model")


@pytest.mark.parametrize(
    ("kind", "message", "error_class", "status"),
    [
        ("overloaded_error", "Overloaded", Overloaded, 529),
        ("api_error", "Internal server error", ServerError, 500),
        ("rate_limit_error", "slow", RateLimitError, 429),
        ("invalid_request_error", "bad", BadRequest, 400),
        ("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum", ContextLengthExceeded, 400),
        ("of_tomorrow", "odd", StreamBroken, 502),
    ],
)
def test_an_error_in_a_stream_is_the_error_that_it_names(
    kind: str, message: str, error_class: type[ProviderError], status: int
) -> None:
    decoder = outbound.stream_decoder(TARGET)
    assert decoder.feed(start() + text(0, "a"))
    with pytest.raises(ProviderError, match=message) as raised:
        decoder.feed(frame("error", error={"type": kind, "message": message}, request_id="req_1"))
    assert type(raised.value) is error_class
    assert (raised.value.status_code, raised.value.request_id) == (status, "req_1")


@pytest.mark.parametrize(
    "bad",
    [
        b"data: {\n\n",
        b"data: []\n\n",
        b"data: {}\n\n",
        frame("message_start"),
        frame("message_start", message=[]),
        frame("content_block_start", index=0),
        frame("content_block_start", index=0, content_block={}),
        frame("content_block_start", index=0, content_block={"type": "text"}),
        frame("content_block_start", index="x", content_block={"type": "text", "text": ""}),
        frame("content_block_delta", index=7, delta={"type": "text_delta", "text": "a"}),
        frame("content_block_stop", index=7),
        text(0, stop=False) + text(0),
        text(0, stop=False) + frame("content_block_delta", index=0),
        text(0, stop=False) + frame("content_block_delta", index=0, delta={"type": "text_delta", "text": 5}),
        block(0, {"type": "text", "text": ""}, {"type": "input_json_delta", "partial_json": "{}"}),
        block(0, {"type": "tool_use", "id": "a", "name": "f", "input": {}}, {"type": "text_delta", "text": "a"}),
        block(0, {"type": "server_tool_use"}, {"type": "input_json_delta", "partial_json": "{"}),
        b'data: {"type":"message_delta","usage":{"x":1e999}}\n\n',
    ],
)
def test_what_is_no_stream_is_a_bad_reply(bad: bytes) -> None:
    with pytest.raises(BadReply):
        read(start(), bad)


# ---------------------------------------------------------------- writing


def wrote(events: Iterable[StreamEvent]) -> bytes:
    encoder = inbound.stream_encoder(ASKED)
    return b"".join(encoder.encode(event) for event in events)


def said(stream: bytes) -> list[Any]:
    """The events of a stream; each has its name on the event line too, as the SDKs demand."""
    events = SSEParser().feed(stream)
    assert [event.event for event in events] == [json.loads(event.data)["type"].encode() for event in events]
    return [json.loads(event.data) for event in events]


def stream(*parts: Part, **members: Any) -> CompletionResponse:
    members.setdefault("finish_reason", FinishReason.STOP)
    return CompletionResponse(id="msg_1", model="m", parts=parts, **members)


def test_a_text_is_written_as_the_documentation_shows_it() -> None:
    events = [
        MessageStart(id="msg_1", model="m", usage=TokenUsage(input_tokens=25, output_tokens=1)),
        PartStart(index=0, part=Text(text="")),
        PartDelta(0, 'Hi "you"\n'),
        PartEnd(index=0),
        MessageEnd(finish_reason=FinishReason.STOP, usage=TokenUsage(input_tokens=25, output_tokens=15)),
    ]
    counted = {"cache_creation_input_tokens": None, "cache_read_input_tokens": None}
    assert said(wrote(events)) == [
        {
            "type": "message_start",
            "message": {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "m",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {"input_tokens": 25, "output_tokens": 1, **counted},
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 'Hi "you"\n'}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"input_tokens": 25, "output_tokens": 15, **counted},
        },
        {"type": "message_stop"},
    ]


def test_a_stream_has_usage_even_where_nobody_counted() -> None:
    events = said(wrote(replay(stream(Text(text="a")))))
    assert events[0]["message"]["usage"]["input_tokens"] == 0
    assert events[-2]["usage"]["output_tokens"] == 0


PARTS: list[tuple[Part, ...]] = [
    (),
    (Text(text="a"), Text(text="b")),
    (Thinking(text="Hm", signature="c2ln"), Text(text="a")),
    (Thinking(signature="c2ln"),),
    (Thinking(redacted="ZW5j"), Text(text="a")),
    (Text(text="a", provider_metadata={HERE: raw({"citations": [{"c": 1}, {"c": 2}]})}),),
    (
        ToolCall(id="t", name="f", arguments='{"a": 1}', provider_metadata={HERE: raw({"caller": {"x": 1}})}),
        ToolCall(id="u", name="g", arguments="{}"),
    ),
    (Opaque(dialect=HERE, kind="server_tool_use", raw=raw({"type": "server_tool_use", "input": {"q": 1}})),),
]


@pytest.mark.parametrize("parts", PARTS)
def test_what_is_written_is_read_again(parts: tuple[Part, ...]) -> None:
    response = stream(
        *parts,
        finish_reason=FinishReason.STOP,
        raw_finish_reason="stop_sequence",
        stop_sequence="END",
        usage=TokenUsage(
            input_tokens=30,
            output_tokens=5,
            cache_read_tokens=10,
            cache_write_tokens=8,
            cache_write_1h_tokens=3,
            reasoning_tokens=2,
        ),
        extra={HERE: raw({"stop_details": {"a": 1}, "container": {"id": "c"}, "context_management": {"b": 2}})},
    )
    assert collect(read(wrote(replay(response)))) == response
    plain = outbound.decode_response(inbound.encode_response(response, ASKED), TARGET)
    assert msgspec.structs.replace(plain, raw=None) == response


def test_parts_that_are_open_at_once_are_written_one_after_the_other() -> None:
    events: list[StreamEvent] = [
        MessageStart(id="msg_1", model="m"),
        PartStart(index=0, part=ToolCall(id="a", name="f")),
        PartStart(index=1, part=ToolCall(id="b", name="g", arguments="[")),
        PartDelta(1, "1"),
        PartDelta(0, "{"),
        PartStart(index=2, part=Text(text="x")),
        PartDelta(0, "}"),
        PartEnd(index=2),
        PartEnd(index=0),
        PartDelta(1, "]"),
        PartEnd(index=1),
        MessageEnd(finish_reason=FinishReason.TOOL_CALLS),
    ]
    written = said(wrote(events))
    order = [(event["type"].removeprefix("content_block_"), event["index"]) for event in written if "index" in event]
    assert order == [
        ("start", 0),
        ("delta", 0),
        ("delta", 0),
        ("stop", 0),
        ("start", 1),
        ("delta", 1),
        ("delta", 1),
        ("delta", 1),
        ("stop", 1),
        ("start", 2),
        ("delta", 2),
        ("stop", 2),
    ]
    pieces = [event["delta"].get("partial_json") for event in written if event["type"] == "content_block_delta"]
    assert pieces == ["{", "}", "[", "1", "]", None]


def test_what_is_still_open_at_the_end_is_closed() -> None:
    events: list[StreamEvent] = [
        MessageStart(model="m"),
        PartStart(index=0, part=Text(text="a")),
        PartStart(index=1, part=Text(text="b")),
        MessageEnd(finish_reason=FinishReason.STOP),
    ]
    kinds = [event["type"] for event in said(wrote(events))]
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 2
    assert kinds[-2:] == ["message_delta", "message_stop"]


def test_parts_of_elsewhere_are_said_as_blocks_or_take_no_index() -> None:
    parts = (
        Audio(data="AAAA"),
        Audio(transcript="said"),
        Opaque(dialect="openai_chat", kind="x", raw=msgspec.Raw(b"{}")),
        Refusal(text="No."),
        ToolCall(id="call.1", name="patch", arguments="*** free", kind="custom"),
    )
    response = collect(read(wrote(replay(stream(*parts)))))
    assert response.parts == (
        Text(text="said"),
        Text(text="No."),
        ToolCall(id="call_1", name="patch", arguments='{"input":"*** free"}'),
    )
    plain = outbound.decode_response(inbound.encode_response(stream(*parts), ASKED), TARGET)
    assert plain.parts == response.parts
    assert plain.finish_reason is response.finish_reason is FinishReason.TOOL_CALLS


@pytest.mark.parametrize(
    ("parts", "finish", "raw_reason", "sequence", "written"),
    [
        ((), FinishReason.STOP, None, None, "end_turn"),
        ((), FinishReason.STOP, "stop", "END", "stop_sequence"),
        ((), FinishReason.STOP, "stop_sequence", None, "stop_sequence"),
        ((), FinishReason.LENGTH, "length", None, "max_tokens"),
        ((), FinishReason.LENGTH, "model_context_window_exceeded", None, "model_context_window_exceeded"),
        ((), FinishReason.CONTENT_FILTER, None, None, "refusal"),
        ((), FinishReason.PAUSE, None, None, "pause_turn"),
        ((), FinishReason.ERROR, "error", None, "max_tokens"),
        ((), FinishReason.OTHER, "odd", None, "end_turn"),
        ((), None, None, None, "end_turn"),
        ((ToolCall(id="a", name="f"),), FinishReason.STOP, "stop", None, "tool_use"),
        ((ToolCall(id="a", name="f"),), FinishReason.STOP, "end_turn", None, "end_turn"),
        ((ToolCall(id="a", name="f"),), FinishReason.LENGTH, "length", None, "max_tokens"),
        ((Refusal(text="No."),), FinishReason.STOP, "stop", None, "refusal"),
    ],
)
def test_stop_reasons_are_written(
    parts: tuple[Part, ...], finish: FinishReason | None, raw_reason: str | None, sequence: str | None, written: str
) -> None:
    response = stream(*parts, finish_reason=finish, raw_finish_reason=raw_reason, stop_sequence=sequence)
    assert json.loads(inbound.encode_response(response, ASKED))["stop_reason"] == written
    assert said(wrote(replay(response)))[-2]["delta"]["stop_reason"] == written


def test_an_error_ends_a_stream_with_an_error_event() -> None:
    written = inbound.stream_encoder(ASKED).error(StreamBroken("it broke"), "req_9")
    assert written.startswith(b"event: error\n")
    assert said(written) == [
        {"type": "error", "error": {"type": "api_error", "message": "it broke"}, "request_id": "req_9"}
    ]
    assert b"invalid_request_error" in inbound.stream_encoder(ASKED).error(InvalidRequest("x"), "r")
