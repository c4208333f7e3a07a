"""Answers of OpenAI's chat, read from a service and written to a caller: streams, usage, endings, errors."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from genai_spine.dialects.interface import Target
from genai_spine.dialects.metadata import keep, kept
from genai_spine.dialects.openai_chat import inbound, outbound
from genai_spine.dialects.openai_chat import schema as wire
from genai_spine.dialects.openai_chat.usage import usage_of
from genai_spine.dialects.openai_responses import inbound as responses
from genai_spine.dialects.openai_responses import outbound as responses_outbound
from genai_spine.dialects.quirks import Quirks
from genai_spine.model.card import ModelCard
from genai_spine.model.content import Opaque, Part, Text, Thinking, ToolCall
from genai_spine.model.errors import (
    AuthenticationError,
    BadReply,
    BadRequest,
    ConfigError,
    ContentFiltered,
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    ProviderError,
    QuotaExceeded,
    RateLimitError,
    ServerError,
    StreamBroken,
)
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.model.fold import collect, replay
from genai_spine.model.request import CompletionRequest
from genai_spine.model.response import CompletionResponse, FinishReason, TokenUsage

TARGET = Target(card=ModelCard(id="asked-model"))
ASKED = CompletionRequest(messages=())
WITH_USAGE = CompletionRequest(messages=(), extra=keep("openai_chat", {"stream_options": {"include_usage": True}}))
DONE = b"data: [DONE]\n\n"


def frame(value: Any) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return frame({"id": "c", "created": 5, "model": "m", "choices": [choice], **more})


STOP = chunk({}, "stop")


def read(*pieces: bytes) -> list[StreamEvent]:
    decoder = outbound.stream_decoder(TARGET)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return [*events, *decoder.close()]


def answer(*pieces: bytes) -> CompletionResponse:
    return collect(read(*pieces))


def plain(message: dict[str, Any], **more: Any) -> CompletionResponse:
    body = {"id": "c", "model": "m", "choices": [{"message": message, "finish_reason": "stop"}], **more}
    return msgspec.structs.replace(outbound.decode_response(json.dumps(body).encode(), TARGET), raw=None)


# ---------------------------------------------------------------- framing and endings (FAULTS 15-24)


def test_an_error_in_place_of_an_answer_is_an_error() -> None:
    for error in ({"message": "no", "code": "invalid_api_key"}, "no", ["no"]):
        body = json.dumps({"error": error, "choices": [{"message": {"content": "a"}}]}).encode()
        with pytest.raises(ProviderError, match="no"):
            outbound.decode_response(body, TARGET)
        with pytest.raises(ProviderError, match="no"):
            read(chunk({"content": "a"}), b"data: " + body + b"\n\n")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"text"', b"{}", b'{"choices":[]}', b'{"choices":null}'])
def test_what_is_no_answer_is_a_bad_reply(body: bytes) -> None:
    with pytest.raises(BadReply):
        outbound.decode_response(body, TARGET)
    assert isinstance(outbound.decode_error(502, {"content-type": "text/html"}, body), ServerError)


def test_unusual_framing_is_read_as_the_standard_says() -> None:
    data = b"\xef\xbb\xbf: hello\r\n\r\nretry: 5\r\nid: 7\r\ndata:" + chunk({"content": "a\u2028\u0085b"})[6:].replace(
        b"\n", b"\r\n"
    )
    data += b'data: {"choices":[{"index":0,\rdata: "delta":{"content":"c"}}]}\r\r' + STOP + b"data:[DONE]\n\n"
    response = answer(data)
    assert response.content == "a\u2028\u0085bc"
    assert response == answer(*(data[place : place + 1] for place in range(len(data))))


def test_a_huge_event_passes() -> None:
    text = "é" * 2_500_000
    assert answer(chunk({"content": text}), STOP).content == text


def test_an_endless_line_is_cut_off() -> None:
    decoder = outbound.stream_decoder(TARGET)
    for _ in range(16):
        decoder.feed(b"x" * 1_048_000)
    with pytest.raises(BadReply, match="longer than"):
        decoder.feed(b"x" * 1_048_000)


def test_a_broken_event_ends_the_stream() -> None:
    for broken in (
        b'data: {"choices":[{\n\n',
        b"data: nonsense\n\n",
        b'data: {"choices":5}\n\n',
        b"data: \xff\xfe{}\n\n",
    ):
        with pytest.raises(BadReply):
            read(chunk({"content": "a"}), broken, STOP, DONE)


def test_a_stream_without_its_ending_is_broken() -> None:
    for cut in (b"", chunk({"content": "a"}), chunk({"content": "a"})[:-10], b": ping\n\n"):
        with pytest.raises(BadReply):
            read(cut)
    with pytest.raises(StreamBroken):
        read(chunk({"content": "a"}))


def test_done_or_a_finish_reason_is_an_ending() -> None:
    """Some services end with the latter; both are taken from all."""
    assert answer(chunk({"content": "a"}), DONE).finish_reason is None
    assert answer(chunk({"content": "a"}), STOP).finish_reason == "stop"
    assert answer(chunk({"content": "a"}), STOP.rstrip()).finish_reason == "stop", "without its blank line"
    counts = frame({"id": "c", "model": "m", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 0}})
    for nothing in (b"", counts):
        with pytest.raises(BadReply, match="without an answer"):
            read(nothing, DONE)


def test_what_comes_after_the_ending_is_passed_over() -> None:
    alone = answer(chunk({"content": "a"}), STOP, DONE)
    assert answer(chunk({"content": "a"}), STOP, DONE, DONE, chunk({"content": "b"}), b"data: nonsense\n\n") == alone
    assert answer(chunk({"content": "a"}) + STOP + DONE + b"data: nonsense\n\n") == alone
    assert answer(chunk({"content": "a"}), STOP, chunk({}, "length"), DONE).finish_reason == "stop", "the first one"


def test_other_choices_of_a_stream_are_passed_over() -> None:
    other = frame({"choices": [{"index": 1, "delta": {"content": "b"}, "finish_reason": "length"}]})
    response = answer(chunk({"content": "a"}), other, STOP, other, DONE)
    assert (response.content, response.finish_reason, response.extra) == ("a", "stop", None)


def test_a_name_stands_for_what_a_stream_does_not_tell() -> None:
    response = answer(
        frame({"choices": [{"delta": {"content": "a"}}]}), frame({"choices": [{"finish_reason": "stop"}]})
    )
    assert (response.model, response.id, response.created_s) == ("asked-model", None, None)


# ---------------------------------------------------------------- tool calls (FAULTS 22)


def call(index: int | None = None, id: str | None = None, name: str | None = None, arguments: str | None = None) -> Any:
    members = {"index": index, "id": id, "function": {"name": name, "arguments": arguments}}
    return {key: value for key, value in members.items() if value is not None}


CALLS = {
    "whole calls without index and id": (
        [[call(None, None, "f", "{}")], [call(None, None, "g", "{}")]],
        ["f{}", "g{}"],
    ),
    "the same tool twice without index": ([[call(None, None, "f", "1"), call(None, None, "f", "2")]], ["f1", "f2"]),
    "ids interleaved without index": (
        [[call(None, "a", "f", "1")], [call(None, "b", "g", "2")], [call(None, "a", None, "3")]],
        ["f13", "g2"],
    ),
    "index 0 on all, with new ids": (
        [[call(0, "a", "f", "1")], [call(0, "b", "f", "2")], [call(0, None, None, "3")]],
        ["f1", "f23"],
    ),
    "index 0 on all, without ids": ([[call(0, None, "f", "1")], [call(0, None, "g", "2")]], ["f1", "g2"]),
    "name repeated with each piece": ([[call(0, "a", "f", "1")], [call(0, "a", "f", "2")]], ["f12"]),
    "an id only with the first": ([[call(1, "b", "g")], [call(0, "a", "f")], [call(1, None, None, "2")]], ["g2", "f"]),
    "an empty id later": ([[call(0, "a", "f", "1")], [call(0, "", None, "2")]], ["f12"]),
    "an id after the name": ([[call(0, None, "f", "1")], [call(0, "a", None, "2")]], ["f12"]),
    "arguments before the name": ([[call(0, None, None, "1")], [call(0, "a")], [call(0, None, "f", "2")]], ["f12"]),
    "an index of a later call first": ([[call(3, "a", "f", "1")], [call(7, "b", "g", "2")]], ["f1", "g2"]),
}


@pytest.mark.parametrize("name", CALLS)
def test_tool_calls_are_put_together(name: str) -> None:
    deltas, wanted = CALLS[name]
    response = answer(*(chunk({"tool_calls": calls}) for calls in deltas), chunk({}, "tool_calls"), DONE)
    assert [call.name + call.arguments for call in response.tool_calls] == wanted
    assert len({call.id for call in response.tool_calls}) == len(wanted), "ids of their own"


def test_a_call_without_a_name_is_a_bad_reply() -> None:
    with pytest.raises(BadReply, match="without a name"):
        read(chunk({"tool_calls": [call(0, "a", None, "{}")]}), chunk({}, "tool_calls"), DONE)
    with pytest.raises(BadReply, match="without a name"):
        plain({"tool_calls": [{"id": "a", "function": {"arguments": "{}"}}]})


def test_ids_that_are_missing_are_the_same_for_stream_and_answer() -> None:
    tool_calls = [{"function": {"name": name, "arguments": "{}"}} for name in "fg"]
    streamed = answer(*(chunk({"tool_calls": [call]}) for call in tool_calls), chunk({}, "stop"), DONE)
    assert streamed.parts == plain({"tool_calls": tool_calls}).parts
    assert [call.id for call in streamed.tool_calls] == ["call_c_0", "call_c_1"]


def test_the_function_call_of_old() -> None:
    pieces = ({"name": "f", "arguments": ""}, {"arguments": '{"a":'}, {"arguments": "1}"})
    streamed = answer(*(chunk({"function_call": piece}) for piece in pieces), chunk({}, "function_call"), DONE)
    assert streamed.tool_calls[0].input == {"a": 1}
    assert streamed.finish_reason == "tool_calls"
    assert plain({"function_call": {"name": "f", "arguments": '{"a":1}'}}).parts == streamed.parts


def test_arguments_that_are_an_object_are_text() -> None:
    assert plain({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"a": [1]}}}]}).tool_calls[
        0
    ].input == {"a": [1]}


# ---------------------------------------------------------------- parts


def test_text_in_pieces_among_others() -> None:
    response = answer(
        chunk({"content": "a"}),
        chunk({"tool_calls": [call(0, "i", "f", "{")]}),
        chunk({"content": "b"}),
        chunk({"tool_calls": [call(0, None, None, "}")]}),
        STOP,
    )
    assert [type(part).__name__ for part in response.parts] == ["Text", "ToolCall", "Text"]
    assert response.tool_calls[0].arguments == "{}"
    assert response.content == "ab"


def test_thoughts_after_a_signature_are_new_ones() -> None:
    def detail(index: int, **more: Any) -> bytes:
        return chunk({"reasoning_details": [{"type": "reasoning.text", "index": index, **more}]})

    response = answer(
        detail(0, text="a"),
        detail(0, text="b"),
        detail(0, signature="s"),
        detail(1, text="c"),
        chunk({"content": "d"}),
        STOP,
    )
    assert response.parts == (Thinking(text="ab", signature="s"), Thinking(text="c"), Text(text="d"))


def test_a_detail_beside_more_of_the_text_is_kept() -> None:
    detail = {"type": "reasoning.encrypted", "data": "SIG", "format": "google-gemini-v1", "index": 0}
    response = answer(
        chunk({"content": "Hi"}),
        chunk({"content": " there", "reasoning_details": [detail]}),
        chunk({"content": "!"}),
        STOP,
    )
    whole = plain({"content": "Hi there!", "reasoning_details": [detail]})
    assert [part for part in response.parts if isinstance(part, Thinking)] == [whole.parts[0]]
    assert response.content == whole.content
    old = answer(
        chunk({"content": "a"}), chunk({"content": "b", "function_call": {"name": "f", "arguments": "{}"}}), STOP
    )
    assert (old.content, old.tool_calls[0].name) == ("ab", "f")


def test_details_of_a_kind_that_we_do_not_know_are_kept() -> None:
    detail = {"type": "reasoning.server_tool_call", "arguments": "{}", "index": 0}
    whole = plain({"content": "a", "reasoning_details": [detail]})
    streamed = answer(chunk({"reasoning_details": [detail]}), chunk({"content": "a"}), STOP)
    assert whole.parts == streamed.parts
    again = json.loads(inbound.encode_response(whole, ASKED))
    assert again["choices"][0]["message"]["reasoning_details"] == [detail]


def test_members_of_a_message_that_we_do_not_know_are_kept() -> None:
    whole = plain({"content": "a", "executed_tools": [{"name": "search"}]})
    streamed = answer(chunk({"executed_tools": [{"name": "search"}]}), chunk({"content": "a"}), STOP)
    assert kept(whole.extra, "openai_chat") == kept(streamed.extra, "openai_chat")
    assert json.loads(inbound.encode_response(whole, ASKED))["choices"][0]["message"]["executed_tools"]


def test_content_that_is_an_object_is_its_text() -> None:
    assert plain({"content": {"a": 1}}).json() == {"a": 1}


def test_annotations_without_a_text_are_kept() -> None:
    annotations = [{"type": "file", "file": {"hash": "x"}}]
    parts = (Text(text="", provider_metadata=keep("openai_chat", {"annotations": annotations})),)
    assert plain({"content": "", "annotations": annotations}).parts == parts
    assert answer(chunk({"annotations": annotations}), STOP).parts == parts


# ---------------------------------------------------------------- usage (FAULTS 23)


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (None, None),
        ({}, None),
        ([], None),
        ("many", None),
        ({"prompt_tokens": 9, "completion_tokens": 5}, (9, 5)),
        ({"prompt_tokens": 9.0, "completion_tokens": None}, (9, None)),
        ({"prompt_tokens": -1, "completion_tokens": "5"}, (None, None)),
        ({"prompt_tokens": 1e18, "completion_tokens": True}, (None, None)),
        ({"prompt_tokens": 10**30, "completion_tokens": 0.5}, (None, None)),
    ],
)
def test_only_what_can_be_a_count_is_one(usage: Any, counted: tuple[int | None, int | None] | None) -> None:
    found = plain({"content": "a"}, usage=usage).usage
    assert (found and (found.input_tokens, found.output_tokens)) == counted
    assert found is None or found.reported_cost_usd is None


def test_the_last_usage_that_counts_holds() -> None:
    first, last = {"prompt_tokens": 9, "completion_tokens": 1}, {"prompt_tokens": 9, "completion_tokens": 5}
    for later in ([], [None], [{}], [{"prompt_tokens": "x"}], [first, last]):
        chunks = [chunk({"content": "a"}, usage=last), *(chunk({}, usage=usage) for usage in later), STOP]
        found = answer(*chunks).usage
        assert found is not None
        assert (found.input_tokens, found.output_tokens) == (9, 5)


def test_counters_by_the_names_of_several_services() -> None:
    def counted(**usage: Any) -> TokenUsage:
        found = usage_of({"prompt_tokens": 9, "completion_tokens": 5, **usage})
        assert found is not None
        return found

    assert counted(prompt_tokens_details={"cached_tokens": 4, "cache_write_tokens": 2}).cache_read_tokens == 4
    assert counted(prompt_tokens_details={"cached_tokens": 4, "cache_write_tokens": 2}).cache_write_tokens == 2
    assert counted(prompt_cache_hit_tokens=4).cache_read_tokens == 4  # DeepSeek
    assert counted(cached_tokens=4).cache_read_tokens == 4  # Moonshot
    assert counted(completion_tokens_details={"reasoning_tokens": 3, "audio_tokens": 1}).reasoning_tokens == 3
    assert counted(reasoning_tokens=3).reasoning_tokens == 3  # xAI
    assert counted(cost=0.1).reported_cost_usd == Decimal("0.1")  # OpenRouter
    assert counted(cost={"total_cost": 0.005}).reported_cost_usd == Decimal("0.005")  # Perplexity
    for wrong in (-1, "1", True, {"total": 1}, [1]):
        assert counted(cost=wrong).reported_cost_usd is None


counts = st.integers(0, 10**6) | st.none() | st.sampled_from([-1, "5", 10**14, 0.5, []])


@given(
    st.fixed_dictionaries(
        {"prompt_tokens": counts, "completion_tokens": counts},
        optional={
            "prompt_tokens_details": st.none()
            | st.fixed_dictionaries(
                {}, optional={"cached_tokens": counts, "cache_creation_input_tokens": counts, "x": counts}
            ),
            "completion_tokens_details": st.none() | st.fixed_dictionaries({}, optional={"reasoning_tokens": counts}),
            "cost": st.floats(0, 10) | counts,
            "cached_tokens": counts,
            "num_search_queries": counts,
            "x_vendor": counts,
        },
    )
    | counts
)
@example({"prompt_tokens": 0, "completion_tokens": 0, "prompt_tokens_details": {"cache_creation_input_tokens": 0}})
def test_a_relay_counts_as_the_model_does(usage: Any) -> None:
    """It reads by a shorter way, without what the middle has no name for."""
    slow, quick = usage_of(usage), outbound.decode_usage(msgspec.Raw(json.dumps(usage).encode()))
    bare = msgspec.structs.replace(slow, provider_metadata=None) if slow is not None else None
    assert (msgspec.structs.replace(quick, provider_metadata=None) if quick is not None else None) == bare
    if isinstance(usage, dict):
        assert usage_of({**usage, "x_null": None}) == slow  # which goes the long way


def test_what_alibabas_explicit_cache_writes_is_counted() -> None:
    """help.aliyun.com, context cache: of its own words one is Anthropic's."""
    written = {"cache_creation_input_tokens": 1599, "cache_type": "ephemeral", "cached_tokens": 0}
    usage = {"prompt_tokens": 1605, "completion_tokens": 187, "total_tokens": 1792, "prompt_tokens_details": written}
    for read in (usage_of(usage), outbound.decode_usage(msgspec.Raw(json.dumps(usage).encode()))):
        assert read is not None
        assert (read.input_tokens, read.cache_write_tokens, read.cache_read_tokens) == (1605, 1599, 0)


