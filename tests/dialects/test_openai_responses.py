"""OpenAI's Responses: what the golden cases do not show, above all the streams that we write."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from openai_responses_bodies import ANSWER, OUTPUT, REQUEST, events

from genai_spine.dialects.interface import Target
from genai_spine.dialects.metadata import keep, kept
from genai_spine.dialects.openai_responses import inbound, outbound
from genai_spine.dialects.quirks import Quirks
from genai_spine.model.card import Capabilities, ModelCard
from genai_spine.model.content import Audio, Image, Opaque, Part, Text, Thinking, ToolCall, ToolResult
from genai_spine.model.errors import InvalidRequest, RateLimitError, StreamBroken
from genai_spine.model.events import MessageEnd, MessageStart, PartDelta, PartEnd, PartStart, StreamEvent
from genai_spine.model.fold import collect, replay
from genai_spine.model.request import CompletionRequest, Message, ThinkingConfig, ToolChoice
from genai_spine.model.response import CompletionResponse, FinishReason, TokenUsage

TARGET = Target(card=ModelCard(id="gpt"), quirks=Quirks(schema="strict"))
ASKED = CompletionRequest(messages=())
USAGE = TokenUsage(input_tokens=3, output_tokens=2)


def encoded(members: Any) -> bytes:
    return json.dumps(members).encode()


def frames(data: bytes) -> list[dict[str, Any]]:
    """The events of a stream, whose names and numbers are as they must be."""
    read = []
    for number, frame in enumerate(data.decode().split("\n\n")[:-1]):
        name, _, line = frame.partition("\n")
        event = json.loads(line.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert event["sequence_number"] == number
        read.append(event)
    return read


def streamed(written: Iterable[StreamEvent], asked: CompletionRequest = ASKED) -> list[dict[str, Any]]:
    encoder = inbound.stream_encoder(asked)
    return frames(b"".join(encoder.encode(event) for event in written))


def plain(response: CompletionResponse, asked: CompletionRequest = ASKED) -> dict[str, Any]:
    return json.loads(inbound.encode_response(response, asked))  # type: ignore[no-any-return]  # an object


def answer(*parts: Part, finish: FinishReason = FinishReason.STOP) -> CompletionResponse:
    return CompletionResponse(model="m", id="resp_1", created_s=5, parts=parts, finish_reason=finish, usage=USAGE)


# ---------------------------------------------------------------- reading


def test_a_stream_with_everything_in_it_is_the_answer() -> None:
    decoder = outbound.stream_decoder(TARGET)
    data = b"".join(b"data: " + encoded(event) + b"\n\n" for event in events())
    response = collect([*decoder.feed(data), *decoder.close()])
    whole = outbound.decode_response(encoded(ANSWER), TARGET)
    assert response == msgspec.structs.replace(whole, raw=None)
    assert [type(part).__name__ for part in response.parts] == [
        "Thinking",
        "Thinking",
        "Opaque",
        "Text",
        "Text",
        "Refusal",
        "ToolCall",
        "ToolCall",
    ]


def test_text_comes_as_it_is_said_and_not_at_the_end() -> None:
    decoder = outbound.stream_decoder(TARGET)
    texts = []
    for event in events():
        came = decoder.feed(b"data: " + encoded(event) + b"\n\n")
        if event["type"].endswith(".delta") and isinstance(event["delta"], str):
            assert [read.text for read in came if isinstance(read, PartDelta)] == [event["delta"]]
            texts.append(event["delta"])
    assert len(texts) > 12


def test_the_items_of_an_answer_go_back_as_they_came() -> None:
    """What an agent does: the output is the next input, item by item."""
    response = outbound.decode_response(encoded(ANSWER), TARGET)
    body = {"model": "gpt", "input": OUTPUT}
    asked = inbound.decode_request(encoded(body))
    assert asked.messages[0].content == response.parts
    sent = json.loads(outbound.encode_request(asked, TARGET, stream=False).body)
    for item in OUTPUT:  # an empty list says nothing
        for part in item.get("content", ()):
            if part.get("annotations") == []:
                del part["annotations"]
    assert sent["input"] == OUTPUT


def test_what_is_sent_back_is_what_the_caller_wrote() -> None:
    asked = inbound.decode_request(encoded(REQUEST))
    assert asked.tool_choice is not None
    assert asked.tool_choice.mode == "required"  # what other dialects can say of allowed_tools
    sent = outbound.encode_request(asked, TARGET, stream=True)
    assert json.loads(sent.body) == {**REQUEST, "model": "gpt"}
    assert sent.notices == ()


# ---------------------------------------------------------------- quirks


def test_quirks_bear_on_what_is_written() -> None:
    quirks = Quirks(schema="json_object", temperature_max=1.0, drop=("metadata",), effort=None, image_urls=False)
    target = Target(card=ModelCard(id="gpt"), quirks=quirks)
    body = {**REQUEST, "temperature": 1.5}
    sent = outbound.encode_request(inbound.decode_request(encoded(body)), target, stream=True)
    written = json.loads(sent.body)
    assert written["text"] == {"format": {"type": "json_object"}, "verbosity": "low"}
    assert written["temperature"] == 1.0
    assert "metadata" not in written
    assert [notice.param for notice in sent.notices] == ["thinking", "temperature", "response_format", "metadata"]
    image = {"role": "user", "content": [{"type": "input_image", "image_url": "https://e.org/a.png"}]}
    with pytest.raises(InvalidRequest, match="base64 only"):
        outbound.encode_request(inbound.decode_request(encoded({"input": [image]})), target, stream=False)


# ---------------------------------------------------------------- the model


def asked_of(card: ModelCard, **fields: Any) -> tuple[dict[str, Any], list[tuple[str, str | None]]]:
    """The body beside model and input, and code and param of each notice."""
    sent = outbound.encode_request(CompletionRequest(messages=(), **fields), Target(card=card), stream=False)
    body = json.loads(sent.body)
    return {key: body[key] for key in body.keys() - {"model", "input"}}, [(n.code, n.param) for n in sent.notices]


def test_a_model_is_asked_for_what_its_card_says_it_takes() -> None:
    none = ModelCard(id="gpt-4o", max_output_tokens=16_384, capabilities=Capabilities(thinking=False))
    asked = ThinkingConfig(enabled=True, effort="high", display="summarized")
    assert asked_of(none, thinking=asked) == ({}, [("dropped", "thinking")])
    assert asked_of(none, thinking=ThinkingConfig(enabled=False)) == ({}, [])
    deepseek = Target(card=none, quirks=Quirks(effort="thinking"))
    sent = outbound.encode_request(CompletionRequest(messages=(), thinking=asked), deepseek, stream=False)
    assert (json.loads(sent.body)["reasoning"], sent.notices) == ({"effort": "high", "summary": "auto"}, ())
    assert asked_of(none, max_tokens=64_000) == ({"max_output_tokens": 16_384}, [("changed", "max_tokens")])
    assert asked_of(none, max_tokens=1) == ({"max_output_tokens": 16}, [("changed", "max_tokens")])
    assert asked_of(ModelCard(id="of one's own"), max_tokens=1) == ({"max_output_tokens": 1}, [])
    fixed = ModelCard(id="m", capabilities=Capabilities(sampling=False))
    assert asked_of(fixed, temperature=1, top_p=0.5) == ({}, [("dropped", "top_p")])
    some = Capabilities(
        sampling_while_thinking=False, efforts=("none", "low", "xhigh", "max"), default_effort="none", thinking=True
    )
    card = ModelCard(id="gpt", capabilities=some)
    assert asked_of(card, temperature=0.0) == ({"temperature": 0.0}, [])
    body, notices = asked_of(card, temperature=0.0, thinking=ThinkingConfig(enabled=True, effort="minimal"))
    assert (body, notices) == ({"reasoning": {"effort": "low"}}, [("changed", "thinking"), ("dropped", "temperature")])
    assert asked_of(card, thinking=ThinkingConfig(enabled=True, effort="max"))[0] == {"reasoning": {"effort": "max"}}


def test_a_user_of_too_many_letters_is_sent_as_its_hash_and_repeated_as_it_is() -> None:
    body, notices = asked_of(ModelCard(id="gpt"), user="u" * 65)
    assert (len(body["user"]), notices) == (64, [("changed", "user")])
    assert plain(answer(), CompletionRequest(messages=(), user="u" * 65))["user"] == "u" * 65


def test_the_ids_of_another_services_calls_are_as_short_as_they_must_be() -> None:
    long, longer, fitting = "call_" + "x" * 60, "call_" + "x" * 61, "c" * 64
    calls = tuple(ToolCall(id=call_id, name="f", arguments="{}") for call_id in (long, longer, fitting))
    results = tuple(ToolResult(call_id=call_id, content=(Text(text="r"),)) for call_id in (long, longer, fitting))
    messages = (Message(role="assistant", content=calls), Message(role="tool", content=results))
    sent = outbound.encode_request(CompletionRequest(messages=messages), TARGET, stream=False)
    written = [item["call_id"] for item in json.loads(sent.body)["input"]]
    assert written[:3] == written[3:]
    assert written[2] == fitting
    assert len(set(written)) == 3
    assert {len(call_id) for call_id in written} == {64}


def test_there_is_nothing_to_choose_where_there_are_no_tools() -> None:
    """As Codex says it for a compaction, and xAI refuses it (github.com/openai/codex/issues/46773)."""
    said = {"input": "Hi", "tools": [], "tool_choice": "auto", "parallel_tool_calls": False}
    asked = inbound.decode_request(encoded(said))
    sent = outbound.encode_request(asked, TARGET, stream=False)
    assert (json.loads(sent.body).keys(), sent.notices) == ({"model", "input"}, ())
    assert plain(answer(), asked)["parallel_tool_calls"] is False
    assert asked_of(ModelCard(id="gpt"), tool_choice=ToolChoice(mode="required")) == ({}, [("dropped", "tool_choice")])
    kept_there = {**said, "prompt": {"id": "pmpt_1"}, "tool_choice": "required"}
    sent = outbound.encode_request(inbound.decode_request(encoded(kept_there)), TARGET, stream=False)
    assert json.loads(sent.body)["tool_choice"] == "required"


def test_requests_that_a_quirk_concerns_are_not_relayed() -> None:
    members = {"temperature": msgspec.Raw(b"1.5"), "metadata": msgspec.Raw(b"{}")}
    assert not outbound.concerns(members, Quirks())
    assert outbound.concerns(members, Quirks(temperature_max=1.0))
    assert outbound.concerns(members, Quirks(drop=("metadata",)))


def test_cache_marks_of_other_callers_are_written_where_the_service_takes_them() -> None:
    request = CompletionRequest(
        messages=[{"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]}]  # type: ignore[arg-type]  # accept.py
    )
    target = Target(card=ModelCard(id="gpt"), quirks=Quirks(cache_marks="prompt_cache_breakpoint"))
    written = json.loads(outbound.encode_request(request, target, stream=False).body)
    assert written["input"][0]["content"][0]["prompt_cache_breakpoint"] == {"mode": "explicit"}
    assert [notice.param for notice in outbound.encode_request(request, TARGET, stream=False).notices] == [
        "cache_control"
    ]


# ---------------------------------------------------------------- writing streams


def test_a_text_is_written_event_by_event() -> None:
    written = streamed(replay(answer(Text(text="Hello"))))
    assert [event["type"] for event in written] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    item = {
        "id": "msg_resp_1_0",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}],
    }
    assert written[2]["item"] == {**item, "status": "in_progress", "content": []}
    assert written[7]["item"] == item
    assert written[8]["response"]["output"] == [item]
    assert written[8]["response"] == plain(answer(Text(text="Hello")))


def test_parts_that_interleave_have_items_of_their_own() -> None:
    """As OpenAI's chat streams calls: all of them end with the answer."""
    first, second = ToolCall(id="c1", name="f"), ToolCall(id="c2", name="g")
    written = streamed(
        [
            MessageStart(model="m", id="r"),
            PartStart(index=0, part=Text(text="")),
            PartDelta(0, "I "),
            PartStart(index=1, part=first),
            PartDelta(0, "look"),
            PartStart(index=2, part=second),
            PartDelta(1, '{"a":'),
            PartDelta(2, "{}"),
            PartDelta(1, "1}"),
            PartEnd(index=0),
            PartEnd(index=1),
            PartEnd(index=2),
            MessageEnd(finish_reason=FinishReason.TOOL_CALLS),
        ]
    )
    done = [event for event in written if event["type"] == "response.output_item.done"]
    assert [event["output_index"] for event in done] == [0, 1, 2]
    output = written[-1]["response"]["output"]
    assert output[0]["content"][0]["text"] == "I look"
    assert [item["arguments"] for item in output[1:]] == ['{"a":1}', "{}"]
    open_items: set[int] = set()
    for event in written[2:-1]:
        if event["type"] == "response.output_item.added":
            open_items.add(event["output_index"])
        assert event["output_index"] in open_items
        if event["type"] == "response.output_item.done":
            open_items.remove(event["output_index"])