def test_a_relay_counts_the_searches_that_are_charged() -> None:
    usage = b'{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14,"num_search_queries":7}'
    read = outbound.decode_usage(msgspec.Raw(usage))
    assert read is not None and read.details is not None and read.details.searches == 7


def test_a_usage_that_cannot_be_read_is_none() -> None:
    for raw in (b"", b"nonsense", b'{"prompt_tokens":1e999}', b"[" * 2000):
        assert outbound.decode_usage(msgspec.Raw(raw)) is None


# ---------------------------------------------------------------- errors


def too_long(param: str) -> dict[str, Any]:
    message = f"Invalid '{param}': string too long. Expected a string with maximum length 64."
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": wire.TOO_LONG}}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"error": {"message": "x", "code": "invalid_api_key"}}, AuthenticationError),
        (429, {"error": {"message": "x", "type": "tokens", "code": "rate_limit_exceeded"}}, RateLimitError),
        (429, {"error": {"message": "x", "code": "insufficient_quota"}}, QuotaExceeded),
        (429, {"error": {"message": "x", "code": "x_vendor", "type": "insufficient_quota"}}, QuotaExceeded),
        (404, {"error": {"message": "x", "code": "model_not_found"}}, ModelNotFound),
        (400, {"error": {"message": "x", "code": "context_length_exceeded"}}, ContextLengthExceeded),
        (400, {"error": {"message": "x", "code": "string_above_max_length"}}, ContextLengthExceeded),
        (400, too_long("messages[17].content"), ContextLengthExceeded),
        (400, too_long("messages[3].tool_calls[0].function.arguments"), ContextLengthExceeded),
        (400, too_long("input[0].content[1].text"), ContextLengthExceeded),
        (400, too_long("input"), ContextLengthExceeded),
        (400, too_long("user"), BadRequest),
        (400, too_long("tools[0].function.name"), BadRequest),
        (400, too_long("messages[1].tool_calls[0].id"), BadRequest),
        (400, too_long("input[1943].id"), BadRequest),
        (400, {"error": {"message": "x", "code": "content_filter"}}, ContentFiltered),
        (400, {"error": {"message": "x", "type": "exceed_context_size_error"}}, ContextLengthExceeded),
        (503, {"error": {"message": "x", "type": "overloaded_error"}}, Overloaded),
        (400, {"error": None, "message": "x"}, BadRequest),
        (400, {"error": "x"}, BadRequest),
        (400, {"error": ["x"]}, BadRequest),
        (400, {"detail": "x"}, BadRequest),
        (400, "x", BadRequest),
        (400, [], BadRequest),
        (500, {"error": {"message": {"x": 1}, "code": {"y": 1}, "type": 5}}, ServerError),
    ],
)
def test_errors_in_the_shapes_of_several_services(status: int, body: Any, kind: type[ProviderError]) -> None:
    error = outbound.decode_error(status, {}, json.dumps(body).encode())
    assert type(error) is kind
    assert error.status_code == status
    assert "x" in error.message or body == []