def test_texts_and_refusals_in_a_row_are_one_message() -> None:
    response = answer(Text(text="a"), Text(text="b"), Thinking(text="c"), Text(text="d"))
    written = streamed(replay(response))
    assert [item["type"] for item in plain(response)["output"]] == ["message", "reasoning", "message"]
    assert written[-1]["response"] == plain(response)
    places = [(e["output_index"], e["content_index"]) for e in written if e["type"] == "response.output_text.delta"]
    assert places == [(0, 0), (0, 1), (2, 0)]


def test_a_signature_that_comes_at_the_end_is_the_encrypted_thought() -> None:
    signed = Thinking(text="Hm", signature="openai:sig")
    response = answer(signed, Thinking(signature="sig2"), Thinking(redacted="data"))
    written = streamed(replay(response))
    output = written[-1]["response"]["output"]
    assert [item["encrypted_content"] for item in output] == ["sig", "anthropic:sig2", "redacted:data"]
    assert output[0]["summary"] == [{"type": "summary_text", "text": "Hm"}]
    assert output == plain(response)["output"]
    back = inbound.decode_request(encoded({"input": output})).messages[0].content
    assert [(p.text, p.signature, p.redacted) for p in back if isinstance(p, Thinking)] == [
        ("Hm", "openai:sig", None),
        ("", "sig2", None),
        ("", None, "data"),
    ]