def test_a_number_as_code_stands_for_the_status_inside_a_stream() -> None:
    for code, kind in ((429, RateLimitError), (502, ServerError), ("server_error", StreamBroken), (7, StreamBroken)):
        with pytest.raises(kind):
            read(frame({"error": {"message": "x", "code": code}}))


def test_a_text_that_is_too_long_is_the_same_without_a_status() -> None:
    for place, kind in (("messages[0].content", ContextLengthExceeded), ("user", BadRequest)):
        body = json.dumps(too_long(place)).encode()
        assert type(outbound.decode_embedded_error(body)) is kind
        assert type(responses_outbound.decode_embedded_error(body)) is kind


def test_an_embedded_error_is_found_or_not() -> None:
    assert isinstance(
        outbound.decode_embedded_error(b'{"error":{"code":"invalid_api_key","message":"x"}}'), AuthenticationError
    )
    for body in (b"", b"nonsense", b"[]", b"{}", b'{"error":null}', b'{"error":{}}', b'{"error":""}'):
        assert outbound.decode_embedded_error(body) is None


# ---------------------------------------------------------------- to a caller


def written(*parts: Part, finish: FinishReason | None = FinishReason.STOP, raw: str | None = None) -> dict[str, Any]:
    response = CompletionResponse(model="m", parts=parts, finish_reason=finish, raw_finish_reason=raw)
    choice: dict[str, Any] = json.loads(inbound.encode_response(response, ASKED))["choices"][0]
    return choice


@pytest.mark.parametrize(
    ("finish", "raw", "said"),
    [
        (FinishReason.LENGTH, "max_tokens", "length"),
        (FinishReason.STOP, "end_turn", "stop"),
        (FinishReason.STOP, "eos", "stop"),
        (FinishReason.TOOL_CALLS, "tool_use", "tool_calls"),
        (FinishReason.CONTENT_FILTER, "refusal", "content_filter"),
        (FinishReason.PAUSE, "pause_turn", "stop"),
        (FinishReason.OTHER, "novel", "stop"),
        (None, None, None),
    ],
)
def test_finish_reasons_are_said_in_openais_words(finish: FinishReason | None, raw: str, said: str | None) -> None:
    assert written(Text(text="a"), finish=finish, raw=raw)["finish_reason"] == said
    encoder = inbound.stream_encoder(ASKED)
    encoder.encode(MessageStart(model="m"))
    last = encoder.encode(MessageEnd(finish_reason=finish, raw_finish_reason=raw))
    assert json.loads(last[6 : last.index(b"\n\n")])["choices"][0]["finish_reason"] == said


def test_the_least_answer_has_what_clients_require() -> None:
    body = json.loads(inbound.encode_response(CompletionResponse(model="m"), ASKED))
    assert body == {
        "id": "chatcmpl-unnamed",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "", "refusal": None},
                "logprobs": None,
                "finish_reason": None,
            }
        ],
        "usage": None,
    }