def test_calls_without_arguments_are_given_an_empty_object_but_not_where_the_answer_was_cut() -> None:
    for finish, expected in ((FinishReason.TOOL_CALLS, "{}"), (FinishReason.LENGTH, "")):
        response = answer(ToolCall(id="c", name="f"), finish=finish)
        written = streamed(replay(response))
        assert written[-1]["response"]["output"] == plain(response)["output"]
        (call,) = plain(response)["output"]
        assert call["arguments"] == expected
        deltas = [event["delta"] for event in written if event["type"].endswith("arguments.delta")]
        assert "".join(deltas) == expected


def test_annotations_that_come_at_the_end_are_events_too() -> None:
    note = {"type": "url_citation", "url": "https://e.org/", "start_index": 0, "end_index": 1, "title": "E"}
    written = streamed(
        [
            MessageStart(model="m"),
            PartStart(index=0, part=Text(text="")),
            PartDelta(0, "x"),
            PartEnd(index=0, provider_metadata=keep("openai_responses", {"annotations": [note]})),
            MessageEnd(finish_reason=FinishReason.STOP),
        ]
    )
    (event,) = [event for event in written if event["type"] == "response.output_text.annotation.added"]
    assert (event["annotation"], event["annotation_index"]) == (note, 0)
    assert written[-1]["response"]["output"][0]["content"][0]["annotations"] == [note]