def test_arguments_are_json_but_of_a_call_that_was_cut() -> None:
    for finish, said in ((FinishReason.TOOL_CALLS, "{}"), (FinishReason.LENGTH, "")):
        parts = (ToolCall(id="i", name="f"), ToolCall(id="j", name="g", arguments='{"a":1}'))
        calls = written(*parts, finish=finish)["message"]["tool_calls"]
        assert [call["function"]["arguments"] for call in calls] == [said, '{"a":1}']
        response = CompletionResponse(model="m", parts=parts, finish_reason=finish)
        encoder = inbound.stream_encoder(ASKED)
        stream = b"".join(encoder.encode(event) for event in replay(response))
        assert [call.arguments for call in answer(stream).tool_calls] == [said, '{"a":1}']


def test_usage_is_told_where_it_was_asked_for() -> None:
    response = CompletionResponse(model="m", parts=(Text(text="a"),), usage=TokenUsage(input_tokens=9, output_tokens=5))
    for asked, is_told in ((WITH_USAGE, True), (ASKED, False)):
        encoder = inbound.stream_encoder(asked)
        stream = b"".join(encoder.encode(event) for event in replay(response))
        assert (b'"usage"' in stream) is is_told
        assert stream.endswith(DONE)
    assert json.loads(inbound.encode_response(response, ASKED))["usage"]["total_tokens"] == 14