def test_other_parts_are_shown_where_clients_have_a_word_for_them() -> None:
    response = answer(
        Audio(id="a", data="AAAA", transcript="said"),
        Image(data="iVBORw0KGgo=", media_type="image/png"),
        Opaque(dialect="anthropic_messages", kind="x", raw=msgspec.Raw(b"{}")),
    )
    output = plain(response)["output"]
    assert [item["type"] for item in output] == ["message", "image_generation_call"]
    assert output[0]["content"][0]["text"] == "said"
    assert output[1]["result"] == "iVBORw0KGgo="
    assert streamed(replay(response))[-1]["response"]["output"] == output


@pytest.mark.parametrize(
    ("finish", "status", "name"),
    [
        (FinishReason.STOP, "completed", "response.completed"),
        (FinishReason.PAUSE, "completed", "response.completed"),
        (FinishReason.LENGTH, "incomplete", "response.incomplete"),
        (FinishReason.CONTENT_FILTER, "incomplete", "response.incomplete"),
        (FinishReason.ERROR, "failed", "response.failed"),
    ],
)
def test_endings(finish: FinishReason, status: str, name: str) -> None:
    response = answer(Text(text="x"), finish=finish)
    written = streamed(replay(response))[-1]
    assert (written["type"], written["response"]["status"]) == (name, status)
    assert written["response"] == plain(response)
    item = written["response"]["output"][0]
    assert item["status"] == ("incomplete" if status == "incomplete" else "completed")