def test_what_no_client_of_this_dialect_reads_is_left_out() -> None:
    theirs = Opaque(dialect="anthropic_messages", kind="server_tool_use", raw=msgspec.Raw(b"{}"))
    assert written(theirs, Text(text="a"))["message"]["content"] == "a"
    encoder = inbound.stream_encoder(ASKED)
    encoder.encode(MessageStart(model="m"))
    assert encoder.encode(PartStart(index=0, part=theirs)) == encoder.encode(PartEnd(index=0)) == b""


def test_a_text_may_hold_anything() -> None:
    for text in ("\0", '"\\u0000"', "\u2028", "data: [DONE]\n\n", "é𝕊"):
        events: list[StreamEvent] = [
            MessageStart(model=text, id=text),
            PartStart(index=0, part=Text(text="")),
            PartDelta(0, text),
            PartEnd(index=0),
            MessageEnd(finish_reason=FinishReason.STOP),
        ]
        encoder = inbound.stream_encoder(ASKED)
        response = answer(b"".join(encoder.encode(event) for event in events))
        assert (response.content, response.model, response.id) == (text, text, text)


def test_errors_are_written_as_openais_clients_read_them() -> None:
    error = RateLimitError("slow down", code="rate_limit_exceeded")
    status, body = inbound.encode_error(error, "req_1")
    assert (status, json.loads(body)) == (
        429,
        {
            "error": {
                "message": "slow down",
                "type": "rate_limit_error",
                "param": None,
                "code": "rate_limit_exceeded",
                "request_id": "req_1",
            }
        },
    )
    refused = InvalidRequest("temperature: expected a number", param="temperature")
    assert json.loads(inbound.encode_error(refused, "r")[1])["error"]["param"] == "temperature"
    in_stream = inbound.stream_encoder(ASKED).error(error, "req_1")
    assert in_stream == b"data: " + body + b"\n\n"
    with pytest.raises(RateLimitError, match="slow down"):
        read(in_stream)