def test_an_error_ends_a_stream_in_both_ways_that_clients_know() -> None:
    encoder = inbound.stream_encoder(ASKED)
    data = encoder.encode(MessageStart(model="m", id="resp_1"))
    data += encoder.error(RateLimitError("slow down", code="rate_limit_exceeded"), "req_1")
    *_, error, failed = frames(data)
    assert (error["type"], error["code"], error["message"], error["param"]) == (
        "error",
        "rate_limit_exceeded",
        "slow down",
        None,
    )
    assert error["error"]["request_id"] == "req_1"
    assert failed["response"]["error"] == {"code": "rate_limit_exceeded", "message": "slow down"}
    assert (failed["response"]["id"], failed["response"]["status"]) == ("resp_1", "failed")
    decoder = outbound.stream_decoder(TARGET)
    assert decoder.feed(data) == [MessageStart(model="m", id="resp_1")]
    assert isinstance(decoder.failure, RateLimitError)
    with pytest.raises(RateLimitError, match="slow down"):
        decoder.close()


def test_an_answer_repeats_what_it_was_asked() -> None:
    asked = inbound.decode_request(encoded(REQUEST))
    written = plain(answer(Text(text="x")), asked)
    for name in ("instructions", "tools", "tool_choice", "text", "reasoning", "metadata", "max_output_tokens"):
        assert written[name] == REQUEST[name]
    assert (written["store"], written["background"]) == (False, False)
    assert "include" not in written and "input" not in written
    own = msgspec.structs.replace(answer(), extra=keep("openai_responses", {"store": True, "service_tier": "flex"}))
    assert (plain(own, asked)["store"], plain(own, asked)["service_tier"]) == (True, "flex")


# ---------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({}, "input"),
        ({"input": 5}, "input"),
        ({"input": ["a"]}, "input[0]"),
        ({"input": [{"role": "nobody", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"text": "x"}]}]}, "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].file_id"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
        ({"input": "x", "tools": [{"type": "function"}]}, "tools[0].name"),
        ({"input": "x", "tool_choice": "any"}, "tool_choice"),
        ({"input": "x", "text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema"),
        ({"input": "x", "max_output_tokens": 0}, "max_output_tokens"),
        ({"input": "x", "cost_limit": -1}, "cost_limit"),
        ({"input": "x", "stream": "yes"}, "stream"),
    ],
)
def test_a_request_that_cannot_be_read_names_the_place(body: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        inbound.decode_request(encoded(body))
    assert raised.value.param == place


def test_our_own_members_are_read() -> None:
    body = {"input": "x", "provider": "groq", "fallbacks": ["a"], "cost_limit": 0.5, "provider_hint": "cheapest"}
    asked = inbound.decode_request(encoded(body))
    assert (asked.provider, asked.fallbacks, str(asked.cost_limit), asked.provider_hint) == (
        "groq",
        ("a",),
        "0.5",
        "cheapest",
    )
    theirs = inbound.decode_request(encoded({"input": "x", "provider": {"only": ["openai"]}}))
    assert theirs.provider is None
    assert kept(theirs.extra, "openai_responses") == {"provider": {"only": ["openai"]}}


def test_a_stream_without_an_end_is_broken() -> None:
    decoder = outbound.stream_decoder(TARGET)
    decoder.feed(b"data: " + encoded(events()[0]) + b"\n\n")
    with pytest.raises(StreamBroken):
        decoder.close()