# ---------------------------------------------------------------- relay


@pytest.mark.parametrize(
    ("members", "quirks"),
    [
        ({"max_completion_tokens": 5}, {}),
        ({"response_format": {"type": "json_object"}}, {"schema": "none"}),
        ({"response_format": {"type": "json_schema"}}, {"schema": "json_object"}),
        ({"reasoning_effort": "low"}, {"effort": "reasoning"}),
        ({"seed": 5}, {"seed_field": "random_seed"}),
        ({"stream_options": {}}, {"stream_usage": "always"}),
        ({"tool_choice": "required"}, {"tool_choice_any": "any"}),
        ({"temperature": 2}, {"temperature_max": 1.5}),
        ({"user": "u"}, {"drop": ("user",)}),
        ({"messages": [{"role": "developer", "content": ""}]}, {}),
        ({"messages": [{"role": "user", "content": "", "name": "ann"}]}, {"drop": ("messages[].name",)}),
        ({"messages": [{"tool_calls": [{"extra_content": {}}]}]}, {"drop": ("tool_calls[].extra_content",)}),
    ],
)
def test_a_quirk_that_concerns_a_request_keeps_it_from_being_relayed(
    members: dict[str, Any], quirks: dict[str, Any]
) -> None:
    raw = {name: msgspec.Raw(json.dumps(value, separators=(",", ":")).encode()) for name, value in members.items()}
    assert outbound.concerns(raw, Quirks(**quirks))
    harmless = {name: msgspec.Raw(b'"x"') for name in ("model", "messages", "temperature", "max_tokens", "tools")}
    assert not outbound.concerns(harmless, Quirks(**{**quirks, "temperature_max": None}))


def test_faulty_settings_are_no_fault_of_the_caller() -> None:
    """Of whatever kind the class says it is: 500 and `invalid_request_error` would have him search his request."""
    for encode in (inbound.encode_error, responses.encode_error):
        status, body = encode(ConfigError('no API key for "gemini": set GEMINI_API_KEY'), "req_1")
        error = json.loads(body)["error"]
        assert (status, error["type"], error["code"]) == (500, "server_error", "config_error")


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": "Hello", "refusal": None, "annotations": []},
        {"role": "assistant", "content": None, "refusal": "no"},
        {"content": "", "reasoning_content": "thought"},
        {
            "content": None,
            "tool_calls": [
                {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": "{}"}}
                for name in "ab"
            ],
        },
        {"content": None, "function_call": {"name": "old", "arguments": "{}"}},
    ],
)
def test_an_answer_with_a_member_that_nobody_knows_is_read_as_without_it(message: dict[str, Any]) -> None:
    """What is wholly known is read once, anything else twice: both ways give the same."""
    answer = {
        "id": "x",
        "object": "chat.completion",
        "created": 1760000000,
        "model": "m",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
        "service_tier": "default",
        "system_fingerprint": "fp",
    }
    known = outbound.decode_response(json.dumps(answer).encode(), TARGET)
    other = outbound.decode_response(json.dumps(answer | {"new_member": 1}).encode(), TARGET)
    assert kept(other.extra, "openai_chat") == {**kept(known.extra, "openai_chat"), "new_member": 1}
    assert msgspec.structs.replace(other, extra=known.extra, raw=known.raw) == known


@pytest.mark.parametrize("stream", [False, True])
def test_a_member_that_is_named_as_something_of_ours_keeps_its_place(stream: bool) -> None:
    target = Target(card=ModelCard(id="m"))
    request = CompletionRequest(messages=())
    choice = {"index": 0, "finish_reason": "stop", "own": 1}
    members = {"id": "a", "model": "m", "choice": 7}
    if stream:
        decoder, encoder = outbound.stream_decoder(target), inbound.stream_encoder(request)
        chunk = {**members, "choices": [{**choice, "delta": {"content": "Hi", "mood": "good"}}]}
        events = [*decoder.feed(b"data: %b\n\ndata: [DONE]\n\n" % json.dumps(chunk).encode()), *decoder.close()]
        frames = b"".join(map(encoder.encode, events)).split(b"\n\n")[:-2]
        told, part = json.loads(frames[-1].removeprefix(b"data: ")), "delta"
    else:
        body = {**members, "choices": [{**choice, "message": {"role": "assistant", "content": "Hi", "mood": "good"}}]}
        answer = outbound.decode_response(json.dumps(body).encode(), target)
        told, part = json.loads(inbound.encode_response(answer, request)), "message"
        assert inbound.encode_response(answer, request) == inbound.encode_response(answer, request)
    assert told["choice"] == 7
    assert (told["choices"][0]["own"], told["choices"][0][part]["mood"]) == (1, "good")
